package main

import (
	"io"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/cmd/manual"
)

// The page of the reference is what the commands say. Write it anew with
// FABRIC_UPDATE=1.
func TestTheReferenceIsWhatTheCommandsSay(t *testing.T) {
	const path = "../../docs/reference/cli-router.md"
	want := manual.Markdown(newRoot(nil, io.Discard), "# The command `fabric-router`\n\n"+
		"Made from the commands themselves; `fabric-router COMMAND --help` says the same. Settings come from the environment or a\n"+
		"file, see [configuration](configuration.md).\n")
	if os.Getenv("FABRIC_UPDATE") != "" {
		require.NoError(t, os.WriteFile(path, []byte(want), 0o644))
		return
	}
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, want, string(text), "make it anew with: FABRIC_UPDATE=1 go test ./cmd/fabric-router")
}
