package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/legacy"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/api/apitest"
	"github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/internal/issuer"
)

// A served is an API on a port of this machine, over a fabric in memory. Every
// answer that it gives is compared with openapi.yaml.
type served struct {
	t      testing.TB
	fabric *apitest.Fabric
	issuer *issuer.Issuer
	url    string
	log    *syncBuffer
	router routers.Router
	stop   func()
}

const federationToken = "federation-token-of-32-bytes-or-more"

// options are those of a fabric in simulation mode.
func options(t testing.TB, i *issuer.Issuer, log io.Writer) api.Options {
	enrolment, err := api.NewEnrolment(federationToken)
	require.NoError(t, err)
	return api.Options{
		Version: "test", Simulation: true, Tokens: i.Verifier("fabric", time.Now), SiteTokens: i.Verifier("fabric-site", time.Now),
		Enrolment: enrolment, TrustedKeys: []string{"-----BEGIN PUBLIC KEY-----"}, Regions: []string{"eu", "us", "apac"},
		Log: slog.New(slog.NewJSONHandler(log, nil)), Now: time.Now, NewID: uuid.NewString,
		Limits: api.Limits{TenantPerSecond: 100_000, AddrPerSecond: 100_000}, LinkSecret: []byte(linkSecret),
	}
}

// serve starts the gateway; change may alter its options and ports.
func serve(t testing.TB, change ...func(*api.Options, *api.Ports)) *served {
	t.Helper()
	i, err := issuer.Open(t.(interface{ TempDir() string }).TempDir(), "https://dev.invalid/fabric")
	require.NoError(t, err)
	s := &served{t: t, fabric: apitest.New(), issuer: i, log: &syncBuffer{}}
	opts, ports := options(t, i, s.log), s.fabric.Ports()
	ports.SiteTokens = i
	for _, c := range change {
		c(&opts, &ports)
	}
	server, err := api.NewGateway(opts, ports)
	require.NoError(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s.url = "http://" + listener.Addr().String()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ctx, listener) }()
	var once sync.Once
	s.stop = func() {
		once.Do(func() {
			cancel()
			require.NoError(t, <-ended)
		})
	}
	t.Cleanup(s.stop)
	s.router, err = specRouter()
	require.NoError(t, err)
	return s
}

// in returns the same API for a subtest.
func (s *served) in(t testing.TB) *served {
	sub := *s
	sub.t = t
	return &sub
}

// document is openapi.yaml, validated.
func document(t testing.TB) *openapi3.T {
	text, err := os.ReadFile("openapi.yaml")
	require.NoError(t, err)
	doc, err := openapi3.NewLoader().LoadFromData(text)
	require.NoError(t, err)
	require.NoError(t, doc.Validate(t.Context()))
	return doc
}

// specRouter finds operations by path; one for all tests, as it takes long to build.
var specRouter = sync.OnceValues(func() (routers.Router, error) {
	doc, err := openapi3.NewLoader().LoadFromFile("openapi.yaml")
	if err != nil {
		return nil, err
	}
	doc.Servers = nil // the router would look for its port
	return legacy.NewRouter(doc)
})

// An answer is what came back, read whole.
type answer struct {
	t testing.TB
	*http.Response
	body []byte
}

// into decodes the body.
func into[T any](a answer) T {
	a.t.Helper()
	var v T
	require.NoError(a.t, json.Unmarshal(a.body, &v), "%s", a.body)
	return v
}

// is checks the status, and the code of a problem.
func (a answer) is(status int, code ...string) answer {
	a.t.Helper()
	require.Equal(a.t, status, a.StatusCode, "%s", a.body)
	if len(code) > 0 {
		p := into[v1.Problem](a)
		require.Equal(a.t, code[0], p.Code, "%s", a.body)
	}
	return a
}

// A request changes what is sent.
type request func(*http.Request)

func header(name, value string) request {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

// as presents a fresh token of a caller, and a fresh key.
func (s *served) as(tenant string, roles ...string) request {
	s.t.Helper()
	return s.named(tenant, "ann", roles...)
}

// linkSecret signs the links of notices.
const linkSecret = "0123456789abcdef0123456789abcdef"

// named presents a person's token.
func (s *served) named(tenant, name string, roles ...string) request {
	s.t.Helper()
	text, err := s.issuer.Mint(tenant, name, roles, time.Hour)
	require.NoError(s.t, err)
	return func(r *http.Request) {
		r.Header.Set("Authorization", "Bearer "+text)
		if r.Header.Get("Idempotency-Key") == "" {
			r.Header.Set("Idempotency-Key", uuid.NewString())
		}
	}
}

// asSite presents a site's token.
func (s *served) asSite(tenant, site string) request {
	s.t.Helper()
	text, _, err := s.issuer.MintSite(tenant, site, "eu", time.Hour)
	require.NoError(s.t, err)
	return header("Authorization", "Bearer "+text)
}

// do sends a request and compares the answer with the document. A body that
// is no text or reader is sent as JSON.
func (s *served) do(method, path string, body any, changes ...request) answer {
	s.t.Helper()
	var content io.Reader
	media := "application/json"
	switch b := body.(type) {
	case nil:
		media = ""
	case string:
		content = strings.NewReader(b)
	case []byte:
		content, media = bytes.NewReader(b), "application/octet-stream"
	default:
		text, err := json.Marshal(b)
		require.NoError(s.t, err)
		content = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, content)
	require.NoError(s.t, err)
	if media != "" {
		req.Header.Set("Content-Type", media)
	}
	for _, change := range changes {
		change(req)
	}
	resp, err := http.DefaultClient.Do(req)
	require.NoError(s.t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(s.t, err)
	a := answer{t: s.t, Response: resp, body: text}
	s.follows(req, a)
	return a
}

// follows compares an answer with the document, and every refusal with what
// all of them promise.
func (s *served) follows(req *http.Request, a answer) {
	s.t.Helper()
	require.Regexp(s.t, "^[0-9a-f]{32}$", a.Header.Get("X-Trace-Id"))
	require.Contains(s.t, a.Header.Get("traceparent"), a.Header.Get("X-Trace-Id"))
	if a.StatusCode >= 400 && a.Header.Get("Content-Type") != "application/json; charset=utf-8" { // health
		require.Equal(s.t, "application/problem+json", a.Header.Get("Content-Type"))
		p := into[v1.Problem](a)
		require.Equal(s.t, a.StatusCode, p.Status)
		require.Equal(s.t, a.Header.Get("X-Trace-Id"), p.Instance)
	}
	route, params, err := s.router.FindRoute(req)
	if err != nil {
		require.Contains(s.t, []int{404, 405}, a.StatusCode, "%s %s", req.Method, req.URL.Path)
		return
	}
	head := a.Header.Clone()
	if strings.HasPrefix(head.Get("Content-Type"), "text/") || strings.HasPrefix(head.Get("Content-Type"), "application/openmetrics") || head.Get("Content-Type") == "application/octet-stream" {
		return // no schema to speak of
	}
	err = openapi3filter.ValidateResponse(s.t.Context(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{Request: req, PathParams: params, Route: route},
		Status:                 a.StatusCode, Header: head, Body: io.NopCloser(bytes.NewReader(a.body)),
		Options: &openapi3filter.Options{IncludeResponseStatus: true},
	})
	require.NoError(s.t, err, "%s %s: %s", req.Method, req.URL.Path, a.body)
}

// A syncBuffer is a log that many goroutines write.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
