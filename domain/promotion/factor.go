package promotion

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

func unitOf(mille int) float64 { return float64(mille) / 1000 }
