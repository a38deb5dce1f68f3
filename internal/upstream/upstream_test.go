package upstream_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/atom-fabric/fabric/internal/upstream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A raw server reads a request whole and says what it is told, byte for byte.
type raw struct {
	net.Listener
	conns atomic.Int32
	wg    sync.WaitGroup
	mu    sync.Mutex
	open  []net.Conn
}

// serve starts a server that calls answer for every request of a connection
// until that returns false.
func serve(t *testing.T, answer func(c net.Conn, conn, request int, got *http.Request) bool) *raw {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := &raw{Listener: listener}
	s.wg.Go(func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			number := int(s.conns.Add(1))
			s.mu.Lock()
			s.open = append(s.open, c)
			s.mu.Unlock()
			s.wg.Go(func() {
				defer c.Close()
				in := bufio.NewReader(c)
				for i := 1; ; i++ {
					req, err := http.ReadRequest(in)
					if err != nil {
						return
					}
					body, err := io.ReadAll(req.Body)
					if err != nil {
						return
					}
					req.Body = io.NopCloser(bytes.NewReader(body))
					if !answer(c, number, i, req) {
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		s.mu.Lock()
		for _, c := range s.open {
			_ = c.Close()
		}
		s.mu.Unlock()
		s.wg.Wait()
	})
	return s
}

func says(text string) func(net.Conn, int, int, *http.Request) bool {
	return func(c net.Conn, _, _ int, _ *http.Request) bool {
		_, _ = io.WriteString(c, text)
		return false
	}
}

func endpoint(t *testing.T, base string, opts upstream.Options) *upstream.Endpoint {
	t.Helper()
	client := upstream.New(opts)
	t.Cleanup(client.CloseIdleConnections)
	e, err := client.Endpoint(base)
	require.NoError(t, err)
	return e
}

func to(t *testing.T, s *raw) *upstream.Endpoint {
	t.Helper()
	return endpoint(t, "http://"+s.Addr().String(), upstream.Options{})
}

func post(body string) *upstream.Request {
	return &upstream.Request{Method: "POST", Path: "/v2/models/m/infer", Header: []upstream.Field{{Name: "Content-Type", Value: "application/json"}},
		Body: []byte(body), Whole: 256 << 10}
}

// read returns the whole body, and closes the answer.
func read(t *testing.T, a *upstream.Answer) string {
	t.Helper()
	defer a.Close()
	out := bytes.Clone(a.Body)
	if a.Stream != nil {
		rest, err := io.ReadAll(a.Stream)
		require.NoError(t, err)
		out = append(out, rest...)
	}
	return string(out)
}

func TestAsksAndKeepsTheConnection(t *testing.T) {
	var got *http.Request
	s := serve(t, func(c net.Conn, _, i int, r *http.Request) bool {
		got = r
		_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Request: \t%d \r\n\r\nok", i)
		return true
	})
	e := to(t, s)
	for i := 1; i <= 3; i++ {
		a, err := e.Do(t.Context(), post("hello"))
		require.NoError(t, err)
		require.Equal(t, 200, a.Status)
		require.Equal(t, fmt.Sprint(i), a.Header.Get("x-request"))
		require.Equal(t, "", a.Header.Get("none"))
		require.Nil(t, a.Stream)
		require.Equal(t, "ok", read(t, a))
		body, err := io.ReadAll(got.Body)
		require.NoError(t, err)
		require.Equal(t, "hello", string(body))
		require.Equal(t, "/v2/models/m/infer", got.RequestURI)
		require.Equal(t, s.Addr().String(), got.Host)
		require.Equal(t, "application/json", got.Header.Get("Content-Type"))
	}
	require.EqualValues(t, 1, s.conns.Load())
}

// The framings are RFC 9112, section 6; each body is read through a connection
// that gives one byte at a time as well.
func TestBodiesEndWhereTheirFramingSays(t *testing.T) {
	long := strings.Repeat("0123456789abcdef", 40_000) // 640,000 bytes
	tests := []struct {
		name, answer, want string
		streams            bool
	}{
		{"a length", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "hello", false},
		{"a length of 0", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "", false},
		{"no reason phrase", "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", "", false},
		{"chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n\r\n", "hello", false},
		{"chunks with a trailer", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n", "hello", false},
		{"the end of the connection", "HTTP/1.0 200 OK\r\n\r\nhello", "hello", false},
		{"no content", "HTTP/1.1 204 No Content\r\n\r\n", "", false},
		{"interim answers", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "hello", false},
		{"a length that is longer than the buffer", "HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + long[:200_000], long[:200_000], false},
		{"a length beyond what is wanted whole", "HTTP/1.1 200 OK\r\nContent-Length: 640000\r\n\r\n" + long, long, true},
		{"chunks beyond what is wanted whole", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9c400\r\n" + long + "\r\n0\r\n\r\n", long, true},
		{"an event stream", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: text/event-stream; charset=utf-8\r\n\r\n7\r\ndata: 1\r\n0\r\n\r\n", "data: 1", true},
	}
	for _, tt := range tests {
		for _, dripping := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, dripping %v", tt.name, dripping), func(t *testing.T) {
				if dripping && len(tt.answer) > 10_000 {
					return // a byte at a time takes minutes
				}
				s := serve(t, says(tt.answer))
				opts := upstream.Options{}
				if dripping {
					opts.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
						c, err := (&net.Dialer{}).DialContext(ctx, network, address)
						return dripper{c, iotest.OneByteReader(c)}, err
					}
				}
				a, err := endpoint(t, "http://"+s.Addr().String(), opts).Do(t.Context(), post("x"))
				require.NoError(t, err)
				require.Equal(t, tt.streams, a.Stream != nil)
				require.Equal(t, tt.want, read(t, a))
			})
		}
	}
}

type dripper struct {
	net.Conn
	in io.Reader
}

func (d dripper) Read(p []byte) (int, error) { return d.in.Read(p) }

func TestRefusesWhatCanBeReadInTwoWays(t *testing.T) {
	ok := "HTTP/1.1 200 OK\r\n"
	tests := []struct{ name, answer string }{
		{"a length and chunks", ok + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
		{"chunks and a length", ok + "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"},
		{"two lengths", ok + "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"},
		{"the same length twice", ok + "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello"},
		{"a list of lengths", ok + "Content-Length: 5, 5\r\n\r\nhello"},
		{"a signed length", ok + "Content-Length: +5\r\n\r\nhello"},
		{"a length below zero", ok + "Content-Length: -5\r\n\r\nhello"},
		{"a length in hex", ok + "Content-Length: 0x5\r\n\r\nhello"},
		{"an endless length", ok + "Content-Length: 99999999999999999999\r\n\r\nhello"},
		{"an empty length", ok + "Content-Length:\r\n\r\nhello"},
		{"another coding", ok + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"},
		{"two codings", ok + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
		{"a hidden coding", ok + "Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n"},
		{"chunks in HTTP/1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
		{"a space before the colon", ok + "Content-Length : 5\r\n\r\nhello"},
		{"a folded line", ok + "X-A: b\r\n c\r\nContent-Length: 5\r\n\r\nhello"},
		{"a bare line feed", ok + "X-A: b\nContent-Length: 5\r\n\r\nhello"},
		{"a bare carriage return", ok + "X-A: b\rContent-Length: 5\r\n\r\nhello"},
		{"a NUL", ok + "X-A: b\x00\r\nContent-Length: 5\r\n\r\nhello"},
		{"a field without colon", ok + "X-A\r\nContent-Length: 5\r\n\r\nhello"},
		{"a field without name", ok + ": b\r\nContent-Length: 5\r\n\r\nhello"},
		{"another protocol", "ICY 200 OK\r\nContent-Length: 5\r\n\r\nhello"},
		{"HTTP/2 in words", "HTTP/2.0 200 OK\r\nContent-Length: 5\r\n\r\nhello"},
		{"a status of two digits", "HTTP/1.1 20 OK\r\nContent-Length: 5\r\n\r\nhello"},
		{"a status of four digits", "HTTP/1.1 2000 OK\r\nContent-Length: 5\r\n\r\nhello"},
		{"a status below 100", "HTTP/1.1 099 OK\r\nContent-Length: 5\r\n\r\nhello"},
		{"a switch of protocols", "HTTP/1.1 101 Switching Protocols\r\n\r\n"},
		{"interim answers without end", strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 9) + ok + "Content-Length: 0\r\n\r\n"},
		{"a body of a 204", "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello"},
		{"chunks of a 204", "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
		{"a head without end", ok + strings.Repeat("X-A: "+strings.Repeat("b", 1000)+"\r\n", 40)},
		{"a line without end", ok + "X-A: " + strings.Repeat("b", 40_000) + "\r\n\r\n"},
		{"a chunk without size", ok + "Transfer-Encoding: chunked\r\n\r\n\r\nhello\r\n0\r\n\r\n"},
		{"a chunk size below zero", ok + "Transfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n"},
		{"a chunk size with 0x", ok + "Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n"},
		{"a chunk size that wraps", ok + "Transfer-Encoding: chunked\r\n\r\n10000000000000005\r\nhello\r\n0\r\n\r\n"},
		{"a chunk that is longer than its size", ok + "Transfer-Encoding: chunked\r\n\r\n4\r\nhello\r\n0\r\n\r\n"},
		{"a chunk line that ends bare", ok + "Transfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n"},
		{"an extension without end", ok + "Transfer-Encoding: chunked\r\n\r\n5;" + strings.Repeat("x", 300) + "\r\nhello\r\n0\r\n\r\n"},
		{"a trailer without end", ok + "Transfer-Encoding: chunked\r\n\r\n0\r\n" + strings.Repeat("X-A: "+strings.Repeat("b", 1000)+"\r\n", 40)},
		{"a trailer without colon", ok + "Transfer-Encoding: chunked\r\n\r\n0\r\nX-A\r\n\r\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t, says(tt.answer))
			_, err := to(t, s).Do(t.Context(), post("x"))
			require.ErrorIs(t, err, upstream.ErrAnswer)
			var failed *upstream.Error
			require.ErrorAs(t, err, &failed)
			require.True(t, failed.Answered)
			require.EqualValues(t, 1, s.conns.Load(), "an answer came, so it is not sent again")
		})
	}
}

func TestAnAnswerThatBreaksOffIsNone(t *testing.T) {
	for name, answer := range map[string]string{
		"before a byte":        "",
		"in the status":        "HTTP/1.1 2",
		"in the head":          "HTTP/1.1 200 OK\r\nContent-Le",
		"in a body":            "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello",
		"in a long body":       "HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + strings.Repeat("x", 100_000),
		"in a chunk's size":    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5",
		"in a chunk":           "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nhello",
		"before the last one":  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
		"in the trailer":       "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
		"after an interim one": "HTTP/1.1 100 Continue\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, says(answer))
			_, err := to(t, s).Do(t.Context(), post("x"))
			require.ErrorIs(t, err, upstream.ErrReset)
			var failed *upstream.Error
			require.ErrorAs(t, err, &failed)
			require.Equal(t, answer != "", failed.Answered)
			require.EqualValues(t, 1, s.conns.Load(), "a fresh connection that breaks is not tried again")
		})
	}
}

func TestAStreamThatBreaksOffSaysSo(t *testing.T) {
	s := serve(t, says("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: text/event-stream\r\n\r\n7\r\ndata: 1\r\n"))
	a, err := to(t, s).Do(t.Context(), post("x"))
	require.NoError(t, err)
	defer a.Close()
	got, err := io.ReadAll(a.Stream)
	require.Equal(t, "data: 1", string(got))
	require.ErrorIs(t, err, upstream.ErrReset)
}

func TestAConnectionThatWasClosedWhileIdleCostsNothing(t *testing.T) {
	s := serve(t, func(c net.Conn, _, i int, _ *http.Request) bool {
		if i > 1 {
			return false // closes it instead of answering
		}
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		return true
	})
	e := to(t, s)
	for range 5 {
		a, err := e.Do(t.Context(), post("x"))
		require.NoError(t, err)
		require.Equal(t, "ok", read(t, a))
	}
	require.EqualValues(t, 5, s.conns.Load())
}

func TestWhatFollowsAnAnswerIsNeverTheNext(t *testing.T) {
	const good = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
	t.Run("at once", func(t *testing.T) {
		s := serve(t, func(c net.Conn, _, _ int, _ *http.Request) bool {
			_, _ = io.WriteString(c, good+"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
			return true
		})
		e := to(t, s)
		for range 3 {
			a, err := e.Do(t.Context(), post("x"))
			require.NoError(t, err)
			require.Equal(t, "ok", read(t, a))
		}
		require.EqualValues(t, 3, s.conns.Load())
	})
	t.Run("later", func(t *testing.T) {
		s := serve(t, func(c net.Conn, _, i int, _ *http.Request) bool {
			if _, _ = io.WriteString(c, good); i == 1 {
				time.Sleep(10 * time.Millisecond)
				_, _ = io.WriteString(c, "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
			}
			return true
		})
		e := to(t, s)
		for range 3 {
			a, err := e.Do(t.Context(), post("x"))
			require.NoError(t, err)
			require.Equal(t, 200, a.Status)
			require.Equal(t, "ok", read(t, a))
			time.Sleep(80 * time.Millisecond)
		}
	})
}

func TestACancelledRequestClosesItsConnectionAtOnce(t *testing.T) {
	for _, begun := range []bool{false, true} {
		t.Run(fmt.Sprintf("while streaming %v", begun), func(t *testing.T) {
			asked, gone := make(chan struct{}), make(chan time.Time, 1)
			s := serve(t, func(c net.Conn, _, _ int, _ *http.Request) bool {
				if begun {
					_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
				}
				close(asked)
				_, _ = c.Read(make([]byte, 1))
				gone <- time.Now()
				return false
			})
			ctx, cancel := context.WithCancel(t.Context())
			left := make(chan time.Time, 1)
			go func() { <-asked; time.Sleep(5 * time.Millisecond); left <- time.Now(); cancel() }()
			a, err := to(t, s).Do(ctx, post("x"))
			if begun {
				require.NoError(t, err)
				_, err = io.ReadAll(a.Stream)
				a.Close()
			}
			require.ErrorIs(t, err, context.Canceled)
			require.Less(t, (<-gone).Sub(<-left), 50*time.Millisecond)
		})
	}
}

func TestADeadlineIsATimeout(t *testing.T) {
	s := serve(t, func(c net.Conn, _, _ int, _ *http.Request) bool { _, _ = c.Read(make([]byte, 1)); return false })
	e := to(t, s)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, err := e.Do(ctx, post("x"))
	require.ErrorIs(t, err, upstream.ErrTimeout)
	require.Less(t, time.Since(began), time.Second)
	_, err = e.Do(ctx, post("x"))
	require.ErrorIs(t, err, upstream.ErrTimeout, "and before anything is sent")
	require.EqualValues(t, 1, s.conns.Load())
}

func TestASmallerAnswerThanTheLimitOnly(t *testing.T) {
	for _, answer := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n" + strings.Repeat("x", 300_000),
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n493e0\r\n" + strings.Repeat("x", 300_000) + "\r\n0\r\n\r\n",
		"HTTP/1.0 200 OK\r\n\r\n" + strings.Repeat("x", 300_000),
	} {
		s := serve(t, says(answer))
		req := post("x")
		req.Limit, req.Whole = 299_999, 299_999
		_, err := to(t, s).Do(t.Context(), req)
		require.ErrorIs(t, err, upstream.ErrTooLong)
		req.Limit, req.Whole = 300_000, 300_000
		a, err := to(t, s).Do(t.Context(), req)
		require.NoError(t, err)
		require.Len(t, read(t, a), 300_000)
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	release := make(chan struct{})
	s := serve(t, func(c net.Conn, _, _ int, _ *http.Request) bool {
		<-release
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		return true
	})
	e := endpoint(t, "http://"+s.Addr().String(), upstream.Options{MaxOpen: 4, MaxIdle: 2})
	var group sync.WaitGroup
	var full, fine atomic.Int32
	for range 10 {
		group.Go(func() {
			a, err := e.Do(t.Context(), post("x"))
			switch {
			case err == nil:
				fine.Add(1)
				a.Close()
			default:
				if full.Add(1); full.Load() == 6 {
					close(release)
				}
			}
		})
	}
	group.Wait()
	require.EqualValues(t, 4, fine.Load())
	require.EqualValues(t, 6, full.Load())
	for range 2 { // two were kept
		a, err := e.Do(t.Context(), post("x"))
		require.NoError(t, err)
		a.Close()
	}
	require.EqualValues(t, 4, s.conns.Load())
}

func TestAServerThatRefusesABodyIsHeard(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := listener.Accept()
		if err != nil {
			return
		}
		_, _ = c.Read(make([]byte, 1024))
		_, _ = io.WriteString(c, "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
		_ = c.(*net.TCPConn).CloseWrite()
		_, _ = io.Copy(io.Discard, c)
		_ = c.Close()
	}()
	t.Cleanup(func() { _ = listener.Close(); <-done })
	a, err := endpoint(t, "http://"+listener.Addr().String(), upstream.Options{}).Do(t.Context(), post(strings.Repeat("x", 4<<20)))
	require.NoError(t, err)
	require.Equal(t, 413, a.Status)
	a.Close()
}

func TestNothingIsSmuggledOut(t *testing.T) {
	e := endpoint(t, "http://127.0.0.1:1", upstream.Options{})
	for _, req := range []upstream.Request{
		{Method: "POST", Path: "/a b"},
		{Method: "POST", Path: "/a\r\nX: y"},
		{Method: "POST", Path: "a"},
		{Method: "PO ST", Path: "/a"},
		{Method: "", Path: "/a"},
		{Method: "POST", Path: "/a", Header: []upstream.Field{{Name: "X", Value: "a\r\nContent-Length: 0"}}},
		{Method: "POST", Path: "/a", Header: []upstream.Field{{Name: "X:y", Value: "a"}}},
		{Method: "POST", Path: "/a", Header: []upstream.Field{{Name: "X", Value: "a\x00"}}},
		{Method: "POST", Path: "/a", Header: []upstream.Field{{Name: "Content-Length", Value: "5"}}},
		{Method: "POST", Path: "/a", Header: []upstream.Field{{Name: "transfer-encoding", Value: "chunked"}}},
		{Method: "POST", Path: "/a", Header: []upstream.Field{{Name: "HOST", Value: "other"}}},
	} {
		_, err := e.Do(t.Context(), &req)
		require.ErrorIs(t, err, upstream.ErrRequest, "%v", req)
	}
	_, err := e.Do(t.Context(), post("x"))
	require.ErrorIs(t, err, upstream.ErrUnreachable)
	for _, base := range []string{"", "ftp://a", "http://", "http://u:p@a", "a:80", "http://a\r\nb"} {
		_, err := upstream.New(upstream.Options{}).Endpoint(base)
		require.ErrorIs(t, err, upstream.ErrRequest, base)
	}
}

func TestIdleConnectionsEnd(t *testing.T) {
	closed := make(chan struct{})
	s := serve(t, func(c net.Conn, _, _ int, _ *http.Request) bool {
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		_, _ = c.Read(make([]byte, 1))
		close(closed)
		return false
	})
	a, err := endpoint(t, "http://"+s.Addr().String(), upstream.Options{Idle: 10 * time.Millisecond}).Do(t.Context(), post("x"))
	require.NoError(t, err)
	a.Close()
	select {
	case <-closed:
	case <-time.After(5 * time.Second):
		t.Fatal("it stays open")
	}
}

func TestPassesOnOnlyWhatAProxyMay(t *testing.T) {
	s := serve(t, says("HTTP/1.1 200 OK\r\nX-A: 1\r\nConnection: close, X-Hop\r\nX-Hop: 2\r\nKeep-Alive: timeout=5\r\nUpgrade: h2c\r\nContent-Length: 0\r\nX-A: 3\r\n\r\n"))
	a, err := to(t, s).Do(t.Context(), post("x"))
	require.NoError(t, err)
	defer a.Close()
	var got []string
	for name, value := range a.Header.All() {
		got = append(got, name+"="+value)
	}
	require.Equal(t, []string{"X-A=1", "X-A=3"}, got)
}

// Whatever an upstream says, there is an answer or an error, soon, and the same
// one however the bytes arrive.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"))
	f.Add([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n\r\n"))
	f.Add([]byte("HTTP/1.0 200 OK\r\n\r\nhello"))
	f.Add([]byte("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 x\r\n\r\n"))
	f.Fuzz(func(t *testing.T, said []byte) {
		outcome := func(reader io.Reader) string {
			client := upstream.New(upstream.Options{DialContext: func(context.Context, string, string) (net.Conn, error) {
				return fake{reader}, nil
			}})
			defer client.CloseIdleConnections()
			e, err := client.Endpoint("http://a")
			require.NoError(t, err)
			a, err := e.Do(t.Context(), &upstream.Request{Method: "POST", Path: "/", Whole: 64, Limit: 1 << 16})
			if err != nil {
				return err.Error()
			}
			defer a.Close()
			body := bytes.Clone(a.Body)
			if a.Stream != nil {
				rest, err := io.ReadAll(a.Stream)
				if body = append(body, rest...); err != nil {
					return err.Error()
				}
			}
			// The standard library, which takes more, understands the same.
			in := bufio.NewReader(bytes.NewReader(said))
			for {
				std, err := http.ReadResponse(in, &http.Request{Method: "POST"})
				require.NoError(t, err, "%q", said)
				if std.StatusCode/100 == 1 {
					continue
				}
				want, err := io.ReadAll(std.Body)
				require.NoError(t, err, "%q", said)
				require.Equal(t, std.StatusCode, a.Status)
				require.Equal(t, string(want), string(body))
				break
			}
			return fmt.Sprintf("%d %q", a.Status, body)
		}
		require.Equal(t, outcome(bytes.NewReader(said)), outcome(iotest.OneByteReader(bytes.NewReader(said))))
	})
}

type fake struct{ io.Reader }

func (fake) Write(p []byte) (int, error)      { return len(p), nil }
func (fake) Close() error                     { return nil }
func (fake) LocalAddr() net.Addr              { return nil }
func (fake) RemoteAddr() net.Addr             { return nil }
func (fake) SetDeadline(time.Time) error      { return nil }
func (fake) SetReadDeadline(time.Time) error  { return nil }
func (fake) SetWriteDeadline(time.Time) error { return nil }

func BenchmarkDo(b *testing.B) {
	answer := strings.Repeat("x", 1000)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, answer) }))
	defer server.Close()
	client := upstream.New(upstream.Options{})
	defer client.CloseIdleConnections()
	e, err := client.Endpoint(server.URL)
	require.NoError(b, err)
	req := post(strings.Repeat("y", 1000))
	b.ReportAllocs()
	for b.Loop() {
		a, err := e.Do(b.Context(), req)
		if err != nil {
			b.Fatal(err)
		}
		a.Close()
	}
}
