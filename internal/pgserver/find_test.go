package pgserver

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// install makes a directory of programs that answer --version as given.
func install(t *testing.T, dir, postgres, initdb string) string {
	t.Helper()
	require.NoError(t, os.MkdirAll(dir, 0o755))
	for name, version := range map[string]string{"postgres": postgres, "initdb": initdb} {
		if version != "" {
			script := "#!/bin/sh\necho '" + name + " (PostgreSQL) " + version + "'\n"
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755))
		}
	}
	return dir
}

func TestFindKeepsTheOrder(t *testing.T) {
	root := t.TempDir()
	at := func(name string) string { return filepath.Join(root, name) }
	install(t, at("chosen"), "16.2", "16.2")
	install(t, at("sys/9.6/bin"), "9.6.24", "9.6.24")
	install(t, at("sys/15/bin"), "15.18 (Debian 15.18-0+deb12u1)", "15.18 (Debian 15.18-0+deb12u1)")
	install(t, at("sys/18/bin"), "18beta1", "18beta1")
	install(t, at("sys2/17.9/bin"), "17.9", "17.9")
	install(t, at("sys2/17.10/bin"), "17.10", "17.10")
	install(t, at("old"), "14.1", "14.1")
	install(t, at("client"), "", "15.1")
	install(t, at("mixed"), "15.1", "16.1")
	install(t, at("cache/17/bin"), "17.1", "17.1")
	require.NoError(t, os.Mkdir(at("links"), 0o755))
	require.NoError(t, os.Symlink(at("sys/15/bin/initdb"), at("links/initdb")))

	all := finder{binDir: at("chosen"), path: []string{at("links")}, system: []string{at("sys/*/bin")}, cache: at("cache/*/bin")}
	tests := []struct {
		name string
		edit func(*finder)
		dir  string
		want string
	}{
		{"PG_BIN_DIR first", func(*finder) {}, "chosen", "16.2"},
		{"then PATH, through a link", func(f *finder) { f.binDir = "" }, "sys/15/bin", "15.18"},
		{"passing over what is no server", func(f *finder) {
			f.binDir, f.path = "", []string{at("none"), at("old"), at("client"), at("mixed"), at("links")}
		}, "sys/15/bin", "15.18"},
		{"then the highest of the system's", func(f *finder) { f.binDir, f.path = "", nil }, "sys/18/bin", "18beta1"},
		{"counting minor versions as numbers", func(f *finder) {
			f.binDir, f.path, f.system = "", nil, []string{at("sys2/*/bin")}
		}, "sys2/17.10/bin", "17.10"},
		{"then the cache", func(f *finder) { f.binDir, f.path, f.system = "", nil, nil }, "cache/17/bin", "17.1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := all
			tt.edit(&f)
			got, err := f.find()
			require.NoError(t, err)
			require.Equal(t, at(tt.dir), got.Dir)
			require.Equal(t, tt.want, got.Version)
			major, _ := numbers(tt.want)
			require.Equal(t, major, got.Major)
		})
	}
}

// The user reads this text and nothing else.
func TestNotFoundText(t *testing.T) {
	root := t.TempDir()
	install(t, filepath.Join(root, "old"), "14.22", "14.22")
	install(t, filepath.Join(root, "client"), "", "15.1")
	_, err := finder{
		path:   []string{filepath.Join(root, "old")},
		system: []string{filepath.Join(root, "client"), "/no/postgresql/*/bin"},
		cache:  "/no/cache/fabric/pg/*/bin",
	}.find()
	require.ErrorIs(t, err, ErrNotFound)
	var failed *NotFoundError
	require.ErrorAs(t, err, &failed)
	failed.Tried[1].Why = "(checked below)"
	failed.Tried[2] = Attempt{"(checked below)", ""}
	require.Equal(t, `no PostgreSQL 15 or later found; tried
    PG_BIN_DIR                   not set
    PATH                         (checked below)
    (checked below)              
    /no/postgresql/*/bin         nothing there
    /no/cache/fabric/pg/*/bin    nothing there
  fix one of:
    export POSTGRES_DSN=postgres://...   use your own server
    make setup                           install one (Debian, Ubuntu)
    brew install postgresql@17           install one (macOS)
    export PG_BIN_DIR=/path/to/bin       use one that is somewhere else`, err.Error())
}

func TestFindSaysWhyNot(t *testing.T) {
	root := t.TempDir()
	at := func(name string) string { return filepath.Join(root, name) }
	foreign := at("foreign")
	require.NoError(t, os.Mkdir(foreign, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(foreign, "postgres"), []byte("#!/bin/sh\necho hello\n"), 0o755))
	tests := []struct{ name, dir, want string }{
		{"nothing", at("none"), "no postgres in " + at("none")},
		{"clients only", install(t, at("client"), "", "15.1"), "no postgres in"},
		{"a server without initdb", install(t, at("half"), "15.1", ""), "no initdb in"},
		{"two versions", install(t, at("mixed"), "15.1", "16.1"), "has postgres 15.1 and initdb 16.1"},
		{"too old", install(t, at("old"), "14.22", "14.22"), "has version 14.22, older than 15"},
		{"another program", foreign, "is not PostgreSQL's"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			good := install(t, at("good"), "15.1", "15.1")
			_, err := finder{binDir: tt.dir, path: []string{good}}.find()
			require.ErrorIs(t, err, ErrNotFound, "PG_BIN_DIR is not passed over")
			require.ErrorContains(t, err, "PG_BIN_DIR="+tt.dir)
			require.ErrorContains(t, err, tt.want)
		})
	}
}

func TestFindThisMachines(t *testing.T) {
	b, err := Find()
	require.NoError(t, err)
	require.FileExists(t, filepath.Join(b.Dir, "postgres"))
	require.GreaterOrEqual(t, b.Major, 15)
}
