// Package witness keeps, in a region, the newest checkpoint of the audit log
// that the region was shown, and holds it against every later one and against
// what the other regions keep.
//
// Invariant: a checkpoint replaces the one that is kept only if the log's key
// signed it and a proof shows that the log only grew. Evidence that the log
// showed two histories is kept until a person takes it away, and is never
// taken on another's word.
package witness

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/atom-fabric/fabric/domain/audit"
)

// Why a checkpoint was not taken.
var (
	ErrUnreachable = errors.New("does not answer")
	ErrAnswer      = errors.New("the answer is not understood")
	ErrUnsigned    = errors.New("the log is not signed")
	ErrBehind      = errors.New("the log shows fewer leaves than it has signed")
)

// A Log is where the audit log is read, as one region sees it.
type Log interface {
	// Checkpoint returns the newest signed checkpoint.
	Checkpoint(ctx context.Context) (note string, err error)
	// Step returns how the tree of to leaves extends that of from. ErrBehind
	// when the log has no tree of to leaves.
	Step(ctx context.Context, from, to int64) (audit.Step, error)
}

// A Peer is the witness of another region.
type Peer interface {
	Report(ctx context.Context) (Report, error)
}

// A Report is what a witness tells everybody.
type Report struct {
	Region string            `json:"region"`
	Note   string            `json:"note,omitempty"`    // the checkpoint that it keeps
	At     time.Time         `json:"at,omitzero"`       // when the log last showed that one or a later one
	Split  *audit.Split      `json:"split,omitempty"`   // evidence of two histories
	Reason string            `json:"refused,omitempty"` // why the last checkpoint was not taken
	Peers  map[string]string `json:"peers,omitempty"`   // what the last look at each other region gave
}

// Options are what a witness needs; all fields but Peers are required.
type Options struct {
	Region   string
	Verifier audit.Verifier // the log's key, pinned
	Log      Log
	Peers    map[string]Peer // by region
	Dir      string          // where the state is kept
	Every    time.Duration   // between two looks
	Journal  *slog.Logger
	Registry prometheus.Registerer
	Now      func() time.Time
}

// A Witness is one region's. It is safe for concurrent use.
type Witness struct {
	opts     Options
	file     stateFile
	refusals *prometheus.CounterVec

	looking sync.Mutex // one look at a time
	mu      sync.Mutex
	report  Report // what is kept; guarded by mu
	last    error  // of the log's last look; guarded by mu
}

// New returns the witness with what was kept on disk. A state that the pinned
// key has not signed is refused: somebody changed it, or the key.
func New(opts Options) (*Witness, error) {
	w := &Witness{opts: opts, refusals: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "fabric_audit_witness_refusals_total", Help: "Looks at the audit log or at another region's witness that failed, by whom and reason.",
	}, []string{"of", "reason"})}
	var err error
	if w.file, err = openState(opts.Dir); err != nil {
		return nil, err
	}
	if w.report, err = w.file.read(); err != nil {
		return nil, err
	}
	w.report.Region = opts.Region
	if w.report.Note != "" {
		if _, err := opts.Verifier.Open(w.report.Note); err != nil {
			return nil, fmt.Errorf("kept checkpoint %s: %w", w.file.path, err)
		}
	}
	for _, m := range []prometheus.Collector{w.refusals,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "fabric_audit_witness_size", Help: "Leaves under the checkpoint that this region keeps."},
			func() float64 { return float64(w.size()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "fabric_audit_split_view", Help: "1 when this region holds evidence that the audit log showed two histories."},
			func() float64 {
				if w.Report().Split != nil {
					return 1
				}
				return 0
			}),
	} {
		if err := opts.Registry.Register(m); err != nil {
			return nil, fmt.Errorf("witness: %w", err)
		}
	}
	return w, nil
}

// Report returns what the witness tells.
func (w *Witness) Report() Report {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := w.report
	out.Peers = maps.Clone(out.Peers)
	return out
}

// Check says whether the log is in order as far as this region knows: the
// health check. A log that does not answer is not out of order.
func (w *Witness) Check(context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.report.Split != nil {
		return audit.ErrSplit
	}
	if errors.Is(w.last, ErrUnreachable) {
		return nil
	}
	return w.last
}

