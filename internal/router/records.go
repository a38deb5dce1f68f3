package router

import (
	"bytes"
	"context"
	"errors"
	"regexp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/atom-fabric/fabric/domain/artifact"
)

// A Record is a decision as it is kept: what was asked by whom, never what was
// in it.
type Record struct {
	Sequence    int64     `json:"seq"` // in the spool that it is kept in
	DecisionID  string    `json:"decision_id"`
	At          time.Time `json:"at"`
	Tenant      string    `json:"tenant"` // the caller's
	Owner       string    `json:"owner"`  // the model's
	Model       string    `json:"model"`
	Environment string    `json:"environment"`
	Version     int       `json:"version,omitempty"`
	// Lineage is of the canary that the call had a part in: the hash of its caller
	// chose the side. "" where none runs, or where the call named its version.
	Lineage string `json:"lineage,omitempty"`
	// Canary says that it was the canary's side. Version is what answered: another
	// one than the canary's if that could not.
	Canary   bool            `json:"canary,omitempty"`
	Manifest artifact.Digest `json:"manifest,omitempty"`
	Region   string          `json:"region,omitempty"`
	Endpoint string          `json:"endpoint,omitempty"`
	Output   artifact.Digest `json:"output,omitempty"`
	Snapshot int64           `json:"snapshot"`
	Policy   int64           `json:"policy"`
	TraceID  string          `json:"trace_id"`
	Status   int             `json:"status"`
	Problem  string          `json:"problem,omitempty"`
	// LatencyMicros is from the request to the answer, UpstreamMicros what runtimes took of it.
	LatencyMicros  int64  `json:"latency_micros,omitempty"`
	UpstreamMicros int64  `json:"upstream_micros,omitempty"`
	KeyID          string `json:"key_id,omitempty"`
	Header         string `json:"header,omitempty"`
	Simulated      bool   `json:"simulated"`
	// Mirrored says that it is of a copy of a request, which was sent when another
	// version had answered: no call of anybody.
	Mirrored bool `json:"mirrored,omitempty"`
}

const (
	commitEvery = 10 * time.Millisecond // records that are put meanwhile share a write to the disk
	kickEvery   = 512                   // so many do not wait for it; a power of two
	idleAfter   = 100                   // commits with nothing to write before the writer sleeps
	recentSize  = 1024                  // records that are found without the disk
)

// decisionID is the form of decision ids.
var decisionID = regexp.MustCompile(`^[0-9a-f]{32}-[0-9a-f]{16}$`)

// errNotKept says that a record is not on disk and will not be.
var errNotKept = errors.New("the record was not kept")

// A recorder keeps decisions on disk without making a request wait for the
// disk, unless it asks to. A crash loses what was answered in its last
// hundredth of a second; a full disk loses what comes. Both are the price of answering at
// all: what is lost leaves a gap in the sequence, and is counted.
type recorder struct {
	spool   *spool
	ring    *ring
	dropped prometheus.Counter
	kick    chan struct{} // capacity 1: write now
	asleep  atomic.Bool   // the writer waits for a kick, not for the time

	batch []Record // of the one that writes

	mu     sync.Mutex
	recent []Record // a ring: few are looked for, all are kept
	next   int
	failed uint64        // places in the ring up to which something was not kept
	done   uint64        // places in the ring that were dealt with
	moved  chan struct{} // closed when done has moved
}

// newRecorder keeps records in a spool that is open.
func newRecorder(s *spool, dropped prometheus.Counter) *recorder {
	return &recorder{spool: s, ring: newRing(ringSize), dropped: dropped, kick: make(chan struct{}, 1), recent: make([]Record, recentSize), moved: make(chan struct{})}
}

// put hands a record over to be kept and returns its place, for [recorder.wait].
// It never blocks; when there is no room the record is dropped.
func (r *recorder) put(record *Record) (place uint64, ok bool) {
	place, ok = r.ring.push(record)
	if place%kickEvery == 0 || r.asleep.Load() {
		select {
		case r.kick <- struct{}{}:
		default:
		}
	}
	return place, ok
}

// wait returns when the record at a place is on disk, or [errNotKept].
func (r *recorder) wait(ctx context.Context, place uint64) error {
	for {
		r.mu.Lock()
		done, failed, moved := r.done, r.failed, r.moved
		r.mu.Unlock()
		switch {
		case place < failed: // it, or one that was written with it
			return errNotKept
		case place < done:
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return errNotKept
		}
	}
}

// run writes until ctx ends, and then what is left.
func (r *recorder) run(ctx context.Context) error {
	ticker := time.NewTicker(commitEvery)
	defer ticker.Stop()
	var lines bytes.Buffer
	for idle := 0; ; {
		if r.commit(&lines) {
			idle = 0
		} else if idle++; idle >= idleAfter {
			r.asleep.Store(true)
			if !r.ring.waiting() { // else it was put before it could know
				select {
				case <-r.kick:
				case <-ctx.Done():
				}
			}
			r.asleep.Store(false)
			idle = 0
		}
		select {
		case <-ctx.Done():
			for r.commit(&lines) {
			}
			return r.spool.close()
		case <-r.kick:
		case <-ticker.C:
		}
	}
}

// commit writes what waits in one go, and reports whether there was anything.
func (r *recorder) commit(lines *bytes.Buffer) bool {
	lines.Reset()
	records := r.batch[:0]
	var record Record
	end := uint64(0)
	lost := int64(0)
	for len(records) < ringSize/4 {
		place, ok := r.ring.pop(&record)
		if !ok {
			break
		}
		end = place + 1
		lost += r.ring.lostBefore() // their numbers are left out
		record.Sequence = r.spool.reserve(1 + lost)
		r.dropped.Add(float64(lost))
		lost = 0
		before := lines.Len()
		lines.Write(append(appendRecord(lines.AvailableBuffer(), &record), '\n'))
		if lines.Len()-before > maxRecord { // its number is lost with it
			lines.Truncate(before)
			r.dropped.Inc()
			continue
		}
		records = append(records, record)
	}
	if end == 0 {
		return false
	}
	r.batch = records[:0]
	err := r.spool.append(lines.Bytes(), len(records))
	if err != nil {
		r.dropped.Add(float64(len(records)))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, record := range records {
		r.recent[r.next] = record
		r.next = (r.next + 1) % len(r.recent)
	}
	if r.done = end; err != nil {
		r.failed = end
	}
	close(r.moved)
	r.moved = make(chan struct{})
	return true
}

// find returns the record of a decision. One that was put a moment ago is
// waited for.
func (r *recorder) find(ctx context.Context, id string) (Record, bool) {
	if !decisionID.MatchString(id) {
		return Record{}, false
	}
	ctx, cancel := context.WithTimeout(ctx, 10*commitEvery)
	defer cancel()
	if end := r.ring.end(); end > 0 {
		_ = r.wait(ctx, end-1) // what is not kept may be found all the same
	}
	r.mu.Lock()
	at := slices.IndexFunc(r.recent, func(kept Record) bool { return kept.DecisionID == id })
	if at >= 0 {
		defer r.mu.Unlock()
		return r.recent[at], true
	}
	r.mu.Unlock()
	return r.spool.find(id)
}
