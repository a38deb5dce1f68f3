package apitest

import (
	"context"
	"slices"

	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/consent"
	"github.com/atom-fabric/fabric/domain/dp"
	"github.com/atom-fabric/fabric/domain/privacy"
	"github.com/atom-fabric/fabric/domain/site"
	"github.com/atom-fabric/fabric/domain/summary"
)

type statistics struct{ f *Fabric }

// held returns the grants of a feature as its consent has them.
func (f *Fabric) held(tenant, feature string) (out []consent.Record) {
	row := f.Features[name(tenant, feature)]
	for _, grantee := range row.Consent.Grantees {
		out = append(out, consent.Record{Grant: consent.Grant{
			ID: "g-" + grantee, Tenant: tenant, Feature: feature, Grantee: grantee, Actions: row.Consent.Purposes, Epoch: 1, NotBefore: Epoch,
		}})
	}
	return out
}

func (p statistics) AskStatistics(_ context.Context, cmd api.Command, wish api.StatisticsWish, reply api.Reply[api.FeatureStatistics]) (api.Answer, error) {
	at := name(cmd.Tenant, wish.Feature)
	p.f.mu.Lock()
	there, before := p.f.Published[at]
	p.f.mu.Unlock()
	if before && there.State != summary.StateFailed {
		there.Before = true
		return reply(there)
	}
	return command(p.f, cmd, "statistics.asked", reply, func() (api.FeatureStatistics, error) {
		row, ok := p.f.Features[at]
		if !ok {
			return api.FeatureStatistics{}, api.ErrNotFound
		}
		q := summary.Question{
			Tenant: cmd.Tenant, Feature: wish.Feature, Version: row.Version, Bins: wish.Bins, Epsilon: wish.Epsilon, Delta: privacy.DefaultDelta, Purpose: wish.Purpose,
		}
		var err error
		if q.Columns, err = summary.Columns(row.Schema, row.Semantics, wish.Columns); err != nil {
			return api.FeatureStatistics{}, err
		}
		if err := q.Check(); err != nil {
			return api.FeatureStatistics{}, err
		}
		var sites []site.Site
		for _, s := range p.f.SiteRows {
			sites = append(sites, s)
		}
		if _, _, err := summary.Allowed(p.f.held(cmd.Tenant, wish.Feature), q, sites, Epoch); err != nil {
			return api.FeatureStatistics{}, err
		}
		ledger, ok := p.f.Ledgers[at]
		if !ok {
			ledger.Budget = privacy.Budget{Tenant: cmd.Tenant, Feature: wish.Feature, EpsilonLimit: privacy.DefaultEpsilon, Delta: privacy.DefaultDelta}
		}
		if q, err = q.Noised(); err != nil {
			return api.FeatureStatistics{}, err
		}
		after, err := privacy.Reserve([]privacy.Ledger{ledger}, privacy.Request{Features: []privacy.Feature{{Tenant: cmd.Tenant, Feature: wish.Feature}}, Events: []dp.Event{q.Event()}})
		if err != nil {
			return api.FeatureStatistics{}, err
		}
		p.f.Ledgers[at] = after[0]
		s := api.FeatureStatistics{Question: q, Attempt: there.Attempt + 1, State: summary.StateWaiting, Seconds: wish.Seconds, AskedAt: Epoch}
		p.f.Published[at] = s
		p.f.Starts = append(p.f.Starts, api.Start{Workflow: contract.FeatureStatistics.Name, ID: contract.StatisticsID(cmd.Tenant, wish.Feature, row.Version, s.Attempt)})
		return s, nil
	})
}

func (p statistics) FeatureStatistics(_ context.Context, caller api.Caller, owner, feature string, version int) (api.FeatureStatistics, error) {
	leave, err := p.f.enter()
	defer leave()
	if err != nil {
		return api.FeatureStatistics{}, err
	}
	s, ok := p.f.Published[name(owner, feature)]
	if !ok || version != 0 && version != s.Question.Version {
		return s, api.ErrNotFound
	}
	if owner != caller.Tenant {
		if s.State != summary.StatePublished || !summary.Visible(p.f.held(owner, feature), s.Question, caller.Tenant, Epoch) {
			return api.FeatureStatistics{}, api.ErrNotFound
		}
		s.Question.Sites = nil
	}
	return s, nil
}

func (p statistics) Questions(_ context.Context, tenant, id string) (out []api.FeatureStatistics, err error) {
	leave, err := p.f.enter()
	defer leave()
	for _, s := range p.f.Published {
		if s.Question.Tenant == tenant && s.State == summary.StateOpen && slices.Contains(s.Question.Sites, id) && p.f.Said[name(string(s.Document.Digest), id)].Statement == "" {
			out = append(out, s)
		}
	}
	return out, err
}

func (p statistics) Question(_ context.Context, tenant, id string, question artifact.Digest) (api.FeatureStatistics, error) {
	leave, err := p.f.enter()
	defer leave()
	if err != nil {
		return api.FeatureStatistics{}, err
	}
	for _, s := range p.f.Published {
		if s.Question.Tenant == tenant && s.Document.Digest == question && slices.Contains(s.Question.Sites, id) {
			if s.State != summary.StateOpen {
				return s, api.ErrClosed
			}
			return s, nil
		}
	}
	return api.FeatureStatistics{}, api.ErrNotFound
}

func (p statistics) AnswerQuestion(_ context.Context, _ api.Caller, in api.SiteAnswer) error {
	leave, err := p.f.enter()
	defer leave()
	if err != nil {
		return err
	}
	at := name(string(in.Answer.Question), in.Answer.Site)
	if before, ok := p.f.Said[at]; ok {
		if before.Statement != in.Statement {
			return api.ErrConflict
		}
		return nil
	}
	p.f.Said[at] = in
	p.f.Leaves = append(p.f.Leaves, "statistics.answered")
	return nil
}
