package router_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/policy"
	"github.com/atom-fabric/fabric/domain/routing"
	"github.com/atom-fabric/fabric/internal/router"
)

// A twin answers for both versions of a model, and remembers what it was asked.
type twin struct {
	*httptest.Server
	mu     sync.Mutex
	asked  map[string][]asked // by version
	under  int                // copies under way
	most   int                // at once
	candid http.HandlerFunc   // answers for version 4 in its place; nil: as version 3
}

type asked struct {
	header http.Header
	body   string
}

func newTwin(t testing.TB) *twin {
	t.Helper()
	s := &twin{asked: map[string][]asked{}}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if !strings.HasSuffix(req.URL.Path, "/infer") {
			return // ready
		}
		model, version := path.Base(path.Dir(path.Dir(path.Dir(req.URL.Path)))), path.Base(path.Dir(req.URL.Path))
		body, _ := io.ReadAll(req.Body)
		s.mu.Lock()
		s.asked[version] = append(s.asked[version], asked{req.Header, string(body)})
		candid := s.candid
		if version == "4" {
			s.under++
			s.most = max(s.most, s.under)
			defer func() { s.mu.Lock(); s.under--; s.mu.Unlock() }()
		}
		s.mu.Unlock()
		if version == "4" && candid != nil {
			candid(w, req)
			return
		}
		fmt.Fprintf(w, `{"model_name":%q,"model_version":%q,"outputs":[{"name":"p","shape":[1,1],"datatype":"FP64","data":[0.5]}]}`, model, version)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *twin) calls(version string) []asked {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]asked{}, s.asked[version]...)
}

// shadowed is version 3 in eu and us with version 4 in its shadow.
func shadowed(t testing.TB, mirror int, eu, us string, regions ...string) routing.Snapshot {
	t.Helper()
	s := tried(t, 0, eu, us)
	c, _ := s.Canary("trial")
	c.Mirror, c.Regions = mirror, regions
	next, err := s.Move(c, time.Now())
	require.NoError(t, err)
	return next
}

// A written record, with digests that are none.
type written struct {
	router.Record
	Manifest string `json:"manifest"`
	Output   string `json:"output"`
}

// written returns the records on disk, as soon as there are so many.
func (f *fabric) written(t testing.TB, n int) (records []written) {
	t.Helper()
	require.Eventually(t, func() bool {
		records = nil
		files, err := filepath.Glob(filepath.Join(f.state, "decisions", "*"))
		require.NoError(t, err)
		for _, file := range files {
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
				var r written
				if json.Unmarshal(lines.Bytes(), &r) == nil && r.DecisionID != "" {
					records = append(records, r)
				}
			}
		}
		return len(records) >= n
	}, 10*time.Second, 10*time.Millisecond, "%d records", n)
	return records
}

// counted returns a counter of the router, 0 where it has not counted.
func (f *fabric) counted(t testing.TB, name string) (n int) {
	t.Helper()
	for _, line := range strings.Split(f.call(t, "GET", "/metrics", "", "").text, "\n") {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			_, err := fmt.Sscan(rest, &n)
			require.NoError(t, err)
		}
	}
	return n
}

func (f *fabric) mirrored(t testing.TB, outcome string) int {
	return f.counted(t, `fabric_router_mirrored_total{outcome="`+outcome+`"}`)
}

