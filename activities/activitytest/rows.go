package activitytest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/approval"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/catalog"
	"github.com/atom-fabric/fabric/domain/consent"
	"github.com/atom-fabric/fabric/domain/privacy"
	"github.com/atom-fabric/fabric/domain/promotion"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/domain/routing"
	"github.com/atom-fabric/fabric/domain/site"
)

// Rows is the world as the port of rounds: a type of its own, because the
// world's field has the name.
func (w *World) Rows() *Rounds { return &Rounds{w} }

// Rounds is the world's port of rounds.
type Rounds struct{ w *World }

func key(run string, number int) string { return fmt.Sprintf("%s/%d", run, number) }

// StageOf returns the stage that ref names, made if there is none.
func (w *World) StageOf(ref contract.StageRef) *Stage {
	at := key(ref.Run, ref.Number) + "/" + ref.Region
	if stage := ref.Stage.Or(); stage != round.StageUpdate {
		at += "/" + string(stage)
	}
	if w.Stages[at] == nil {
		w.Stages[at] = &Stage{}
	}
	return w.Stages[at]
}

// ConsentedFeatures returns the named features of the tenants.
func (r *Rounds) ConsentedFeatures(_ context.Context, _ string, tenants, features []string) ([]catalog.Feature, error) {
	var out []catalog.Feature
	err := r.w.call(func() error {
		for _, f := range r.w.Features {
			if slices.Contains(tenants, f.Tenant) && slices.Contains(features, f.ID) {
				out = append(out, f)
			}
		}
		return nil
	})
	return out, err
}

// ActiveSites returns the sites of the tenants.
func (r *Rounds) ActiveSites(_ context.Context, tenants []string) ([]site.Site, error) {
	var out []site.Site
	err := r.w.call(func() error {
		for _, s := range r.w.Sites {
			if slices.Contains(tenants, s.Tenant) {
				out = append(out, s)
			}
		}
		return nil
	})
	return out, err
}

// BeginRound writes the round once, unless the budget is exhausted.
func (r *Rounds) BeginRound(_ context.Context, in contract.RoundInput, manifest artifact.Descriptor, cohort []round.Seat, cost privacy.Request, _ ...consent.Record) (artifact.Descriptor, error) {
	var out artifact.Descriptor
	err := r.w.call(func() error {
		at := key(in.Run, in.Number)
		if _, begun := r.w.Rounds[at]; !begun {
			if r.w.Exhausted != nil {
				return r.w.Exhausted
			}
			r.w.Rounds[at] = Begun{manifest, round.Groups(cohort), cost}
		}
		out = r.w.Rounds[at].Manifest
		return nil
	})
	return out, err
}

// Begun returns the manifest of a round.
func (r *Rounds) Begun(_ context.Context, _, run string, number int) (artifact.Descriptor, []round.Cohort, bool, error) {
	var out Begun
	var ok bool
	err := r.w.call(func() error {
		out, ok = r.w.Rounds[key(run, number)]
		return nil
	})
	return out.Manifest, out.Cohort, ok, err
}

// OpenStage notes that the stage was opened.
func (r *Rounds) OpenStage(_ context.Context, in contract.RegionInput, stage round.Stage, _ time.Time) error {
	return r.w.call(func() error {
		s := r.w.StageOf(contract.StageRef{Run: in.Run, Number: in.Number, Region: in.Region, Stage: stage})
		s.Opened = 1
		return nil
	})
}

// OpenNext opens a stage for its members, once.
func (r *Rounds) OpenNext(_ context.Context, ref contract.StageRef, members []activities.Member, _ time.Time) error {
	return r.w.call(func() error {
		s := r.w.StageOf(ref)
		r.w.Told = append(r.w.Told, Told{ref, slices.Clone(members)})
		if s.Opened == 0 {
			s.Opened, s.Members, s.Counts.Selected = 1, slices.Clone(members), len(members)
		}
		return nil
	})
}

// Members returns whom a stage was opened for.
func (r *Rounds) Members(_ context.Context, ref contract.StageRef) ([]activities.Member, error) {
	var out []activities.Member
	err := r.w.call(func() error {
		out = slices.Clone(r.w.StageOf(ref).Members)
		return nil
	})
	return out, err
}

// CommitSurvivors writes a set, once.
func (r *Rounds) CommitSurvivors(_ context.Context, ref contract.StageRef, set artifact.Descriptor) (artifact.Descriptor, error) {
	err := r.w.call(func() error {
		at := key(ref.Run, ref.Number) + "/" + ref.Region
		if _, written := r.w.Sets[at]; !written {
			r.w.Sets[at] = set
		}
		set = r.w.Sets[at]
		return nil
	})
	return set, err
}

