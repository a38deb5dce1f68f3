package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/internal/pgserver/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// password opens every key file of these tests; no output may show it.
const password = "correct horse battery"

// A desk is a person's folder and settings.
type desk struct {
	t   *testing.T
	dir string
	env []string
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	d := &desk{t: t, dir: t.TempDir()}
	d.env = []string{"FABRIC_STATE_DIR=" + d.path("state"), "COSIGN_PASSWORD=" + password, "SIMULATION_MODE=true"}
	return d
}

func (d *desk) path(name string) string { return filepath.Join(d.dir, name) }

// with returns the desk with more settings.
func (d *desk) with(env ...string) *desk {
	out := *d
	out.env = append(append([]string{}, d.env...), env...)
	return &out
}

// run gives a command, and returns its exit status and what it wrote. Neither
// stream may hold a secret.
func (d *desk) run(args ...string) (status int, out, log string) {
	d.t.Helper()
	var stdout, stderr bytes.Buffer
	status = run(d.t.Context(), args, streams{In: strings.NewReader(""), Out: &stdout, Err: &stderr}, d.env)
	for _, secret := range []string{password, "hvs.hush"} {
		require.NotContains(d.t, stdout.String()+stderr.String(), secret)
	}
	return status, stdout.String(), stderr.String()
}

// ok is run for a command that must succeed.
func (d *desk) ok(args ...string) string {
	d.t.Helper()
	status, out, log := d.run(args...)
	require.Equal(d.t, exitOK, status, "%s: %s", strings.Join(args, " "), log)
	return out
}

// fails is run for one that must not, with this status and reason.
func (d *desk) fails(status int, says string, args ...string) {
	d.t.Helper()
	got, out, log := d.run(args...)
	require.Equal(d.t, status, got, "%s: %s%s", strings.Join(args, " "), out, log)
	require.Contains(d.t, log, says)
}

func (d *desk) write(name, text string) string {
	d.t.Helper()
	require.NoError(d.t, os.WriteFile(d.path(name), []byte(text), 0o600))
	return d.path(name)
}

func (d *desk) read(name string) string {
	d.t.Helper()
	text, err := os.ReadFile(d.path(name))
	require.NoError(d.t, err)
	return string(text)
}

// A command line that is not as it should be has a status of its own, whether
// a command, an argument or a flag is wrong.
func TestHowACommandIsCalled(t *testing.T) {
	d := newDesk(t)
	for says, args := range map[string][]string{
		"unknown command":              {"fly"},
		"unknown flag":                 {"keys", "list", "--fast"},
		"accepts 1 arg(s)":             {"keys", "generate"},
		`required flag(s) "reason"`:    {"keys", "revoke", "x"},
		"choose file, transit":         {"keys", "generate", "x", "--in", "cloud"},
		"unknown shorthand flag":       {"audit", "list", "-x"},
		"invalid argument":             {"audit", "list", "--from", "x"},
		"accepts 1 arg(s), received 0": {"evidence"},
		"accepts 1 arg(s), rec":        {"verify"},
		"accepts 1 arg(s), received 2": {"trace", "a", "b"},
	} {
		d.fails(exitUsage, says, args...)
	}
}
