package load

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/tests/harness"
)

// reports is where figures are kept.
const reports = "../../reports/bench"

func write(t *testing.T, name, text string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(reports, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(reports, name), []byte(text), 0o644))
}

// report writes the figures of histories.
func report(t *testing.T, figures ...figure) {
	t.Helper()
	const command = "FABRIC_BENCH=1 go test -count=1 -run TestHistory ./tests/load"
	machine := harness.Describe(t)
	text, err := json.MarshalIndent(map[string]any{"command": command, "machine": machine, "figures": figures}, "", "  ")
	require.NoError(t, err)
	write(t, "history.json", string(text)+"\n")

	var b strings.Builder
	fmt.Fprintf(&b, "# Histories and sites\n\nOne train round of a softmax regression over 30 columns, in one region: real Temporal, PostgreSQL, workers,\n"+
		"signatures and blobs. The sites are goroutines that take work and answer it through the API's ports with an update that\n"+
		"was made beforehand, so nearly all of a round's time is overhead.\n\n- command: `%s`\n- machine: %s\n\n", command, machine)
	fmt.Fprintf(&b, "| sites | events of RegionRound (at most %d) | its bytes | events of FederatedRound | round, ms | of it sites taking work and answering, ms |\n|---|---|---|---|---|---|\n", most)
	for _, f := range figures {
		fmt.Fprintf(&b, "| %d | %d | %d | %d | %d | %d |\n", f.Sites, f.RegionEvents, f.RegionBytes, f.RoundEvents, f.RoundMillis, f.SitesMillis)
	}
	write(t, "history.md", b.String())
}
