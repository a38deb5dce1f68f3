package agent

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	v1 "github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/model"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/domain/secagg"
	"github.com/atom-fabric/fabric/internal/site/table"
	"github.com/atom-fabric/fabric/internal/site/trainer"
)

var secureStages = []round.Stage{round.StageAdvertise, round.StageShare, round.StageMask, round.StageCheck, round.StageUnmask}

// rowsOf is what a site trains on.
func rowsOf(t *testing.T, o Options) (train, held table.Table) {
	rows, err := table.ReadFile(o.Data)
	require.NoError(t, err)
	return rows.Split()
}

// The sum of three to five sites is that of what each would have said alone,
// counts and moments to the bit and deltas to a step of the codec a site,
// although an agent is started anew for every stage.
func TestTheSumIsThatOfTheSites(t *testing.T) {
	for n := 3; n <= 5; n++ {
		for _, kind := range []round.Kind{round.Statistics, round.Train, round.Evaluate} {
			t.Run(fmt.Sprintf("%d %s", n, kind), func(t *testing.T) {
				g := newGroup(t, n, kind, nil)
				everybody := []int{0, 1, 2, 3, 4}[:n]
				g.until(round.StageUnmask, everybody...)
				got := g.sum(everybody...)

				var metrics round.Metrics
				want := map[string][]float64{}
				p := g.manifest.Params
				for _, o := range g.sites {
					train, held := rowsOf(t, o)
					base := model.Initial(p.Model, 7)
					one := round.Metrics{}
					var update artifact.Tensors
					var err error
					if kind != round.Statistics {
						one, err = trainer.Evaluate(p.Model, base, held)
						require.NoError(t, err)
					}
					switch kind {
					case round.Statistics:
						update, err = trainer.Moments(train)
						one.Examples = int64(train.Len())
					case round.Train:
						update, err = trainer.Train(t.Context(), p.Model, base, train, trainer.Settings{
							Epochs: p.LocalEpochs, Batch: p.BatchSize, LearningRate: p.LearningRate,
						}, trainer.NewSeed(p.Seed, 1, o.Tenant, o.Site).Rand())
						one.Examples = int64(train.Len())
					}
					require.NoError(t, err)
					metrics = metrics.Add(one)
					for _, u := range update {
						if want[u.Name] == nil {
							want[u.Name] = make([]float64, u.Len())
						}
						for j := range u.Len() {
							want[u.Name][j] += float64(train.Len()) * u.At(j)
						}
					}
				}
				require.Equal(t, metrics, got.Metrics)
				require.Len(t, got.Tensors, len(want))
				for _, u := range got.Tensors {
					for j, v := range want[u.Name] {
						within := float64(n) * g.form.Codec.Step()
						if kind == round.Statistics {
							within = 1e-12 * (1 + v) // our own sum here is rounded
						}
						require.InDelta(t, v, u.F64[j], within, "%s[%d]", u.Name, j)
					}
				}
			})
		}
	}
}

// A call fails for good, before its effect or after it, which is what a kill
// looks like to the rest: the next start sends the same bytes.
func TestARestartSendsTheSameBytes(t *testing.T) {
	calls := map[round.Stage][]string{round.StageMask: {"blob", "put", "submit"}}
	for _, private := range []bool{false, true} {
		for _, stage := range secureStages {
			for _, name := range append(calls[stage], "blob", "submit")[:max(2, len(calls[stage]))] {
				for _, after := range []bool{false, true} {
					t.Run(fmt.Sprintf("private %t/%s/%s/after %t", private, stage, name, after), func(t *testing.T) {
						killed(t, private, stage, name, after)
					})
				}
			}
		}
	}
}

