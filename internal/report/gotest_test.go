package report_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/internal/report"
)

// The output is what the go command really prints for this module.
func TestGoTestOutputIsCounted(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{
		"go.mod":             "module example.test/m\n\ngo 1.21\n",
		"good/good_test.go":  "package good\n\nimport \"testing\"\n\nfunc TestA(t *testing.T) { t.Run(\"x\", func(t *testing.T) {}) }\nfunc TestB(t *testing.T) { t.S" + "kipNow() }\n",
		"bad/bad_test.go":    "package bad\n\nimport \"testing\"\n\nfunc TestA(t *testing.T) { t.Run(\"x\", func(t *testing.T) { t.Error(\"the sum is 3\") }); t.Run(\"y\", func(t *testing.T) {}) }\n",
		"broken/broken.go":   "package broken\n\nvar x int = \"text\"\n",
		"broken/b_test.go":   "package broken\n\nimport \"testing\"\n\nfunc TestA(t *testing.T) {}\n",
		"dies/dies_test.go":  "package dies\n\nimport (\n\t\"os\"\n\t\"testing\"\n)\n\nfunc TestMain(m *testing.M) { println(\"no server\"); os.Exit(3) }\nfunc TestA(t *testing.T) {}\n",
		"without/without.go": "package without\n",
		"panics/pan_test.go": "package panics\n\nimport \"testing\"\n\nfunc TestA(t *testing.T) { panic(\"out of range\") }\n",
	} {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(content), 0o644))
	}
	cmd := exec.CommandContext(t.Context(), "go", "test", "-json", "./...")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off")
	out, err := cmd.Output()
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit)

	runs, err := report.ParseGoTestJSON(strings.NewReader(string(out)))
	require.NoError(t, err)
	want := []struct {
		pkg                     string
		passed, failed, skipped int
		says                    string
	}{
		{"bad", 1, 2, 0, "the sum is 3"},
		{"broken", 0, 1, 0, "cannot use"},
		{"dies", 0, 1, 0, "no server"},
		{"good", 2, 0, 1, "ok"},
		{"panics", 0, 1, 0, "out of range"},
	}
	require.Len(t, runs, len(want))
	for i, w := range want {
		got := runs[i]
		require.Equal(t, "example.test/m/"+w.pkg, got.Package)
		require.Equal(t, []int{w.passed, w.failed, w.skipped}, []int{got.Passed, got.Failed, got.Skipped}, "%+v", got)
		require.Len(t, got.Excerpts, 1, w.pkg)
		require.Contains(t, got.Excerpts[0], w.says)
	}

	half := out[:strings.LastIndex(string(out), `"Action":"fail"`)]
	half = half[:strings.LastIndex(string(half), "\n")]
	_, err = report.ParseGoTestJSON(strings.NewReader(string(half)))
	require.ErrorIs(t, err, report.ErrTestOutput, "output that ends early is no evidence")
	_, err = report.ParseGoTestJSON(strings.NewReader("ok  \tpackage\t0.1s\n"))
	require.ErrorIs(t, err, report.ErrTestOutput)
}
