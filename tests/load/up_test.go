//go:build bench

package load

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/examples/tumour"
	"github.com/atom-fabric/fabric/tests/harness"
)

const (
	starts      = 3
	trainRounds = 12 // the demonstration's
)

// The bounds that the product promises on two cores.
const (
	readyWithin    = 15 * time.Second
	trainWithin    = 60 * time.Second
	overheadWithin = 2 * time.Second
)

// TestMainRoad measures what a newcomer waits for: the start of the system, on
// an empty folder each time, and the demonstration's training on the last one.
func TestMainRoad(t *testing.T) {
	var ready []time.Duration
	var s *harness.System
	for i := range starts {
		s = harness.Up(t, harness.State(t), harness.FreeBase(t))
		ready = append(ready, s.Took)
		if i < starts-1 {
			s.Stop()
		}
	}
	slices.Sort(ready)
	s.Consent(t)
	lead := s.Lead(t)
	run := harness.Watch(t, lead, s.Train(t, lead, harness.Request(trainRounds)), 2*time.Minute, harness.Completed)
	training := run.EndedAt.Sub(run.CreatedAt)
	accuracy := float64(run.Metrics.Correct) / float64(run.Metrics.Evaluated)

	busy := atSites(t, s, run)
	var total, beside []time.Duration
	var evaluate time.Duration
	for i, r := range run.Rounds {
		if r.Kind == "evaluate" {
			evaluate = r.EndedAt.Sub(r.StartedAt)
		}
		if r.Kind == "train" {
			took := run.Rounds[i+1].StartedAt.Sub(r.StartedAt)
			total = append(total, took)
			beside = append(beside, took-busy[r.Number])
		}
	}
	slices.Sort(total)
	slices.Sort(beside)

	var b strings.Builder
	fmt.Fprintf(&b, "# The main road\n\n- command: `make bench` (`go test -tags bench -count=1 -run TestMainRoad ./tests/load`)\n- machine: %s\n\n", harness.Describe(t))
	fmt.Fprintf(&b, "| what | figure | bound |\n|---|---|---|\n")
	fmt.Fprintf(&b, "| `fabric up` on an empty folder, until it says ready: least of %d | %.1f s | |\n", starts, ready[0].Seconds())
	fmt.Fprintf(&b, "| the same, median | %.1f s | %.0f s |\n", median(ready).Seconds(), readyWithin.Seconds())
	fmt.Fprintf(&b, "| training: statistics, %d rounds, evaluation with a signed version | %.1f s | %.0f s |\n", trainRounds, training.Seconds(), trainWithin.Seconds())
	fmt.Fprintf(&b, "| accuracy on the %d rows that the sites held out | %.2f %% | 85 %%, private |\n", run.Metrics.Evaluated, 100*accuracy)
	fmt.Fprintf(&b, "| a train round, median | %d ms | |\n", median(total).Milliseconds())
	fmt.Fprintf(&b, "| of it beside the slowest site's own work, median | %d ms | %d ms |\n", median(beside).Milliseconds(), overheadWithin.Milliseconds())
	fmt.Fprintf(&b, "| the round that evaluates, packs, signs and registers | %d ms | |\n", evaluate.Milliseconds())
	b.WriteString("\nA site's own work is what its log calls milliseconds: from the order to the acknowledged answer. A train round lasts\nuntil the next one begins, on the database's clock, so what lies between two rounds is part of it.\n")
	b.WriteString("\n## Peak resident memory, after the training\n\n| process | MiB |\n|---|---|\n")
	children := s.Children(t)
	sum := 0
	for _, name := range harness.Names(children) {
		kib := harness.Peak(t, children[name])
		sum += kib
		fmt.Fprintf(&b, "| %s | %.0f |\n", name, float64(kib)/1024)
	}
	postmaster := harness.Peak(t, s.Postmaster(t))
	up := harness.Peak(t, s.PID())
	fmt.Fprintf(&b, "| the postmaster, shared buffers included, its sessions not | %.0f |\n| fabric up itself | %.0f |\n| sum | %.0f |\n",
		float64(postmaster)/1024, float64(up)/1024, float64(sum+postmaster+up)/1024)
	write(t, "main_road.md", b.String())
	t.Logf("\n%s", b.String())

	require.LessOrEqual(t, median(ready), readyWithin)
	require.LessOrEqual(t, training, trainWithin)
	require.LessOrEqual(t, median(beside), overheadWithin)
	require.GreaterOrEqual(t, accuracy, 0.85, "with privacy on")
}

func median(sorted []time.Duration) time.Duration { return sorted[len(sorted)/2] }

// atSites returns, for each round, how long the slowest site worked.
func atSites(t *testing.T, s *harness.System, run v1.Run) map[int]time.Duration {
	t.Helper()
	slowest := map[int]time.Duration{}
	for _, h := range tumour.Split() {
		text, err := os.ReadFile(s.Path("logs", "site-"+h.Site+".log"))
		require.NoError(t, err)
		answered := 0
		for _, line := range harness.Lines(string(text)) {
			var said struct {
				Msg, Run             string
				Number, Milliseconds int
			}
			if json.Unmarshal([]byte(line), &said) != nil || said.Msg != "answered" || said.Run != run.ID {
				continue
			}
			answered++
			slowest[said.Number] = max(slowest[said.Number], time.Duration(said.Milliseconds)*time.Millisecond)
		}
		require.Equal(t, trainRounds+2, answered, "site %s logs each answer once", h.Site)
	}
	return slowest
}
