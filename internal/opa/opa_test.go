package opa_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/loader"
	"github.com/open-policy-agent/opa/v1/plugins"
	"github.com/open-policy-agent/opa/v1/server"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/tester"
	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/catalog"
	"github.com/atom-fabric/fabric/domain/policy"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/infra/opa"
	"github.com/atom-fabric/fabric/internal/opa"
)

const folder = "../../infra/opa"

// serve starts OPA's own server on the files of a folder, loaded as
// `opa run --server <folder>` loads them, or on none.
func serve(t *testing.T, folder string) *httptest.Server {
	t.Helper()
	ctx := t.Context()
	store := inmem.New()
	if folder != "" {
		loaded, err := loader.NewFileLoader().All([]string{folder})
		require.NoError(t, err)
		require.NoError(t, storage.Txn(ctx, store, storage.WriteParams, func(txn storage.Transaction) error {
			for path, module := range loaded.Modules {
				if err := store.UpsertPolicy(ctx, txn, path, module.Raw); err != nil {
					return err
				}
			}
			return store.Write(ctx, txn, storage.ReplaceOp, storage.RootPath, loaded.Documents)
		}))
	}
	manager, err := plugins.New(nil, "test", store)
	require.NoError(t, err)
	require.NoError(t, manager.Start(ctx))
	s, err := server.New().WithAddresses([]string{"127.0.0.1:0"}).WithStore(store).WithManager(manager).Init(ctx)
	require.NoError(t, err)
	listening := httptest.NewServer(s.Handler)
	t.Cleanup(func() {
		listening.Close()
		manager.Stop(context.WithoutCancel(ctx))
	})
	return listening
}

// engines are the two ways to the same rules.
func engines(t *testing.T) map[string]*opa.Engine {
	t.Helper()
	embedded, err := opa.New(t.Context(), opa.Options{})
	require.NoError(t, err)
	remote, err := opa.New(t.Context(), opa.Options{URL: serve(t, folder).URL, Timeout: 30 * time.Second})
	require.NoError(t, err)
	return map[string]*opa.Engine{"embedded": embedded, "remote": remote}
}

// run is a run of two tenants' features that may start; edit makes it another.
func run(edit func(*policy.Admission)) policy.Admission {
	consent := func(tenant, id string) policy.Consent {
		return policy.Consent{Tenant: tenant, Feature: id, Consented: true, Purposes: catalog.Purposes(), Grantees: []string{tenant, "consortium"}}
	}
	a := policy.Admission{
		Tenant: "consortium", Tenants: []string{"charite", "mayo"}, Model: "tumour", Requested: []string{"area", "radius"},
		Features: []policy.Consent{consent("charite", "area"), consent("charite", "radius"), consent("mayo", "area"), consent("mayo", "radius")},
		Cohort:   []round.Cohort{{Region: "eu", Sites: 2}, {Region: "us", Sites: 1}},
	}
	if edit != nil {
		edit(&a)
	}
	return a
}

