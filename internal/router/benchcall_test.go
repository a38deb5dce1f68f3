package router

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/policy"
	"github.com/atom-fabric/fabric/domain/routing"
	"github.com/atom-fabric/fabric/internal/upstream"
)

// An instant is a connection to a runtime that answers at once, without a kernel.
type instant struct {
	net.Conn
	answer []byte
	rest   []byte
}

func (c *instant) Write(p []byte) (int, error) { c.rest = c.answer; return len(p), nil }

func (c *instant) Read(p []byte) (int, error) {
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

func (c *instant) Close() error                { return nil }
func (c *instant) SetDeadline(time.Time) error { return nil }

// A sink takes an answer and forgets it.
type sink struct {
	header http.Header
	status int
}

func (s *sink) Header() http.Header         { return s.header }
func (s *sink) Write(p []byte) (int, error) { return len(p), nil }
func (s *sink) WriteHeader(status int)      { s.status = status }

// BenchmarkCall is what a call costs between its arrival and its answer, but for
// the connections: decision, translation, upstream client, audit, record, metrics.
func BenchmarkCall(b *testing.B) {
	for _, size := range []int{1000, 4000} {
		values := strings.TrimSuffix(strings.Repeat("0.5234,", size/7), ",")
		answer := fmt.Sprintf(`{"model_name":"own.m","model_version":"1","outputs":[{"name":"p","shape":[1,%d],"datatype":"FP64","data":[%s]}]}`, size/7, values)
		for path, body := range map[string]string{
			"/invoke":            `{"tenant":"own","model_id":"m","input":{"data":[[` + values + `]]}}`,
			"/v2/models/m/infer": fmt.Sprintf(`{"inputs":[{"name":"rows","datatype":"FP64","shape":[1,%d],"data":[%s]}]}`, size/7, values),
		} {
			b.Run(fmt.Sprintf("%s-%d", map[bool]string{true: "invoke", false: "v2"}[path == "/invoke"], size), func(b *testing.B) {
				text := fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(answer), answer)
				client := upstream.New(upstream.Options{DialContext: func(context.Context, string, string) (net.Conn, error) { return &instant{answer: text}, nil }})
				r, err := New(Options{
					Region: "eu", Version: "bench", Simulation: true, Listener: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}, StateDir: b.TempDir(), Client: client,
					Log: slog.New(slog.DiscardHandler), Registry: prometheus.NewRegistry(), Confirmed: time.Now, MaxAge: time.Hour, Now: time.Now,
				})
				require.NoError(b, err)
				s := routing.Snapshot{Version: 1, Policies: []policy.Document{policy.Default()}, Regions: []routing.Region{{Name: "eu", Policy: 1}},
					Packages: []routing.Package{{Tenant: "own", Model: "m", Version: 1, Manifest: artifact.DigestOf(nil), Regions: []string{"eu"}}},
					Routes:   []routing.Route{{Tenant: "own", Model: "m", Environment: "staging", Version: 1, Regions: []string{"eu"}}}}
				for i := range 3 {
					s.Endpoints = append(s.Endpoints, routing.Endpoint{Name: fmt.Sprintf("eu-%d", i), Region: "eu", Kind: policy.Neural, URL: fmt.Sprintf("http://127.0.0.1:%d", i+1)})
				}
				require.NoError(b, r.Use(s))
				ctx, cancel := context.WithCancel(b.Context())
				done := make(chan error, 1)
				go func() { done <- r.records.run(ctx) }()
				defer func() { cancel(); require.NoError(b, <-done) }()
				handler := r.Handler()
				req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://127.0.0.1"+path, nil)
				require.NoError(b, err)
				req.RemoteAddr, req.ContentLength = "127.0.0.1:9", int64(len(body))
				req.Header.Set("Content-Type", "application/json")
				if strings.HasPrefix(path, "/v2") {
					req.Header.Set(tenantHeader, "own")
				}
				in := bytes.NewReader(nil)
				w := &sink{header: http.Header{}}
				b.ReportAllocs()
				for b.Loop() {
					in.Reset([]byte(body))
					req.Body = io.NopCloser(in)
					clear(w.header)
					w.status = 0
					handler.ServeHTTP(w, req)
					if w.status > 200 {
						b.Fatal(w.status)
					}
				}
			})
		}
	}
}
