package activities

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"go.temporal.io/sdk/activity"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/aggregate"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/compress"
	"github.com/atom-fabric/fabric/domain/measure"
	"github.com/atom-fabric/fabric/domain/round"
)

// ErrNobody says that nobody delivered what could be added.
var ErrNobody = errors.New("no usable update was delivered")

// maxDropped bounds the names of dropped sites in a history; the rows name all.
const maxDropped = 10

// maxOpen is how many updates are read side by side, in chunks. More are added
// in several passes over a sum on disk: a store has only so many connections.
// Both give the same bytes.
const maxOpen = 64

// An Aggregate adds what sites and regions deliver.
type Aggregate struct {
	Blobs  Blobs
	Rounds Rounds
	Spool  string // directory for sums on their way; the system's when it is empty
	Open   int    // updates that are read side by side; 0 is [maxOpen]
}

// AggregateRegion closes the stage and adds what its sites sent; for a robust
// rule it lists them instead. Idempotent: a closed stage returns the same
// submissions, their sum is the same to the bit, and it is stored by digest. A
// site whose update cannot be added is dropped and named; a region where all
// are is a result with a cause, not a failure. Heartbeats while it reads.
func (a *Aggregate) AggregateRegion(ctx context.Context, in contract.StageRef) (contract.RegionResult, error) {
	result := contract.RegionResult{Region: in.Region}
	manifest, err := a.manifest(ctx, in)
	if err != nil {
		return result, err
	}
	// If we crash after this line, the stage is found closed, with the same
	// submissions in it.
	submissions, err := a.Rounds.CloseStage(ctx, in)
	if err != nil {
		return result, about(in.Run, in.Number, settled(err))
	}
	result.Counts.Selected = selected(manifest, in.Region)
	var refused refusals
	var usable []Submission
	for _, s := range submissions {
		activity.RecordHeartbeat(ctx, s.Tenant+"/"+s.Site)
		reason, err := a.check(ctx, manifest, s)
		if err != nil {
			return result, about(in.Run, in.Number, err)
		}
		if reason != "" {
			refused.add(s.Tenant, s.Site, reason)
			continue
		}
		usable = append(usable, s)
		result.Metrics = result.Metrics.Add(s.Metrics)
	}
	result.Counts.Accepted, result.Counts.Rejected, result.Dropped = len(usable), refused.count, refused.names
	switch {
	case len(usable) == 0:
		result.Cause = ErrNobody.Error()
		return result, nil
	case in.Kind == round.Evaluate && manifest.Params.Measurement.On():
		result.Partial, err = a.addCounts(ctx, manifest, usable)
	case in.Kind == round.Evaluate:
		return result, nil
	case in.Kind == round.Train && manifest.Params.Strategy.Robust():
		result.Updates, err = a.list(ctx, usable)
	default:
		result.Partial, err = a.sum(ctx, manifest, usable)
	}
	if unusable(err) {
		err = permanent(contract.BadUpdate, err) // it was usable a moment ago
	}
	if err != nil {
		return result, about(in.Run, in.Number, err)
	}
	return result, nil
}

// check reads an update to its end, or says why it does not count. What arrived
// was checked when it arrived; it is checked again because what is added cannot
// be taken out.
func (a *Aggregate) check(ctx context.Context, manifest round.Manifest, s Submission) (reason string, err error) {
	switch {
	case s.Reason != "":
		return s.Reason, nil
	case !s.Metrics.Possible():
		return "its counts are not possible", nil
	case tooOld(manifest, s):
		return aggregate.ErrStale.Error(), nil
	case manifest.Kind == round.Evaluate && manifest.Params.Measurement.On():
		return a.checkCounts(ctx, manifest, s)
	case manifest.Kind == round.Evaluate:
		return "", nil
	case s.Metrics.Examples < 1 || s.Metrics.Examples > aggregate.MaxExamples:
		return aggregate.ErrExamples.Error(), nil
	case s.Update.Digest == "":
		return round.ErrTensors.Error(), nil
	}
	content, err := a.content(ctx, manifest, s)
	if err != nil {
		return "", err
	}
	defer content.Close()
	err = manifest.Params.Strategy.CheckUpdate(manifest.Params.Model, manifest.Kind, content)
	if unusable(err) {
		return err.Error(), nil
	}
	return "", err // the store is away: retried
}

