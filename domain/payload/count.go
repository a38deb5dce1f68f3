package payload

import (
	"math"

	"github.com/atom-fabric/fabric/domain/dp"
	"github.com/atom-fabric/fabric/domain/round"
)

// adapts says whether the sites of the round count who is within its norm.
func (f Form) adapts() bool {
	return f.kind == round.Train && f.params.Privacy.On() && f.params.Privacy.Adaptive.On()
}

// rule is the rule by which the norm moves.
func (f Form) rule() dp.Adaptive { return rule(f.params.Privacy, f.norm, f.sites) }

func rule(p round.Privacy, norm float64, sites int) dp.Adaptive {
	return dp.Adaptive{ClipNorm: norm, Quantile: p.Adaptive.Quantile, Rate: p.Adaptive.Rate, CountStddev: p.CountStddev(sites)}
}

// half is what a site within the norm adds to the coordinate of the count; one
// beyond it takes as much away. The count is stretched until the noise that the
// update gets is the noise that the count needs:
//
//	half = ½ · z_Δ·C/σ_b
//
// Then update and count are one vector of norm √(C² + half²), and noise of
// multiplier z on all of it is what the paper splits: z_Δ·C on the update and
// σ_b on the count. It is charged once, as that vector.
//
// Source: Andrew et al., NeurIPS 2021 (arXiv:1905.03871), theorem 1.
func (f Form) half() float64 {
	if !f.adapts() {
		return 0
	}
	rule := f.rule()
	noise, err := rule.UpdateStddev(f.params.Privacy.NoiseMultiplier)
	if err != nil {
		return math.NaN() // no codec has such a range
	}
	return noise / rule.CountStddev / 2
}

// Within returns the sum over the sites of ½ for those within the norm and -½
// for the others, with the noise in it; 0 where the norm does not adapt. With
// central noise it takes the seed of [Form.WriteTensors].
// Errors: those of sum, of [ring.Decode] and of [dp.Central.AddAt].
func (f Form) Within(sum Pieces, seed dp.Seed) (float64, error) {
	if !f.adapts() {
		return 0, nil
	}
	piece, parts, value := f.Piece(1), f.Piece(1), make([]float64, 1)
	if err := sum(piece, f.Layout.Len()-1); err != nil {
		return 0, err
	}
	if err := f.decode(value, parts, piece); err != nil {
		return 0, err
	}
	noise, err := f.centralNoise(dp.Derive(seed, "count"))
	if err == nil && noise != nil {
		err = noise(value, 0)
	}
	return value[0] / (2 * f.half()), err
}

// A Count is what a group said about the norm of its round.
type Count struct {
	Sites  int     // in the sum
	Within float64 // see [Form.Within]
}

// NextClip returns the norm of the round after one that clipped to clip. What
// groups counted adds up, with the noise of each. A run whose norm does not
// adapt, and a round in which nobody was counted, keep the norm.
// Errors: those of [dp.Adaptive.Next].
func NextClip(p round.Privacy, clip float64, groups []Count) (float64, error) {
	all := Count{}
	for _, g := range groups {
		all.Sites, all.Within = all.Sites+g.Sites, all.Within+g.Within
	}
	if !p.On() || !p.Adaptive.On() || all.Sites == 0 {
		return clip, nil
	}
	next, err := rule(p, clip, all.Sites).Next(all.Within, all.Sites)
	return round.Bounded(next.ClipNorm), err
}
