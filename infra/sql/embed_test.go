package sqlfiles

import (
	"io/fs"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

func TestMigrationsAreRenamed(t *testing.T) {
	set, err := Migrations()
	require.NoError(t, err)
	names, err := fs.Glob(set.FS, "*.sql")
	require.NoError(t, err)
	require.Equal(t, []string{"00001_migrations.sql", "00002_secure_rounds.sql"}, names[:2])
	require.EqualValues(t, len(names), set.Latest)
	shown, err := fs.ReadFile(set.FS, "00001_migrations.sql")
	require.NoError(t, err)
	original, err := files.ReadFile("i1_migrations.sql")
	require.NoError(t, err)
	require.Equal(t, original, shown)
	_, err = set.FS.Open("i1_migrations.sql")
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func TestCollectRefuses(t *testing.T) {
	up := &fstest.MapFile{Data: []byte("-- +goose Up\nselect 1;")}
	for name, files := range map[string]fstest.MapFS{
		"another name":   {"one.sql": up},
		"a missing one":  {"i1_a.sql": up, "i3_b.sql": up},
		"a number twice": {"i1_a.sql": up, "i1_b.sql": up},
		"a zero":         {"i01_a.sql": up},
		"a way down":     {"i1_a.sql": {Data: []byte("-- +goose Up\n-- +goose Down\n")}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := collect(files)
			require.ErrorIs(t, err, ErrName)
		})
	}
	set, err := collect(fstest.MapFS{"i2_b.sql": up, "i1_a.sql": up, "i10_k.sql": up, "i3_c.sql": up, "i4_d.sql": up, "i5_e.sql": up, "i6_f.sql": up, "i7_g.sql": up, "i8_h.sql": up, "i9_i.sql": up})
	require.NoError(t, err)
	names, err := fs.Glob(set.FS, "*.sql")
	require.NoError(t, err)
	require.Equal(t, "00010_k.sql", names[9], "ten comes after nine")
}
