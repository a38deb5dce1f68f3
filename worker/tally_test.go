package worker

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/internal/telemetry"
)

// Each stage is counted once, however often it is looked at, in pages or late;
// a worker that starts anew comes to the same totals, and shows none before.
func TestStagesAreCountedOnce(t *testing.T) {
	noon := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	stage := func(after time.Duration, key, region string) activities.ClosedStage {
		return activities.ClosedStage{Mark: activities.Mark{At: noon.Add(after), Key: key}, Region: region, Step: "update", Seconds: 7,
			Asked: 5, Dropped: 1, Answers: 4, Refused: 2, Norms: []float64{0.5, 20}}
	}
	start := func(source *counted) (*tally, func() map[string]float64) {
		tel, err := telemetry.New(t.Context(), "test", telemetry.Options{Out: io.Discard})
		require.NoError(t, err)
		counts := newTally(source, tel)
		counts.page = 2
		return counts, func() map[string]float64 {
			families, err := tel.Registry.Gather()
			require.NoError(t, err)
			out := map[string]float64{}
			for _, f := range families {
				for _, m := range f.GetMetric() {
					name := f.GetName()
					for _, label := range m.GetLabel() {
						name += " " + label.GetValue()
					}
					if h := m.GetHistogram(); h != nil {
						out[name+" sum"], out[name+" count"] = h.GetSampleSum(), float64(h.GetSampleCount())
					} else if m.GetCounter() != nil {
						out[name] = m.GetCounter().GetValue()
					}
				}
			}
			return out
		}
	}
	source := &counted{}
	for i := range 5 {
		source.closed = append(source.closed, stage(time.Duration(i/2)*time.Second, fmt.Sprint("t/r/", i), "eu"))
	}
	one, shown := start(source)
	source.err = errors.New("away")
	require.ErrorIs(t, one.look(t.Context()), source.err)
	require.NotContains(t, shown(), "fabric_round_asked_total eu", "half of the past is no total")
	source.err = nil
	for range 3 {
		require.NoError(t, one.look(t.Context()))
		got := shown()
		for name, want := range map[string]float64{
			"fabric_round_asked_total eu": 25, "fabric_round_dropped_total eu": 5, "fabric_site_answers_total eu": 20, "fabric_site_refused_total eu": 10,
			"fabric_round_stage_seconds eu update sum": 35, "fabric_round_stage_seconds eu update count": 5,
			"fabric_round_update_norm eu sum": 102.5, "fabric_round_update_norm eu count": 10,
		} {
			require.Contains(t, got, name)
			require.InDelta(t, want, got[name], 0, name)
		}
	}
	// One whose transaction began before the newest that was seen commits late;
	// then an hour passes, and the keys of before are forgotten, their rows not.
	late := append([]activities.ClosedStage{stage(time.Second, "t/r/00", "us")}, source.closed[2:]...)
	source.closed = append(source.closed[:2:2], late...)
	require.NoError(t, one.look(t.Context()))
	require.InDelta(t, 5, shown()["fabric_round_asked_total us"], 0)
	source.closed = append(source.closed, stage(time.Hour, "t/r/6", "eu"))
	for range 2 {
		require.NoError(t, one.look(t.Context()))
	}
	require.InDelta(t, 30, shown()["fabric_round_asked_total eu"], 0)
	require.Len(t, one.seen, 1)

	again, theirs := start(source)
	require.NoError(t, again.look(t.Context()))
	mine := shown()
	for name, value := range theirs() {
		if !strings.HasPrefix(name, "fabric_") {
			continue
		}
		require.InDelta(t, mine[name], value, 0, name)
	}
}
