package router_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/routing"
)

// A stub answers for every version of every model at once. broken versions
// answer 503.
type stub struct {
	*httptest.Server
	asked  sync.Map     // version -> *atomic.Int64
	broken atomic.Value // string
}

func newStub(t testing.TB) *stub {
	t.Helper()
	s := &stub{}
	s.broken.Store("")
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if !strings.HasSuffix(req.URL.Path, "/infer") {
			return // ready
		}
		model, version := path.Base(path.Dir(path.Dir(path.Dir(req.URL.Path)))), path.Base(path.Dir(req.URL.Path))
		n, _ := s.asked.LoadOrStore(version, &atomic.Int64{})
		n.(*atomic.Int64).Add(1)
		if s.broken.Load() == version {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintf(w, `{"model_name":%q,"model_version":%q,"outputs":[{"name":"p","shape":[1,1],"datatype":"FP64","data":[0.5]}]}`, model, version)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *stub) count(version string) int64 {
	n, ok := s.asked.Load(version)
	if !ok {
		return 0
	}
	return n.(*atomic.Int64).Load()
}

// tried is the model's version 3 in eu and us, with version 4 loaded beside it
// and split from it as the rollout "trial".
func tried(t testing.TB, share int, eu, us string) routing.Snapshot {
	t.Helper()
	s := world(routing.Package{Tenant: "consortium", Model: "tumour", Version: 3, Manifest: "sha256:3", Regions: []string{"eu", "us"}},
		routing.Package{Tenant: "consortium", Model: "tumour", Version: 4, Manifest: "sha256:4", Regions: []string{"eu", "us"}})
	s = endpoints(s, map[string]string{"eu": eu, "us": us})
	next, err := s.Split(routing.Canary{Lineage: "trial", Tenant: "consortium", Model: "tumour", Environment: "production", Version: 4,
		Share: share, Regions: []string{"eu", "us"}}, time.Now())
	require.NoError(t, err)
	return next
}

// answered is what a call of the handler said of its version.
type answered struct {
	Version  int
	Region   string
	Decision struct {
		ID, Reason string
		Attempts   int
		Excluded   []routing.Exclusion
		Trial      *struct {
			Lineage string
			Share   int `json:"share_basis_points"`
			Bucket  int
			Canary  bool
		}
	}
}

func handle(t testing.TB, handler http.Handler, bearer, key, body string) answered {
	t.Helper()
	req := httptest.NewRequest(http.MethodPost, "/invoke", strings.NewReader(body))
	req.Header.Set("Authorization", "Bearer "+bearer)
	req.Header.Set("Content-Type", "application/json")
	if key != "" {
		req.Header.Set("X-Fabric-Caller-Key", key)
	}
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, req)
	if w.Code != http.StatusOK {
		t.Errorf("caller %s: %d %s", key, w.Code, w.Body)
		return answered{}
	}
	var out answered
	if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil {
		t.Errorf("caller %s: %v", key, err)
	}
	return out
}

// sides asks once for each of n callers, through the handler and over the
// network to the runtimes, and returns who was answered by the canary.
func (f *fabric) sides(t testing.TB, n int) []bool {
	t.Helper()
	out := make([]bool, n)
	handler, bearer := f.Handler(), f.token(t, "clinic")
	var group sync.WaitGroup
	for worker := range 4 {
		group.Go(func() {
			for i := worker; i < n; i += 4 {
				got := handle(t, handler, bearer, fmt.Sprintf("caller-%d", i), ask)
				out[i] = got.Version == 4
				if got.Decision.Trial == nil || got.Decision.Trial.Canary != out[i] {
					t.Errorf("caller %d: %+v", i, got)
				}
			}
		})
	}
	group.Wait()
	return out
}

func taken(sides []bool) (n int) {
	for _, canary := range sides {
		if canary {
			n++
		}
	}
	return n
}

