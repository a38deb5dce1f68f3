package promotion

import (
	"fmt"
	"slices"
)

// A Contribution is what one factor adds to a risk: how much lower the score
// would be without it.
type Contribution struct {
	Factor string `json:"factor"`
	Mille  int    `json:"mille"`  // the factor, 0..1000
	Points int    `json:"points"` // of the score
}

// Contributions returns what each factor adds, in the order of the formula, and
// after them what a floor adds to all of them. They need not add up to the
// score: nothing compensates, so two factors may each be enough.
func (r Risk) Contributions() []Contribution {
	f := Factors{
		Reach: unitOf(r.Reach), Reversal: unitOf(r.Reversal), Class: unitOf(r.Class), Private: unitOf(r.Private),
		Uncertain: unitOf(r.Uncertain), Environ: unitOf(r.Environ), Loosens: r.Loosens,
	}
	whole := score(f)
	without := func(change func(*Factors)) int {
		g := f
		change(&g)
		return max(0, whole-score(g))
	}
	loosens := 0
	if r.Loosens {
		loosens = 1000
	}
	return []Contribution{
		{"environment", r.Environ, without(func(g *Factors) { g.Environ = 0 })},
		{"reach", r.Reach, without(func(g *Factors) { g.Reach = 0 })},
		{"reversal", r.Reversal, without(func(g *Factors) { g.Reversal = 0 })},
		{"class", r.Class, without(func(g *Factors) { g.Class = 0 })},
		{"privacy", r.Private, without(func(g *Factors) { g.Private = 0 })},
		{"uncertainty", r.Uncertain, without(func(g *Factors) { g.Uncertain = 0 })},
		{"loosens", loosens, without(func(g *Factors) { g.Loosens = false })},
		{"floor", 10 * r.Floor, max(0, r.Score-whole)},
	}
}

// reasons says what the risk comes from: the factors that add most, the largest
// first, and none that adds nothing.
func (r Risk) reasons(most int) []string {
	parts := r.Contributions()
	slices.SortStableFunc(parts, func(a, b Contribution) int { return b.Points - a.Points })
	var out []string
	for _, c := range parts {
		if c.Points > 0 && len(out) < most {
			out = append(out, fmt.Sprintf("%s (%d)", c.words(r), c.Points))
		}
	}
	return out
}

// words name a factor to whoever decides.
func (c Contribution) words(r Risk) string {
	share := fmt.Sprintf("%d.%d %%", c.Mille/10, c.Mille%10)
	switch c.Factor {
	case "environment":
		if r.Environ == 1000 {
			return "it is production"
		}
		return "where it changes"
	case "reach":
		return "it reaches " + share + " of the calls"
	case "reversal":
		return "taking it back is hard"
	case "class":
		return "what kind of thing changes"
	case "privacy":
		return "it spends " + share + " of the privacy budget that is left"
	case "uncertainty":
		return "little is known of what is deployed"
	case "loosens":
		return "it takes protection away"
	default:
		return fmt.Sprintf("the floor of %d for changes like it", c.Mille/10)
	}
}

func unitOf(mille int) float64 { return float64(mille) / 1000 }
