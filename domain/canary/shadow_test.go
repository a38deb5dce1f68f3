package canary_test

import (
	"encoding/json"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/canary"
)

func withShadow(bp int, required int64) canary.Design {
	d := canary.Default("r")
	d.Shadow = &canary.Shadow{ShareBP: bp, Required: required}
	return d
}

func TestAShadowIsOverEverywhereBeforeTheFirstShare(t *testing.T) {
	d := withShadow(1050, 100)
	d.SharesBP = []int{500, canary.Whole}
	regions := []string{"apac", "eu"}
	var said []string
	for i, s := range d.Steps(regions) {
		require.Equal(t, i+1, s.Number)
		require.Equal(t, i < 2, s.Shadow())
		said = append(said, s.String())
	}
	require.Equal(t, []string{"shadow of 10.50 % of apac", "shadow of 10.50 % of eu", "5 % of apac", "100 % of apac", "5 % of eu", "100 % of eu"}, said)
	require.Equal(t, 4, d.Judged(2), "a shadow is judged, and has its part of the level")
}

func TestShadowsThatAreRefused(t *testing.T) {
	for _, tt := range []struct {
		name     string
		bp       int
		required int64
		want     error
	}{
		{"a tenth", 1000, 500, nil},
		{"everything", canary.Whole, 30, nil},
		{"of nothing", 0, 500, canary.ErrShadow},
		{"of more than everything", canary.Whole + 1, 500, canary.ErrShadow},
		{"of too few to say anything", 1000, canary.Fewest - 1, canary.ErrShadow},
		{"of more than is planned", 1000, 1001, canary.ErrShadow}, // the default plans 2000 of both sides
	} {
		t.Run(tt.name, func(t *testing.T) {
			require.ErrorIs(t, withShadow(tt.bp, tt.required).Validate(3), tt.want)
		})
	}
	require.NoError(t, canary.Default("r").Validate(canary.MaxSteps/5))
	require.ErrorIs(t, withShadow(1000, 500).Validate(canary.MaxSteps/5), canary.ErrSteps, "its steps count")
}

// What is not there stays as it was: a plan without a shadow has the digest that
// it had before there were any.
func TestADesignWithoutAShadowIsAsBefore(t *testing.T) {
	text, err := artifact.Canonical(canary.Default("r"))
	require.NoError(t, err)
	require.NotContains(t, string(text), "shadow")
	step, err := json.Marshal(canary.Default("r").Steps([]string{"eu"})[0])
	require.NoError(t, err)
	require.JSONEq(t, `{"number":1,"region":"eu","shareBP":100}`, string(step))
}

// A shadow is judged by the guardrails, after its own count of copies.
func TestAShadowIsJudgedByTheGuardrails(t *testing.T) {
	d := withShadow(1000, 60)
	shadow, first := d.Steps([]string{"eu"})[0], d.Steps([]string{"eu"})[1]
	for _, tt := range []struct {
		name       string
		step       canary.Step
		serves     canary.Measure
		candidate  canary.Measure
		want, says canary.Verdict // of all, of the errors
	}{
		{"no copies", shadow, measure(9000, 9, 40, 20), canary.Measure{}, canary.NoData, canary.NoData},
		{"no requests", shadow, canary.Measure{}, canary.Measure{}, canary.NoData, canary.NoData},
		{"too few copies", shadow, measure(9000, 9, 40, 20), measure(59, 0, 40, 20), canary.NoData, canary.NoData},
		{"none answered", shadow, measure(9000, 9, 40, 20), canary.Measure{Answers: 40, Errors: 40}, canary.Fail, canary.Fail},
		{"as good", shadow, measure(9000, 9, 40, 5), measure(900, 1, 40, 5), canary.Pass, canary.Pass},
		{"slow", shadow, measure(9000, 9, 40, 5), measure(900, 1, 60, 5), canary.Fail, canary.Pass},
		{"enough for a shadow is too little for a share", first, measure(9000, 9, 40, 5), measure(400, 0, 40, 5), canary.NoData, canary.NoData},
	} {
		t.Run(tt.name, func(t *testing.T) {
			look := canary.Judge(d, d.Judged(1), tt.step, tt.serves, tt.candidate)
			require.Equal(t, tt.want, look.Verdict, look.Words())
			require.Equal(t, tt.says, look.Findings[0].Verdict, look.Words())
		})
	}
}

// Whatever the shadow, the level of the whole rollout stays the design's: the
// levels of all looks' bounds over all judged steps add up to it.
func TestAShadowTakesNothingOfTheLevel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d, regions := canary.Default("r"), rapid.IntRange(1, 6).Draw(t, "regions")
		if rapid.Bool().Draw(t, "shadowed") {
			d = withShadow(rapid.IntRange(1, canary.Whole).Draw(t, "bp"), 500)
		}
		total := 0.0
		for _, s := range d.Steps(make([]string, regions)) {
			if s.Full() {
				continue
			}
			for _, f := range canary.Judge(d, d.Judged(regions), s, canary.Measure{}, canary.Measure{}).Findings {
				total += f.Level
			}
		}
		if diff := total - float64(d.AlphaBP)/canary.Whole; diff > 1e-12 || diff < -1e-12 {
			t.Fatalf("levels add up to %v", total)
		}
	})
}

// 400 versions that are as good, 50 looks at each one's shadow: fewer than the
// level fail by mistake.
func TestAGoodVersionSeldomFailsInItsShadow(t *testing.T) {
	const seed, runs, looks = 8, 400, 50
	random := rand.New(rand.NewPCG(seed, 1))
	d := withShadow(1000, 500)
	step, failed := d.Steps([]string{"eu"})[0], 0
	add := func(m *canary.Measure, n int) {
		for range n {
			m.Answers++
			if random.Float64() < .01 {
				m.Errors++
				continue
			}
			x := 40 + 10*random.NormFloat64()
			m.Sum, m.Squares = m.Sum+x, m.Squares+x*x
		}
	}
	for range runs {
		var serves, candidate canary.Measure
		for range looks {
			add(&serves, 100)
			add(&candidate, 10)
			if canary.Judge(d, d.Judged(1), step, serves, candidate).Verdict == canary.Fail {
				failed++
				break
			}
		}
	}
	require.LessOrEqual(t, failed, runs*5/100, "seed %d", seed)
}

// A record shows a shadow as it shows the other steps.
func TestARecordWithAShadow(t *testing.T) {
	d, regions := withShadow(1000, 60), []string{"eu"}
	d.SharesBP = []int{canary.Whole}
	steps := d.Steps(regions)
	look := canary.Judge(d, d.Judged(1), steps[0], measure(9000, 9, 40, 5), measure(900, 1, 40, 5))
	text, err := artifact.Canonical(look)
	require.NoError(t, err)
	r := canary.Record{Action: "p", Outcome: "applied", Looks: []canary.Look{look}, Facts: []canary.Fact{
		{Number: 1, Kind: canary.FactStep, Step: steps[0]},
		{Number: 2, Kind: canary.FactLook, Step: steps[0], Verdict: look.Verdict, Look: artifact.DigestOf(text)},
		{Number: 3, Kind: canary.FactStep, Step: steps[1]},
	}}
	require.NoError(t, r.Check(d, regions))
	require.True(t, r.Whole(d, regions))
	without := d
	without.Shadow = nil
	require.ErrorIs(t, r.Check(without, regions), canary.ErrRecord)
	r.Facts = []canary.Fact{{Number: 1, Kind: canary.FactStep, Step: steps[1]}}
	r.Looks = nil
	require.ErrorIs(t, r.Check(d, regions), canary.ErrRecord, "a shadow that was left out")
}