// 5 % of 100,000 callers, within 0.3 points, get the canary; the same ones on
// another router that starts from the same snapshot.
func TestACanaryGetsItsShareAndKeepsItsCallers(t *testing.T) {
	const callers = 100_000
	runtime := newStub(t)
	s := tried(t, 500, runtime.URL, runtime.URL)
	f := newFabric(t, setup{})
	require.NoError(t, f.Use(s))
	first := f.sides(t, callers)
	share := 100 * float64(taken(first)) / callers
	t.Logf("canary of 5 %%: %.3f %% of %d callers", share, callers)
	require.InDelta(t, 5, share, 0.3)

	again := newFabric(t, setup{state: f.state})
	require.NoError(t, again.Use(s))
	require.Equal(t, first[:10_000], again.sides(t, 10_000), "after a restart")
}

// The share goes up and back, with pauses; at each step it is the share, by
// chi-square with one degree of freedom below 10.83 (p = 0.001), exactly nobody
// at 0 and everybody at 100, and whoever had the canary at a smaller share has
// it at every larger one.
func TestAShareMovesUpAndBack(t *testing.T) {
	const callers = 4000
	runtime := newStub(t)
	s := tried(t, 0, runtime.URL, runtime.URL)
	f := newFabric(t, setup{})
	at := map[int][]bool{}
	for _, share := range []int{0, 500, 2500, 0, 2500, 5000, 10_000, 5000, 2500, 500, 0} {
		var err error
		s, err = s.Shift("trial", share, time.Now())
		require.NoError(t, err)
		require.NoError(t, f.Use(s))
		before := runtime.count("4")
		sides := f.sides(t, callers)
		n := taken(sides)
		if old, seen := at[share]; seen {
			require.Equal(t, old, sides, "the same callers at %d again", share)
		}
		at[share] = sides
		want := float64(callers) * float64(share) / routing.Whole
		switch share {
		case 0:
			require.Zero(t, n)
			require.Zero(t, runtime.count("4")-before, "it is not even asked")
		case routing.Whole:
			require.Equal(t, callers, n)
		default:
			chi := (float64(n)-want)*(float64(n)-want)/want + (want-float64(n))*(want-float64(n))/(callers-want)
			t.Logf("share %d: %d of %d callers, chi-square %.2f", share, n, callers, chi)
			require.Less(t, chi, 10.83)
		}
	}
	for _, step := range [][2]int{{500, 2500}, {2500, 5000}} {
		for i := range callers {
			require.False(t, at[step[0]][i] && !at[step[1]][i], "caller %d lost it from %d to %d", i, step[0], step[1])
		}
	}
}

func TestWhatNamesACaller(t *testing.T) {
	runtime := newStub(t)
	s := tried(t, 2378, runtime.URL, runtime.URL)
	f := newFabric(t, setup{})
	require.NoError(t, f.Use(s))
	handler, bearer := f.Handler(), f.token(t, "clinic")
	bucket := func(key, preferences string) int {
		return handle(t, handler, bearer, key, asking("clinic", preferences)).Decision.Trial.Bucket
	}
	require.Equal(t, routing.Bucket("trial", "clinic", "ann"), bucket("", "{}"), "the token's subject")
	require.Equal(t, routing.Bucket("trial", "clinic", "bob"), bucket("bob", "{}"), "the header")
	require.Equal(t, routing.Bucket("trial", "clinic", "cyd"), bucket("bob", `{"caller_key":"cyd"}`), "the preference")
	require.Equal(t, routing.Bucket("trial", "clinic", "~ !"), bucket("~ !", "{}"))

	for _, key := range []string{" \x7f", "ü", strings.Repeat("a", 256)} {
		text, err := json.Marshal(key)
		require.NoError(t, err)
		got := f.invoke(t, bearer, asking("clinic", `{"caller_key":`+string(text)+`}`))
		require.Equal(t, 400, got.status)
		require.Equal(t, "/preferences/caller_key", got.body.Errors[0].Pointer)
	}
	require.Equal(t, 400, f.call(t, "POST", "/invoke", bearer, ask, "X-Fabric-Caller-Key", strings.Repeat("a", 256)).status)
	require.Equal(t, 400, f.invoke(t, bearer, asking("clinic", `{"caller_key":""}`)).status)
}

