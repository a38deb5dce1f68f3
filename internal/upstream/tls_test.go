package upstream_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/internal/upstream"
)

// secure starts an https server that tells the protocol and who asked.
func secure(t *testing.T, h2 bool, handler http.HandlerFunc) (*httptest.Server, *tls.Config) {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.EnableHTTP2 = h2
	server.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	server.StartTLS()
	t.Cleanup(server.Close)
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	return server, &tls.Config{RootCAs: roots}
}

func TestAsksOverTLSByBothProtocols(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		t.Run(fmt.Sprintf("http/2 %v", h2), func(t *testing.T) {
			server, config := secure(t, h2, func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				w.Header().Set("X-Got", r.Header.Get("X-Sent"))
				fmt.Fprintf(w, "%s %s %s %d", r.Proto, r.Method, body, len(r.TLS.PeerCertificates))
			})
			want := "HTTP/1.1 POST hello 0"
			if h2 {
				want = "HTTP/2.0 POST hello 0"
			}
			e := endpoint(t, server.URL, upstream.Options{TLS: config})
			req := post("hello")
			req.Header = append(req.Header, upstream.Field{Name: "X-Sent", Value: "1"})
			for range 3 {
				a, err := e.Do(t.Context(), req)
				require.NoError(t, err)
				require.Equal(t, "1", a.Header.Get("x-got"))
				require.Equal(t, want, read(t, a))
			}

			// With a certificate of our own; the server's serves as one.
			config.Certificates = server.TLS.Certificates
			a, err := endpoint(t, server.URL, upstream.Options{TLS: config}).Do(t.Context(), req)
			require.NoError(t, err)
			require.Equal(t, strings.Replace(want, " 0", " 1", 1), read(t, a))

			_, err = endpoint(t, server.URL, upstream.Options{}).Do(t.Context(), req)
			require.ErrorIs(t, err, upstream.ErrUnreachable, "nobody vouches for it")
		})
	}
}

func TestStreamsLimitsAndLeavesOverHTTP2(t *testing.T) {
	gone := make(chan time.Time, 1)
	server, config := secure(t, true, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/events":
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, "data: 1\n\n")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
			gone <- time.Now()
		case "/long":
			_, _ = io.WriteString(w, strings.Repeat("x", 300_000))
		case "/breaks":
			_, _ = io.WriteString(w, "half")
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}
	})
	e := endpoint(t, server.URL, upstream.Options{TLS: config})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	a, err := e.Do(ctx, &upstream.Request{Method: "GET", Path: "/events", Whole: 1 << 20})
	require.NoError(t, err)
	part := make([]byte, 9)
	_, err = io.ReadFull(a.Stream, part)
	require.NoError(t, err)
	require.Equal(t, "data: 1\n\n", string(part))
	left := time.Now()
	cancel()
	_, err = a.Stream.Read(part)
	require.ErrorIs(t, err, context.Canceled)
	require.Less(t, (<-gone).Sub(left), 50*time.Millisecond)
	a.Close()

	a, err = e.Do(t.Context(), &upstream.Request{Method: "GET", Path: "/long", Whole: 1000})
	require.NoError(t, err)
	require.Len(t, a.Body, 1001)
	require.Equal(t, strings.Repeat("x", 300_000), read(t, a))
	_, err = e.Do(t.Context(), &upstream.Request{Method: "GET", Path: "/long", Whole: 1000, Limit: 1000})
	require.ErrorIs(t, err, upstream.ErrTooLong)
	_, err = e.Do(t.Context(), &upstream.Request{Method: "GET", Path: "/breaks", Whole: 1000})
	require.ErrorIs(t, err, upstream.ErrReset)
}
