package router

import "strconv"

// appendAnswer appends the body of a 200 of /invoke: what a record says, around
// the output.
func appendAnswer(b []byte, r *Record, output []byte, why *decision) []byte {
	b = quoted(append(b, `{"tenant":`...), r.Tenant)
	b = quoted(append(b, `,"model_id":`...), r.Model)
	b = strconv.AppendInt(append(b, `,"version":`...), int64(r.Version), 10)
	b = quoted(append(b, `,"region":`...), r.Region)
	b = quoted(append(b, `,"endpoint":`...), r.Endpoint)
	b = append(append(b, `,"output":`...), output...)
	b = appendDecision(append(b, `,"decision":`...), why)
	b = plain(append(b, `,"audit":{"decision_id":`...), r.DecisionID)
	b = plain(append(b, `,"trace_id":`...), r.TraceID)
	b = quoted(append(b, `,"manifest":`...), string(r.Manifest))
	b = strconv.AppendInt(append(b, `,"snapshot":`...), r.Snapshot, 10)
	b = strconv.AppendInt(append(b, `,"policy":`...), r.Policy, 10)
	b = plain(append(b, `,"output":`...), string(r.Output))
	b = quoted(append(b, `,"header":`...), r.Header)
	b = strconv.AppendBool(append(b, `},"simulated":`...), r.Simulated)
	return append(b, '}')
}

// appendDecision appends what encoding/json makes of a decision.
func appendDecision(b []byte, d *decision) []byte {
	if len(d.Scores) > 0 || d.Trial != nil { // on request, or while a canary runs
		if text, err := compact(d); err == nil {
			return append(b, text...)
		}
	}
	b = plain(append(b, `{"id":`...), d.ID)
	b = quoted(append(b, `,"reason":`...), d.Reason)
	b = quoted(append(b, `,"environment":`...), d.Environment)
	b = strconv.AppendInt(append(b, `,"policy":`...), d.Policy, 10)
	b = strconv.AppendInt(append(b, `,"considered":`...), int64(d.Considered), 10)
	b = strconv.AppendInt(append(b, `,"attempts":`...), int64(d.Attempts), 10)
	b = append(b, `,"excluded":[`...)
	for i, x := range d.Excluded {
		if i > 0 {
			b = append(b, ',')
		}
		b = quoted(append(b, `{"endpoint":`...), x.Endpoint)
		b = quoted(append(b, `,"region":`...), x.Region)
		b = quoted(append(b, `,"rule":`...), x.Rule)
		b = append(b, '}')
	}
	return append(b, "]}"...)
}

// plain appends a text of our own making that needs no escapes: ids in hex.
func plain(b []byte, text string) []byte { return append(append(append(b, '"'), text...), '"') }