// sum adds the updates, by ascending tenant and site as the port returns them.
// Of more than can be open the first are added before, in a file without a name.
func (a *Aggregate) sum(ctx context.Context, manifest round.Manifest, usable []Submission) (artifact.Descriptor, error) {
	want := manifest.Params.Strategy.Update(manifest.Params.Model, manifest.Kind)
	var before io.Reader // not a nil file
	most := a.most()
	for len(usable) > most {
		file, err := os.CreateTemp(a.Spool, "sum-*")
		if err != nil {
			return artifact.Descriptor{}, err
		}
		defer file.Close()
		if err := os.Remove(file.Name()); err != nil {
			return artifact.Descriptor{}, err
		}
		if err := a.add(ctx, file, manifest, want, before, usable[:most]); err != nil {
			return artifact.Descriptor{}, err
		}
		if _, err := file.Seek(0, io.SeekStart); err != nil {
			return artifact.Descriptor{}, err
		}
		before, usable = bufio.NewReaderSize(file, pieceBytes), usable[most:]
	}
	return keepWritten(ctx, a.Blobs, func(dst io.Writer) error { return a.add(ctx, dst, manifest, want, before, usable) })
}

// most is how many updates are open at a time.
func (a *Aggregate) most() int { return cmp.Or(a.Open, maxOpen) }

// add writes what was before and the updates.
func (a *Aggregate) add(ctx context.Context, dst io.Writer, manifest round.Manifest, want []round.TensorSpec, before io.Reader, updates []Submission) error {
	sources := make([]aggregate.Source, len(updates))
	for i, s := range updates {
		content, err := a.content(ctx, manifest, s)
		if err != nil {
			return err
		}
		defer content.Close()
		sources[i] = aggregate.Source{Tenant: s.Tenant, Site: s.Site, Examples: weigh(manifest, s), Content: content}
	}
	_, err := aggregate.Merge(dst, want, before, sources)
	return err
}

// A singleUpdate is a line of the list that an open round keeps for a robust
// rule.
type singleUpdate struct {
	Tenant string              `json:"tenant"`
	Site   string              `json:"site"`
	Update artifact.Descriptor `json:"update"`
}

// list names the updates, for a rule that looks at each of them.
func (a *Aggregate) list(ctx context.Context, usable []Submission) (artifact.Descriptor, error) {
	updates := make([]singleUpdate, len(usable))
	for i, s := range usable {
		updates[i] = singleUpdate{Tenant: s.Tenant, Site: s.Site, Update: s.Update}
	}
	return keep(ctx, a.Blobs, mediaTypeList, updates)
}

// mediaTypeList is that of a list of updates, which stays inside.
const mediaTypeList = "application/vnd.fabric.updates.v1+json"

// content opens an update, and shows with every read that the work goes on. What
// a codec made smaller is read as what it stands for.
func (a *Aggregate) content(ctx context.Context, manifest round.Manifest, s Submission) (io.ReadCloser, error) {
	content, err := a.openUpdate(ctx, manifest, s.Update)
	if err != nil {
		return nil, fmt.Errorf("update of %s/%s: %w", s.Tenant, s.Site, err)
	}
	return live{content, func() { activity.RecordHeartbeat(ctx, s.Tenant+"/"+s.Site) }}, nil
}

func (a *Aggregate) openUpdate(ctx context.Context, manifest round.Manifest, update artifact.Descriptor) (io.ReadCloser, error) {
	content, err := a.Blobs.Open(ctx, update.Digest)
	wire, ok := compress.Of(manifest)
	if err != nil || !ok {
		return content, err
	}
	return unpacked{wire.Reader(content), content}, nil
}

// An unpacked update is closed as what it is read from.
type unpacked struct {
	io.Reader
	io.Closer
}

// A live reader shows with every read that the work goes on.
type live struct {
	io.ReadCloser
	alive func()
}

func (l live) Read(p []byte) (int, error) {
	l.alive()
	return l.ReadCloser.Read(p)
}

// unusable tells an update that is wrong from a store that failed.
func unusable(err error) bool {
	for _, fault := range []error{
		aggregate.ErrShape, aggregate.ErrExamples,
		round.ErrTensors, round.ErrNotFinite, compress.ErrForm,
		artifact.ErrHeaderLength, artifact.ErrHeader, artifact.ErrTensorName, artifact.ErrTensorOrder, artifact.ErrDType,
		measure.ErrCounts, artifact.ErrShape, artifact.ErrLayout, artifact.ErrTruncated, artifact.ErrTail, artifact.ErrTooLarge,
	} {
		if errors.Is(err, fault) {
			return true
		}
	}
	return false
}

// manifest reads what the round was begun with.
func (a *Aggregate) manifest(ctx context.Context, in contract.StageRef) (round.Manifest, error) {
	manifest, _, err := loadManifest(ctx, a.Blobs, a.Rounds, in)
	if err != nil {
		return manifest, about(in.Run, in.Number, err)
	}
	return manifest, nil
}