// Survivors returns the set that was written.
func (r *Rounds) Survivors(_ context.Context, ref contract.StageRef) (set artifact.Descriptor, ok bool, err error) {
	err = r.w.call(func() error {
		set, ok = r.w.Sets[key(ref.Run, ref.Number)+"/"+ref.Region]
		return nil
	})
	return set, ok, err
}

// StageCounts returns the counts.
func (r *Rounds) StageCounts(_ context.Context, ref contract.StageRef) (round.Counts, error) {
	var out round.Counts
	err := r.w.call(func() error {
		out = r.w.StageOf(ref).Counts
		return nil
	})
	return out, err
}

// StageChanged lets a submission arrive, without waiting.
func (r *Rounds) StageChanged(_ context.Context, ref contract.StageRef, _ time.Duration) error {
	return r.w.call(func() error {
		if s := r.w.StageOf(ref); s.Arrives != nil {
			s.Arrives(s)
		}
		return nil
	})
}

// CloseStage closes the stage and returns its submissions: those that it held
// when it was first closed.
func (r *Rounds) CloseStage(_ context.Context, ref contract.StageRef) ([]activities.Submission, error) {
	var out []activities.Submission
	err := r.w.call(func() error {
		s := r.w.StageOf(ref)
		if !s.Closed {
			s.Closed, s.held = true, slices.Clone(s.Submissions)
		}
		out = slices.Clone(s.held)
		for i, sub := range out {
			if from, left := r.w.Left[key(ref.Run, ref.Number)+"/"+ref.Region+" "+sub.Tenant]; left && !before(ref.Stage.Or(), from) {
				out[i].Reason = "its tenant has withdrawn consent"
			}
		}
		return nil
	})
	return out, err
}

// before says whether a stage comes before another.
func before(stage, other round.Stage) bool {
	for next, more := stage.Following(); more; next, more = next.Following() {
		if next == other {
			return true
		}
	}
	return false
}

// Answers returns what was taken in the stages that carry updates.
func (r *Rounds) Answers(_ context.Context, tenant, run string, number int) ([]activities.Answer, time.Time, error) {
	var out []activities.Answer
	err := r.w.call(func() error {
		at := key(run, number) + "/"
		for _, name := range slices.Sorted(maps.Keys(r.w.Stages)) {
			group, ok := strings.CutPrefix(name, at)
			group = strings.TrimSuffix(group, "/"+string(round.StageMask))
			if !ok || strings.Contains(group, "/") {
				continue
			}
			for _, a := range r.w.Stages[name].held {
				if a.Reason == "" && a.Update.Digest != "" {
					out = append(out, activities.Answer{Group: group, Tenant: a.Tenant, Site: a.Site, Bundle: a.Update.Digest})
				}
			}
		}
		return nil
	})
	return out, time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC), err
}

// CloseRound writes the end of a round, once.
func (r *Rounds) CloseRound(_ context.Context, in contract.CloseRoundInput) error {
	return r.w.call(func() error {
		if !slices.ContainsFunc(r.w.Closed, func(c contract.CloseRoundInput) bool { return c.Run == in.Run && c.Number == in.Number }) {
			r.w.Closed = append(r.w.Closed, in)
		}
		return nil
	})
}

// CloseRun writes the end of a run, once.
func (r *Rounds) CloseRun(_ context.Context, in contract.CloseRunInput) error {
	return r.w.call(func() error {
		if !slices.ContainsFunc(r.w.Ended, func(c contract.CloseRunInput) bool { return c.Run == in.Run }) {
			r.w.Ended = append(r.w.Ended, in)
		}
		return nil
	})
}

// Register numbers a package, once.
func (w *World) Register(_ context.Context, in contract.RegisterInput) (contract.Version, error) {
	var out contract.Version
	err := w.call(func() error {
		n := 0
		for _, m := range w.Models {
			if m.Tenant == in.Tenant && m.Model == in.ModelID {
				n++
				if m.Version.Package == in.Candidate.Package.Digest {
					out = contract.Version{Number: n, Repository: m.Version.Repository, Package: m.Version.Package, Weights: m.Version.Weights}
					return nil
				}
			}
		}
		v := promotion.Version{Number: n + 1, Repository: in.Candidate.Repository, Package: in.Candidate.Package.Digest, Weights: in.Weights.Digest, Bundle: in.Bundle.Digest}
		w.Models = append(w.Models, Model{in.Tenant, in.ModelID, v, in.Metrics})
		out = contract.Version{Number: v.Number, Repository: v.Repository, Package: v.Package, Weights: v.Weights}
		return nil
	})
	return out, err
}

