package router

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/stretchr/testify/require"
)

// ended has a call of a runtime end with a status after a time.
func ended(c *calls, began time.Time, took time.Duration, status int, region, trace string) {
	v := &visit{began: began, status: status, record: Record{Region: region}, span: span{trace: trace}, upstream: took / 2}
	c.ended(v, began.Add(took))
}

func TestCallsAreHeldAgainstTheBudgetOfTheirRegions(t *testing.T) {
	c := newCalls("eu", []float64{0.1, 0.5, 1})
	registry := prometheus.NewRegistry()
	for _, m := range c.collectors() {
		require.NoError(t, registry.Register(m))
	}
	began := time.Now()
	for range 38 {
		ended(c, began, 400*time.Millisecond, 200, "eu", "a")
	}
	ended(c, began, 600*time.Millisecond, 200, "eu", "b") // too slow
	ended(c, began, time.Millisecond, 503, "eu", "c")     // failed
	ended(c, began, time.Hour, 499, "eu", "d")            // left: nobody's fault
	ended(c, began, time.Millisecond, 422, "eu", "e")     // refused
	ended(c, began, 600*time.Millisecond, 200, "us", "f") // between regions that is good
	ended(c, began, time.Millisecond, 401, "", "g")       // nobody was asked
	got := map[string]float64{}
	families, err := registry.Gather()
	require.NoError(t, err)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			key := f.GetName()
			for _, l := range m.GetLabel() {
				key += " " + l.GetValue()
			}
			switch {
			case m.GetCounter() != nil:
				got[key] = m.GetCounter().GetValue()
			case m.GetGauge() != nil:
				got[key] = m.GetGauge().GetValue()
			case m.GetHistogram() != nil:
				got[key] = float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	require.InDelta(t, 0, got["fabric_router_budget_left_ratio eu eu"], 1e-9, "two of forty is the twentieth that may miss")
	delete(got, "fabric_router_budget_left_ratio eu eu")
	require.Equal(t, map[string]float64{
		"fabric_router_requests_total 200": 40, "fabric_router_requests_total 503": 1, "fabric_router_requests_total 499": 1,
		"fabric_router_requests_total 422": 1, "fabric_router_requests_total 401": 1,
		"fabric_router_decisions_total eu": 39, "fabric_router_decisions_total us": 1,
		"fabric_router_failed_total eu": 1, "fabric_router_failed_total us": 0,
		"fabric_router_call_seconds eu eu": 42, "fabric_router_call_seconds eu us": 1, "fabric_router_added_seconds": 44,
		"fabric_router_budget_calls_total eu eu": 40, "fabric_router_budget_missed_total eu eu": 2,
		"fabric_router_budget_calls_total eu us": 1, "fabric_router_budget_missed_total eu us": 0,
		"fabric_router_budget_left_ratio eu us": 1,
	}, got)
}

func TestTheBudgetForgetsAfterAnHour(t *testing.T) {
	var h hour
	at := int64(100) * hourPart
	for range 10 {
		h.count(at, true)
	}
	require.InDelta(t, -19, h.left(at), 1e-9, "ten of ten, where half of one may")
	require.InDelta(t, -19, h.left(at+11*hourPart), 1e-9)
	require.InDelta(t, 1, h.left(at+12*hourPart), 1e-9)
	h.count(at+12*hourPart, false) // takes the same place
	require.InDelta(t, 1, h.left(at+12*hourPart), 1e-9)
}

// A bucket keeps the trace of one call, and that of a failed one stays.
func TestExemplarsAreOneForEachBucketErrorsFirst(t *testing.T) {
	c := newCalls("eu", []float64{0.1, 0.5})
	registry := prometheus.NewRegistry()
	require.NoError(t, registry.Register(c.latency))
	began := time.Now()
	say := func() string {
		w := httptest.NewRecorder()
		req := httptest.NewRequest(http.MethodGet, "/metrics", nil)
		req.Header.Set("Accept", "application/openmetrics-text")
		promhttp.HandlerFor(registry, promhttp.HandlerOpts{EnableOpenMetrics: true}).ServeHTTP(w, req)
		return w.Body.String()
	}
	ended(c, began, 10*time.Millisecond, 200, "eu", "first")
	ended(c, began, 20*time.Millisecond, 200, "eu", "second")
	ended(c, began, 300*time.Millisecond, 200, "eu", "slower")
	require.Contains(t, say(), `le="0.1"} 2 # {trace_id="first"}`)
	require.Contains(t, say(), `{trace_id="slower"}`)
	ended(c, began.Add(2*time.Second), 20*time.Millisecond, 200, "eu", "third")
	require.Contains(t, say(), `{trace_id="third"}`)
	ended(c, began.Add(2*time.Second), 20*time.Millisecond, 502, "eu", "failed")
	ended(c, began.Add(10*time.Second), 20*time.Millisecond, 200, "eu", "fourth")
	require.Contains(t, say(), `{trace_id="failed"}`)
	ended(c, began.Add(90*time.Second), 20*time.Millisecond, 200, "eu", "fifth")
	require.Contains(t, say(), `{trace_id="fifth"}`)
}

func BenchmarkCallEnded(b *testing.B) {
	c := newCalls("eu", []float64{0.1, 0.5, 1})
	v := &visit{began: time.Now(), status: 200, record: Record{Region: "eu"}, span: newSpan("")}
	now := v.began.Add(5 * time.Millisecond)
	b.ReportAllocs()
	for b.Loop() {
		c.ended(v, now)
	}
}
