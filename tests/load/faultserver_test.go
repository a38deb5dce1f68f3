//go:build bench

package load

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A fault is how a server misbehaves. Its readiness checks go on saying yes in
// all of them: what is measured is what the traffic alone teaches.
type fault int

const (
	fine fault = iota
	hang
	slow
	drip
	errs100
	errs30
	errs5
	flap1s
	flap100ms
	resetBefore
	resetIdle
	resetMiddle
	chunksEnd
	lengthLies
	refuse
	blackHole
	errsFast
)

// A server is an upstream that speaks the Open Inference Protocol V2 by hand, so
// that it can break every rule of HTTP. A good answer takes service.
type server struct {
	address string
	answer  string
	service time.Duration
	workers chan struct{} // nil: as many as come
	mode    atomic.Int32
	since   atomic.Int64 // when the mode began
	got     atomic.Int64 // inferences
	left    atomic.Int64 // of them, that the other side left before they were answered
	onLeave func(path string)

	mu       sync.Mutex
	listener net.Listener
	conns    map[net.Conn]bool // idle
	hole     []int             // descriptors of the black hole
}

func startServer(t testing.TB, answer string, service time.Duration) *server {
	s := &server{answer: answer, service: service, conns: map[net.Conn]bool{}}
	s.listen(t, "127.0.0.1:0")
	s.address = s.listener.Addr().String()
	t.Cleanup(func() { s.set(t, fine); s.close() })
	return s
}

func (s *server) listen(t testing.TB, address string) {
	var err error
	var l net.Listener
	require.Eventually(t, func() bool { l, err = net.Listen("tcp", address); return err == nil }, 5*time.Second, 2*time.Millisecond, "%v", err)
	s.mu.Lock()
	s.listener = l
	s.mu.Unlock()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go s.serve(c)
		}
	}()
}

// close refuses connections, and resets those that are open.
func (s *server) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listener.Close()
	for c := range s.conns {
		reset(c)
	}
}

// set changes how the server behaves.
func (s *server) set(t testing.TB, f fault) {
	before := fault(s.mode.Swap(int32(f)))
	s.since.Store(time.Now().UnixNano())
	if before == refuse {
		s.listen(t, s.address)
	}
	if before == blackHole {
		for _, fd := range s.hole {
			syscall.Close(fd)
		}
		s.hole = nil
		s.listen(t, s.address)
	}
	switch f {
	case refuse:
		s.close()
	case blackHole:
		s.close()
		s.swallow(t)
	case resetIdle:
		s.mu.Lock()
		for c, idle := range s.conns {
			if idle {
				reset(c)
			}
		}
		s.mu.Unlock()
	}
}

// swallow listens with a queue of none, and fills it: the kernel then drops
// every further SYN, as a firewall would.
func (s *server) swallow(t testing.TB) {
	at, err := net.ResolveTCPAddr("tcp4", s.address)
	require.NoError(t, err)
	sa := &syscall.SockaddrInet4{Port: at.Port, Addr: [4]byte(at.IP.To4())}
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	require.NoError(t, err)
	require.NoError(t, syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1))
	require.Eventually(t, func() bool { return syscall.Bind(fd, sa) == nil }, 5*time.Second, 2*time.Millisecond)
	require.NoError(t, syscall.Listen(fd, 0))
	s.hole = append(s.hole, fd)
	for range 3 {
		c, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK, 0)
		require.NoError(t, err)
		_ = syscall.Connect(c, sa) // in progress
		s.hole = append(s.hole, c)
	}
}

func reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	c.Close()
}

func (s *server) track(c net.Conn, idle bool) {
	s.mu.Lock()
	s.conns[c] = idle
	s.mu.Unlock()
}

func (s *server) serve(c net.Conn) {
	defer func() {
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
		c.Close()
	}()
	in := bufio.NewReader(c)
	for {
		s.track(c, true)
		req, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		s.track(c, false)
		_, err = io.Copy(io.Discard, req.Body)
		if err != nil {
			return
		}
		if req.Method == http.MethodGet {
			fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
			continue
		}
		n := s.got.Add(1)
		if !s.infer(c, in, req, n) {
			return
		}
	}
}

// infer answers, and reports whether the connection can be used again.
func (s *server) infer(c net.Conn, in *bufio.Reader, req *http.Request, n int64) bool {
	mode := fault(s.mode.Load())
	age := time.Since(time.Unix(0, s.since.Load()))
	whole := func(status string) bool {
		_, err := fmt.Fprintf(c, "HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", status, len(s.answer), s.answer)
		return err == nil
	}
	oops := func() bool {
		_, err := fmt.Fprint(c, "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 4\r\n\r\noops")
		return err == nil
	}
	switch mode {
	case flap1s, flap100ms:
		period := time.Second
		if mode == flap100ms {
			period = 100 * time.Millisecond
		}
		if age/period%2 == 0 {
			reset(c)
			return false
		}
	case errsFast:
		return oops()
	case hang:
		return s.wait(c, in, req, time.Hour)
	case slow:
		return s.wait(c, in, req, 2*time.Second) && whole("200 OK")
	}
	if s.workers != nil {
		s.workers <- struct{}{}
		defer func() { <-s.workers }()
		time.Sleep(s.service*4/5 + rand.N(s.service*2/5)) // workers that all end together would make everybody wait for all of one's time
	} else if !s.wait(c, in, req, s.service) {
		return false
	}
	half := s.answer[:len(s.answer)/2]
	switch mode {
	case errs100:
		return oops()
	case errs30:
		if n%10 < 3 {
			return oops()
		}
	case errs5:
		if n%20 == 7 {
			return oops()
		}
	case resetBefore:
		reset(c)
		return false
	case resetIdle: // it answers, and the connection is gone when it is used again
		ok := whole("200 OK")
		time.AfterFunc(2*time.Millisecond, func() { reset(c) })
		return ok
	case resetMiddle:
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(s.answer), half)
		time.Sleep(5 * time.Millisecond) // else the reset overtakes what was sent
		reset(c)
		return false
	case chunksEnd:
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n", len(half), half)
		return false
	case lengthLies:
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(s.answer)+100, s.answer)
		return false
	case drip:
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", len(s.answer))
		step := max(1, len(s.answer)/20)
		for rest := s.answer; rest != ""; rest = rest[min(step, len(rest)):] {
			if _, err := io.WriteString(c, rest[:min(step, len(rest))]); err != nil || !s.wait(c, in, req, 100*time.Millisecond) {
				return false
			}
		}
		return true
	}
	return whole("200 OK")
}

// wait waits, and returns false at once when the other side leaves.
func (s *server) wait(c net.Conn, in *bufio.Reader, req *http.Request, d time.Duration) bool {
	_ = c.SetReadDeadline(time.Now().Add(d))
	defer c.SetReadDeadline(time.Time{})
	_, err := in.Peek(1)
	if err == nil {
		return true
	}
	if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() {
		return true
	}
	s.left.Add(1)
	if s.onLeave != nil {
		s.onLeave(req.Header.Get("X-Test-Id"))
	}
	return false
}

// answerOf returns an answer of the model with about size bytes.
func answerOf(size int) string {
	const each = "0.25,"
	n := max(2, size/len(each))
	return fmt.Sprintf(`{"model_name":"own.m","model_version":"1","outputs":[{"name":"p","shape":[1,%d],"datatype":"FP64","data":[%s0.75]}]}`,
		n, strings.Repeat(each, n-1))
}
