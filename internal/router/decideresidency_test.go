package router_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/atom-fabric/fabric/domain/policy"
	"github.com/atom-fabric/fabric/domain/routing"
)

// A continent is every endpoint of a snapshot in one server: an endpoint is the
// first part of the path. It notes who reached what, and misbehaves as it is told.
type continent struct {
	mu      sync.Mutex
	reached map[[2]string]bool // tenant and endpoint
	manner  map[string]string  // of an endpoint
}

func (c *continent) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	name, rest, _ := strings.Cut(strings.TrimPrefix(req.URL.Path, "/"), "/")
	c.mu.Lock()
	manner := c.manner[name]
	if strings.HasSuffix(rest, "/infer") {
		c.reached[[2]string{req.Header.Get("X-Fabric-Tenant"), name}] = true
	}
	c.mu.Unlock()
	if !strings.HasSuffix(rest, "/infer") {
		return // ready, it says
	}
	switch manner {
	case "error":
		w.WriteHeader(http.StatusServiceUnavailable)
	case "reset":
		panic(http.ErrAbortHandler)
	case "hang":
		select {
		case <-req.Context().Done():
		case <-time.After(50 * time.Millisecond):
		}
		w.WriteHeader(http.StatusBadGateway)
	case "unloaded":
		w.WriteHeader(http.StatusNotFound)
	default:
		version := rest[strings.Index(rest, "/versions/")+len("/versions/"):]
		fmt.Fprintf(w, `{"model_name":"consortium.tumour","model_version":%q,"outputs":[{"name":"p","shape":[1,1],"datatype":"FP64","data":[0.5]}]}`,
			strings.TrimSuffix(version, "/infer"))
	}
}

var (
	everyRegion = []string{"apac", "eu", "us"}
	everyTenant = []string{"clinic", "consortium", "lab"}
)

// drawSnapshot returns a snapshot of three regions under up to three policies,
// with a model that moves region by region and perhaps has a canary.
func drawSnapshot(t *rapid.T, version int64, url string) routing.Snapshot {
	s := routing.Snapshot{Version: version}
	some := func(list []string, what string) []string {
		return rapid.SliceOfDistinct(rapid.SampledFrom(list), rapid.ID[string]).Draw(t, what)
	}
	for i, region := range everyRegion {
		d := policy.Default()
		d.Revision, d.Rules = int64(i+1), nil
		for k := range rapid.IntRange(1, 4).Draw(t, "rules") {
			d.Rules = append(d.Rules, policy.Rule{Name: fmt.Sprintf("r%d", k),
				Tenant:  rapid.SampledFrom(append([]string{"*", "*", "*"}, everyTenant...)).Draw(t, "tenant"),
				Model:   rapid.SampledFrom([]string{"*", "*", "tumour", "lung"}).Draw(t, "model"),
				Regions: append(some(everyRegion, "regions"), rapid.SampledFrom([]string{"*", "eu", "us"}).Draw(t, "region")),
				Kinds:   append(some([]string{policy.Quantum}, "kinds"), policy.Neural)})
		}
		for _, closed := range everyRegion {
			if weight := rapid.SampledFrom([]int{1000, 1000, 1000, 1000, 500, 0}).Draw(t, "weight"); weight < 1000 {
				d.Shares = append(d.Shares, policy.Share{Region: closed, Weight: weight})
			}
		}
		s.Policies = append(s.Policies, d)
		s.Regions = append(s.Regions, routing.Region{Name: region, Policy: d.Revision})
		for k := range rapid.IntRange(1, 4).Draw(t, "endpoints") - 1 {
			name := fmt.Sprintf("%s-%d", region, k)
			s.Endpoints = append(s.Endpoints, routing.Endpoint{Name: name, Region: region, URL: url + "/" + name, CostMicros: int64(k),
				Kind: rapid.SampledFrom([]string{policy.Neural, policy.Neural, policy.Quantum}).Draw(t, "kind")})
		}
	}
	for v := 3; v <= 5; v++ {
		s.Packages = append(s.Packages, routing.Package{Tenant: "consortium", Model: "tumour", Version: v, Regions: everyRegion})
	}
	moved := rapid.IntRange(0, 3).Draw(t, "moved")
	for i, regions := range [][]string{everyRegion[:moved], everyRegion[moved:]} {
		if len(regions) > 0 {
			s.Routes = append(s.Routes, routing.Route{Tenant: "consortium", Model: "tumour", Environment: "production", Version: 3 + i,
				Regions: regions, Callers: append(some(everyTenant, "callers"), "clinic")})
		}
	}
	if regions := some(everyRegion, "canary"); len(regions) > 0 {
		s.Canaries = []routing.Canary{{Lineage: "trial", Tenant: "consortium", Model: "tumour", Environment: "production", Version: 5,
			Share: rapid.SampledFrom([]int{0, 5000, 10_000}).Draw(t, "share"), Regions: regions}}
	}
	return s
}