func TestBothEnginesDecideAlike(t *testing.T) {
	const incomplete = "the request is incomplete: it names no tenant, model, participants or features"
	tests := []struct {
		name    string
		run     policy.Admission
		reasons []string // none: admitted
	}{
		{"a consented run", run(nil), nil},
		{"the tenant's own features, granted to nobody else", run(func(a *policy.Admission) {
			a.Tenant, a.Tenants, a.Features = "mayo", []string{"mayo"}, a.Features[2:]
			a.Features[0].Grantees, a.Features[1].Grantees = nil, nil
		}), nil},
		{"production with a key and three sites", run(func(a *policy.Admission) { a.Production, a.Signing = true, true }), nil},
		{"nothing", policy.Admission{}, []string{"no site takes part", incomplete}},
		{"no model", run(func(a *policy.Admission) { a.Model = "" }), []string{incomplete}},
		{"no features asked for", run(func(a *policy.Admission) { a.Requested = nil }), []string{incomplete}},
		{"a participant without a name", run(func(a *policy.Admission) { a.Tenants = []string{""}; a.Requested = a.Requested[:1] }),
			[]string{"feature area of tenant  has no consent that you may use", incomplete}},
		{"no sites", run(func(a *policy.Admission) { a.Cohort = nil }), []string{"no site takes part"}},
		{"a feature that one tenant lacks", run(func(a *policy.Admission) { a.Features = a.Features[:3] }),
			[]string{"feature radius of tenant mayo has no consent that you may use"}},
		{"a feature that the caller lacks", run(func(a *policy.Admission) {
			a.Tenant = "mayo"
			a.Tenants = []string{"mayo"}
			a.Features = a.Features[:3]
		}),
			[]string{"feature radius of tenant mayo is not registered"}},
		{"one that was never consented", run(func(a *policy.Admission) { a.Features[0].Consented = false }),
			[]string{"feature area of tenant charite has no consent that you may use"}},
		{"one whose consent was withdrawn", run(func(a *policy.Admission) { a.Features[0].Withdrawn = true }),
			[]string{"feature area of tenant charite has had its consent withdrawn"}},
		{"one that is for others", run(func(a *policy.Admission) { a.Features[0].Grantees = []string{"other"} }),
			[]string{"feature area of tenant charite has no consent that you may use"}},
		{"two that are not for every purpose", run(func(a *policy.Admission) {
			a.Features[0].Purposes, a.Features[3].Purposes = []string{"train"}, nil
		}), []string{
			"feature area of tenant charite is not consented for this purpose: evaluate",
			"feature radius of tenant mayo is not consented for this purpose: evaluate",
		}},
		{"one that is said to be two things", run(func(a *policy.Admission) {
			other := a.Features[0]
			other.Consented = false
			a.Features = append(a.Features, other)
		}), []string{"feature area of tenant charite is described twice"}},
		{"production without a key", run(func(a *policy.Admission) { a.Production = true }), []string{"a production run needs a signing key that was given"}},
		{"production with two sites", run(func(a *policy.Admission) { a.Production, a.Signing = true, true; a.Cohort = a.Cohort[:1] }),
			[]string{"a production run needs 3 sites or more"}},
		{"production by a simulated caller", run(func(a *policy.Admission) { a.Production, a.Signing, a.Simulation = true, true, true }),
			[]string{"a simulated caller may not ask for a production run"}},
	}
	for name, engine := range engines(t) {
		for _, tt := range tests {
			t.Run(name+"/"+tt.name, func(t *testing.T) {
				allowed, reasons, err := engine.Admit(t.Context(), tt.run)
				require.NoError(t, err)
				require.ElementsMatch(t, tt.reasons, reasons)
				require.True(t, slices.IsSorted(reasons))
				require.Equal(t, len(tt.reasons) == 0, allowed)
			})
		}
		require.NoError(t, engine.Check(t.Context()), name)
	}
}

// The rules and the code that plans a round refuse the same features in the
// same words, whatever the catalogue holds.
func TestTheRulesRefuseWhatTheCodeRefuses(t *testing.T) {
	const seed = 20261123
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	embedded, err := opa.New(t.Context(), opa.Options{})
	require.NoError(t, err)
	some := func(names ...string) []string {
		return slices.DeleteFunc(slices.Clone(names), func(string) bool { return r.IntN(4) == 0 })
	}
	tenants, ids := []string{"a", "b", "c"}, []string{"f", "g"}
	admitted := 0
	for range 3000 {
		var have []catalog.Feature
		for _, tenant := range tenants {
			for _, id := range ids {
				if r.IntN(20) == 0 {
					continue
				}
				f := catalog.Feature{Tenant: tenant, ID: id, Consent: catalog.Consent{
					Granted: r.IntN(20) > 0, Purposes: catalog.Purposes(), Grantees: []string{tenant, "a"},
				}}
				if r.IntN(5) == 0 {
					f.Consent.Purposes = some(catalog.Purposes()...)
				}
				if r.IntN(5) == 0 {
					f.Consent.Grantees = some("a", "b", "c")
				}
				if r.IntN(20) == 0 {
					f.Consent.WithdrawnAt = new(time.Time)
				}
				have = append(have, f)
			}
		}
		asked := tenants[:1+r.IntN(3)]
		var want []string
		for _, refusal := range catalog.Refusals(have, "a", asked, ids, catalog.Purposes()...) {
			want = append(want, refusal.Error())
		}
		allowed, reasons, err := embedded.Admit(t.Context(), policy.Admission{
			Tenant: "a", Tenants: asked, Model: "m", Requested: ids, Features: policy.Consents(have), Cohort: []round.Cohort{{Region: "eu", Sites: 1}},
		})
		require.NoError(t, err)
		require.ElementsMatch(t, want, reasons, "%+v", have)
		require.Equal(t, len(want) == 0, allowed)
		if allowed {
			admitted++
		}
	}
	require.Greater(t, admitted, 300)
	require.Less(t, admitted, 2700)
}

