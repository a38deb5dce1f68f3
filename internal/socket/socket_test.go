package socket_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/internal/socket"
)

// pair returns both ends of a connection.
func pair(t *testing.T) (near, far net.Conn) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	near, err = net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	far, err = l.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { _ = near.Close(); _ = far.Close() })
	return near, far
}

func raw(t *testing.T, c net.Conn) syscall.RawConn {
	sys, err := socket.Of(c)
	require.NoError(t, err)
	require.NotNil(t, sys)
	return sys
}

// What is far more than the kernel keeps arrives whole and in order, at a reader
// that takes its time.
func TestWriterWaitsForASlowReader(t *testing.T) {
	near, far := pair(t)
	text := bytes.Repeat([]byte("0123456789abcdef"), 1<<20)
	for i := range text {
		text[i] += byte(i >> 16)
	}
	got := sha256.New()
	done := make(chan error, 1)
	go func() {
		time.Sleep(20 * time.Millisecond)
		_, err := io.CopyBuffer(struct{ io.Writer }{got}, struct{ io.Reader }{far}, make([]byte, 7001))
		done <- err
	}()
	n, err := socket.NewWriter(raw(t, near)).Write(text)
	require.NoError(t, err)
	require.Equal(t, len(text), n)
	require.NoError(t, near.Close())
	require.NoError(t, <-done)
	want := sha256.Sum256(text)
	require.Equal(t, want[:], got.Sum(nil))
}

func TestWriterObeysTheDeadlineAndCountsWhatLeft(t *testing.T) {
	near, far := pair(t)
	require.NoError(t, near.SetWriteDeadline(time.Now().Add(50*time.Millisecond)))
	text := make([]byte, 64<<20)
	n, err := socket.NewWriter(raw(t, near)).Write(text)
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.Positive(t, n)
	require.Less(t, n, len(text))
	require.NoError(t, near.Close())
	arrived, err := io.Copy(io.Discard, far)
	require.NoError(t, err)
	require.Equal(t, int64(n), arrived)
}

// A peer that has gone is an error, and no signal that ends the process.
func TestWriterSaysThatThePeerIsGone(t *testing.T) {
	near, far := pair(t)
	require.NoError(t, far.(*net.TCPConn).SetLinger(0))
	require.NoError(t, far.Close())
	w := socket.NewWriter(raw(t, near))
	require.Eventually(t, func() bool {
		_, err := w.Write([]byte("x"))
		return errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET)
	}, 5*time.Second, time.Millisecond)
	require.NoError(t, near.Close())
	_, err := w.Write([]byte("x"))
	require.ErrorIs(t, err, net.ErrClosed)
}

func TestReadSaysWhetherThereIsNothingOrNoMore(t *testing.T) {
	near, far := pair(t)
	sys, room := raw(t, near), make([]byte, 8)
	read := func() (n int, err error) {
		require.NoError(t, sys.Control(func(fd uintptr) { n, err = socket.Read(fd, room) }))
		return n, err
	}
	_, err := read()
	require.ErrorIs(t, err, syscall.EAGAIN)
	_, err = far.Write([]byte("abc"))
	require.NoError(t, err)
	var n int
	require.Eventually(t, func() bool { n, err = read(); return err == nil }, 5*time.Second, time.Millisecond)
	require.Equal(t, "abc", string(room[:n]))
	require.NoError(t, far.Close())
	require.Eventually(t, func() bool { _, err = read(); return errors.Is(err, io.EOF) }, 5*time.Second, time.Millisecond)
}

func TestOfWhatHasNoDescriptor(t *testing.T) {
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	sys, err := socket.Of(near)
	require.NoError(t, err)
	require.Nil(t, sys)
}