func TestACallerMayNameAVersionOfTheSnapshot(t *testing.T) {
	runtime := newStub(t)
	s := tried(t, 1, runtime.URL, runtime.URL)
	f := newFabric(t, setup{})
	require.NoError(t, f.Use(s))
	handler, bearer := f.Handler(), f.token(t, "clinic")
	for preferences, want := range map[string]int{
		`{"version":3}`: 3, `{"version":4}`: 4, `{"alias":"champion"}`: 3, `{"alias":"challenger"}`: 4,
		`{"version":4,"region":"us"}`: 4,
	} {
		got := handle(t, handler, bearer, "", asking("clinic", preferences))
		require.Equal(t, want, got.Version, preferences)
		require.Nil(t, got.Decision.Trial, "who names a version is no evidence")
	}
	got := handle(t, handler, bearer, "", asking("clinic", `{"version":4,"explain":true}`))
	require.Equal(t, []routing.Exclusion{{Endpoint: "eu-1", Region: "eu", Rule: "preferences/version"}, {Endpoint: "us-1", Region: "us", Rule: "preferences/version"}}, got.Decision.Excluded)
	got = handle(t, handler, bearer, "", asking("clinic", `{"explain":true}`))
	require.Equal(t, []routing.Exclusion{{Endpoint: "eu-1", Region: "eu", Rule: "canary/side"}, {Endpoint: "us-1", Region: "us", Rule: "canary/side"}}, got.Decision.Excluded)
	lab := handle(t, handler, f.token(t, "lab"), "", asking("lab", `{"alias":"challenger"}`))
	require.Equal(t, "us", lab.Region, "a version opens no region")

	for _, preferences := range []string{`{"version":5}`, `{"version":1}`} {
		reply := f.invoke(t, bearer, asking("clinic", preferences))
		require.Equal(t, 404, reply.status)
		require.Equal(t, "no_route", reply.body.Code)
	}
	for _, preferences := range []string{`{"version":0}`, `{"alias":"latest"}`, `{"alias":"champion","version":3}`} {
		require.Equal(t, 400, f.invoke(t, bearer, asking("clinic", preferences)).status, preferences)
	}
	// At a share of 0 it answers nobody, also not by name.
	s, err := s.Shift("trial", 0, time.Now())
	require.NoError(t, err)
	require.NoError(t, f.Use(s))
	for _, preferences := range []string{`{"version":4}`, `{"alias":"challenger"}`} {
		require.Equal(t, 404, f.invoke(t, bearer, asking("clinic", preferences)).status, preferences)
	}
}

// A canary that fails costs no answer, and no endpoint: the champion answers its
// callers, and the others notice nothing.
func TestABrokenCanaryIsTheCanarysTrouble(t *testing.T) {
	runtime := newStub(t)
	runtime.broken.Store("4")
	s := tried(t, 5000, runtime.URL, "")
	f := newFabric(t, setup{slow: true}) // what is set aside stays so
	require.NoError(t, f.Use(s))
	handler, bearer := f.Handler(), f.token(t, "clinic")
	var last answered
	for i := range 200 {
		got := handle(t, handler, bearer, fmt.Sprintf("caller-%d", i), ask)
		require.Equal(t, 3, got.Version)
		if !got.Decision.Trial.Canary {
			require.Equal(t, 1, got.Decision.Attempts)
			continue
		}
		last = got
	}
	require.Less(t, runtime.count("4"), int64(20), "it is set aside")
	require.Equal(t, 1, last.Decision.Attempts)
	require.Equal(t, "no endpoint of the canary can answer now; the best of the champion", last.Decision.Reason)

	record := f.call(t, "GET", "/router/decisions/"+last.Decision.ID, bearer, "")
	require.Equal(t, 200, record.status, record.text)
	var kept struct {
		Lineage string
		Canary  bool
		Version int
	}
	require.NoError(t, json.Unmarshal([]byte(record.text), &kept))
	require.Equal(t, "trial", kept.Lineage)
	require.True(t, kept.Canary, "it was the canary's call")
	require.Equal(t, 3, kept.Version, "which the champion answered")

	active := f.call(t, "GET", "/router/active", bearer, "")
	require.Contains(t, active.text, `"version":4,"lineage":"trial","share_basis_points":5000`)
	require.Contains(t, active.text, `"version":3,"manifest":"sha256:3","endpoints":[{"endpoint":"eu-1","kind":"neural","ready":true,"set_aside":false`)
}
