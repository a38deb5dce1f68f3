package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/round"
)

// ErrSpent says that an update was given to another round: it is in one sum
// only, whatever becomes of that sum.
var ErrSpent = errors.New("the update was given to another round")

// Ends of the names of the files with what a site last learnt in a buffered
// run, and with what that changed.
const (
	lateFile       = ".late"
	lateUpdateFile = ".lateupdate"
)

// A late is the last update that the site has trained in a buffered run, as it
// was learnt: not clipped to a round's norm, nor packed by its codec. The round
// that it was trained for may be over by the time: it is kept until a round
// takes it, or until it is too old for any.
type late struct {
	Number  int                 `json:"number"` // train round whose weights it started from
	Base    artifact.Digest     `json:"base"`   // those weights
	Update  artifact.Descriptor `json:"update"` // in a file of its own
	Metrics round.Metrics       `json:"metrics"`
	Used    int                 `json:"used,omitempty"` // round that it was given to; 0 is none, and spent is whichever
	Until   time.Time           `json:"until"`          // erased then
}

// spent is the round of an update that the fabric will not have, here or later.
const spent = -1

// contribute returns what the site has to say to an order, and the round whose
// weights the update started from; 0 for the order's own. In a buffered run
// that is what it learnt before, if nobody has had that and the order takes it.
// Else it trains, and the result is stored before anything is said of it.
func (a *Agent) contribute(ctx context.Context, o order) (work result, from int, err error) {
	if !o.Params.Buffers(o.Kind) {
		work, err = a.compute(ctx, o)
		return work, 0, err
	}
	before, ok, err := a.late(o)
	if err != nil {
		return result{}, 0, err
	}
	if ok && o.takes(before) {
		return a.again(ctx, o, before)
	}
	if work, err = a.compute(ctx, o); err != nil {
		return result{}, 0, err
	}
	if err := a.id.records.seal(lateName(o, o.Number), lateUpdateFile, work.update.reader()); err != nil {
		return result{}, 0, errors.Join(err, work.update.Close())
	}
	// If we crash before this line is done, the site trains again.
	kept := late{Number: o.Number, Base: o.Base.Digest, Update: work.update.Descriptor, Metrics: work.metrics, Until: time.Now().Add(o.matters() + time.Hour)}
	if err := a.keepLate(o, kept); err != nil {
		return result{}, 0, errors.Join(err, work.update.Close())
	}
	if ok && before.Number != o.Number {
		err = erase(filepath.Join(a.id.records.dir, lateName(o, before.Number)+lateUpdateFile))
	}
	return work, 0, err
}

// takes says whether the order takes an update: it has been given to no other
// round, and started from weights that the order names.
func (o order) takes(kept late) bool {
	switch {
	case kept.Used != 0 && kept.Used != o.Number:
		return false
	case kept.Number == o.Number:
		return kept.Base == o.Base.Digest
	}
	_, ok := o.Staleness(kept.Number)
	return ok && slices.Contains(o.Starts, round.Start{Number: kept.Number, Base: kept.Base})
}

// again returns an update that was trained before. What a round measures is its
// own weights, also at a site that has learnt from older ones.
func (a *Agent) again(ctx context.Context, o order, kept late) (work result, from int, err error) {
	if kept.Number == o.Number {
		work.metrics = kept.Metrics
	} else {
		measuring := o
		measuring.Kind = round.Evaluate
		if work, err = a.compute(ctx, measuring); err != nil {
			return result{}, 0, err
		}
		work.metrics.Examples, from = kept.Metrics.Examples, kept.Number
		a.log.Info("late", slog.String("run", o.Run), slog.Int("number", o.Number), slog.Int("from", from))
	}
	work.update, err = a.learnt(o, kept)
	return work, from, err
}

