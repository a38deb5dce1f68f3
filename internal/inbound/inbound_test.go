package inbound_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/atom-fabric/fabric/internal/inbound"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve starts a server with short times and returns its address.
func serve(t *testing.T, handler http.HandlerFunc, change func(*http.Server)) (string, *inbound.Server) {
	t.Helper()
	std := &http.Server{Handler: handler, ReadHeaderTimeout: 200 * time.Millisecond, ReadTimeout: 300 * time.Millisecond, WriteTimeout: 2 * time.Second,
		IdleTimeout: 2 * time.Second, MaxHeaderBytes: 32 << 10, ErrorLog: log.New(io.Discard, "", 0)}
	if change != nil {
		change(std)
	}
	s := inbound.New(t.Context(), std)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- s.Serve(listener) }()
	t.Cleanup(func() {
		require.NoError(t, s.Close())
		require.ErrorIs(t, <-done, http.ErrServerClosed)
	})
	return listener.Addr().String(), s
}

// echo tells what it was asked.
func echo(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		w.WriteHeader(http.StatusTeapot)
		return
	}
	w.Header().Set("X-Proto", r.Proto)
	_, _ = fmt.Fprintf(w, "%s %s %s %q %d %s", r.Method, r.Host, r.URL, r.Header.Values("X-A"), r.ContentLength, body)
}

func dial(t *testing.T, at string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", at)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	require.NoError(t, c.SetDeadline(time.Now().Add(5*time.Second)))
	return c
}

// say sends bytes as they are and reads one answer.
func say(t *testing.T, c net.Conn, in *bufio.Reader, text string) (*http.Response, string) {
	t.Helper()
	_, err := io.WriteString(c, text)
	require.NoError(t, err)
	resp, err := http.ReadResponse(in, nil)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp, string(body)
}

