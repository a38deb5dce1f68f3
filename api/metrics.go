package api

import (
	"net/http"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// unmatched is the route of a request that no operation takes.
const unmatched = "unmatched"

// meters count one service's requests, in a registry of its own: six services
// may live in one process. No label is a tenant or an id.
type meters struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
}

func newMeters(service string) *meters {
	labels := prometheus.Labels{"service": service}
	m := &meters{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fabric_http_requests_total", Help: "Requests answered.", ConstLabels: labels,
		}, []string{"method", "route", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "fabric_http_request_seconds", Help: "Time from request to answer.", ConstLabels: labels,
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
		}, []string{"route"}),
	}
	m.registry.MustRegister(m.requests, m.seconds) // both are new in a new registry
	return m
}

// observe is the middleware that counts.
func (m *meters) observe(c *gin.Context) {
	start := time.Now()
	c.Next()
	route, method := c.FullPath(), c.Request.Method
	if route == "" {
		route, method = unmatched, "any" // both are the caller's text
	}
	m.requests.WithLabelValues(method, route, strconv.Itoa(c.Writer.Status())).Inc()
	exemplar := prometheus.Labels{"trace_id": traceID(c.Request.Context())}
	if observer, ok := m.seconds.WithLabelValues(route).(prometheus.ExemplarObserver); ok {
		observer.ObserveWithExemplar(time.Since(start).Seconds(), exemplar)
	}
}

// serve answers /metrics with the service's own and the process's metrics.
func (m *meters) serve(process prometheus.Gatherer) http.Handler {
	all := prometheus.Gatherers{m.registry}
	if process != nil {
		all = append(all, process)
	}
	return promhttp.HandlerFor(all, promhttp.HandlerOpts{EnableOpenMetrics: true})
}
