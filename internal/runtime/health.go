package runtime

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics of a runtime. Labels are operations, status codes and reasons.
type metrics struct {
	requests *prometheus.CounterVec
	failures *prometheus.CounterVec
	infer    prometheus.Histogram
	handler  http.Handler
}

func newMetrics(registry *prometheus.Registry, r *Runtime) (metrics, error) {
	m := metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fabric_runtime_requests_total", Help: "Requests answered, by operation and status code.",
		}, []string{"operation", "code"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fabric_runtime_package_failures_total", Help: "Attempts to load a package that failed, by reason.",
		}, []string{"reason"}),
		infer: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "fabric_runtime_infer_seconds", Help: "Time of the forward pass of a request.",
			Buckets: []float64{1e-6, 5e-6, 2.5e-5, 1e-4, 5e-4, 2.5e-3, 1e-2, 5e-2, 0.25, 1},
		}),
		handler: promhttp.HandlerFor(registry, promhttp.HandlerOpts{EnableOpenMetrics: true}),
	}
	loaded := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "fabric_runtime_packages_loaded", Help: "Packages that answer.",
	}, func() float64 {
		n := 0
		for range r.served.Load().all() {
			n++
		}
		return float64(n)
	})
	var err error
	for _, c := range []prometheus.Collector{m.requests, m.failures, m.infer, loaded} {
		err = errors.Join(err, registry.Register(c))
	}
	return m, err
}

// count counts the answers of an operation.
func (m metrics) count(operation string, next http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		recorded := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		next(recorded, req)
		m.requests.WithLabelValues(operation, strconv.Itoa(recorded.status)).Inc()
	})
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap lets http.MaxBytesReader close the connection of a body that is too large.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

type health struct {
	Status     string           `json:"status"` // pass: it answers
	Service    string           `json:"service"`
	Version    string           `json:"version"`
	Simulation bool             `json:"simulation"`
	Checks     map[string]check `json:"checks"`
}

type check struct {
	Status string `json:"status"`
	Output string `json:"output,omitempty"`
}

// getHealth says whether the runtime can answer at all, and beside it which of
// its packages cannot: one bad package takes no region away.
func (r *Runtime) getHealth(w http.ResponseWriter, _ *http.Request) {
	s := r.served.Load()
	ok := r.wanted.Load() != nil
	out := health{Status: verdict(ok), Service: "runtime-" + r.opts.Region, Version: r.opts.Version, Simulation: r.opts.Simulation, Checks: map[string]check{}}
	snapshot := check{Status: verdict(ok), Output: "no snapshot yet"}
	if ok {
		age := max(0, r.opts.Now().Sub(r.opts.Confirmed()).Seconds())
		snapshot.Output = fmt.Sprintf("version %d, confirmed %.0f s ago", s.snapshot.Version, age)
	}
	out.Checks["snapshot"] = snapshot
	packages := check{Status: "pass"}
	if len(s.failed) > 0 {
		reasons := map[string]int{}
		for _, why := range s.failed {
			reasons[why]++
		}
		packages = check{Status: "fail", Output: "not loaded:"}
		for _, why := range slices.Sorted(maps.Keys(reasons)) {
			packages.Output += fmt.Sprintf(" %d %s", reasons[why], why)
		}
	}
	out.Checks["packages"] = packages
	reply(w, status(ok), out)
}

func verdict(ok bool) string {
	if ok {
		return "pass"
	}
	return "fail"
}
