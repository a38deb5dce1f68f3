package apitest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/audit"
	"github.com/atom-fabric/fabric/domain/catalog"
	"github.com/atom-fabric/fabric/domain/consent"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/domain/scorecard"
	"github.com/atom-fabric/fabric/domain/site"
)

type features struct{ f *Fabric }

func (p features) Register(_ context.Context, cmd api.Command, feature catalog.Feature, reply api.Reply[catalog.Feature]) (api.Answer, error) {
	return command(p.f, cmd, "feature.registered", reply, func() (catalog.Feature, error) {
		name := cmd.Tenant + "/" + feature.ID
		before, ok := p.f.Features[name]
		feature.Version, feature.Registered = 1, Epoch
		if ok {
			feature.Version = before.Version
			if string(before.Schema) != string(feature.Schema) || before.Fingerprint != feature.Fingerprint {
				feature.Version++
			}
		}
		feature.Consent.RecordedAt = Epoch
		p.f.Features[name] = feature
		return feature, nil
	})
}

func (p features) Withdraw(_ context.Context, cmd api.Command, id string, reply api.Reply[catalog.Feature]) (api.Answer, error) {
	return command(p.f, cmd, "consent.withdrawn", reply, func() (catalog.Feature, error) {
		feature, ok := p.f.Features[name(cmd.Tenant, id)]
		if !ok {
			return feature, api.ErrNotFound
		}
		at := Epoch
		feature.Consent.Granted, feature.Consent.WithdrawnAt = false, &at
		p.f.Features[name(cmd.Tenant, id)] = feature
		return feature, nil
	})
}

func (p features) Features(_ context.Context, caller api.Caller, page api.Page) ([]catalog.Feature, error) {
	return p.named([]string{caller.Tenant}, nil, page)
}

func (p features) ConsentedFeatures(_ context.Context, _ string, tenants, ids []string) ([]catalog.Feature, error) {
	return p.named(tenants, ids, api.Page{Limit: 10_000})
}

func (p features) named(tenants, ids []string, page api.Page) ([]catalog.Feature, error) {
	leave, err := p.f.enter()
	defer leave()
	var found []catalog.Feature
	for _, feature := range p.f.Features {
		if slices.Contains(tenants, feature.Tenant) && (len(ids) == 0 || slices.Contains(ids, feature.ID)) {
			found = append(found, feature)
		}
	}
	return after(found, page, func(f catalog.Feature) string { return f.ID }, false), err
}

type runs struct{ f *Fabric }

func (p runs) StartRun(_ context.Context, cmd api.Command, run api.Run, start api.Start, reply api.Reply[api.Run]) (api.Answer, error) {
	return command(p.f, cmd, "run.accepted", reply, func() (api.Run, error) {
		p.f.RunRows[run.ID] = run
		p.f.Starts = append(p.f.Starts, start)
		return run, nil
	})
}

func (p runs) RecordStop(_ context.Context, cmd api.Command, id, _ string, reply api.Reply[api.Run]) (api.Answer, error) {
	return command(p.f, cmd, "run.stop_requested", reply, func() (api.Run, error) { return p.f.run(cmd.Tenant, id) })
}

func (p runs) RecordPause(_ context.Context, cmd api.Command, id string, paused bool, reply api.Reply[api.Run]) (api.Answer, error) {
	kind := map[bool]string{true: "run.pause_requested", false: "run.resume_requested"}[paused]
	return command(p.f, cmd, kind, reply, func() (api.Run, error) {
		run, err := p.f.run(cmd.Tenant, id)
		if err == nil {
			run.Paused = paused
			p.f.RunRows[id] = run
		}
		return run, err
	})
}

func (p runs) Checkpoint(_ context.Context, caller api.Caller, run string, number int) (api.Checkpoint, error) {
	leave, err := p.f.enter()
	defer leave()
	found, ok := p.f.Checkpoints[fmt.Sprintf("%s/%s/%d", caller.Tenant, run, number)]
	if err == nil && !ok {
		err = api.ErrNotFound
	}
	return found, err
}