// Version returns a registered version.
func (w *World) Version(_ context.Context, tenant, model string, number int) (promotion.Version, round.Metrics, error) {
	var out Model
	err := w.call(func() error {
		for _, m := range w.Models {
			if m.Tenant == tenant && m.Model == model && m.Version.Number == number {
				out = m
				return nil
			}
		}
		return activities.ErrNotFound
	})
	return out.Version, out.Metrics, err
}

// Latest returns the newest snapshot.
func (w *World) Latest(context.Context) (routing.Snapshot, error) {
	var out routing.Snapshot
	err := w.call(func() error {
		if n := len(w.History); n > 0 {
			out = w.History[n-1]
		}
		return nil
	})
	return out, err
}

// At returns the snapshot of a version.
func (w *World) At(_ context.Context, version int64) (routing.Snapshot, error) {
	var out routing.Snapshot
	err := w.call(func() error {
		if version < 1 || version > int64(len(w.History)) {
			return activities.ErrNotFound
		}
		out = w.History[version-1]
		return nil
	})
	return out, err
}

// Publish adds the next snapshot.
func (w *World) Publish(_ context.Context, action, step string, snapshot routing.Snapshot, signed routing.Signed) error {
	return w.call(func() error {
		if _, done := w.Steps[action+" "+step]; done {
			return nil
		}
		if snapshot.Version != int64(len(w.History))+1 {
			return activities.ErrStale
		}
		w.History, w.Signed = append(w.History, snapshot), append(w.Signed, signed)
		w.Steps[action+" "+step] = contract.SnapshotRef{Version: snapshot.Version, Digest: artifact.DigestOf(signed.Snapshot)}
		return nil
	})
}

// Published returns what an action published in a step.
func (w *World) Published(_ context.Context, action, step string) (contract.SnapshotRef, bool, error) {
	var ref contract.SnapshotRef
	var ok bool
	err := w.call(func() error {
		ref, ok = w.Steps[action+" "+step]
		return nil
	})
	return ref, ok, err
}

// Callers returns who is admitted.
func (w *World) Callers(context.Context, string, string) ([]string, error) {
	return w.Admitted, w.call(func() error { return nil })
}

// Approvers returns who may vote.
func (w *World) Approvers(context.Context, string) ([]approval.Approver, error) {
	return w.Voters, w.call(func() error { return nil })
}

// OpenBallot writes the request once.
func (w *World) OpenBallot(_ context.Context, req approval.Request) (approval.Request, error) {
	err := w.call(func() error {
		if opened, ok := w.Ballots[req.Action.ID]; ok {
			req = opened.Request
			return nil
		}
		w.Ballots[req.Action.ID] = approval.Open(req)
		return nil
	})
	return req, err
}

// RecordBallot brings a ballot up to date.
func (w *World) RecordBallot(_ context.Context, ballot approval.Ballot) error {
	return w.call(func() error {
		w.Ballots[ballot.Request.Action.ID] = ballot
		return nil
	})
}

// Standing returns what has changed about people.
func (w *World) Standing(context.Context, string) (approval.Standing, error) {
	return w.Stands, w.call(func() error { return nil })
}

// Trainer returns who trained every version.
func (w *World) Trainer(context.Context, string, string, int) (string, error) {
	return w.Trained, w.call(func() error { return nil })
}

// BeginBallot uses an approval, once.
func (w *World) BeginBallot(_ context.Context, in contract.BeginInput, review *approval.Request, now time.Time) (contract.Begun, error) {
	var out contract.Begun
	err := w.call(func() error {
		id := in.Ballot.Request.Action.ID
		out.Ballot = in.Ballot
		if use, ok := w.Uses[id]; ok {
			if use != in.Use {
				return fmt.Errorf("%w: %w", approval.ErrUsed, activities.ErrRefused)
			}
			out.Ballot = w.Ballots[id]
			if r, ok := w.Ballots[approval.ReviewID(id)]; ok {
				out.Review = &r.Request
			}
			return nil
		}
		if out.Losses = w.Stands.Losses(in.Ballot); len(out.Losses) > 0 {
			return nil
		}
		var err error
		if out.Ballot, err = in.Ballot.Begin(now); err == nil {
			w.Uses[id] = in.Use
			if review != nil {
				w.Ballots[review.Action.ID], out.Review = approval.Open(*review), review
			}
		}
		w.Ballots[id] = out.Ballot
		return nil
	})
	return out, err
}

// RecordOutcome ends an action, once.
func (w *World) RecordOutcome(_ context.Context, in contract.OutcomeInput, _ promotion.Plan) error {
	return w.call(func() error {
		if _, ended := w.Outcomes[in.Action]; !ended {
			w.Outcomes[in.Action] = in
		}
		return nil
	})
}

// Trials returns the finished runs.
func (w *World) Trials(context.Context, string, string) ([]activities.Trial, error) {
	return w.Finished, w.call(func() error { return nil })
}
