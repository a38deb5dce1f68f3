package simulate

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/compress"
	"github.com/atom-fabric/fabric/domain/dp"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/domain/site"
	"github.com/atom-fabric/fabric/internal/site/table"
)

// A virtual is a site that is not there.
type virtual struct {
	site.Site
	rows    table.Table
	key     *ecdsa.PrivateKey // nil where nothing is signed
	pace    float64           // of its machine; 1 is the median
	liar    bool
	variate artifact.Tensors // of SCAFFOLD, from round to round
	pending *pending         // of a buffered run
	within  bool             // its last update was no longer than the norm that it was clipped to
	rest    compress.Flat    // what top-k has left out
}

func (v *virtual) name() string { return v.Tenant + "/" + v.ID }

// settle makes the sites: name, region, rows, machine, honesty and key.
func (s *simulation) settle() error {
	rows, source := s.set.deal()
	s.result.Source = source
	type ranked struct {
		at   int
		rank [sha256.Size]byte
	}
	ranks := make([]ranked, s.set.Sites)
	for i := range s.set.Sites {
		v := &virtual{Site: site.Site{Tenant: "tenant", ID: fmt.Sprintf("s%06d", i), Region: fmt.Sprintf("r%02d", i%s.set.Regions)}, rows: rows[i]}
		v.pace = math.Exp(0.4 * s.draw("pace", 0, v).NormFloat64())
		if s.set.Params.Secure.Mode != round.SecureOff {
			secret := s.seed("identity", 0, v)
			secret[0] &= 0x7f // below the order of the group
			key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), secret[:])
			if err != nil {
				return err
			}
			v.key = key
		}
		s.sites = append(s.sites, v)
		s.known[v.name()] = i
		ranks[i] = ranked{i, s.seed("liar", 0, v)}
	}
	slices.SortFunc(ranks, func(a, b ranked) int { return bytes.Compare(a.rank[:], b.rank[:]) })
	s.result.Liars = int(math.Round(s.set.Adversaries * float64(s.set.Sites)))
	for _, r := range ranks[:s.result.Liars] {
		s.sites[r.at].liar = true
	}
	return nil
}

// seed returns the seed of one purpose of a site in a round.
func (s *simulation) seed(purpose string, number int, v *virtual) dp.Seed {
	return sha256.Sum256(fmt.Appendf(nil, "fabric/simulate\n%s\n%d\n%d\n%s\n", purpose, s.set.Params.Seed, number, v.name()))
}

// draw returns the random numbers of one purpose of a site in a round.
func (s *simulation) draw(purpose string, number int, v *virtual) *rand.Rand {
	seed := s.seed(purpose, number, v)
	return rand.New(rand.NewPCG(binary.BigEndian.Uint64(seed[:8]), binary.BigEndian.Uint64(seed[8:16])))
}

// Median seconds of a site of the median pace: to fetch, train and send, and
// to answer a stage that needs no training.
const (
	workSeconds  = 2.0
	replySeconds = 0.2
)

// A conduct is what a site does in a round: how long it takes for the work and
// for each later stage, and the stage in which it leaves, if it does.
type conduct struct {
	work    float64
	replies []float64 // share, mask, check, unmask
	leaves  round.Stage
}

// stages is the order of a secured round.
func stages() []round.Stage {
	return []round.Stage{round.StageAdvertise, round.StageShare, round.StageMask, round.StageCheck, round.StageUnmask}
}

// conduct draws what a site does. A site that leaves a round that is not
// secured leaves before it has answered.
func (s *simulation) conduct(number int, v *virtual) conduct {
	draws := s.draw("conduct", number, v)
	slow := v.pace
	straggles, factor := draws.Float64() < s.set.Stragglers, 10+30*draws.Float64()
	if straggles {
		slow *= factor
	}
	c := conduct{work: workSeconds * slow * math.Exp(0.3*draws.NormFloat64())}
	for range len(stages()) - 1 {
		c.replies = append(c.replies, replySeconds*slow*math.Exp(0.3*draws.NormFloat64()))
	}
	if leaves, stage := draws.Float64() < s.set.Dropout, draws.IntN(len(stages())); leaves {
		c.leaves = stages()[stage]
	}
	return c
}

// gone says whether the site has left by that stage.
func (c conduct) gone(stage round.Stage) bool {
	return c.leaves != "" && slices.Index(stages(), c.leaves) <= slices.Index(stages(), stage)
}
