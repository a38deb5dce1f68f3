package consent_test

import (
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/consent"
)

var noon = time.Date(2026, 11, 2, 12, 0, 0, 0, time.UTC)

// grant is one that allows use.
func grant(change func(*consent.Grant)) consent.Grant {
	g := consent.Grant{ID: "g1", Tenant: "clinic", Feature: "age", Grantee: "lab", Actions: consent.Actions(), NotBefore: noon.Add(-time.Hour), Epoch: 1}
	if change != nil {
		change(&g)
	}
	return g
}

func use(change func(*consent.Use)) consent.Use {
	u := consent.Use{Grantee: "lab", Action: consent.ActionTrain, Regions: []string{"eu"}, Cohort: 5, Now: noon}
	if change != nil {
		change(&u)
	}
	return u
}

// The conformance cases are those of DUO's own examples of which request fits
// which permission: GRU covers every research, HMB health research, DS-x its
// disease alone (https://github.com/EBISPOT/DUO, class hierarchy of 2021-02-23).
func TestPurposes(t *testing.T) {
	for _, tt := range []struct {
		granted string // space separated
		asked   string
		want    error
	}{
		{"", "", nil}, {"", "HMB", nil}, {"NRES", "", nil}, {"NRES", "POA", nil},
		{"GRU", "GRU", nil}, {"GRU", "HMB", nil}, {"GRU", "DS-MONDO:1", nil}, {"GRU", "POA", nil},
		{"GRU", "", consent.ErrWrongFor}, {"GRU", "NRES", consent.ErrWrongFor},
		{"HMB", "HMB", nil}, {"HMB", "DS-MONDO:1", nil}, {"HMB", "GRU", consent.ErrWrongFor}, {"HMB", "POA", consent.ErrWrongFor},
		{"DS-MONDO:1", "DS-MONDO:1", nil}, {"DS-MONDO:1", "DS-MONDO:2", consent.ErrWrongFor}, {"DS-MONDO:1", "HMB", consent.ErrWrongFor},
		{"DS-MONDO:1 DS-MONDO:2", "DS-MONDO:2", nil}, {"POA", "POA", nil}, {"POA", "GRU", consent.ErrWrongFor},
		{"IRB", "", consent.ErrUndeclared}, {"HMB NPU", "HMB", consent.ErrUndeclared}, {"US", "", nil},
	} {
		g := grant(func(g *consent.Grant) { g.Purposes = strings.Fields(tt.granted) })
		err := g.Permits(use(func(u *consent.Use) { u.Purpose = tt.asked }))
		if tt.want == nil {
			require.NoError(t, err, "%q for %q", tt.granted, tt.asked)
			continue
		}
		require.ErrorIs(t, err, tt.want, "%q for %q", tt.granted, tt.asked)
		require.Contains(t, err.Error(), "ask clinic", "it says what to do")
	}
}

func TestPermits(t *testing.T) {
	private := func(epsilon float64) func(*consent.Use) {
		return func(u *consent.Use) { u.Private, u.Epsilon = true, epsilon }
	}
	for _, tt := range []struct {
		name   string
		change func(*consent.Grant)
		use    func(*consent.Use)
		want   error
	}{
		{"allows", nil, nil, nil},
		{"not another tenant", nil, func(u *consent.Use) { u.Grantee = "x" }, consent.ErrGrantee},
		{"not before it begins", func(g *consent.Grant) { g.NotBefore = noon.Add(time.Second) }, nil, consent.ErrWaiting},
		{"from its first second on", func(g *consent.Grant) { g.NotBefore = noon }, nil, nil},
		{"not from its end on", func(g *consent.Grant) { g.ExpiresAt = noon }, nil, consent.ErrExpired},
		{"until its end", func(g *consent.Grant) { g.ExpiresAt = noon.Add(time.Second) }, nil, nil},
		{"not another action", func(g *consent.Grant) { g.Actions = []string{"stats"} }, nil, consent.ErrWrongUse},
		{"not another region", func(g *consent.Grant) { g.Constraints.Regions = []string{"eu"} }, func(u *consent.Use) { u.Regions = []string{"eu", "us"} }, consent.ErrRegion},
		{"not a smaller cohort", func(g *consent.Grant) { g.Constraints.MinCohort = 6 }, nil, consent.ErrCohort},
		{"a cohort as large", func(g *consent.Grant) { g.Constraints.MinCohort = 5 }, nil, nil},
		{"nobody of the tenant", func(g *consent.Grant) { g.Constraints.MinCohort = 6 }, func(u *consent.Use) { u.Cohort = 0 }, nil},
		{"not without a bound", func(g *consent.Grant) { g.Constraints.MaxEpsilon = 2 }, nil, consent.ErrEpsilon},
		{"not above the bound", func(g *consent.Grant) { g.Constraints.MaxEpsilon = 2 }, private(2.1), consent.ErrEpsilon},
		{"up to the bound", func(g *consent.Grant) { g.Constraints.MaxEpsilon = 2 }, private(2), nil},
		{"no derivative", func(g *consent.Grant) { g.Constraints.NoDerivative = true }, func(u *consent.Use) { u.Derived = true }, consent.ErrDerived},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := grant(tt.change).Permits(use(tt.use))
			if tt.want == nil {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, tt.want)
		})
	}
}