// Whatever a version in its shadow does, callers are answered by the other one,
// as fast and as well, and what it does is recorded beside.
func TestACopyAnswersNobody(t *testing.T) {
	const calls = 20
	tests := []struct {
		name   string
		candid http.HandlerFunc
		status int
		counts string // outcome
	}{
		{"that answers as well", nil, 200, "answered"},
		{"that fails", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }, 502, "failed"},
		{"that says nonsense", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") }, 502, "failed"},
		{"that has another package", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X-Fabric-Manifest", "sha256:9") }, 502, "failed"},
		{"that hangs up", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, 503, "failed"},
		{"that refuses the input", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnprocessableEntity) }, 422, "refused"},
		{"that is not there", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) }, 503, "failed"},
		{"that takes too long", func(_ http.ResponseWriter, req *http.Request) { <-req.Context().Done() }, 504, "failed"},
	}
	for _, tt := range tests {
		t.Run("of a version "+tt.name, func(t *testing.T) {
			f, eu := newFabric(t, setup{}), newTwin(t)
			eu.candid = tt.candid
			require.NoError(t, f.Use(shadowed(t, routing.Whole, eu.URL, "", "eu")))
			bearer := f.token(t, "clinic")
			for i := range calls {
				began := time.Now()
				got := f.invoke(t, bearer, asking("clinic", fmt.Sprintf(`{"caller_key":"c-%d","max_latency_ms":700}`, i)))
				require.Equal(t, 200, got.status, got.text)
				require.Equal(t, 3, got.body.Version)
				require.Equal(t, 1, got.body.Decision.Attempts)
				require.Less(t, time.Since(began), 600*time.Millisecond)
			}
			records := f.written(t, 2*calls)
			served, copies := map[string]written{}, 0
			for _, r := range records {
				if !r.Mirrored {
					require.False(t, r.Canary)
					require.Equal(t, 3, r.Version)
					served[r.TraceID] = r
				}
			}
			require.Len(t, served, calls)
			for _, r := range records {
				if !r.Mirrored {
					continue
				}
				copies++
				of := served[r.TraceID]
				require.NotEqual(t, of.DecisionID, r.DecisionID)
				require.Equal(t, tt.status, r.Status, r.Problem)
				require.Equal(t, []any{4, "sha256:4", "trial", true, of.Endpoint, of.Region, of.Tenant, of.Owner, of.Model, of.Environment, of.Policy, of.Snapshot},
					[]any{r.Version, r.Manifest, r.Lineage, r.Canary, r.Endpoint, r.Region, r.Tenant, r.Owner, r.Model, r.Environment, r.Policy, r.Snapshot})
				require.Empty(t, r.Output, "what it said is forgotten")
				require.Empty(t, r.Header, "nobody was given it")
				require.GreaterOrEqual(t, r.LatencyMicros, r.UpstreamMicros)
			}
			require.Equal(t, calls, copies)
			require.Equal(t, calls, f.mirrored(t, tt.counts))
			require.Equal(t, calls, f.counted(t, `fabric_router_requests_total{code="200"}`), "a copy is no request")
			require.Equal(t, calls, f.counted(t, `fabric_router_decisions_total{region="eu"}`))
			require.Equal(t, calls, f.counted(t, `fabric_router_upstream_seconds_count{region="eu"}`))
			require.Zero(t, f.counted(t, `fabric_router_ejections_total{region="eu"}`), "the endpoint answers for the other version as before")
			require.Equal(t, 1, f.counted(t, "fabric_router_endpoints_ready"))
		})
	}
}

// What a version gets is what the other one got.
func TestACopyIsOfTheRequest(t *testing.T) {
	f, eu := newFabric(t, setup{}), newTwin(t)
	require.NoError(t, f.Use(shadowed(t, routing.Whole, eu.URL, "", "eu")))
	bearer := f.token(t, "clinic")
	tensors := `{"inputs":[{"name":"rows","datatype":"FP64","shape":[1,2],"data":[4,2]}]}`
	require.Equal(t, 200, f.invoke(t, bearer, ask).status)
	f.written(t, 2)
	require.Equal(t, 200, f.call(t, "POST", "/v2/models/tumour/infer", bearer, tensors, "Accept", "application/json").status)
	f.written(t, 4)
	for i, want := range []string{`"data":[[1,0],[0,3]]`, tensors} {
		served, copied := eu.calls("3")[i], eu.calls("4")[i]
		require.Contains(t, served.body, want)
		require.Equal(t, served.body, copied.body)
		for _, name := range []string{"Content-Type", "X-Fabric-Tenant", "Accept"} {
			require.Equal(t, served.header.Get(name), copied.header.Get(name))
		}
		require.Equal(t, []string{"", "true"}, []string{served.header.Get("X-Fabric-Mirrored"), copied.header.Get("X-Fabric-Mirrored")})
		require.Equal(t, "sha256:4", copied.header.Get("X-Fabric-Manifest"))
		require.Equal(t, served.header.Get("Traceparent")[:35], copied.header.Get("Traceparent")[:35], "of one trace")
		require.NotEqual(t, served.header.Get("Traceparent"), copied.header.Get("Traceparent"))
	}
}

