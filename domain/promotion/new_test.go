package promotion_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/policy"
	"github.com/atom-fabric/fabric/domain/promotion"
)

func three() *promotion.Version {
	return &promotion.Version{Number: 3, Repository: "models/t/m", Package: artifact.DigestOf([]byte("3"))}
}

func world() promotion.World {
	return promotion.World{
		Observed: promotion.Observed{Snapshot: 9, Champion: 2, Package: artifact.DigestOf([]byte("2")), Policy: 1},
		Regions:  []string{"eu", "us", "apac"},
		Policy:   policy.Default(),
	}
}

func second(change func(*policy.Document)) *policy.Document {
	d := policy.Default()
	d.Revision = 2
	change(&d)
	return &d
}

func TestNewPlan(t *testing.T) {
	cheaper := second(func(d *policy.Document) { d.Weights.Cost = 300 })
	wider := second(func(d *policy.Document) { d.Rules[0].Kinds = []string{policy.Neural, policy.Quantum} })
	narrower := second(func(d *policy.Document) { d.Rules[0].Regions = []string{"eu"} })
	known := world()
	known.Evaluated, known.Drilled = 1000, true
	back := known
	back.Served = true

	tests := []struct {
		name   string
		desire promotion.Desire
		world  promotion.World
		// 100·sqrt(environ·log10(1+1000·reach)/log10(1001)) · (1-(1-.9·reversal)(1-.9·class)(1-.5·uncertain)), worked out by hand
		risk    int
		loosens bool
	}{
		// everywhere: exposure 1; 1-(.73)(.73)(.5) = .734
		{"a version never measured, everywhere", promotion.Desire{Kind: "promotion", Environment: "production", Version: three()}, world(), 73, true},
		// 1-(.91)(.73)(1) = .336, floor 60
		{"a version well known, everywhere", promotion.Desire{Kind: "promotion", Environment: "production", Version: three()}, known, 60, true},
		// one region: B = log10(334.3)/log10(1001) = .8412, X = .9172; 92·.336 = 30.8
		{"the same in one region", promotion.Desire{Kind: "promotion", Environment: "production", Regions: []string{"eu"}, Version: three()}, known, 31, true},
		// halved, no floor for a third
		{"the same, back to what served", promotion.Desire{Kind: "promotion", Environment: "production", Regions: []string{"eu"}, Version: three()}, back, 15, false},
		// staging: X = .5; 50·.336 = 16.8
		{"the same in staging", promotion.Desire{Kind: "promotion", Environment: "staging", Version: three()}, known, 17, true},
		// weights: class .3; half of 1-(.73)(.73) = .467, 23; floor 60 for production everywhere
		{"a policy that only weighs otherwise", promotion.Desire{Kind: "policy", Environment: "production", Policy: cheaper}, world(), 60, false},
		// reversal .7, class .6: 1-(.37)(.46) = .830
		{"a policy that permits more", promotion.Desire{Kind: "policy", Environment: "production", Policy: wider}, world(), 83, true},
		// dev: X = .2236; class .6, half of 1-(.73)(.46) = .332: 7.4
		{"a policy that permits less, in dev", promotion.Desire{Kind: "policy", Environment: "dev", Policy: narrower}, world(), 7, false},
		// the table's first example in dev
		{"a learning rate in dev", promotion.Desire{Kind: "tuning", Environment: "dev", Tuning: &promotion.Tuning{Parameter: "learningRate", From: "0.1", To: "0.2"}}, world(), 6, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			plan, err := promotion.NewPlan(tt.desire, tt.world)
			require.NoError(t, err)
			require.Equal(t, tt.risk, plan.Risk.Score)
			require.Equal(t, tt.loosens, plan.Risk.Loosens)
			require.NotEmpty(t, plan.Diff, "a person reads what changes")
			require.Equal(t, tt.world.Observed, plan.Observed)
		})
	}
}

func TestNewPlanRefuses(t *testing.T) {
	same := world()
	same.Observed.Champion, same.Observed.Package = 3, artifact.DigestOf([]byte("3"))
	bad := second(func(d *policy.Document) { d.Threshold = 101 })
	skipped := second(func(d *policy.Document) { d.Revision = 3 })
	var invalid *policy.DocumentError

	tests := []struct {
		name   string
		desire promotion.Desire
		world  promotion.World
		want   error
	}{
		{"an unknown environment", promotion.Desire{Kind: "promotion", Environment: "prod", Version: three()}, world(), promotion.ErrEnvironment},
		{"a region that is not served", promotion.Desire{Kind: "promotion", Environment: "dev", Regions: []string{"mars"}, Version: three()}, world(), promotion.ErrRegions},
		{"a region named twice", promotion.Desire{Kind: "promotion", Environment: "dev", Regions: []string{"eu", "eu"}, Version: three()}, world(), promotion.ErrRegions},
		{"a fabric without regions", promotion.Desire{Kind: "promotion", Environment: "dev", Version: three()}, promotion.World{}, promotion.ErrRegions},
		{"a kind without what it changes", promotion.Desire{Kind: "policy", Environment: "dev", Version: three()}, world(), promotion.ErrKind},
		{"two changes at once", promotion.Desire{Kind: "promotion", Environment: "dev", Version: three(), Policy: second(func(*policy.Document) {})}, world(), promotion.ErrKind},
		{"the version that serves", promotion.Desire{Kind: "promotion", Environment: "dev", Version: three()}, same, promotion.ErrNoChange},
		{"a policy that changes nothing", promotion.Desire{Kind: "policy", Environment: "dev", Policy: second(func(*policy.Document) {})}, world(), promotion.ErrNoChange},
		{"a revision that was skipped", promotion.Desire{Kind: "policy", Environment: "dev", Policy: skipped}, world(), promotion.ErrRevision},
		{"a rate that stays", promotion.Desire{Kind: "tuning", Environment: "dev", Tuning: &promotion.Tuning{From: "1", To: "1"}}, world(), promotion.ErrNoChange},
		{"a simulated caller in production", promotion.Desire{Kind: "promotion", Environment: "production", Version: three(), Simulated: true}, world(), promotion.ErrSimulated},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := promotion.NewPlan(tt.desire, tt.world)
			require.ErrorIs(t, err, tt.want)
		})
	}
	_, err := promotion.NewPlan(promotion.Desire{Kind: "policy", Environment: "dev", Policy: bad}, world())
	require.ErrorAs(t, err, &invalid)
	require.Equal(t, "/threshold", invalid.Pointer)
}

func TestStale(t *testing.T) {
	seen := promotion.Observed{Snapshot: 9, Champion: 2, Package: artifact.DigestOf([]byte("2")), Policy: 1}
	tests := []struct {
		name  string
		now   func(*promotion.Observed)
		stale string
	}{
		{"holds while nothing moved", func(*promotion.Observed) {}, ""},
		{"holds when others moved the snapshot", func(o *promotion.Observed) { o.Snapshot = 12 }, ""},
		{"is stale when another version serves", func(o *promotion.Observed) { o.Champion = 3 }, "the version that serves"},
		{"is stale when the version has another package", func(o *promotion.Observed) { o.Package = artifact.DigestOf([]byte("x")) }, "the package that serves"},
		{"is stale when the policy moved", func(o *promotion.Observed) { o.Policy = 2 }, "the policy revision in force"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			now := seen
			tt.now(&now)
			err := promotion.Stale(seen, now)
			if tt.stale == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, promotion.ErrStale)
			var why *promotion.StaleError
			require.ErrorAs(t, err, &why)
			require.Equal(t, tt.stale, why.What)
		})
	}
}
