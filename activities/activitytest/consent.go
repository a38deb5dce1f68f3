package activitytest

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/consent"
)

var _ activities.Consents = (*World)(nil)

// Grants returns what the features' consent amounts to as grants that the world
// has signed, and what was given beside.
func (r *Rounds) Grants(_ context.Context, grantee string, tenants, features []string) ([]consent.Record, error) {
	var out []consent.Record
	err := r.w.call(func() error {
		for i, f := range r.w.Features {
			if r.w.Ungranted[f.Tenant+"/"+f.ID] || !slices.Contains(tenants, f.Tenant) || !slices.Contains(features, f.ID) || !f.Consent.Granted || !slices.Contains(f.Consent.Grantees, grantee) {
				continue
			}
			g := consent.Grant{
				ID: fmt.Sprintf("g%06d", i+1), Tenant: f.Tenant, Feature: f.ID, Grantee: grantee, Actions: f.Consent.Purposes, Epoch: 1,
				NotBefore: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC),
			}
			_, digest, err := g.Encode()
			if err != nil {
				return err
			}
			rec := consent.Record{Grant: g, Digest: digest}
			if rec.Bundle, err = r.w.vouched(g); err != nil {
				return err
			}
			if f.Consent.WithdrawnAt != nil {
				rec.WithdrawnAt = *f.Consent.WithdrawnAt
			}
			out = append(out, rec)
		}
		for _, g := range r.w.Given {
			if g.Grantee == grantee && slices.Contains(tenants, g.Tenant) && slices.Contains(features, g.Feature) {
				out = append(out, g)
			}
		}
		return nil
	})
	return out, err
}

// vouched keeps the world's signature under a grant, the same one every time.
func (w *World) vouched(g consent.Grant) (artifact.Descriptor, error) {
	statement, err := g.Statement()
	if err != nil {
		return artifact.Descriptor{}, err
	}
	bundle, err := artifact.SignStatement(nil, w.Key, statement)
	if err != nil {
		return artifact.Descriptor{}, err
	}
	d := artifact.Describe(artifact.MediaTypeBundle, bundle)
	w.Content[d.Digest] = bytes.Clone(bundle)
	return d, nil
}

// KeepGrant writes who signed a grant, once.
func (r *Rounds) KeepGrant(_ context.Context, tenant, id string, bundle artifact.Descriptor) (artifact.Descriptor, error) {
	err := r.w.call(func() error {
		for i, g := range r.w.Given {
			if g.Tenant == tenant && g.ID == id {
				if g.Bundle.Digest == "" {
					r.w.Given[i].Bundle = bundle
				}
				bundle = r.w.Given[i].Bundle
				return nil
			}
		}
		return activities.ErrNotFound
	})
	return bundle, err
}

// Epochs returns 1 for every tenant.
func (r *Rounds) Epochs(_ context.Context, tenants []string) (map[string]int64, error) {
	out := map[string]int64{}
	err := r.w.call(func() error {
		for _, t := range tenants {
			out[t] = 1
		}
		return nil
	})
	return out, err
}

// Foreign says whether a round of another run has closed with these weights.
func (r *Rounds) Foreign(_ context.Context, tenant, run string, weights artifact.Digest) (bool, error) {
	var out bool
	err := r.w.call(func() error {
		out = slices.ContainsFunc(r.w.Closed, func(c contract.CloseRoundInput) bool {
			return c.Tenant == tenant && c.Run != run && c.Weights.Digest == weights
		})
		return nil
	})
	return out, err
}

// Halted returns whom a withdrawal leaves out.
func (r *Rounds) Halted(_ context.Context, ref contract.StageRef) ([]string, error) {
	var out []string
	err := r.w.call(func() error {
		out = slices.Clone(r.w.Halts[key(ref.Run, ref.Number)+"/"+ref.Region])
		return nil
	})
	return out, err
}

// Tainted says why a version may not be promoted.
func (w *World) Tainted(_ context.Context, tenant, model string, number int) (string, error) {
	var out string
	err := w.call(func() error {
		out = w.Taints[fmt.Sprintf("%s/%s/%d", tenant, model, number)]
		return nil
	})
	return out, err
}

// Enforce returns the effects of the report that the world holds.
func (w *World) Enforce(context.Context, string, int64) ([]consent.Effect, error) {
	var out []consent.Effect
	err := w.call(func() error {
		out = slices.Clone(w.Reach.Effects)
		return nil
	})
	return out, err
}

// Reached returns that report.
func (w *World) Reached(context.Context, string, int64) (consent.Report, error) {
	var out consent.Report
	err := w.call(func() error {
		out = w.Reach.Complete()
		return nil
	})
	return out, err
}

// RecordWithdrawal keeps the first report of a withdrawal.
func (w *World) RecordWithdrawal(_ context.Context, in contract.WithdrawalRecord) error {
	return w.call(func() error {
		if !slices.ContainsFunc(w.Withdrew, func(r contract.WithdrawalRecord) bool { return r.Tenant == in.Tenant && r.Epoch == in.Epoch }) {
			w.Withdrew = append(w.Withdrew, in)
		}
		return nil
	})
}