// spend marks the update of a record as given to its round, before anything of
// it leaves the site, and returns how many steps old it is. Done again, it is
// the same. Errors: [ErrSpent].
func (p *play) spend() (tau int, err error) {
	if !p.Params.Buffers(p.Kind) {
		return 0, nil
	}
	start := p.rec.From
	if start == 0 {
		start = p.Number
	}
	tau, ok := p.Staleness(p.rec.From)
	kept, there, err := p.late(p.order)
	switch {
	case err != nil:
		return 0, err
	case !ok || !there || kept.Number != start || !p.takes(kept):
		return 0, ErrSpent
	}
	kept.Used = p.Number
	return tau, p.keepLate(p.order, kept)
}

// settle does for an open round what spend does for a masked one: the fabric
// has the update now, or will never take it. One whose round was closed before
// it came is kept for the next; should the fabric have had it all the same, and
// its answer was lost, then it refuses it there.
func (a *Agent) settle(o order, sent error) error {
	if !o.Params.Buffers(o.Kind) || sent != nil && (!final(sent) || tooLate(sent)) {
		return sent
	}
	kept, ok, err := a.late(o)
	if err != nil || !ok {
		return errors.Join(sent, err)
	}
	if kept.Used = o.Number; sent != nil {
		kept.Used = spent
	}
	return errors.Join(sent, a.keepLate(o, kept))
}

// tooLate says whether a refusal is about the stage, and not about the answer.
func tooLate(err error) bool {
	problem, ok := refusal(err)
	return ok && (problem.Code == "closed" || problem.Code == "no_open_stage" || problem.Status == http.StatusNotFound)
}

// matters is how long an update may be of use: all the time that its round and
// those that still take it can stay open.
func (o order) matters() time.Duration {
	p := o.Params
	open := time.Duration(p.DeadlineSeconds) * time.Second * time.Duration(1+p.Extensions)
	if p.Buffers(o.Kind) {
		open *= time.Duration(1 + p.Strategy.MaxStaleness)
	}
	return open
}

// late returns what is known of the last update in the order's run.
func (a *Agent) late(o order) (kept late, ok bool, err error) {
	text, err := a.id.records.load(variateName(o), lateFile)
	if errors.Is(err, fs.ErrNotExist) {
		return late{}, false, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &kept)
	}
	if err != nil {
		return late{}, false, fmt.Errorf("late update: %w", err)
	}
	return kept, true, nil
}

// learnt opens the update itself.
func (a *Agent) learnt(o order, kept late) (*content, error) {
	file, err := a.id.records.unseal(lateName(o, kept.Number), lateUpdateFile)
	if err != nil {
		return nil, fmt.Errorf("late update: %w", err)
	}
	return &content{Descriptor: kept.Update, ReaderAt: file, close: file.Close}, nil
}

// lateName begins the name of the file with the update of a run's round.
func lateName(o order, number int) string { return fmt.Sprintf("%s.%d", variateName(o), number) }

func (a *Agent) keepLate(o order, kept late) error {
	text, err := json.Marshal(kept)
	if err != nil {
		return err
	}
	return a.id.records.put(variateName(o), lateFile, text)
}

// sweepLate erases what no round can take any more.
func (r *records) sweepLate(now time.Time) error {
	files, err := filepath.Glob(filepath.Join(r.dir, "*"+lateFile))
	if err != nil {
		return err
	}
	var failed error
	for _, path := range files {
		name := strings.TrimSuffix(filepath.Base(path), lateFile)
		text, err := r.load(name, lateFile)
		var kept late
		if err == nil {
			err = json.Unmarshal(text, &kept)
		}
		switch {
		case err != nil:
			failed = errors.Join(failed, fmt.Errorf("late update: %w", err))
		case now.After(kept.Until):
			failed = errors.Join(failed, erase(path))
			updates, err := filepath.Glob(filepath.Join(r.dir, name+".*"+lateUpdateFile))
			for _, path := range updates {
				failed = errors.Join(failed, erase(path))
			}
			failed = errors.Join(failed, err)
		}
	}
	return failed
}
