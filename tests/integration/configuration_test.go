package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/internal/config"
)

// settings is the table of docs/reference/configuration.md.
func settings() string {
	var b strings.Builder
	b.WriteString("| variable | default | | what it does |\n| --- | --- | --- | --- |\n")
	for _, f := range config.Fields() {
		var marks []string
		for _, m := range []struct {
			on   bool
			word string
		}{{f.Contract, "contract"}, {f.Critical, "critical"}, {f.Secret, "secret"}} {
			if m.on {
				marks = append(marks, m.word)
			}
		}
		value := ""
		if f.Default != "" {
			value = "`" + f.Default + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", f.Env, value, strings.Join(marks, ", "), strings.ReplaceAll(f.Doc, "|", `\|`))
	}
	return b.String()
}

func TestTheReferenceNamesEverySetting(t *testing.T) {
	page := filepath.Join(root, "docs/reference/configuration.md")
	content, err := os.ReadFile(page)
	require.NoError(t, err)
	head, after, found := strings.Cut(string(content), "| variable |")
	require.True(t, found)
	_, tail, _ := strings.Cut(after, "\n\n")
	want := head + settings() + "\n" + tail
	if os.Getenv("FABRIC_UPDATE") == "1" {
		require.NoError(t, os.WriteFile(page, []byte(want), 0o644))
		return
	}
	require.Equal(t, want, string(content), "write it anew with: FABRIC_UPDATE=1 go test ./tests/integration -run Reference")
}
