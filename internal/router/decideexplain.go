package router

import (
	"fmt"
	"slices"

	"github.com/atom-fabric/fabric/domain/endpoint"
	"github.com/atom-fabric/fabric/domain/routing"
)

// A decision is what the caller learns of why it was answered from there.
type decision struct {
	ID          string              `json:"id"`
	Reason      string              `json:"reason"`
	Environment string              `json:"environment"`
	Policy      int64               `json:"policy"`
	Considered  int                 `json:"considered"`
	Attempts    int                 `json:"attempts"`
	Excluded    []routing.Exclusion `json:"excluded"`
	Trial       *triedOut           `json:"trial,omitempty"`  // if a canary runs where it was asked
	Scores      []scored            `json:"scores,omitempty"` // on request
}

type scored struct {
	Endpoint string `json:"endpoint"`
	Region   string `json:"region"`
	endpoint.Scores
}

// maxExcluded bounds what an answer lists; with explain it lists all.
const maxExcluded = 16

// explain says why, at the time of the decision: live scores differ a moment
// later.
func explain(t *target, a *endpoint.Ask, in *request, s side) decision {
	d := decision{Environment: t.Environment, Policy: t.Policy, Considered: s.among.Len(), Excluded: t.excluded(in)}
	if s.tried {
		trial := s.trial
		d.Trial = &trial
	}
	if !in.prefers.explain {
		if d.Excluded = d.Excluded[:min(len(d.Excluded), maxExcluded)]; d.Excluded == nil {
			d.Excluded = []routing.Exclusion{}
		}
		return d
	}
	d.Excluded = append([]routing.Exclusion{}, d.Excluded...)
	barred := t.For(in.prefers.purpose)
	anywhere := *a
	anywhere.Only = ""
	for i := range t.candidates {
		c := &t.candidates[i]
		rule := anywhere.Refuses(c)
		if !s.among.Has(i) {
			if slices.ContainsFunc(barred, func(x routing.Exclusion) bool { return x.Endpoint == c.Name }) {
				continue // its purpose was named
			}
			rule = in.versionRule()
		}
		if rule != "" {
			d.Excluded = append(d.Excluded, routing.Exclusion{Endpoint: c.Name, Region: c.Region, Rule: rule})
			continue
		}
		if c.Live.Ejected(a.Now) {
			d.Excluded = append(d.Excluded, routing.Exclusion{Endpoint: c.Name, Region: c.Region, Rule: "health/set-aside"})
		}
		d.Scores = append(d.Scores, scored{c.Name, c.Region, a.Score(c)})
	}
	slices.SortStableFunc(d.Scores, func(x, y scored) int {
		switch {
		case x.Total > y.Total:
			return -1
		case x.Total < y.Total:
			return 1
		}
		return 0
	})
	return d
}

// Rules by which a candidate does not answer because of its version.
const (
	ruleSide    = "canary/side" // it answers callers of the other side
	ruleVersion = "preferences/version"
	ruleAlias   = "preferences/alias"
)

// versionRule names what decides on the version.
func (in *request) versionRule() string {
	switch {
	case in.prefers.version != 0:
		return ruleVersion
	case in.prefers.alias != "":
		return ruleAlias
	}
	return ruleSide
}

// reason says in words what decided.
func reason(t *target, a *endpoint.Ask, chosen, attempt int) string {
	c := &t.candidates[chosen]
	switch {
	case attempt > 1:
		return fmt.Sprintf("%s answered after another endpoint failed", c.Name)
	case a.Instead != nil && !a.Among.Has(chosen):
		return "no endpoint of the canary can answer now; the best of the champion"
	case a.Among.Len() == 1:
		return "the only permitted endpoint"
	case a.Only != "" && c.Region == a.Only:
		return "the best permitted endpoint of the preferred region"
	case a.Only != "":
		return fmt.Sprintf("nobody in %s can answer now; the best permitted endpoint elsewhere", a.Only)
	}
	return fmt.Sprintf("the best of %d permitted endpoints by latency, cost, fabric score and locality", a.Among.Len())
}
