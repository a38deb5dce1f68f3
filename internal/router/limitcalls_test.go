package router_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/policy"
)

func TestAQuotaRefusesWithARetryAfter(t *testing.T) {
	runtime := newStub(t)
	s := tried(t, 0, runtime.URL, runtime.URL)
	s.Policies[0].Quotas = []policy.Quota{{Tenant: "clinic", PerSecond: 1, Burst: 3}, {Tenant: "lab", PerDay: 1}}
	f := newFabric(t, setup{})
	require.NoError(t, f.Use(s))
	clinic, lab := f.token(t, "clinic"), f.token(t, "lab")
	for range 3 {
		require.Equal(t, http.StatusOK, f.invoke(t, clinic, ask).status)
	}
	refused := f.invoke(t, clinic, ask)
	require.Equal(t, http.StatusTooManyRequests, refused.status, refused.text)
	require.Equal(t, "rate_limited", refused.body.Code)
	require.Equal(t, "1", refused.header.Get("Retry-After"))
	require.EqualValues(t, 3, runtime.count("3"), "a refused call costs nothing")

	question := asking("lab", "{}")
	require.Equal(t, http.StatusOK, f.invoke(t, lab, question).status, "another tenant's bound is its own")
	refused = f.invoke(t, lab, question)
	require.Equal(t, http.StatusTooManyRequests, refused.status)
	wait, err := strconv.Atoi(refused.header.Get("Retry-After"))
	require.NoError(t, err)
	require.True(t, wait > 0 && wait <= 86_400, wait)
	require.Equal(t, http.StatusOK, f.invoke(t, f.token(t, "consortium"), asking("consortium", "{}")).status, "whom no quota names")

	s.Version++
	require.NoError(t, f.Use(s))
	require.Equal(t, http.StatusTooManyRequests, f.invoke(t, lab, question).status, "a new snapshot forgets nothing")
	require.Contains(t, f.call(t, "GET", "/metrics", "", "").text, `fabric_router_limited_total{bound="day"} 2`)
}

// The calls of a day are counted over a restart, and a file of counts that
// cannot be read keeps nobody from being answered.
func TestAQuotaOfTheDayOutlivesARestart(t *testing.T) {
	runtime := newStub(t)
	s := tried(t, 0, runtime.URL, runtime.URL)
	s.Policies[0].Quotas = []policy.Quota{{Tenant: "clinic", PerDay: 2}}
	state := t.TempDir()
	t.Run("before", func(t *testing.T) {
		f := newFabric(t, setup{state: state})
		require.NoError(t, f.Use(s))
		for range 2 {
			require.Equal(t, http.StatusOK, f.invoke(t, f.token(t, "clinic"), ask).status)
		}
	})
	t.Run("after", func(t *testing.T) {
		f := newFabric(t, setup{state: state})
		require.NoError(t, f.Use(s))
		require.Equal(t, http.StatusTooManyRequests, f.invoke(t, f.token(t, "clinic"), ask).status)
	})
	require.NoError(t, os.WriteFile(filepath.Join(state, "quotas.json"), []byte(`{"clinic":`), 0o600))
	t.Run("without the file", func(t *testing.T) {
		f := newFabric(t, setup{state: state})
		require.NoError(t, f.Use(s))
		require.Equal(t, http.StatusOK, f.invoke(t, f.token(t, "clinic"), ask).status)
	})
}
