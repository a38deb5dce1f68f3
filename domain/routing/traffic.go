package routing

// Traffic is how the calls of one model version in one region ended. Where a
// canary runs, the side is what the hash of the caller chose; the version is what
// answered, which is another one where the canary could not. Latencies
// are in microseconds, of answered calls only: a call that fails fast must not
// make a version look quick.
type Traffic struct {
	Environment string `json:"environment"`
	Version     int    `json:"version"`
	Region      string `json:"region"`
	Lineage     string `json:"lineage,omitempty"` // rollout that the calls had a part in, on either side
	Canary      bool   `json:"canary"`            // on the side of the canary

	Requests int64 `json:"requests"` // all of them, the sum of the four below
	Answered int64 `json:"answered"` // 2xx
	Refused  int64 `json:"refused"`  // 4xx: for what the caller asked
	Failed   int64 `json:"failed"`   // 5xx
	Gone     int64 `json:"gone"`     // the caller left

	LatencySum     int64   `json:"latencySumMicros"`
	LatencySquares float64 `json:"latencySquaresMicros"` // sum of squares
	UpstreamSum    int64   `json:"upstreamSumMicros"`    // of it, what runtimes took
}

// Plus adds the counts and sums of other; the names stay those of t.
func (t Traffic) Plus(other Traffic) Traffic {
	t.Requests += other.Requests
	t.Answered += other.Answered
	t.Refused += other.Refused
	t.Failed += other.Failed
	t.Gone += other.Gone
	t.LatencySum += other.LatencySum
	t.LatencySquares += other.LatencySquares
	t.UpstreamSum += other.UpstreamSum
	return t
}