// Run looks until ctx ends.
func (w *Witness) Run(ctx context.Context) error {
	for {
		before := w.Check(ctx)
		err := w.Look(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && before == nil && !errors.Is(err, ErrUnreachable): // once, not at every look
			w.opts.Journal.Error("the audit log is not in order", "err", err)
		case err == nil && before != nil:
			w.opts.Journal.Info("the audit log is in order again")
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(w.opts.Every/2 + rand.N(w.opts.Every)):
		}
	}
}

// Look asks the log once, then every other region, and says what is wrong.
func (w *Witness) Look(ctx context.Context) error {
	w.looking.Lock()
	defer w.looking.Unlock()
	err := w.askLog(ctx)
	w.mu.Lock()
	w.last = err
	w.report.Reason = ""
	if err != nil {
		w.report.Reason = reason(err)
	}
	w.mu.Unlock()
	if err != nil {
		w.refusals.WithLabelValues("log", reason(err)).Inc()
	}
	outcomes := map[string]string{}
	for _, region := range slices.Sorted(maps.Keys(w.opts.Peers)) {
		outcomes[region] = "agrees"
		if peer := w.askPeer(ctx, w.opts.Peers[region]); peer != nil {
			outcomes[region] = reason(peer)
			w.refusals.WithLabelValues(region, reason(peer)).Inc()
			if errors.Is(peer, audit.ErrSplit) {
				err = errors.Join(err, fmt.Errorf("region %s: %w", region, peer))
			}
		}
	}
	w.mu.Lock()
	w.report.Peers = outcomes
	kept := w.report
	w.mu.Unlock()
	return errors.Join(err, w.file.write(kept))
}

// askLog takes the newest checkpoint if it follows from the one that is kept.
func (w *Witness) askLog(ctx context.Context) error {
	next, err := w.opts.Log.Checkpoint(ctx)
	if err != nil {
		return err
	}
	point, err := w.opts.Verifier.Open(next)
	if err != nil {
		return err
	}
	kept := w.Report().Note
	if kept != "" {
		if err := w.compare(ctx, kept, next); err != nil {
			return err
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.report.At = w.opts.Now()
	if kept == "" || point.Size > w.sizeLocked() {
		w.report.Note = next
	}
	return nil
}

// askPeer holds what another region keeps against what this one keeps.
func (w *Witness) askPeer(ctx context.Context, peer Peer) error {
	theirs, err := peer.Report(ctx)
	if err != nil {
		return err
	}
	if theirs.Split != nil {
		if err := theirs.Split.Check(w.opts.Verifier); err != nil {
			return err // evidence that shows nothing; the region that sent it is at fault
		}
		w.record(theirs.Split)
		return audit.ErrSplit
	}
	ours := w.Report().Note
	if theirs.Note == "" || ours == "" {
		return nil
	}
	if _, err := w.opts.Verifier.Open(theirs.Note); err != nil {
		return err
	}
	return w.compare(ctx, ours, theirs.Note)
}

// compare asks the log for the step between two checkpoints, either way.
func (w *Witness) compare(ctx context.Context, a, b string) error {
	first, err := w.opts.Verifier.Open(a)
	if err != nil {
		return err
	}
	second, err := w.opts.Verifier.Open(b)
	if err != nil {
		return err
	}
	var step audit.Step
	if from, to := min(first.Size, second.Size), max(first.Size, second.Size); from != to {
		if step, err = w.opts.Log.Step(ctx, from, to); err != nil {
			return err
		}
	}
	evidence, err := audit.Follow(w.opts.Verifier, a, b, step)
	if evidence != nil {
		w.record(evidence)
	}
	return err
}

// record keeps the first evidence, which nothing overwrites.
func (w *Witness) record(evidence *audit.Split) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.report.Split == nil {
		w.report.Split = evidence
	}
}

func (w *Witness) size() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.sizeLocked()
}

func (w *Witness) sizeLocked() int64 {
	point, err := audit.ReadCheckpointUnsafe(w.report.Note) // it was opened before it was kept
	if err != nil {
		return 0
	}
	return point.Size
}

// reason is the bounded label of an error.
func reason(err error) string {
	for _, known := range []struct {
		err   error
		label string
	}{
		{audit.ErrSplit, "split"}, {ErrUnreachable, "unreachable"}, {ErrAnswer, "answer"}, {ErrUnsigned, "unsigned"}, {ErrBehind, "behind"},
		{audit.ErrSignature, "signature"}, {audit.ErrCheckpoint, "checkpoint"}, {audit.ErrProof, "proof"}, {audit.ErrNoSplit, "evidence"},
	} {
		if errors.Is(err, known.err) {
			return known.label
		}
	}
	return "other"
}
