//go:build chaos

package chaos

import (
	"math/rand/v2"
	"slices"

	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/examples/tumour"
)

// Victims of the matrix.
const (
	killWorker   = "worker"
	killAPI      = "api"
	killSite     = "site"
	killPostgres = "postgres"
)

// A cell is what the matrix covers.
type cell struct {
	victim string
	stage  round.Stage
	moment string
}

// A blow is a cell with what chance chose of it.
type blow struct {
	cell
	at    spot
	early bool   // the site is killed as it sees the stage, before it has sent anything
	lost  string // the site that drops out at mask; empty: none does
}

func matrixVictims() []string { return []string{killWorker, killAPI, killSite, killPostgres} }

func stages() []round.Stage {
	return []round.Stage{round.StageAdvertise, round.StageShare, round.StageMask, round.StageCheck, round.StageUnmask}
}

// drawn returns n blows against a victim, every cell as often as every other or
// once more, in random order.
func drawn(random *rand.Rand, victim string, n int, rounds []int) []blow {
	var cells []cell
	for len(cells) < n {
		var all []cell
		for _, stage := range stages() {
			all = append(all, cell{victim, stage, before}, cell{victim, stage, after})
		}
		random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		cells = append(cells, all...)
	}
	blows := make([]blow, n)
	for i, c := range cells[:n] {
		blows[i] = aim(random, c, pick(random, rounds), "")
	}
	return blows
}

// drawnLost returns n blows after a site has dropped out, when there are keys
// of the dead to be asked for: at the two stages in which a lie could be told.
func drawnLost(random *rand.Rand, victim string, n, number int) []blow {
	var blows []blow
	cells := []cell{{victim, round.StageCheck, before}, {victim, round.StageUnmask, after}, {victim, round.StageCheck, after}, {victim, round.StageUnmask, before}}
	for i := range n {
		blows = append(blows, aim(random, cells[i%len(cells)], number, lostSite()))
	}
	return blows
}

// lostSite is who drops out, always the same one: whose update is missing
// decides the weights.
func lostSite() string { return tumour.Split()[3].Site }

// aim chooses which transaction of a stage is hit, and whose.
func aim(random *rand.Rand, c cell, number int, lost string) blow {
	var sites []string
	for _, h := range tumour.Split() {
		if h.Site != lost {
			sites = append(sites, h.Site)
		}
	}
	b := blow{cell: c, lost: lost, at: spot{number: number, stage: string(c.stage)}}
	var events []string
	switch c.victim {
	case killWorker:
		events = []string{eventOpen, eventClose}
		switch c.stage {
		case round.StageAdvertise:
			events = append(events, eventBegin)
		case round.StageCheck:
			events = append(events, eventCommit)
		case round.StageUnmask:
			events = append(events, eventEnd)
		}
	case killPostgres:
		events = []string{eventOpen, eventSubmit, eventClose}
		if c.stage == round.StageCheck {
			events = append(events, eventCommit)
		}
	default:
		events = []string{eventSubmit}
	}
	b.at.event = pick(random, events)
	b.early = c.victim == killSite && c.moment == before && random.IntN(2) == 0
	switch b.at.event {
	case eventSubmit:
		// A quorum is enough to unmask, so of a certain site there may be no answer.
		if site := pick(random, sites); c.stage != round.StageUnmask || b.early {
			b.at.site = site
		}
	case eventBegin, eventEnd, eventCommit:
		b.at.stage = ""
	}
	return b
}

func pick[T any](random *rand.Rand, from []T) T { return from[random.IntN(len(from))] }

// cells of the whole matrix, in the order of its table.
func cells() []cell {
	var all []cell
	for _, victim := range matrixVictims() {
		for _, stage := range stages() {
			all = append(all, cell{victim, stage, before}, cell{victim, stage, after})
		}
	}
	return slices.Clip(all)
}