// Of several grants the first that permits everything is chosen, and when none
// does the refusal is the one that the asker can do most about.
func TestChoose(t *testing.T) {
	record := func(id string, change func(*consent.Record)) consent.Record {
		r := consent.Record{Grant: grant(func(g *consent.Grant) { g.ID = id })}
		if change != nil {
			change(&r)
		}
		return r
	}
	withdrawn := record("a", func(r *consent.Record) { r.WithdrawnAt = noon })
	used := record("b", func(r *consent.Record) { r.Constraints.MaxRounds, r.Used = 3, 3 })
	got, err := consent.Choose([]consent.Record{record("d", nil), withdrawn, record("c", nil), used}, "clinic", "age", use(nil), consent.Actions()...)
	require.NoError(t, err)
	require.Equal(t, "c", got.ID)
	_, err = consent.Choose([]consent.Record{withdrawn, used}, "clinic", "age", use(nil), consent.ActionTrain)
	require.ErrorIs(t, err, consent.ErrRounds)
	_, err = consent.Choose([]consent.Record{withdrawn}, "clinic", "age", use(nil), consent.ActionTrain)
	require.ErrorIs(t, err, consent.ErrWithdrawn)
	_, err = consent.Choose(nil, "clinic", "age", use(nil), consent.ActionTrain)
	require.ErrorIs(t, err, consent.ErrNone)
}

func TestGrantsThatAreRefused(t *testing.T) {
	for name, change := range map[string]func(*consent.Grant){
		"tenant":                 func(g *consent.Grant) { g.Tenant = "No" },
		"actions":                func(g *consent.Grant) { g.Actions = []string{"sell"} },
		"purposes":               func(g *consent.Grant) { g.Purposes = []string{"GRU", "HMB"} },
		"purposes ":              func(g *consent.Grant) { g.Purposes = []string{"TS"} },
		"purposes  ":             func(g *consent.Grant) { g.Purposes = []string{"DS-"} },
		"constraints/maxEpsilon": func(g *consent.Grant) { g.Constraints.MaxEpsilon = -1 },
		"constraints/minCohort":  func(g *consent.Grant) { g.Constraints.MinCohort = -1 },
		"constraints/regions":    func(g *consent.Grant) { g.Constraints.Regions = []string{"EU"} },
		"expiresAt":              func(g *consent.Grant) { g.ExpiresAt = g.NotBefore },
		"epoch":                  func(g *consent.Grant) { g.Epoch = 0 },
		"evidence":               func(g *consent.Grant) { g.Evidence = "secret" },
	} {
		_, err := grant(change).Normal()
		var field *consent.FieldError
		require.ErrorAs(t, err, &field, name)
		require.Equal(t, strings.TrimSpace(name), field.Field)
	}
}