// A copy goes nowhere that its request could not go.
func TestACopyStaysWhereItsRequestWas(t *testing.T) {
	tests := []struct {
		name    string
		regions []string // of the shadow
		tenant  string
		prefers string
		headers []string
		eu, us  int // copies
	}{
		{"in the region that answered", []string{"eu", "us"}, "clinic", `{"region":"eu"}`, nil, 1, 0},
		{"in the other one, where that answered", []string{"eu", "us"}, "clinic", `{"region":"us"}`, nil, 0, 1},
		{"nowhere, where the region that answered has no shadow", []string{"us"}, "clinic", `{"region":"eu"}`, nil, 0, 0},
		{"where the tenant must stay", []string{"eu", "us"}, "lab", `{}`, nil, 0, 1},
		{"nowhere, where the tenant must not be", []string{"eu"}, "lab", `{}`, nil, 0, 0},
		{"where the purpose may be", []string{"eu", "us"}, "clinic", `{"purpose":"care"}`, nil, 1, 0},
		{"nowhere, where the purpose must not be", []string{"us"}, "clinic", `{"purpose":"care"}`, nil, 0, 0},
		{"nowhere, of what must not be done twice", []string{"eu"}, "clinic", `{"region":"eu"}`, []string{"X-Fabric-Retry", "never"}, 0, 0},
		{"nowhere, of what names its version", []string{"eu"}, "clinic", `{"region":"eu","version":3}`, nil, 0, 0},
		{"nowhere, of what names the champion", []string{"eu"}, "clinic", `{"region":"eu","alias":"champion"}`, nil, 0, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, eu, us := newFabric(t, setup{}), newTwin(t), newTwin(t)
			s := shadowed(t, routing.Whole, eu.URL, us.URL, tt.regions...)
			if strings.Contains(tt.prefers, "purpose") { // care in eu only
				us := s.Policies[0]
				us.Revision, us.Rules = 2, append([]policy.Rule{}, us.Rules...)
				us.Rules[1].Purposes, s.Policies[0].Rules[1].Purposes = []string{"research"}, []string{"care", "research"}
				s.Policies, s.Regions[1].Policy = append(s.Policies, us), 2
			}
			require.NoError(t, f.Use(s))
			got := f.call(t, "POST", "/invoke", f.token(t, tt.tenant), asking(tt.tenant, tt.prefers), tt.headers...)
			require.Equal(t, 200, got.status, got.text)
			f.written(t, 1+tt.eu+tt.us)
			time.Sleep(30 * time.Millisecond) // for one that should not be
			require.Equal(t, []int{tt.eu, tt.us}, []int{len(eu.calls("4")), len(us.calls("4"))})
			for _, call := range append(eu.calls("4"), us.calls("4")...) {
				require.Equal(t, tt.tenant, call.header.Get("X-Fabric-Tenant"))
			}
		})
	}
	t.Run("and answers nobody by name", func(t *testing.T) {
		f, eu := newFabric(t, setup{}), newTwin(t)
		require.NoError(t, f.Use(shadowed(t, routing.Whole, eu.URL, "", "eu")))
		for _, prefers := range []string{`{"version":4}`, `{"alias":"challenger"}`} {
			require.Equal(t, 404, f.invoke(t, f.token(t, "clinic"), asking("clinic", prefers)).status)
		}
	})
}

