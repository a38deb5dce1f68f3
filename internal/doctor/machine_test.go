package doctor_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/internal/doctor"
)

func TestDisk(t *testing.T) {
	for _, test := range []struct {
		name string
		room doctor.Room
		want doctor.Status
	}{
		{"has room", doctor.Room{Free: 50e9, Size: 100e9, Inodes: 1e6, All: 2e6}, doctor.OK},
		{"has room and counts no files", doctor.Room{Free: 50e9, Size: 100e9}, doctor.OK},
		{"has little room", doctor.Room{Free: 1e9, Size: 100e9, Inodes: 1e6, All: 2e6}, doctor.Warn},
		{"is full", doctor.Room{Free: 1e6, Size: 100e9, Inodes: 1e6, All: 2e6}, doctor.Fail},
		{"has room for no more files", doctor.Room{Free: 50e9, Size: 100e9, Inodes: 3, All: 2e6}, doctor.Fail},
	} {
		f := doctor.Disk("/data", test.room)
		require.Equal(t, test.want, f.Status, test.name)
		require.Equal(t, test.want != doctor.OK, f.Fix != "", test.name)
	}
	room, err := doctor.RoomOf(filepath.Join(t.TempDir(), "not", "there", "yet"))
	require.NoError(t, err)
	require.Positive(t, room.Size)
}

func TestPrivateFiles(t *testing.T) {
	dir := t.TempDir()
	at := func(name string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte("x"), mode))
		require.NoError(t, os.Chmod(path, mode))
		return path
	}
	own, exposed, gone := at("own.key", 0o600), at("exposed.key", 0o640), filepath.Join(dir, "gone.key")
	require.Equal(t, doctor.OK, doctor.Private(own, gone).Status)
	require.Equal(t, doctor.Skip, doctor.Private(gone).Status)
	found := doctor.Private(own, exposed)
	require.Equal(t, doctor.Fail, found.Status)
	require.Equal(t, "chmod 600 "+exposed, found.Fix)
	require.NotContains(t, found.Detail, own)
}

func TestFolder(t *testing.T) {
	dir := t.TempDir()
	require.Equal(t, doctor.OK, doctor.Folder(dir, "FABRIC_STATE_DIR").Status)
	require.Equal(t, doctor.OK, doctor.Folder(filepath.Join(dir, "new"), "FABRIC_STATE_DIR").Status)
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left, "looking leaves nothing behind")
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	found := doctor.Folder(file, "FABRIC_STATE_DIR")
	require.Equal(t, doctor.Fail, found.Status)
	require.Contains(t, found.Fix, "FABRIC_STATE_DIR")
	require.Equal(t, doctor.Fail, doctor.Folder("/proc/1/nothing", "FABRIC_STATE_DIR").Status)
}

func TestSkew(t *testing.T) {
	for ahead, want := range map[time.Duration]doctor.Status{
		0: doctor.OK, 900 * time.Millisecond: doctor.OK, -900 * time.Millisecond: doctor.OK,
		time.Second: doctor.Warn, -5 * time.Second: doctor.Warn, 20 * time.Second: doctor.Fail, -time.Hour: doctor.Fail,
	} {
		require.Equal(t, want, doctor.Skew("it", ahead).Status, ahead)
	}
	require.Contains(t, doctor.Skew("PostgreSQL", -time.Minute).Detail, "1m0s behind")
}

func TestExpiry(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for name, test := range map[string]struct {
		end  time.Time
		want doctor.Status
		says string
	}{
		"never":      {time.Time{}, doctor.OK, "does not expire"},
		"in a year":  {now.AddDate(1, 0, 0), doctor.OK, "until 2027-11-23"},
		"in a week":  {now.AddDate(0, 0, 7), doctor.Warn, "in 7 days"},
		"just now":   {now, doctor.Fail, "expired on 2026-11-23"},
		"last month": {now.AddDate(0, -1, 0), doctor.Fail, "expired on 2026-10-23"},
	} {
		f := doctor.Expiry("the policy", test.end, now, "fabric keys policy renew")
		require.Equal(t, test.want, f.Status, name)
		require.Contains(t, f.Detail, test.says, name)
		require.Equal(t, test.want != doctor.OK, f.Fix != "", name)
	}
}

func TestFiles(t *testing.T) {
	require.Equal(t, doctor.Warn, doctor.Files(1024).Status)
	require.Equal(t, doctor.OK, doctor.Files(65536).Status)
	soft, err := doctor.OpenFiles()
	require.NoError(t, err)
	require.Positive(t, soft)
}
