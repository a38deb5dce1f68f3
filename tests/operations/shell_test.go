//go:build operations

package operations

import (
	"context"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A terminal is where an operator gives the commands of a page.
type terminal struct {
	dir string
	env []string // NAME=value
}

// with returns the terminal with more variables.
func (s terminal) with(settings ...string) terminal {
	s.env = append(s.env[:len(s.env):len(s.env)], settings...)
	return s
}

// follow runs the commands of a page that are fenced for a purpose, and shows
// them with what they print. All of them must succeed.
func (s terminal) follow(t testing.TB, page, purpose string) string {
	t.Helper()
	blocks := commands(t, page, purpose)
	require.NotEmpty(t, blocks, "%s.md has nothing to do for %q", page, purpose)
	var all strings.Builder
	for _, block := range blocks {
		all.WriteString(s.run(t, page+".md, "+purpose, block))
	}
	return all.String()
}

func (s terminal) run(t testing.TB, what, script string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", script)
	cmd.Dir, cmd.Env = s.dir, s.env
	out, err := cmd.CombinedOutput()
	t.Logf("--- %s\n$ %s%s", what, strings.ReplaceAll(strings.TrimSpace(script), "\n", "\n$ "), "\n"+short(string(out)))
	require.NoError(t, err, "%s: the commands of the page fail", what)
	return string(out)
}

// short keeps a log readable.
func short(text string) string {
	if lines := strings.Split(strings.TrimSpace(text), "\n"); len(lines) > 14 {
		return strings.Join(append(lines[:14:14], "..."), "\n")
	}
	return strings.TrimSpace(text)
}
