package router

import (
	"errors"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics of a router. Labels are status codes and regions; never tenants,
// models or ids.
type metrics struct {
	calls     *calls
	ejections *prometheus.CounterVec
	upstream  *prometheus.HistogramVec
	retries   *prometheus.CounterVec
	hedges    prometheus.Counter
	hedgesWon prometheus.Counter
	shed      prometheus.Counter
	limited   *prometheus.CounterVec
	dropped   prometheus.Counter
	handler   http.Handler
}

func newMetrics(registry *prometheus.Registry, r *Router) (metrics, error) {
	fine := []float64{25e-6, 50e-6, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1, 2.5, 5, 10}
	m := metrics{
		calls: newCalls(r.opts.Region, fine),
		ejections: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fabric_router_ejections_total", Help: "Times that an endpoint was set aside for its failures, by region.",
		}, []string{"region"}),
		upstream: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "fabric_router_upstream_seconds", Help: "Time of an attempt at a runtime, by region.", Buckets: fine,
		}, []string{"region"}),
		retries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fabric_router_retries_total", Help: "Failed attempts after which another endpoint was looked for, by the region that failed.",
		}, []string{"region"}),
		hedges: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "fabric_router_hedges_total", Help: "Calls sent to another endpoint as well because the first was late.",
		}),
		hedgesWon: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "fabric_router_hedges_won_total", Help: "Of these, those that the other endpoint answered.",
		}),
		limited: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fabric_router_limited_total", Help: "Calls that a tenant's quota refused, by bound: rate, hour, day.",
		}, []string{"bound"}),
		shed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "fabric_router_shed_total", Help: "Calls that were refused because every permitted endpoint, or the router itself, had all it can take.",
		}),
		dropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "fabric_router_records_dropped_total", Help: "Decision records that did not reach the disk.",
		}),
		handler: promhttp.HandlerFor(registry, promhttp.HandlerOpts{EnableOpenMetrics: true}),
	}
	ready := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "fabric_router_endpoints_ready", Help: "Endpoints that are ready and not set aside.",
	}, func() float64 {
		ready, _ := r.endpoints()
		return float64(ready)
	})
	var err error
	for _, c := range append(m.calls.collectors(), m.ejections, m.upstream, m.retries, m.hedges, m.hedgesWon, m.shed, m.limited, m.dropped, ready) {
		err = errors.Join(err, registry.Register(c))
	}
	return m, err
}