func TestAnswersPlainRequestsOneAfterTheOther(t *testing.T) {
	at, _ := serve(t, echo, nil)
	c := dial(t, at)
	in := bufio.NewReader(c)
	for i := range 3 {
		resp, body := say(t, c, in, "POST /a/b?c=%20d HTTP/1.1\r\nhost: h\r\nx-a: 1\r\nX-A:\t 2 \r\nContent-Length: 5\r\n\r\nhello")
		require.Equal(t, 200, resp.StatusCode)
		require.Equal(t, `POST h /a/b?c=%20d ["1" "2"] 5 hello`, body, "%d", i)
		require.NotEmpty(t, resp.Header.Get("Date"))
		require.False(t, resp.Close)
	}
	resp, body := say(t, c, in, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
	require.Equal(t, `GET h / [] 0 `, body)
	require.True(t, resp.Close)
	_, err := in.ReadByte()
	require.ErrorIs(t, err, io.EOF)
}

func TestAnswersRequestsThatComeTogetherOrByteByByte(t *testing.T) {
	at, _ := serve(t, echo, nil)
	const one = "POST /1 HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc"
	const two = "POST /2 HTTP/1.1\r\nHost: h\r\nX-A: z\r\nContent-Length: 0\r\n\r\n"
	c := dial(t, at)
	in := bufio.NewReader(c)
	_, body := say(t, c, in, one+two)
	require.Equal(t, `POST h /1 [] 3 abc`, body)
	_, body = say(t, c, in, "")
	require.Equal(t, `POST h /2 ["z"] 0 `, body)
	for _, b := range []byte(one) {
		_, err := c.Write([]byte{b})
		require.NoError(t, err)
	}
	_, body = say(t, c, in, "")
	require.Equal(t, `POST h /1 [] 3 abc`, body)
}

// What net/http must answer is answered by it, also behind a plain request.
func TestHandsOverWhatIsNotPlain(t *testing.T) {
	at, _ := serve(t, echo, nil)
	tests := []struct{ name, request, want string }{
		{"chunks", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", `POST h / [] -1 hello`},
		{"an expectation", "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello", ""},
		{"another method", "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello", `PUT h / [] 5 hello`},
		{"HTTP/1.0", "GET / HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\n\r\n", `GET h / [] 0 `},
		{"a GET with a body", "GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello", `GET h / [] 5 hello`},
		{"an upgrade", "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n", `GET h / [] 0 `},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := dial(t, at)
			in := bufio.NewReader(c)
			_, body := say(t, c, in, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nfirst")
			require.Equal(t, `POST h / [] 5 first`, body)
			resp, body := say(t, c, in, tt.request)
			if tt.want == "" {
				require.Equal(t, 100, resp.StatusCode)
				resp, body = say(t, c, in, "")
				tt.want = `POST h / [] 5 hello`
			}
			require.Equal(t, 200, resp.StatusCode)
			require.Equal(t, tt.want, body)
		})
	}
	t.Run("HTTP/2", func(t *testing.T) {
		transport := &http.Transport{Protocols: new(http.Protocols)}
		transport.Protocols.SetUnencryptedHTTP2(true)
		defer transport.CloseIdleConnections()
		resp, err := (&http.Client{Transport: transport}).Post("http://"+at+"/x", "a/b", strings.NewReader("hello"))
		require.NoError(t, err)
		defer resp.Body.Close()
		require.Equal(t, "HTTP/2.0", resp.Header.Get("X-Proto"))
	})
}

func TestRefusesWhatTwoReadersCouldFrameDifferently(t *testing.T) {
	var calls atomic.Int32
	at, _ := serve(t, func(http.ResponseWriter, *http.Request) { calls.Add(1) }, nil)
	tests := []struct{ name, request string }{
		{"a length and chunks", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
		{"chunks and a length", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"},
		{"two lengths", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"},
		{"the same length twice", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello"},
		{"a list of lengths", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5, 5\r\n\r\nhello"},
		{"a signed length", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: +5\r\n\r\nhello"},
		{"an endless length", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999999999999\r\n\r\nhello"},
		{"another coding", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"},
		{"a list of codings", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"},
		{"a hidden coding", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n"},
		{"a space before the colon", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length : 5\r\n\r\nhello"},
		{"a folded line", "POST / HTTP/1.1\r\nHost: h\r\nX: a\r\n b\r\nContent-Length: 5\r\n\r\nhello"},
		{"a bare line feed", "POST / HTTP/1.1\r\nHost: h\r\nX: a\nContent-Length: 5\r\n\r\nhello"},
		{"bare line feeds all over", "POST / HTTP/1.1\nHost: h\nContent-Length: 5\n\nhello"},
		{"a bare carriage return", "POST / HTTP/1.1\r\nHost: h\r\nX: a\rContent-Length: 5\r\n\r\nhello"},
		{"a NUL", "POST / HTTP/1.1\r\nHost: h\r\nX: a\x00b\r\nContent-Length: 5\r\n\r\nhello"},
		{"no host", "POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello"},
		{"two hosts", "POST / HTTP/1.1\r\nHost: a\r\nHost: b\r\nContent-Length: 5\r\n\r\nhello"},
		{"a host with a path", "POST / HTTP/1.1\r\nHost: a/b\r\nContent-Length: 5\r\n\r\nhello"},
		{"a field without name", "POST / HTTP/1.1\r\nHost: h\r\n: x\r\n\r\n"},
		{"a field without colon", "POST / HTTP/1.1\r\nHost: h\r\nabc\r\n\r\n"},
		{"a target that is none", "POST /%zz HTTP/1.1\r\nHost: h\r\n\r\n"},
		{"no request at all", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"},
		{"another version", "POST / HTTP/9.9\r\nHost: h\r\n\r\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := dial(t, at)
			in := bufio.NewReader(c)
			resp, _ := say(t, c, in, tt.request)
			require.Contains(t, []int{400, 501, 505}, resp.StatusCode)
			require.True(t, resp.Close)
			_, err := in.ReadByte()
			require.Error(t, err, "nothing of the rest is an answer to a second request")
		})
	}
	require.Zero(t, calls.Load())
}

func TestBoundsWhatItReads(t *testing.T) {
	at, _ := serve(t, echo, nil)
	t.Run("a long head", func(t *testing.T) {
		c := dial(t, at)
		resp, _ := say(t, c, bufio.NewReader(c), "POST / HTTP/1.1\r\nHost: h\r\nX: "+strings.Repeat("a", 40_000))
		require.Equal(t, 431, resp.StatusCode)
	})
	t.Run("many fields", func(t *testing.T) {
		c := dial(t, at)
		resp, _ := say(t, c, bufio.NewReader(c), "POST / HTTP/1.1\r\nHost: h\r\n"+strings.Repeat("X: a\r\n", 200)+"\r\n")
		require.Equal(t, 431, resp.StatusCode)
	})
	t.Run("a head of 30 KB", func(t *testing.T) {
		c := dial(t, at)
		resp, _ := say(t, c, bufio.NewReader(c), "POST / HTTP/1.1\r\nHost: h\r\nX: "+strings.Repeat("a", 30_000)+"\r\n\r\n")
		require.Equal(t, 200, resp.StatusCode)
	})
	t.Run("a head that drips", func(t *testing.T) {
		c := dial(t, at)
		began := time.Now()
		resp, _ := say(t, c, bufio.NewReader(c), "POST / HTTP/1.1\r\nHo")
		require.Equal(t, 408, resp.StatusCode)
		require.Less(t, time.Since(began), time.Second)
	})
	t.Run("a body that drips", func(t *testing.T) {
		c := dial(t, at)
		began := time.Now()
		resp, _ := say(t, c, bufio.NewReader(c), "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhe")
		require.Equal(t, 418, resp.StatusCode, "the handler is told, and may answer")
		require.True(t, resp.Close)
		require.Less(t, time.Since(began), time.Second)
	})
	t.Run("nothing at all", func(t *testing.T) {
		c := dial(t, at)
		_, err := c.Read(make([]byte, 1))
		require.ErrorIs(t, err, io.EOF)
	})
}

func TestACallerWhoLeavesIsNoticed(t *testing.T) {
	for _, wait := range []time.Duration{0, 100 * time.Millisecond} {
		gone, began := make(chan time.Time, 1), make(chan struct{})
		at, _ := serve(t, func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			close(began)
			<-r.Context().Done()
			gone <- time.Now()
		}, nil)
		c := dial(t, at)
		_, err := io.WriteString(c, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello")
		require.NoError(t, err)
		<-began
		time.Sleep(wait)
		left := time.Now()
		require.NoError(t, c.Close())
		require.Less(t, (<-gone).Sub(left), 50*time.Millisecond)
	}
}

func TestARequestIsNotCancelledWhileItsCallerWaits(t *testing.T) {
	at, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		select {
		case <-r.Context().Done():
			w.WriteHeader(500)
		case <-time.After(150 * time.Millisecond):
		}
	}, nil)
	c := dial(t, at)
	in := bufio.NewReader(c)
	for range 2 {
		resp, _ := say(t, c, in, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello")
		require.Equal(t, 200, resp.StatusCode)
	}
	// The next request has come already while the first is answered.
	resp, _ := say(t, c, in, strings.Repeat("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello", 2))
	require.Equal(t, 200, resp.StatusCode)
}

func TestAnswersOfEveryLength(t *testing.T) {
	long := bytes.Repeat([]byte("0123456789abcdef"), 20_000)
	at, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		var size int
		_, _ = fmt.Sscanf(r.URL.Query().Get("size"), "%d", &size)
		if r.URL.Query().Has("length") {
			w.Header().Set("Content-Length", fmt.Sprint(size))
		}
		w.Header().Set("X-Bad", "a\r\nb")
		for part := long[:size]; len(part) > 0; {
			n := min(len(part), 10_000)
			_, _ = w.Write(part[:n])
			if part = part[n:]; r.URL.Query().Has("flush") {
				_ = http.NewResponseController(w).Flush()
			}
		}
	}, nil)
	c := dial(t, at)
	in := bufio.NewReader(c)
	for _, query := range []string{"", "&length", "&flush", "&length&flush"} {
		for _, size := range []int{0, 1, 10_000, 65_536, 65_537, 200_000} {
			resp, body := say(t, c, in, fmt.Sprintf("GET /?size=%d%s HTTP/1.1\r\nHost: h\r\n\r\n", size, query))
			require.Equal(t, string(long[:size]), body)
			require.Equal(t, "a  b", resp.Header.Get("X-Bad"))
		}
	}
}

func TestABrokenAnswerIsNeverWhole(t *testing.T) {
	at, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/short" {
			w.Header().Set("Content-Length", "10")
			_, _ = io.WriteString(w, "half")
			return
		}
		_, _ = io.WriteString(w, "half")
		_ = http.NewResponseController(w).Flush()
		if r.URL.Path == "/abort" {
			panic(http.ErrAbortHandler)
		}
		panic("a fault")
	}, nil)
	for _, path := range []string{"/short", "/abort", "/fault"} {
		c := dial(t, at)
		_, err := io.WriteString(c, "GET "+path+" HTTP/1.1\r\nHost: h\r\n\r\n")
		require.NoError(t, err)
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err == nil {
			_, err = io.ReadAll(resp.Body)
			_ = resp.Body.Close()
		}
		require.ErrorIs(t, err, io.ErrUnexpectedEOF, path)
	}
}

func TestABodyThatIsNotReadDoesNotTakeTheAnswerAway(t *testing.T) {
	at, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(413) }, nil)
	c := dial(t, at)
	in := bufio.NewReader(c)
	resp, _ := say(t, c, in, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello")
	require.Equal(t, 413, resp.StatusCode)
	require.False(t, resp.Close, "little was left")
	go func() { _, _ = c.Write(make([]byte, 200_000)) }()
	resp, _ = say(t, c, in, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 200000\r\n\r\n")
	require.Equal(t, 413, resp.StatusCode)
	require.True(t, resp.Close)
}

func TestShutdownAnswersWhatIsUnderWay(t *testing.T) {
	began, release := make(chan struct{}), make(chan struct{})
	var states sync.Map
	at, s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			close(began)
			<-release
		}
		_, _ = io.WriteString(w, "ok")
	}, func(std *http.Server) {
		std.ConnState = func(c net.Conn, state http.ConnState) { states.Store(fmt.Sprintf("%p %v", c, state), true) }
	})
	quiet, busy := dial(t, at), dial(t, at)
	resp, _ := say(t, quiet, bufio.NewReader(quiet), "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	require.Equal(t, 200, resp.StatusCode)
	_, err := io.WriteString(busy, "GET /slow HTTP/1.1\r\nHost: h\r\n\r\n")
	require.NoError(t, err)
	<-began
	done := make(chan error, 1)
	go func() { done <- s.Shutdown(context.WithoutCancel(t.Context())) }()
	_, err = quiet.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)
	_, err = net.Dial("tcp", at)
	require.Error(t, err, "nobody is accepted any more")
	close(release)
	resp, body := say(t, busy, bufio.NewReader(busy), "")
	require.Equal(t, "ok", body)
	require.True(t, resp.Close)
	require.NoError(t, <-done)
	count := map[string]int{}
	states.Range(func(key, _ any) bool { count[strings.Fields(key.(string))[1]]++; return true })
	require.Equal(t, map[string]int{"new": 2, "closed": 2}, count)
}

// Whatever comes, the standard library's reader understands what the handler
// gets, in the same way.
func FuzzRequest(f *testing.F) {
	f.Add([]byte("POST /a?b=c HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello"))
	f.Add([]byte("GET / HTTP/1.1\r\nHost: h\r\nX-A: 1\r\n\r\nGET /b HTTP/1.1\r\nHost: i\r\n\r\n"))
	type got struct{ method, host, uri, body, header string }
	std := &http.Server{ReadHeaderTimeout: 50 * time.Millisecond, ReadTimeout: 50 * time.Millisecond, WriteTimeout: time.Second,
		IdleTimeout: 50 * time.Millisecond, MaxHeaderBytes: 32 << 10, ErrorLog: log.New(io.Discard, "", 0)}
	var mu sync.Mutex
	var seen []got
	std.Handler = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || len(r.TransferEncoding) > 0 || r.ProtoMajor != 1 {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, got{r.Method, r.Host, r.RequestURI, string(body), fmt.Sprint(r.Header)})
	})
	s := inbound.New(f.Context(), std)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(f, err)
	go func() { _ = s.Serve(listener) }()
	f.Cleanup(func() { _ = s.Close() })
	f.Fuzz(func(t *testing.T, sent []byte) {
		mu.Lock()
		seen = nil
		mu.Unlock()
		c, err := net.Dial("tcp", listener.Addr().String())
		require.NoError(t, err)
		defer c.Close()
		_, _ = c.Write(sent)
		_ = c.(*net.TCPConn).CloseWrite()
		_ = c.SetDeadline(time.Now().Add(2 * time.Second))
		_, _ = io.Copy(io.Discard, c)
		in := bufio.NewReader(bytes.NewReader(sent))
		mu.Lock()
		defer mu.Unlock()
		for _, have := range seen {
			r, err := http.ReadRequest(in)
			require.NoError(t, err, "%q", sent)
			body, err := io.ReadAll(r.Body)
			require.NoError(t, err, "%q", sent)
			want := got{r.Method, r.Host, r.RequestURI, string(body), fmt.Sprint(r.Header)}
			require.Equal(t, want, have, "%q", sent)
		}
	})
}