func (f *Fabric) run(tenant, id string) (api.Run, error) {
	if run, ok := f.RunRows[id]; ok && run.Tenant == tenant {
		return run, nil
	}
	return api.Run{}, api.ErrNotFound
}

func (p runs) Run(_ context.Context, caller api.Caller, id string) (api.Run, error) {
	leave, err := p.f.enter()
	defer leave()
	if err != nil {
		return api.Run{}, err
	}
	return p.f.run(caller.Tenant, id)
}

func (p runs) Runs(_ context.Context, caller api.Caller, filter api.RunFilter, page api.Page) ([]api.Run, error) {
	leave, err := p.f.enter()
	defer leave()
	var found []api.Run
	for _, run := range p.f.RunRows {
		if run.Tenant == caller.Tenant && (filter.Status == "" || run.Status == filter.Status) && (filter.Model == "" || run.ModelID == filter.Model) {
			found = append(found, run)
		}
	}
	return after(found, page, func(r api.Run) string { return r.ID }, true), err
}

type sites struct{ f *Fabric }

func (p sites) Floors(_ context.Context, tenant string) ([]consent.Floor, int64, error) {
	leave, err := p.f.enter()
	defer leave()
	return p.f.Ended[tenant], p.f.epoch(tenant), err
}

func (p sites) Enrol(_ context.Context, _ api.Caller, s site.Site) (site.Site, error) {
	leave, err := p.f.enter()
	defer leave()
	if err != nil {
		return s, err
	}
	name := s.Tenant + "/" + s.ID
	if before, ok := p.f.SiteRows[name]; ok {
		if before.PublicKey != s.PublicKey || before.Region != s.Region {
			return s, api.ErrConflict
		}
		return before, nil
	}
	s.EnrolledAt = Epoch
	p.f.SiteRows[name] = s
	return s, nil
}

func (p sites) Site(_ context.Context, tenant, id string) (site.Site, error) {
	leave, err := p.f.enter()
	defer leave()
	s, ok := p.f.SiteRows[tenant+"/"+id]
	if err == nil && !ok {
		err = api.ErrNotFound
	}
	return s, err
}

func (p sites) Sites(_ context.Context, caller api.Caller, page api.Page) ([]site.Site, error) {
	found, err := p.active([]string{caller.Tenant})
	return after(found, page, func(s site.Site) string { return s.ID }, false), err
}

func (p sites) ActiveSites(_ context.Context, tenants []string) ([]site.Site, error) {
	return p.active(tenants)
}

func (p sites) active(tenants []string) ([]site.Site, error) {
	leave, err := p.f.enter()
	defer leave()
	var found []site.Site
	for _, s := range p.f.SiteRows {
		if slices.Contains(tenants, s.Tenant) {
			found = append(found, s)
		}
	}
	return found, err
}

func (p sites) Work(ctx context.Context, tenant, id string, wait time.Duration) ([]api.Work, error) {
	leave, err := p.f.enter()
	work := slices.Clone(p.f.WorkItems[tenant+"/"+id])
	leave()
	if err != nil || len(work) > 0 || wait == 0 {
		return work, err
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-timer.C:
		return nil, nil
	}
}

func (p sites) Runs(_ context.Context, tenant, id string) ([]api.OpenRun, error) {
	leave, err := p.f.enter()
	defer leave()
	return p.f.OpenRuns[tenant+"/"+id], err
}

func (p sites) Stage(_ context.Context, tenant, id, run string, number int, stage round.Stage) (api.Work, error) {
	leave, err := p.f.enter()
	defer leave()
	is := func(w api.Work) bool {
		return w.Stage.Run == run && w.Stage.Number == number && w.Stage.Stage.Or() == stage.Or()
	}
	for _, w := range p.f.WorkItems[tenant+"/"+id] {
		if is(w) {
			return w, err
		}
	}
	switch {
	case err != nil:
	case slices.ContainsFunc(p.f.ClosedItems[tenant+"/"+id], is):
		err = api.ErrClosed
	default:
		err = api.ErrNotFound
	}
	return api.Work{}, err
}