// barred says, rule by rule and apart from the code under test, whether a
// tenant may not be answered by an endpoint from a router in home.
func barred(s routing.Snapshot, home, tenant string, e routing.Endpoint) bool {
	called := tenant == "consortium"
	for _, r := range s.Routes {
		called = called || slices.Contains(r.Regions, e.Region) && slices.Contains(r.Callers, tenant)
	}
	if !called {
		return true
	}
	for _, at := range []string{home, e.Region} {
		d := s.Policies[slices.Index(everyRegion, at)]
		for _, share := range d.Shares {
			if share.Region == e.Region && share.Weight == 0 {
				return true
			}
		}
		permitted := false
		for _, r := range d.Rules {
			if (r.Tenant == "*" || r.Tenant == tenant) && (r.Model == "*" || r.Model == "tumour") {
				permitted = (slices.Contains(r.Regions, "*") || slices.Contains(r.Regions, e.Region)) && slices.Contains(r.Kinds, e.Kind)
				break
			}
		}
		if !permitted {
			return true
		}
	}
	return false
}

// Over random snapshots, one after the other in one router and so with what it
// learned under the ones before, and with endpoints that fail in every way: no
// byte of a tenant reaches an endpoint that a policy bars it from, be it at
// first, by retry, by hedge, by a preference or in place of a canary.
func TestATenantNeverReachesARegionThatIsBarredToIt(t *testing.T) {
	land := &continent{reached: map[[2]string]bool{}, manner: map[string]string{}}
	server := httptest.NewServer(land)
	t.Cleanup(server.Close)
	f := newFabric(t, setup{})
	handler := f.Handler()
	bearers := map[string]string{}
	for _, tenant := range everyTenant {
		bearers[tenant] = f.token(t, tenant)
	}
	version, snapshots, answers, refusals, failures, reaches := int64(0), 0, 0, 0, 0, 0
	rapid.Check(t, func(t *rapid.T) {
		version++
		snapshots++
		s := drawSnapshot(t, version, server.URL)
		land.mu.Lock()
		land.reached = map[[2]string]bool{}
		for _, e := range s.Endpoints {
			land.manner[e.Name] = rapid.SampledFrom([]string{"", "", "error", "reset", "hang", "unloaded"}).Draw(t, "manner")
		}
		land.mu.Unlock()
		require.NoError(t, f.Use(s))
		type reply struct {
			tenant, text string
			status       int
		}
		replies := make(chan reply, 64)
		var group sync.WaitGroup
		for _, tenant := range everyTenant {
			for _, preferences := range []string{`{}`, `{"region":"us"}`, `{"caller_key":"b"}`, `{"version":5}`, `{"kind":"quantum"}`} {
				group.Go(func() {
					req := httptest.NewRequest(http.MethodPost, "/invoke", strings.NewReader(asking(tenant, strings.TrimSuffix(preferences, "}")+
						map[bool]string{true: "", false: ","}[preferences == "{}"]+`"max_latency_ms":400}`)))
					req.Header.Set("Authorization", "Bearer "+bearers[tenant])
					req.Header.Set("Content-Type", "application/json")
					w := httptest.NewRecorder()
					handler.ServeHTTP(w, req)
					replies <- reply{tenant, w.Body.String(), w.Code}
				})
			}
		}
		group.Wait()
		close(replies)
		for r := range replies {
			somebody := slices.ContainsFunc(s.Endpoints, func(e routing.Endpoint) bool { return !barred(s, "eu", r.tenant, e) })
			var body struct{ Code, Endpoint string }
			if err := json.Unmarshal([]byte(r.text), &body); err != nil {
				t.Fatalf("%d %s", r.status, r.text)
			}
			switch {
			case r.status == http.StatusOK:
				answers++
				i := slices.IndexFunc(s.Endpoints, func(e routing.Endpoint) bool { return e.Name == body.Endpoint })
				if i < 0 || barred(s, "eu", r.tenant, s.Endpoints[i]) {
					t.Fatalf("%s was answered by %s", r.tenant, body.Endpoint)
				}
			case r.status < 500:
				refusals++
			case !somebody && len(s.Endpoints) > 0 && body.Code != "none_healthy":
				t.Fatalf("%s may be answered nowhere and got %d %s", r.tenant, r.status, r.text)
			default:
				failures++
			}
		}
		land.mu.Lock()
		defer land.mu.Unlock()
		for at := range land.reached {
			reaches++
			i := slices.IndexFunc(s.Endpoints, func(e routing.Endpoint) bool { return e.Name == at[1] })
			if i < 0 || barred(s, "eu", at[0], s.Endpoints[i]) {
				t.Fatalf("%s reached %s", at[0], at[1])
			}
		}
	})
	t.Logf("%d snapshots: %d calls answered, %d refused, %d failed; %d pairs of tenant and endpoint met", snapshots, answers, refusals, failures, reaches)
	require.Positive(t, answers)
	require.Positive(t, refusals)
	require.Positive(t, failures)
}
