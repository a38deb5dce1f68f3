package local

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// A state directory is held while a system runs on it. Asking makes nothing,
// and takes nothing from who comes next.
func TestRunning(t *testing.T) {
	l := Layout{Host: "127.0.0.1", Base: 9000, State: t.TempDir()}
	require.False(t, l.Running())
	left, err := os.ReadDir(l.State)
	require.NoError(t, err)
	require.Empty(t, left)
	release, err := l.Prepare()
	require.NoError(t, err)
	require.True(t, l.Running())
	_, err = l.Prepare()
	require.ErrorIs(t, err, ErrRunning)
	release()
	require.False(t, l.Running())
	release, err = l.Prepare()
	require.NoError(t, err)
	release()
}

// Every port is named once.
func TestPorts(t *testing.T) {
	seen := map[string]string{}
	for _, p := range (Layout{Host: "127.0.0.1", Base: 9000}).Ports(3, true, true) {
		require.Empty(t, seen[p.Address], p.Address)
		require.NotEmpty(t, p.Name)
		seen[p.Address] = p.Name
	}
	require.Equal(t, "Temporal", seen["127.0.0.1:7233"])
	require.Equal(t, "Temporal Web UI", seen["127.0.0.1:8233"])
	require.Len(t, (Layout{}).Ports(3, false, false), 13)
}
