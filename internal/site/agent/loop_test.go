package agent

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/round"
)

// A stage that failed does not hold up the next one of the same order.
func TestStagesAreTriedByThemselves(t *testing.T) {
	opts := options(t)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		item := w.order(t, 1, round.Statistics, func(m *round.Manifest) {
			m.Secured, m.Cohort[0].Sites = true, 3
		})
		item.Stage = v1.Stage(round.StageAdvertise)
		late := item
		late.Stage = v1.Stage(round.StageMask)
		late.Inbox = v1.Descriptor{Digest: string(artifact.DigestOf([]byte("gone"))), SizeBytes: 4}
		plain := item
		plain.Stage = v1.Stage(round.StageUpdate)
		w.offers = []v1.Work{plain, late}
		var log bytes.Buffer
		a, err := New(opts, w, slog.New(slog.NewJSONHandler(&log, nil)))
		require.NoError(t, err)
		work(t, a, 100*time.Millisecond) // one turn
		w.offers = append(w.offers, item)
		work(t, a, 100*time.Millisecond) // too soon for those that failed
		require.Len(t, w.answered[1], 1, "the first is refused, the second fails, the third is answered")
		require.Equal(t, v1.Stage(round.StageAdvertise), w.answered[1][0].Stage)
		require.Less(t, strings.Index(log.String(), `"stage":"mask"`), strings.Index(log.String(), `"stage":"update"`), "what is quick comes first")
	})
}

// A refusal is told to the operator once, with its reason, and again when the
// reason is another one.
func TestARefusalIsToldOnce(t *testing.T) {
	opts := options(t)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.offers = []v1.Work{w.order(t, 1, round.Statistics, func(m *round.Manifest) { m.Secured, m.Cohort[0].Sites = true, 3 })}
		var log bytes.Buffer
		a, err := New(opts, w, slog.New(slog.NewJSONHandler(&log, nil)))
		require.NoError(t, err)
		work(t, a, 10*time.Minute)
		require.Empty(t, w.answered)
		require.Equal(t, 1, strings.Count(log.String(), `"level":"ERROR","msg":"refused"`), log.String())
		require.Contains(t, log.String(), ErrDowngraded.Error())
		a.tries[offer{artifact.DigestOf([]byte(w.offers[0].Manifest)), "eu", round.StageUpdate}].said = "something else"
		work(t, a, time.Minute)
		require.Equal(t, 2, strings.Count(log.String(), `"level":"ERROR","msg":"refused"`))
	})
}
