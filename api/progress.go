package api

import (
	"fmt"
	"net/http"
	"slices"
	"sync"

	"github.com/gin-gonic/gin"

	"github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/dp"
	"github.com/atom-fabric/fabric/domain/privacy"
)

// progress answers with what the rounds of a run received and cost.
func (s *Training) progress(c *gin.Context, k call) error {
	ctx, id := c.Request.Context(), c.Param("id")
	found, err := s.runs.Progress(ctx, k.Caller, id)
	if err != nil {
		return err
	}
	delta := found.Asked.Privacy.Delta
	if delta <= 0 {
		delta = privacy.DefaultDelta
	}
	out := v1.RunProgress{
		ID: id, Simulated: k.Simulated,
		Rounds: views(found.Rounds, func(r RoundTraffic) v1.RoundTraffic {
			return v1.RoundTraffic{Number: r.Number, Answers: r.Answers, Refused: r.Refused, UploadedBytes: r.UploadedBytes}
		}),
		Stages: views(found.Stages, func(r StageProgress) v1.StageProgress {
			return v1.StageProgress{
				Number: r.Number, Region: r.Region, Stage: v1.Stage(r.Stage), Status: v1.StageProgressStatus(r.Status), Sites: r.Sites,
				Answered: r.Answered, Refused: r.Refused, OpenedAt: r.OpenedAt, Deadline: r.Deadline, Waiting: views(r.Waiting, func(s string) string { return s }),
			}
		}),
		Privacy: s.spent.of(found.Costs, delta),
	}
	out.Privacy.Limit = found.Asked.Privacy.MaxEpsilon
	return s.b.send(c, http.StatusOK, out)
}

// A spending remembers what an accountant said: it is slow, and whoever looks at
// a run asks the same again every second.
type spending struct {
	mu    sync.Mutex
	known map[spendingKey]float64
}

type spendingKey struct {
	charged string
	delta   float64
}

const (
	mostKnown  = 1024
	mostPoints = 8 // of a curve; each asks an accountant once
)

// of returns what the feature that pays most has paid.
func (s *spending) of(costs []RoundCost, delta float64) v1.RunPrivacy {
	out := v1.RunPrivacy{Delta: delta, Points: []v1.PrivacyPoint{}}
	var paid []RoundCost
	for len(costs) > 0 {
		n := slices.IndexFunc(costs, func(c RoundCost) bool { return c.Feature != costs[0].Feature })
		if n < 0 {
			n = len(costs)
		}
		if total := s.epsilon(costs[:n], delta); total > out.Spent {
			out.Spent, out.Feature, paid = total, costs[0].Feature, costs[:n]
		}
		costs = costs[n:]
	}
	for i := 1; i <= mostPoints && len(paid) > 0; i++ {
		n := (len(paid)*i + mostPoints - 1) / mostPoints
		if last := len(out.Points) - 1; last >= 0 && out.Points[last].Number == paid[n-1].Number {
			continue
		}
		out.Points = append(out.Points, v1.PrivacyPoint{Number: paid[n-1].Number, Epsilon: s.epsilon(paid[:n], delta)})
	}
	return out
}

// epsilon is what rounds of one feature cost together.
func (s *spending) epsilon(costs []RoundCost, delta float64) float64 {
	entries := make([]privacy.Entry, 0, 1)
	for _, c := range costs { // equal rounds in a row are one entry
		if last := len(entries) - 1; last >= 0 && slices.EqualFunc(entries[last].Events, c.Events, sameEvent) {
			entries[last].Rounds++
			continue
		}
		entries = append(entries, privacy.Entry{State: privacy.Committed, Rounds: 1, Events: c.Events})
	}
	key := spendingKey{charged: written(entries), delta: delta}
	s.mu.Lock()
	defer s.mu.Unlock()
	if known, ok := s.known[key]; ok {
		return known
	}
	balance := privacy.Ledger{Budget: privacy.Budget{EpsilonLimit: privacy.MaxEpsilon, Delta: delta}, Entries: entries}.Balance()
	if s.known == nil || len(s.known) >= mostKnown {
		s.known = map[spendingKey]float64{}
	}
	s.known[key] = min(balance.Spent, privacy.MaxEpsilon) // JSON knows no infinity, nor the accountants an answer above it
	return s.known[key]
}

func sameEvent(a, b dp.Event) bool { return written(a) == written(b) }

// written is a value as text, by which two are compared.
func written(v any) string { return fmt.Sprintf("%+v", v) }
