package cosign_test

import (
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/internal/cosign"
)

func TestVerifyCommand(t *testing.T) {
	files := cosign.Files{Key: "keys/fabric.pub", Bundle: "bundle.json", TrustedRoot: "root.json", Content: "manifest.json"}
	require.Equal(t, "cosign verify-blob --key keys/fabric.pub --bundle bundle.json --trusted-root root.json --insecure-ignore-tlog manifest.json",
		cosign.VerifyCommand(files))
	files.Content = "sha256:00ff"
	require.Equal(t, "cosign verify-blob-attestation --key keys/fabric.pub --bundle bundle.json --trusted-root root.json --insecure-ignore-tlog --type https://example.org/x/v1 --digest 00ff --digestAlg sha256",
		cosign.VerifyAttestationCommand(files, "https://example.org/x/v1"))
}

// A path cannot become a command of the shell that it is pasted into.
func TestVerifyCommandQuotes(t *testing.T) {
	files := cosign.Files{Key: "a b", Bundle: "$(id)", TrustedRoot: "it's; `id`", Content: ""}
	out, err := exec.Command("sh", "-c", "cosign() { printf '[%s]' \"$@\"; }\n"+cosign.VerifyCommand(files)).Output()
	require.NoError(t, err)
	require.Equal(t, "[verify-blob][--key][a b][--bundle][$(id)][--trusted-root][it's; `id`][--insecure-ignore-tlog][]", string(out))
}