func TestNoAnswerAdmitsNothing(t *testing.T) {
	say := func(status int, body string) string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			fmt.Fprint(w, body)
		}))
		t.Cleanup(s.Close)
		return s.URL
	}
	release := make(chan struct{})
	hanging := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer hanging.Close()
	defer close(release)
	gone := httptest.NewServer(nil)
	gone.Close()
	tests := []struct {
		name string
		url  string
		want error
	}{
		{"nobody listens", gone.URL, opa.ErrUnavailable},
		{"it hangs", hanging.URL, opa.ErrUnavailable},
		{"it fails", say(500, `{"code":"internal_error"}`), opa.ErrUnavailable},
		{"real OPA without our rules", serve(t, "").URL, opa.ErrUndecided},
		{"no JSON", say(200, `<html>`), opa.ErrUndecided},
		{"a null", say(200, `{"result":null}`), opa.ErrUndecided},
		{"no allow", say(200, `{"result":{"reasons":[]}}`), opa.ErrUndecided},
		{"allow is no boolean", say(200, `{"result":{"allow":"true","reasons":[]}}`), opa.ErrUndecided},
		{"yes with a reason against it", say(200, `{"result":{"allow":true,"reasons":["x"]}}`), opa.ErrUndecided},
		{"no without a reason", say(200, `{"result":{"allow":false,"reasons":[]}}`), opa.ErrUndecided},
		{"an answer without end", say(200, `{"result":{"allow":true,"reasons":[], "x":"`+strings.Repeat("x", 1<<20)+`"}}`), opa.ErrUndecided},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e, err := opa.New(t.Context(), opa.Options{URL: tt.url, Timeout: 300 * time.Millisecond})
			require.NoError(t, err)
			allowed, _, err := e.Admit(t.Context(), run(nil))
			require.ErrorIs(t, err, tt.want)
			require.False(t, allowed)
			require.Error(t, e.Check(t.Context()))
		})
	}
	t.Run("no time is left", func(t *testing.T) {
		e, err := opa.New(t.Context(), opa.Options{})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		allowed, _, err := e.Admit(ctx, run(nil))
		require.ErrorIs(t, err, opa.ErrUnavailable)
		require.False(t, allowed)
	})
	for _, bad := range []string{"opa:8181", "ftp://opa", "http://user:hunter2@opa:8181", "http://", "%"} {
		_, err := opa.New(t.Context(), opa.Options{URL: bad})
		require.ErrorIs(t, err, opa.ErrOptions)
		require.NotContains(t, err.Error(), "hunter2")
	}
}

func TestTheRulesPassTheirOwnTests(t *testing.T) {
	results, err := tester.Run(t.Context(), folder)
	require.NoError(t, err)
	require.Greater(t, len(results), 8)
	for _, r := range results {
		require.True(t, r.Pass(), r.String())
	}
}

// What ships is what an operator's OPA loads from the folder, tests aside.
func TestEveryRuleFileIsEmbedded(t *testing.T) {
	modules, err := rules.Modules()
	require.NoError(t, err)
	files, err := filepath.Glob(filepath.Join(folder, "*.rego"))
	require.NoError(t, err)
	shipped := map[string]string{}
	for _, file := range files {
		if !strings.HasSuffix(file, "_test.rego") {
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			shipped[filepath.Base(file)] = string(text)
		}
	}
	require.Equal(t, shipped, modules)
	for name, source := range modules {
		_, err := ast.ParseModule(name, source)
		require.NoError(t, err)
	}
}

func TestAnAdmissionSaysEverythingOnTheWire(t *testing.T) {
	text, err := json.Marshal(run(nil))
	require.NoError(t, err)
	for _, name := range []string{"tenant", "tenants", "model", "requested", "features", "cohort", "production", "signing", "simulation", "consented", "withdrawn", "purposes", "grantees"} {
		require.Contains(t, string(text), `"`+name+`":`)
	}
}
