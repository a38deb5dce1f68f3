package router_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/policy"
	"github.com/atom-fabric/fabric/domain/routing"
	"github.com/atom-fabric/fabric/internal/runtime/runtimetest"
)

// A coordinator of quantum runtimes, simulated: it speaks the protocol that a
// real one would, and says of its answers that no quantum computer gave them.
func coordinator(t *testing.T) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.Method == http.MethodGet {
			w.WriteHeader(http.StatusOK)
			return
		}
		_, _ = io.Copy(io.Discard, req.Body)
		require.Equal(t, "clinic", req.Header.Get("X-Fabric-Tenant"))
		_ = json.NewEncoder(w).Encode(map[string]any{"model_name": "clinic.tumour", "model_version": "1", "outputs": []any{
			map[string]any{"name": "probabilities", "datatype": "FP64", "shape": []int{1, 2}, "data": []float64{0.5, 0.5}},
			map[string]any{"name": "class", "datatype": "INT64", "shape": []int{1}, "data": []int{0}},
		}})
	}))
	t.Cleanup(server.Close)
	return server
}

// The second kind of runtime answers who asks for it, under the same policy and
// with the same audit; its answers are marked as simulated.
func TestTheSecondKindOfRuntimeIsRoutable(t *testing.T) {
	w := runtimetest.NewWorld(t)
	f := newFabric(t, setup{})
	quantum := coordinator(t)
	neural := httptest.NewServer(quantum.Config.Handler)
	t.Cleanup(neural.Close)
	both := policy.Default()
	both.Rules[0].Kinds = []string{policy.Neural, policy.Quantum} // unless a rule names it, nobody is sent there
	s := routing.Snapshot{Version: 1, Policies: []policy.Document{both}, Regions: []routing.Region{{Name: "eu", Policy: 1}},
		Packages: []routing.Package{w.Push(t, "clinic", "tumour", 1, runtimetest.Logistic(t, 0), "eu")},
		Endpoints: []routing.Endpoint{{Name: "eu-neural", Region: "eu", Kind: policy.Neural, URL: neural.URL},
			{Name: "eu-quantum", Region: "eu", Kind: policy.Quantum, URL: quantum.URL, Simulated: true}},
		Routes: []routing.Route{{Tenant: "clinic", Model: "tumour", Environment: "production", Version: 1, Regions: []string{"eu"}, Callers: []string{"clinic"}}}}
	require.NoError(t, f.Use(s))
	bearer := f.token(t, "clinic")
	ask := func(preferences string) reply {
		return f.call(t, http.MethodPost, "/invoke", bearer, `{"tenant":"clinic","model_id":"tumour","input":{"data":[[1,2]]},"preferences":`+preferences+`}`)
	}
	got := ask(`{"kind":"quantum"}`)
	require.Equal(t, 200, got.status, got.text)
	require.Equal(t, "eu-quantum", got.body.Endpoint)
	require.True(t, got.body.Simulated)
	require.NotEmpty(t, got.header.Get("X-Fabric-Audit"))
	got = ask(`{"kind":"neural"}`)
	require.Equal(t, 200, got.status, got.text)
	require.Equal(t, "eu-neural", got.body.Endpoint)
	require.False(t, got.body.Simulated)

	quantum.Close() // the other kind does not stand in for who asked for this one
	got = ask(`{"kind":"quantum"}`)
	require.Equal(t, 503, got.status, got.text)
}
