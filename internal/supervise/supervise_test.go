package supervise_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/internal/supervise"
)

// TestMain lets the test binary play the supervisor that is killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv("SUPERVISE_TEST_PARENT"); dir != "" {
		g, err := supervise.New(dir, slog.New(slog.DiscardHandler))
		if err == nil {
			err = g.Start(context.Background(), sleeper(dir))
		}
		fmt.Println(err)
		select {}
	}
	os.Exit(m.Run())
}

// sleeper writes its process id and sleeps.
func sleeper(dir string) supervise.Spec {
	file := filepath.Join(dir, "pid")
	return supervise.Spec{
		Name: "sleeper", Path: "/bin/sh",
		Args:   []string{"-c", "echo $$ > " + file + ".new && mv " + file + ".new " + file + " && exec sleep 600"},
		Within: 5 * time.Second,
		Ready: func(context.Context) error {
			_, err := os.Stat(file)
			return err
		},
	}
}

func pid(t *testing.T, dir string) int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "pid"))
	require.NoError(t, err)
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	require.NoError(t, err)
	return n
}

func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

func TestAKilledChildIsStartedAgain(t *testing.T) {
	dir := t.TempDir()
	g, err := supervise.New(dir, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	require.NoError(t, g.Start(t.Context(), sleeper(dir)))
	first := pid(t, dir)
	require.NoError(t, syscall.Kill(first, syscall.SIGKILL))
	require.Eventually(t, func() bool { return pid(t, dir) != first && alive(pid(t, dir)) }, 5*time.Second, 20*time.Millisecond)
	second := pid(t, dir)
	require.Equal(t, 1, g.Status()[0].Restarts)

	g.Stop()
	require.False(t, alive(second), "a stopped child is gone when Stop returns")
}

func TestAChildThatNeverGetsReadySaysWhy(t *testing.T) {
	g, err := supervise.New(t.TempDir(), slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	defer g.Stop()
	err = g.Start(t.Context(), supervise.Spec{
		Name: "broken", Path: "/bin/sh", Args: []string{"-c", "echo no such port >&2; exit 1"},
		Within: 300 * time.Millisecond,
		Ready:  func(context.Context) error { return errors.New("connection refused") },
	})
	require.ErrorIs(t, err, supervise.ErrNotReady)
	require.ErrorContains(t, err, "connection refused")
	require.ErrorContains(t, err, "no such port", "the log's tail is part of the message")
}

func TestChildrenDieWithAKilledSupervisor(t *testing.T) {
	dir := t.TempDir()
	parent := exec.Command(os.Args[0])
	parent.Env = append(os.Environ(), "SUPERVISE_TEST_PARENT="+dir)
	require.NoError(t, parent.Start())
	require.Eventually(t, func() bool { _, err := os.Stat(filepath.Join(dir, "pid")); return err == nil }, 5*time.Second, 20*time.Millisecond)
	child := pid(t, dir)
	require.True(t, alive(child))
	require.NoError(t, parent.Process.Kill())
	_ = parent.Wait() // it was killed, and says so
	require.Eventually(t, func() bool { return !alive(child) }, 5*time.Second, 20*time.Millisecond)
}
