package arch

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// tracked returns the text files of the tree.
func tracked(t *testing.T) []string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "git", "-C", root, "ls-files", "-z", "--cached", "--others", "--exclude-standard").Output()
	require.NoError(t, err)
	var files []string
	for name := range strings.SplitSeq(strings.TrimRight(string(out), "\x00"), "\x00") {
		if _, err := os.Stat(filepath.Join(root, name)); err == nil {
			files = append(files, name)
		}
	}
	require.NotEmpty(t, files)
	return files
}

// unfinished is what no line of the product may say.
var unfinished = regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X)\b|not impl` + `emented|\|\| tr` + `ue|^\s*t\.Sk` + `ip`)

func TestNothingIsLeftForLater(t *testing.T) {
	for _, name := range tracked(t) {
		switch filepath.Ext(name) {
		case ".go", ".sh", ".py", ".sql", ".yaml", ".yml":
		default:
			continue
		}
		content, err := os.ReadFile(filepath.Join(root, name))
		require.NoError(t, err)
		for i, line := range strings.Split(string(content), "\n") {
			require.NotRegexp(t, unfinished, line, "%s:%d", name, i+1)
		}
	}
}

// elsewhere is a path of somebody's machine: a home, or where modules are kept.
var elsewhere = regexp.MustCompile(`/ro` + `ot/|/ho` + `me/[a-z]|/wo` + `rk/|go/pkg/m` + `od/[a-z]`)

func TestTheTreeSpeaksOfTheProjectAlone(t *testing.T) {
	for _, name := range tracked(t) {
		require.NotContains(t, name, "testdata/rapid/", "a case worth keeping becomes a test")
		content, err := os.ReadFile(filepath.Join(root, name))
		require.NoError(t, err)
		require.NotRegexp(t, elsewhere, string(content), name)
	}
}

func TestFilesHoldOneIdea(t *testing.T) {
	for _, name := range tracked(t) {
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") || strings.HasSuffix(name, ".gen.go") {
			continue
		}
		content, err := os.ReadFile(filepath.Join(root, name))
		require.NoError(t, err)
		require.LessOrEqual(t, strings.Count(string(content), "\n"), 600, name)
	}
}

func TestTheHouseHasItsRooms(t *testing.T) {
	for _, room := range []string{"workflows", "activities", "api", "worker", "infra", "tests", "docs", "reports", "cmd", "domain", "contract", "internal", "dev"} {
		info, err := os.Stat(filepath.Join(root, room))
		require.NoError(t, err)
		require.True(t, info.Mode()&fs.ModeDir != 0, room)
	}
	for _, file := range []string{"go.mod", "Makefile", "docker-compose.yaml", "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE", ".ci/run"} {
		_, err := os.Stat(filepath.Join(root, file))
		require.NoError(t, err)
	}
}