func killed(t *testing.T, private bool, stage round.Stage, name string, after bool) {
	g := newGroup(t, 3, round.Train, func(m *round.Manifest) {
		if private {
			m.Params.Privacy = round.Privacy{Mechanism: round.PrivacyDiscrete, NoiseMultiplier: 1}
			m.Params.Bounds = slices.Repeat([][2]float64{{0, 1}}, m.Params.Model.Inputs)
		}
	})
	armed := true
	g.fail = func(at round.Stage, call string) (error, error) {
		gone := problem(http.StatusConflict, "gone")
		switch {
		case !armed || at != stage || call != name:
			return nil, nil
		case after:
			return nil, gone
		default:
			return gone, nil
		}
	}
	g.until(stage, 0, 1, 2)
	item := g.item(stage, g.inbox(stage, 0))
	require.Error(t, g.ask(0, item))
	armed = false
	if stage != round.StageAdvertise || name == "submit" { // the update is kept: it does not depend on the rows any more
		require.NoError(t, os.WriteFile(g.sites[0].Data, []byte("lost\n"), 0o600))
	}
	require.NoError(t, g.ask(0, item))
	sent := g.sent[string(stage)+" "+g.sites[0].Site]
	require.NotEmpty(t, sent)
	for _, s := range sent {
		require.Equal(t, sent[0], s)
	}
}

// inbox is what an honest coordinator opens a stage with.
func (g *group) inbox(stage round.Stage, i int) any {
	switch stage {
	case round.StageShare:
		return g.roster
	case round.StageMask:
		return g.routing.Inbox(g.index(i))
	case round.StageCheck:
		return g.signed(g.set)
	case round.StageUnmask:
		return g.request
	}
	return nil
}