// The sample is the one that everybody can work out from the records.
func TestTheSampleIsOfTheRequests(t *testing.T) {
	const calls = 2000
	f, eu := newFabric(t, setup{}), newTwin(t)
	require.NoError(t, f.Use(shadowed(t, 1000, eu.URL, "", "eu")))
	handler, bearer := f.Handler(), f.token(t, "clinic")
	for range calls { // one caller: a sample of callers would be all of its calls, or none
		require.Equal(t, 3, handle(t, handler, bearer, "one", ask).Version)
	}
	var want, got int
	sampled := map[string]bool{} // traces
	require.Eventually(t, func() bool {
		got = 0
		for _, outcome := range []string{"answered", "dropped", "unloaded"} {
			got += f.mirrored(t, outcome)
		}
		want = 0
		for _, r := range f.written(t, calls) {
			if !r.Mirrored && routing.Bucket("trial", "clinic", r.DecisionID) < 1000 {
				want, sampled[r.TraceID] = want+1, true
			}
		}
		return got == want
	}, 5*time.Second, 50*time.Millisecond)
	require.InDelta(t, calls/10, want, 70, "five standard deviations")
	require.Positive(t, f.mirrored(t, "answered"))
	for _, r := range f.written(t, calls+f.mirrored(t, "answered")) {
		require.True(t, !r.Mirrored || sampled[r.TraceID], "%+v", r)
	}
}

// A version that is slow holds up a bounded number of copies, and no caller.
func TestCopiesAreBounded(t *testing.T) {
	const calls = 120
	f, eu := newFabric(t, setup{}), newTwin(t)
	release := make(chan struct{})
	eu.candid = func(w http.ResponseWriter, _ *http.Request) { <-release; w.WriteHeader(http.StatusInternalServerError) }
	s := shadowed(t, routing.Whole, eu.URL, "", "eu")
	s.Policies[0].Quotas = []policy.Quota{{Tenant: "clinic", PerHour: calls}}
	require.NoError(t, f.Use(s))
	bearer := f.token(t, "clinic")
	began := time.Now()
	for i := range calls {
		body := fmt.Sprintf(`{"tenant":"clinic","model_id":"tumour","input":{"data":[[%d,0]]}}`, 1000+i)
		require.Equal(t, 200, f.invoke(t, bearer, body).status, "a copy spends nobody's quota")
	}
	require.Less(t, time.Since(began), 2*time.Second)
	require.Equal(t, 429, f.invoke(t, bearer, ask).status)
	close(release)
	require.Eventually(t, func() bool { return f.mirrored(t, "failed")+f.mirrored(t, "dropped") == calls }, 5*time.Second, 10*time.Millisecond)
	require.GreaterOrEqual(t, f.mirrored(t, "dropped"), calls-32)
	eu.mu.Lock()
	defer eu.mu.Unlock()
	require.LessOrEqual(t, eu.most, 16)
	bodies, copied := map[string]bool{}, map[string]bool{}
	for _, one := range eu.asked["3"] {
		bodies[one.body] = true
	}
	for _, one := range eu.asked["4"] { // twice each: it failed
		require.True(t, bodies[one.body], "a copy that waited is still of its request: %s", one.body)
		copied[one.body] = true
	}
	require.Len(t, copied, f.mirrored(t, "failed"))
}

// Who leaves with the answer does not take the copy along.
func TestACopyOutlivesItsCaller(t *testing.T) {
	f, eu := newFabric(t, setup{}), newTwin(t)
	left := make(chan struct{})
	eu.candid = func(w http.ResponseWriter, _ *http.Request) {
		<-left
		_, _ = io.WriteString(w, `{"model_name":"consortium.tumour","model_version":"4","outputs":[{"name":"p","shape":[1,1],"datatype":"FP64","data":[0.5]}]}`)
	}
	require.NoError(t, f.Use(shadowed(t, routing.Whole, eu.URL, "", "eu")))
	require.Equal(t, 200, f.invoke(t, f.token(t, "clinic"), ask).status, "before the copy is answered")
	f.CloseClientConnections()
	close(left)
	records := f.written(t, 2)
	require.True(t, records[1].Mirrored)
	require.Equal(t, 200, records[1].Status)
	require.Equal(t, 1, f.mirrored(t, "answered"))
}
