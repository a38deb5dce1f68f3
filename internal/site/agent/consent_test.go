package agent

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/consent"
	"github.com/atom-fabric/fabric/domain/round"
)

// performs starts the agent of a site and has it obey one order.
func performs(t *testing.T, w *world, opts Options, floors []v1.ConsentFloor, item v1.Work) error {
	t.Helper()
	a := start(t, opts, w)
	var err error
	a.id, err = openIdentity(opts)
	require.NoError(t, err)
	defer a.id.close()
	require.NoError(t, a.enrol(t.Context()))
	require.NoError(t, a.heed(floors))
	_, err = a.perform(t.Context(), item)
	return err
}

// Each case is one grant, or what came with the order in its place; the site has
// nobody to ask.
func TestAnOrderWithoutAGrantThatAllowsItIsRefused(t *testing.T) {
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	tests := []struct {
		name   string
		kind   round.Kind
		change func(*consent.Grant)
		order  func(*round.Manifest)
		floors []v1.ConsentFloor
		by     *ecdsa.PrivateKey
		keys   []*ecdsa.PublicKey
		want   error
	}{
		{name: "trains under a grant"},
		{name: "refuses another grantee", change: func(g *consent.Grant) { g.Grantee = "stranger" }, want: consent.ErrGrantee},
		{name: "refuses what has expired", change: func(g *consent.Grant) { g.ExpiresAt = g.NotBefore.Add(time.Hour) }, want: consent.ErrExpired},
		{name: "refuses what has not begun", change: func(g *consent.Grant) { g.NotBefore = time.Date(2999, 1, 1, 0, 0, 0, 0, time.UTC) }, want: consent.ErrWaiting},
		{name: "refuses an action that is not allowed", change: func(g *consent.Grant) { g.Actions = []string{consent.ActionStats} }, want: consent.ErrWrongUse},
		{name: "takes statistics under the same grant", kind: round.Statistics, change: func(g *consent.Grant) { g.Actions = []string{consent.ActionStats} }},
		{name: "refuses a purpose that is not stated", change: func(g *consent.Grant) { g.Purposes = []string{"HMB"} }, want: consent.ErrWrongFor},
		{name: "takes the purpose of the run", change: func(g *consent.Grant) { g.Purposes = []string{"HMB"} }, order: func(m *round.Manifest) { m.Params.Purpose = "DS-MONDO:0007254" }},
		{name: "refuses an obligation that nobody declares", change: func(g *consent.Grant) { g.Purposes = []string{"NPU"} }, want: consent.ErrUndeclared},
		{name: "takes one that is declared", change: func(g *consent.Grant) { g.Purposes = []string{"NPU"} }, order: func(m *round.Manifest) { m.Params.Meets = []string{"NPU"} }},
		{name: "refuses its region", change: func(g *consent.Grant) { g.Constraints.Regions = []string{"us"} }, want: consent.ErrRegion},
		{name: "refuses a small cohort", change: func(g *consent.Grant) { g.Constraints.MinCohort = 3 }, want: consent.ErrCohort},
		{name: "refuses a round without a bound on epsilon", change: func(g *consent.Grant) { g.Constraints.MaxEpsilon = 1 }, want: consent.ErrEpsilon},
		{name: "evaluates all the same", kind: round.Evaluate, change: func(g *consent.Grant) { g.Constraints.MaxEpsilon = 1 }},
		{name: "refuses the grant of another feature", change: func(g *consent.Grant) { g.Feature = "genes" }, want: consent.ErrNone},
		{name: "refuses the grant of another tenant", change: func(g *consent.Grant) { g.Tenant = "hosp-south" }, want: ErrConsent},
		{name: "refuses a key that it does not know", by: other, want: artifact.ErrUntrusted},
		{name: "refuses the fabric's signature where the tenant has a key", keys: []*ecdsa.PublicKey{&other.PublicKey}, want: artifact.ErrUntrusted},
		{name: "takes the tenant's own", by: other, keys: []*ecdsa.PublicKey{&other.PublicKey}},
		{name: "refuses an older epoch", floors: []v1.ConsentFloor{{Feature: "cells", Grantee: "consortium", Epoch: 2}}, want: consent.ErrOldEpoch},
		{name: "takes the epoch of the withdrawal", change: func(g *consent.Grant) { g.Epoch = 2 }, floors: []v1.ConsentFloor{{Feature: "cells", Grantee: "consortium", Epoch: 2}}},
		{name: "leaves other withdrawals aside", floors: []v1.ConsentFloor{{Feature: "genes", Grantee: "consortium", Epoch: 2}, {Feature: "cells", Grantee: "other", Epoch: 2}}},
		{name: "refuses an order that names no grants", order: func(m *round.Manifest) { m.Consents = nil }, want: ErrConsent},
		{name: "refuses grants that are not those it names", order: func(m *round.Manifest) { m.Consents[0].Grants = artifact.DigestOf(nil) }, want: ErrConsent},
		{name: "refuses a grant of an epoch to come", change: func(g *consent.Grant) { g.Epoch = 3 }, order: func(m *round.Manifest) { m.Consents[0].Epoch = 2 }, want: ErrConsent},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			opts := options(t)
			opts.GrantKeys = tt.keys
			w := newWorld(t)
			key := w.key
			if tt.by != nil {
				key = tt.by
			}
			kind := tt.kind
			if kind == "" {
				kind = round.Train
			}
			item := w.order(t, 1, kind, func(m *round.Manifest) {
				m.Consents = w.consentsBy(t, key, granted(*m, tt.change))
				if tt.order != nil {
					tt.order(m)
				}
			})
			err := performs(t, w, opts, tt.floors, item)
			if tt.want == nil {
				require.NoError(t, err)
				require.Len(t, w.answered[1], 1)
				return
			}
			require.ErrorIs(t, err, tt.want)
			require.ErrorIs(t, err, ErrConsent)
			require.True(t, refused(err), "it is said once, not retried as a failure")
			require.Empty(t, w.answered)
		})
	}
}

// A control plane that offers an order from before a withdrawal finds that the
// site remembers it, also after a restart.
func TestASiteRemembersAWithdrawal(t *testing.T) {
	opts := options(t)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.floors = []v1.ConsentFloor{{Feature: "cells", Grantee: "consortium", Epoch: 2}}
		work(t, start(t, opts, w), time.Minute) // nothing is offered; it is told
		w.floors = nil
		w.offers = append(w.offers, w.order(t, 1, round.Train, nil))
		work(t, start(t, opts, w), time.Minute)
		require.Empty(t, w.answered)
		w.offers = []v1.Work{w.order(t, 2, round.Train, func(m *round.Manifest) {
			m.Consents = w.consents(t, granted(*m, func(g *consent.Grant) { g.Epoch = 2 }))
		})}
		work(t, start(t, opts, w), time.Minute)
		require.Len(t, w.answered[2], 1, "what was granted since counts")
	})
}
