package router_test

import (
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A hundred snapshots a second that name the same endpoints cost these nothing:
// they are asked whether they are ready once a second, and at once only when a
// snapshot names one, or a package on one, that nobody has asked.
func TestSnapshotsDoNotAskEndpointsAnew(t *testing.T) {
	f := newFabric(t, setup{})
	var asked atomic.Int32
	serve := func() *httptest.Server {
		server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
		t.Cleanup(server.Close)
		return server
	}
	eu, us, other := serve(), serve(), serve()
	began := time.Now()
	s := endpoints(world(onlyPackage()), map[string]string{"eu": eu.URL, "us": us.URL})
	version := s.Version
	for range 200 {
		version++
		s.Version = version
		require.NoError(t, f.Use(s))
		time.Sleep(time.Millisecond)
	}
	seconds := time.Since(began).Seconds()
	require.LessOrEqual(t, float64(asked.Load()), 16*(seconds+2), "in %v s", seconds)

	before := asked.Load()
	s = endpoints(world(onlyPackage()), map[string]string{"eu": eu.URL, "us": other.URL})
	s.Version = version + 1
	require.NoError(t, f.Use(s))
	require.Eventually(t, func() bool { return asked.Load() > before }, 10*time.Second, time.Millisecond)
}
