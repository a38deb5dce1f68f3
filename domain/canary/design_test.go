package canary_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/canary"
)

func TestDesignsThatAreRefused(t *testing.T) {
	tests := []struct {
		name   string
		change func(*canary.Design)
		want   error
	}{
		{"the default", func(*canary.Design) {}, nil},
		{"one step", func(d *canary.Design) { d.SharesBP = []int{canary.Whole} }, nil},
		{"no step", func(d *canary.Design) { d.SharesBP = nil }, canary.ErrShares},
		{"a share of nothing", func(d *canary.Design) { d.SharesBP = []int{0, canary.Whole} }, canary.ErrShares},
		{"a share that falls", func(d *canary.Design) { d.SharesBP = []int{500, 100, canary.Whole} }, canary.ErrShares},
		{"a share twice", func(d *canary.Design) { d.SharesBP = []int{500, 500, canary.Whole} }, canary.ErrShares},
		{"an end below everything", func(d *canary.Design) { d.SharesBP = []int{100, 500} }, canary.ErrShares},
		{"more than everything", func(d *canary.Design) { d.SharesBP = []int{100, canary.Whole + 1} }, canary.ErrShares},
		{"a look longer than the bake", func(d *canary.Design) { d.LookSeconds = d.BakeSeconds + 1 }, canary.ErrTimes},
		{"a bake longer than the deadline", func(d *canary.Design) { d.BakeSeconds = d.DeadlineSeconds + 1 }, canary.ErrTimes},
		{"no bake", func(d *canary.Design) { d.BakeSeconds, d.LookSeconds = 0, 0 }, canary.ErrTimes},
		{"more looks than are bounded", func(d *canary.Design) { d.LookSeconds = d.DeadlineSeconds/canary.MaxLooks - 1 }, canary.ErrTimes},
		{"too few answers to say anything", func(d *canary.Design) { d.Required = canary.Fewest - 1 }, canary.ErrSamples},
		{"fewer planned than required", func(d *canary.Design) { d.Planned = d.Required }, canary.ErrSamples},
		{"no level", func(d *canary.Design) { d.AlphaBP = 0 }, canary.ErrAlpha},
		{"a level of chance", func(d *canary.Design) { d.AlphaBP = 5000 }, canary.ErrAlpha},
		{"no guardrail", func(d *canary.Design) { d.Guardrails = nil }, canary.ErrGuardrail},
		{"a guardrail twice", func(d *canary.Design) { d.Guardrails[1] = d.Guardrails[0] }, canary.ErrGuardrail},
		{"a metric that nobody measures", func(d *canary.Design) { d.Guardrails[0].Metric = "joy" }, canary.ErrGuardrail},
		{"an absolute latency", func(d *canary.Design) { d.Guardrails[1].Scale = canary.Absolute }, canary.ErrGuardrail},
		{"no margin", func(d *canary.Design) { d.Guardrails[0].MarginBP = 0 }, canary.ErrGuardrail},
		{"no lineage", func(d *canary.Design) { d.Lineage = "" }, canary.ErrLineage},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := canary.Default("promote-1")
			tt.change(&d)
			require.ErrorIs(t, d.Validate(3), tt.want)
		})
	}
	require.ErrorIs(t, canary.Default("x").Validate(0), canary.ErrSteps)
	require.ErrorIs(t, canary.Default("x").Validate(canary.MaxSteps), canary.ErrSteps)
}

func TestTheLadderGoesRegionByRegion(t *testing.T) {
	d := canary.Default("r")
	d.SharesBP = []int{50, 500, canary.Whole}
	var said []string
	for i, s := range d.Steps([]string{"apac", "eu"}) {
		require.Equal(t, i+1, s.Number)
		said = append(said, s.String())
	}
	require.Equal(t, []string{"0.50 % of apac", "5 % of apac", "100 % of apac", "0.50 % of eu", "5 % of eu", "100 % of eu"}, said)
	require.Equal(t, 4, d.Judged(2), "a region that is given over has nothing to compare with")
}

func TestNext(t *testing.T) {
	d := canary.Default("r")
	bake, deadline := d.BakeSeconds, d.DeadlineSeconds
	tests := []struct {
		verdict canary.Verdict
		waited  int
		want    canary.Move
	}{
		{canary.Fail, 0, canary.Back},
		{canary.Fail, deadline, canary.Back},
		{canary.Pass, bake - 1, canary.Wait},
		{canary.Pass, bake, canary.Advance},
		{canary.Pass, deadline, canary.Advance},
		{canary.NoData, bake, canary.Wait},
		{canary.NoData, deadline - 1, canary.Wait},
		{canary.NoData, deadline, canary.Hold},
		{canary.Inconclusive, deadline - 1, canary.Wait},
		{canary.Inconclusive, deadline, canary.Hold},
		{"", deadline, canary.Hold},
	}
	for _, tt := range tests {
		require.Equal(t, tt.want, d.Next(tt.verdict, tt.waited), "%s after %d s", tt.verdict, tt.waited)
	}
}
