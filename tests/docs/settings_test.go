package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/internal/config"
)

// read returns a file of the repository as text.
func read(t testing.TB, name string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root, name))
	require.NoError(t, err)
	return string(content)
}

var ownName = regexp.MustCompile(`\b(?:FABRIC|FEDERATION|GLOBAL|POSTGRES|REPL|VAULT|BAO|COSIGN|PROM|NEURAL|QUANTUM|SIMULATION|RULES|TEMPORAL|MODEL_STORE)_[A-Z0-9_]*[A-Z0-9]\b`)

// variables returns every environment variable that something reads: settings,
// and what tests, programs of make and of containers look at.
func variables(t *testing.T) map[string]bool {
	t.Helper()
	known := map[string]bool{}
	for _, f := range config.Fields() {
		known[f.Env] = true
		if f.Secret {
			known[f.Env+"_FILE"] = true
		}
	}
	looked := regexp.MustCompile(`(?:(?:Getenv|LookupEnv|Setenv)\(|= )"([A-Z0-9_]+)"`)
	for _, folder := range []string{"cmd", "internal", "tests", "dev"} {
		err := filepath.WalkDir(filepath.Join(root, folder), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") {
				return err
			}
			content, err := os.ReadFile(path)
			for _, m := range looked.FindAllStringSubmatch(string(content), -1) {
				known[m[1]] = true
			}
			return err
		})
		require.NoError(t, err)
	}
	for _, name := range []string{"Makefile", "docker-compose.yaml", "infra/docker/compose.env.example"} {
		for _, found := range ownName.FindAllString(read(t, name), -1) {
			known[found] = true
		}
	}
	return known
}

func TestEverySettingThatAPageNamesExists(t *testing.T) {
	known, seen := variables(t), 0
	for _, p := range pages(t) {
		if history(p) {
			continue
		}
		for i, line := range p.lines {
			for _, name := range ownName.FindAllString(line, -1) {
				seen++
				if !known[name] {
					t.Errorf("%s:%d: nothing reads %s", p.path, i+1, name)
				}
			}
		}
	}
	require.Greater(t, seen, 100)
}