// Whatever order and spelling, a grant has one digest, and its statement is
// about exactly that.
func TestAGrantHasOneForm(t *testing.T) {
	a, err := grant(func(g *consent.Grant) {
		g.Actions = []string{"train", "stats"}
		g.NotBefore = noon.Add(time.Millisecond)
	}).Normal()
	require.NoError(t, err)
	b, err := grant(func(g *consent.Grant) {
		g.Actions = []string{"stats", "train", "stats"}
		g.NotBefore = noon.In(time.FixedZone("x", 3600))
	}).Normal()
	require.NoError(t, err)
	text, digest, err := a.Encode()
	require.NoError(t, err)
	_, other, err := b.Encode()
	require.NoError(t, err)
	require.Equal(t, digest, other)
	// The form that migration 15 writes for consent that was given before.
	require.Equal(t, `{"actions":["stats","train"],"epoch":1,"feature":"age","grantId":"g1","grantee":"lab","notBefore":"2026-11-02T12:00:00Z","tenant":"clinic"}`, string(text))
	s, err := a.Statement()
	require.NoError(t, err)
	require.Equal(t, digest, s.Subject)
	require.Equal(t, artifact.PredicateGrant, s.PredicateType)
}

// Floors only rise, whatever is said in whatever order.
func TestFloorsOnlyRise(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 1))
	var floors []consent.Floor
	most := map[string]int64{}
	for range 500 {
		f := consent.Floor{Feature: string(rune('a' + random.IntN(3))), Grantee: string(rune('x' + random.IntN(2))), Epoch: 1 + random.Int64N(50)}
		most[f.Feature+f.Grantee] = max(most[f.Feature+f.Grantee], f.Epoch)
		floors = consent.Raise(floors, []consent.Floor{f})
	}
	require.Len(t, floors, len(most), "seed %d", seed)
	for _, f := range floors {
		require.Equal(t, most[f.Feature+f.Grantee], f.Epoch, "seed %d", seed)
		require.True(t, f.Below(consent.Grant{Feature: f.Feature, Grantee: f.Grantee, Epoch: f.Epoch - 1}))
		require.False(t, f.Below(consent.Grant{Feature: f.Feature, Grantee: f.Grantee, Epoch: f.Epoch}))
	}
}

func TestAccessLifecycle(t *testing.T) {
	for _, tt := range []struct {
		from consent.AccessState
		by   consent.AccessEvent
		to   consent.AccessState
	}{
		{consent.Pending, consent.Approve, consent.Approved}, {consent.Approved, consent.Provision, consent.Provisioned}, {consent.Pending, consent.Reject, consent.Rejected},
		{consent.Provisioned, consent.Revoke, consent.Revoked}, {consent.Pending, consent.Revoke, consent.Revoked},
		{consent.Rejected, consent.Approve, ""}, {consent.Revoked, consent.Approve, ""}, {consent.Provisioned, consent.Approve, ""}, {consent.Pending, "x", ""},
	} {
		to, err := tt.from.After(tt.by)
		if tt.to == "" {
			require.ErrorIs(t, err, consent.ErrStep)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, tt.to, to)
	}
}

// Percentiles by nearest rank: of 1..100 ms p50 is 50 and p99 is 99. Rounds that
// were over count for nothing.
func TestTheReportSaysHowLongItTook(t *testing.T) {
	r := consent.Report{Tenant: "clinic", Epoch: 2, Feature: "age", Reason: "a|b\n# c", WithdrawnAt: noon, WrittenAt: noon}
	for i := range 100 {
		r.Effects = append(r.Effects, consent.Effect{Run: "run-1", Round: i, Region: "eu", Action: consent.Dropped, At: noon.Add(time.Duration(100-i) * time.Millisecond)})
	}
	r.Effects = append(r.Effects, consent.Effect{Run: "run-0", Round: 1, Action: consent.Tainted, At: noon.Add(time.Hour)})
	r.Checkpoints = []consent.Checkpoint{{Run: "run-0", Round: 1, Weights: artifact.DigestOf(nil)}}
	r.Models = []consent.Model{{Model: "m", Version: 3, Serves: []string{"production"}}}
	r = r.Complete()
	require.Equal(t, consent.Latency{Groups: 100, P50Milliseconds: 50, P99Milliseconds: 99, MaxMilliseconds: 100}, r.Latency)
	require.True(t, r.Undecided())
	text := r.Markdown()
	for _, part := range []string{"p50 50 ms, p99 99 ms", "version 3 of m serves production until it is rolled back", "fabric consent decide 2", "- reason given: a b # c\n"} {
		require.Contains(t, text, part)
	}
	_, err := json.Marshal(r)
	require.NoError(t, err)
	require.False(t, consent.Report{}.Complete().Undecided())
	require.True(t, consent.Blocks(""))
	require.False(t, consent.Blocks(consent.DecideStop))
}
