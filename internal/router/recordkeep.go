package router

import (
	"net/http"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
)

// openRecords opens the spool, its writer, and its shipper where there is a sink.
func (r *Router) openRecords() error {
	own, _ := recordDirs(r.opts.StateDir, r.opts.Beside)
	spool, err := openSpool(own, r.opts.SpoolBytes, func(n int) { r.metrics.dropped.Add(float64(n)) })
	if err != nil {
		return err
	}
	r.records = newRecorder(spool, r.metrics.dropped)
	r.strict = map[string]bool{}
	for _, tenant := range r.opts.Strict {
		r.strict[tenant] = true
	}
	gauges := []prometheus.Collector{
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "fabric_router_records_pending", Help: "Decision records on disk that have not arrived at the control plane.",
		}, func() float64 { n, _ := spool.pending(); return float64(n) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "fabric_router_spool_bytes", Help: "Size of the decision records on disk.",
		}, func() float64 { _, size := spool.pending(); return float64(size) }),
	}
	if r.opts.Sink != nil {
		failures := prometheus.NewCounter(prometheus.CounterOpts{
			Name: "fabric_router_ship_failures_total", Help: "Attempts to bring decision records to the control plane that failed.",
		})
		r.ships = &shipper{spool: spool, sink: r.opts.Sink, region: r.opts.Region, log: r.opts.Log, failures: failures, dropped: r.metrics.dropped}
		gauges = append(gauges, failures, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "fabric_router_ship_lag_seconds", Help: "Age of the oldest decision record that has not arrived at the control plane, 0 for none.",
		}, func() float64 {
			if at, ok := spool.oldest(); ok {
				return max(0, r.opts.Now().Sub(at).Seconds())
			}
			return 0
		}))
	}
	for _, c := range gauges {
		if err := r.opts.Registry.Register(c); err != nil {
			return err
		}
	}
	return nil
}

// keep hands the visit's record over to be kept.
func (v *visit) keep() (place uint64, ok bool) {
	v.record.LatencyMicros = v.r.opts.Now().Sub(v.began).Microseconds()
	v.record.UpstreamMicros = v.upstream.Microseconds()
	return v.r.records.put(&v.record)
}

// durable returns when the visit may be answered: at once, or, for a tenant that
// wants it so, when its record is on disk.
func (v *visit) durable() *problem {
	if !v.r.strict["*"] && !v.r.strict[v.record.Tenant] {
		return nil
	}
	if v.kept && v.r.records.wait(v.req.Context(), v.place) == nil {
		return nil
	}
	return &problem{code: "not_recorded", status: http.StatusServiceUnavailable, title: "The decision could not be recorded",
		detail: "The tenant wants no answer whose record is not on disk.", retry: 1}
}

// blame notes in the record which version and region failed last: else a version
// that never answers would have no failures.
func (v *visit) blame(try *trial) {
	i := try.last()
	if i < 0 {
		return
	}
	n, leg := try.target.nodes[i], try.target.legs[i]
	v.record.Version, v.record.Manifest, v.record.Region, v.record.Endpoint = leg.Package.Version, leg.Package.Manifest, n.Region, n.Name
}

// last returns the candidate that was asked last, or -1.
func (t *trial) last() int {
	if t.sent == 0 {
		return -1
	}
	live := t.skip[min(t.sent, len(t.skip))-1]
	return slices.IndexFunc(t.target.nodes, func(n *node) bool { return n.live == live })
}