// What a coordinator that lies gets from the site that it would harm: nothing,
// and from most lies on the site is out of the round.
func TestALyingCoordinatorIsRefused(t *testing.T) {
	stranger, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	without := func(g *group, who ...int) secagg.SurvivorSet {
		set := g.set
		set.Survivors = slices.DeleteFunc(slices.Clone(set.Survivors), func(index int) bool { return slices.Contains(who, index) })
		return set
	}
	verify := func(err error) bool {
		for _, why := range []error{artifact.ErrUntrusted, artifact.ErrSubject, artifact.ErrPredicateType, artifact.ErrBundle} {
			if errors.Is(err, why) {
				return true
			}
		}
		return false
	}
	tests := []struct {
		name  string
		stage round.Stage // that is reached honestly
		lie   func(g *group) v1.Work
		want  error // nil: the bundle is refused
		stays bool  // in the round: it may have been a stray
	}{
		{"a second roster", round.StageMask, func(g *group) v1.Work {
			// The last site is made to advertise once more, under another secret.
			other := g.roster
			other.Members = slices.Clone(other.Members[:3])
			return g.item(round.StageShare, other)
		}, secagg.ErrChanged, false},
		{"the keys of another site in the roster", round.StageShare, func(g *group) v1.Work {
			other := g.roster
			other.Members = slices.Clone(other.Members)
			for i := range other.Members {
				if other.Members[i].Site != g.sites[0].Site {
					other.Members[i].MaskKey = other.Members[i].CipherKey
					other.Members[i].MaskKey = slices.Clone(other.Members[i].MaskKey)
					other.Members[i].MaskKey[3] ^= 1
					break
				}
			}
			return g.item(round.StageShare, other)
		}, secagg.ErrSigned, false},
		{"a roster of another plan", round.StageShare, func(g *group) v1.Work {
			other := g.roster
			other.Header.Plan = artifact.DigestOf(nil)
			return g.item(round.StageShare, other)
		}, secagg.ErrForeign, true},
		{"shares for somebody else", round.StageMask, func(g *group) v1.Work {
			return g.item(round.StageMask, g.routing.Inbox(g.index(1)))
		}, secagg.ErrSender, true},
		{"other shares than before", round.StageCheck, func(g *group) v1.Work {
			in := g.routing.Inbox(g.index(0))
			in.Boxes = slices.Clone(in.Boxes)
			in.Boxes[0].Box = slices.Clone(in.Boxes[0].Box)
			in.Boxes[0].Box[0] ^= 1
			return g.item(round.StageMask, in)
		}, secagg.ErrChanged, false},
		{"a survivor set that nobody signed", round.StageCheck, func(g *group) v1.Work {
			return g.item(round.StageCheck, survivors{Set: g.set})
		}, nil, true},
		{"a survivor set that a stranger signed", round.StageCheck, func(g *group) v1.Work {
			in := g.signed(g.set)
			text, err := artifact.Canonical(g.set)
			require.NoError(g.t, err)
			in.Bundle = g.sign(stranger, artifact.DigestOf(text), artifact.PredicateSurvivors)
			return g.item(round.StageCheck, in)
		}, nil, true},
		{"a survivor set that was signed as something else", round.StageCheck, func(g *group) v1.Work {
			in := g.signed(g.set)
			text, err := artifact.Canonical(g.set)
			require.NoError(g.t, err)
			in.Bundle = g.sign(g.key, artifact.DigestOf(text), artifact.PredicateRoundManifest)
			return g.item(round.StageCheck, in)
		}, nil, true},
		{"the signature over another survivor set", round.StageCheck, func(g *group) v1.Work {
			in := g.signed(without(g, g.index(1)))
			in.Set = g.set
			return g.item(round.StageCheck, in)
		}, nil, true},
		{"that the site is dead", round.StageCheck, func(g *group) v1.Work {
			return g.item(round.StageCheck, g.signed(without(g, g.index(0))))
		}, secagg.ErrDead, false},
		{"too few survivors", round.StageCheck, func(g *group) v1.Work {
			return g.item(round.StageCheck, g.signed(without(g, g.index(1), g.index(2))))
		}, secagg.ErrTooFew, false},
		{"a second survivor set", round.StageUnmask, func(g *group) v1.Work {
			return g.item(round.StageCheck, g.signed(without(g, g.index(1))))
		}, secagg.ErrChanged, false},
		{"to open both secrets of a site", round.StageUnmask, func(g *group) v1.Work {
			request := g.request
			request.Keys = []int{g.index(1)}
			return g.item(round.StageUnmask, request)
		}, secagg.ErrBothKinds, false},
		{"to open another set than was signed", round.StageUnmask, func(g *group) v1.Work {
			request := g.request
			request.Seeds, request.Keys = without(g, g.index(1)).Survivors, []int{g.index(1)}
			return g.item(round.StageUnmask, request)
		}, secagg.ErrChanged, false},
		{"fewer signatures than a quorum", round.StageUnmask, func(g *group) v1.Work {
			request := g.request
			request.Signatures = request.Signatures[:1]
			return g.item(round.StageUnmask, request)
		}, secagg.ErrTooFew, false},
		{"an inbox that is not the blob that it names", round.StageShare, func(g *group) v1.Work {
			item := g.item(round.StageShare, g.roster)
			g.blobs[artifact.Digest(item.Inbox.Digest)] = []byte(`{}`)
			return item
		}, ErrContent, true},
		{"a stage that was skipped", round.StageShare, func(g *group) v1.Work {
			return g.item(round.StageCheck, survivors{})
		}, ErrUntimely, true},
		{"to send the update in the clear", round.StageMask, func(g *group) v1.Work {
			return g.item(round.StageUpdate, nil)
		}, ErrDowngraded, true},
		{"a second order for the round", round.StageCheck, func(g *group) v1.Work {
			g.order(g.manifest.Kind, func(m *round.Manifest) { m.TraceID = strings.Repeat("1", 32) })
			return g.item(round.StageAdvertise, nil)
		}, ErrSecond, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := newGroup(t, 4, round.Statistics, nil)
			g.until(tt.stage, 0, 1, 2, 3)
			text, form := g.text, g.form
			before := count(g)
			err := g.ask(0, tt.lie(g))
			g.text, g.form = text, form
			require.Error(t, err)
			if tt.want == nil {
				require.True(t, verify(err), err)
			} else {
				require.ErrorIs(t, err, tt.want)
			}
			require.Equal(t, before, count(g), "nothing was sent")
			require.NoError(t, artifact.DecodeStrict([]byte(text), &g.manifest))
			err = g.ask(0, g.item(tt.stage, g.inbox(tt.stage, 0)))
			if tt.stays {
				require.NoError(t, err, "what an honest coordinator sends next")
			} else {
				require.ErrorIs(t, err, ErrClosed)
				require.Equal(t, before, count(g))
				require.Empty(t, kept(t, g.sites[0], recordFile))
			}
		})
	}
}

func count(g *group) (n int) {
	for _, list := range g.sent {
		n += len(list)
	}
	return n
}

// kept returns a site's files of one end.
func kept(t *testing.T, o Options, end string) []string {
	files, err := filepath.Glob(filepath.Join(o.StateDir, roundsDir, "*"+end))
	require.NoError(t, err)
	return files
}
