package router

import (
	"strconv"
	"time"
)

// appendRecord appends what encoding/json makes of a record, a quarter of the
// price: every call of a model pays it. The number comes first, and the spool
// relies on that.
func appendRecord(b []byte, r *Record) []byte {
	text := func(name, value string, always bool) {
		if value != "" || always {
			b = quoted(append(b, name...), value)
		}
	}
	number := func(name string, value int64, always bool) {
		if value != 0 || always {
			b = strconv.AppendInt(append(b, name...), value, 10)
		}
	}
	number(`{"seq":`, r.Sequence, true)
	text(`,"decision_id":`, r.DecisionID, true)
	b = append(r.At.AppendFormat(append(b, `,"at":"`...), time.RFC3339Nano), '"')
	text(`,"tenant":`, r.Tenant, true)
	text(`,"owner":`, r.Owner, true)
	text(`,"model":`, r.Model, true)
	text(`,"environment":`, r.Environment, true)
	number(`,"version":`, int64(r.Version), false)
	text(`,"lineage":`, r.Lineage, false)
	if r.Canary {
		b = append(b, `,"canary":true`...)
	}
	text(`,"manifest":`, string(r.Manifest), false)
	text(`,"region":`, r.Region, false)
	text(`,"endpoint":`, r.Endpoint, false)
	text(`,"output":`, string(r.Output), false)
	number(`,"snapshot":`, r.Snapshot, true)
	number(`,"policy":`, r.Policy, true)
	text(`,"trace_id":`, r.TraceID, true)
	number(`,"status":`, int64(r.Status), true)
	text(`,"problem":`, r.Problem, false)
	number(`,"latency_micros":`, r.LatencyMicros, false)
	number(`,"upstream_micros":`, r.UpstreamMicros, false)
	text(`,"key_id":`, r.KeyID, false)
	text(`,"header":`, r.Header, false)
	b = strconv.AppendBool(append(b, `,"simulated":`...), r.Simulated)
	if r.Mirrored {
		b = append(b, `,"mirrored":true`...)
	}
	return append(b, '}')
}