func (p sites) Readable(_ context.Context, tenant, id string, digest artifact.Digest) (artifact.Descriptor, error) {
	leave, err := p.f.enter()
	defer leave()
	for _, w := range p.f.WorkItems[tenant+"/"+id] {
		for _, d := range []artifact.Descriptor{w.Base, w.Inbox} {
			if d.Digest == digest {
				return d, err
			}
		}
	}
	if err == nil {
		err = api.ErrNotFound
	}
	return artifact.Descriptor{}, err
}

func (p sites) Submit(_ context.Context, _ api.Caller, s api.Submission) error {
	leave, err := p.f.enter()
	defer leave()
	if err != nil {
		return err
	}
	for _, before := range p.f.Submissions {
		same := before.Stage == s.Stage && before.Tenant == s.Tenant && before.Site == s.Site
		if same && before.Statement != s.Statement {
			return api.ErrConflict
		}
		if same {
			return nil
		}
	}
	p.f.Submissions = append(p.f.Submissions, s)
	return nil
}

type scorecards struct{ f *Fabric }

func (p scorecards) Trials(_ context.Context, caller api.Caller, model string) ([]api.Trial, error) {
	leave, err := p.f.enter()
	defer leave()
	return p.f.TrialRows[caller.Tenant+"/"+model], err
}

// Facts are the trials and nothing else.
func (p scorecards) Facts(ctx context.Context, caller api.Caller, subject scorecard.Subject) (scorecard.Facts, error) {
	trials, err := p.Trials(ctx, caller, subject.Model)
	subject.Tenant = caller.Tenant
	facts := scorecard.Facts{Subject: subject, Operation: scorecard.Operation{DrillAge: -1}}
	for _, t := range trials {
		facts.Trials = append(facts.Trials, scorecard.Trial{Run: t.Run, Params: t.Params, Metrics: t.Metrics, Status: t.Status})
	}
	return facts, err
}

type auditLog struct{ f *Fabric }

func (p auditLog) Leaves(_ context.Context, from int64, limit int) ([]api.AuditEntry, error) {
	leave, err := p.f.enter()
	defer leave()
	lo := min(from, int64(len(p.f.Entries)))
	hi := min(lo+int64(limit), int64(len(p.f.Entries)))
	return p.f.Entries[lo:hi], err
}

func (p auditLog) Checkpoint(context.Context) (api.AuditCheckpoint, error) {
	leave, err := p.f.enter()
	defer leave()
	return api.AuditCheckpoint{Origin: "test", Size: int64(len(p.f.Entries)), Root: artifact.DigestOf(nil)}, err
}

func (p auditLog) Proof(_ context.Context, index, size int64) (api.AuditProof, error) {
	leave, err := p.f.enter()
	defer leave()
	if size == 0 {
		size = int64(len(p.f.Entries))
	}
	if err == nil && (index >= size || size > int64(len(p.f.Entries))) {
		err = api.ErrNotFound
	}
	return api.AuditProof{Index: index, Size: size, Hash: artifact.DigestOf(nil), Root: artifact.DigestOf(nil)}, err
}

func (p auditLog) Consistency(_ context.Context, old, size int64) (api.AuditStep, error) {
	leave, err := p.f.enter()
	defer leave()
	if size == 0 {
		size = int64(len(p.f.Entries))
	}
	if size > int64(len(p.f.Entries)) || old > size {
		return api.AuditStep{}, api.ErrNotFound
	}
	return api.AuditStep{From: old, To: size, FromRoot: artifact.DigestOf(nil), ToRoot: artifact.DigestOf(nil)}, err
}

func (p auditLog) Tile(_ context.Context, tile audit.Tile) ([]byte, error) {
	leave, err := p.f.enter()
	defer leave()
	if !tile.In(int64(len(p.f.Entries))) {
		return nil, api.ErrNotFound
	}
	return make([]byte, tile.Width*len(audit.Hash{})), err
}

// name joins what rows are known by.
func name(parts ...string) string { return strings.Join(parts, "/") }
