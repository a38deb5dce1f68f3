package consent

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/atom-fabric/fabric/domain/artifact"
)

// What was done about a round that uses what was withdrawn.
const (
	Canceled = "canceled" // had not sent its update: it is not waited for, and may not send it
	Dropped  = "dropped"  // had sent it, and it was not added: it is not in the sum
	Stopped  = "stopped"  // its masked vector was committed to: the group's sum is not opened
	Tainted  = "tainted"  // its update is in the sum
)

// An Effect is what a withdrawal did to one group of one round.
type Effect struct {
	Owner  string    `json:"owner"` // of the run
	Run    string    `json:"run"`
	Round  int       `json:"round"`
	Model  string    `json:"model"`
	Region string    `json:"region,omitempty"` // group; empty for a round that is over
	Stage  string    `json:"stage,omitempty"`  // from which on the tenant is left out
	Action string    `json:"action"`
	Sites  int       `json:"sites,omitempty"` // of the tenant
	At     time.Time `json:"at"`
}

// A Checkpoint is weights that learnt from what was withdrawn.
type Checkpoint struct {
	Owner   string          `json:"owner"`
	Run     string          `json:"run"`
	Round   int             `json:"round"`
	Weights artifact.Digest `json:"weights"`
	// Clean is the newest weights of the same run that did not; empty for none.
	Clean      artifact.Digest `json:"clean,omitempty"`
	CleanRound int             `json:"cleanRound,omitempty"`
}

// A Model is a version whose weights come from such a checkpoint.
type Model struct {
	Owner   string          `json:"owner"`
	Model   string          `json:"model"`
	Version int             `json:"version"`
	Package artifact.Digest `json:"package"`
	Serves  []string        `json:"serves,omitempty"` // environments
}

// A Report is what a withdrawal reached, and what it could not take back. It is
// the predicate of a statement of type [artifact.PredicateWithdrawal].
type Report struct {
	Tenant      string       `json:"tenant"`
	Epoch       int64        `json:"epoch"`
	Feature     string       `json:"feature"`
	Grants      []string     `json:"grants"` // ids that ended
	Grantees    []string     `json:"grantees"`
	Reason      string       `json:"reason,omitempty"`
	WithdrawnAt time.Time    `json:"withdrawnAt"`
	WrittenAt   time.Time    `json:"writtenAt"`
	Effects     []Effect     `json:"effects"`
	Checkpoints []Checkpoint `json:"checkpoints"`
	Models      []Model      `json:"models"`
	Regions     []string     `json:"regions"`
	Latency     Latency      `json:"latency"`
	Residual    []string     `json:"residual"` // what remains exposed, in sentences
}

// A Latency is the time from a withdrawal to its effect in rounds that ran.
type Latency struct {
	Groups          int   `json:"groups"`
	P50Milliseconds int64 `json:"p50Milliseconds"`
	P99Milliseconds int64 `json:"p99Milliseconds"`
	MaxMilliseconds int64 `json:"maxMilliseconds"`
}

// LatencyOf measures the effects on rounds that ran: percentiles by nearest
// rank. Effects on rounds that were over count for nothing.
func LatencyOf(withdrawn time.Time, effects []Effect) Latency {
	var ms []int64
	for _, e := range effects {
		if e.Region != "" {
			ms = append(ms, max(0, e.At.Sub(withdrawn).Milliseconds()))
		}
	}
	if len(ms) == 0 {
		return Latency{}
	}
	slices.Sort(ms)
	rank := func(percent int) int64 { return ms[max(0, (percent*len(ms)+99)/100-1)] }
	return Latency{Groups: len(ms), P50Milliseconds: rank(50), P99Milliseconds: rank(99), MaxMilliseconds: ms[len(ms)-1]}
}

// Complete fills in what follows from the rest of the report: order, regions,
// latency, and what remains exposed.
func (r Report) Complete() Report {
	slices.SortFunc(r.Effects, func(a, b Effect) int {
		return cmp.Or(cmp.Compare(a.Owner, b.Owner), cmp.Compare(a.Run, b.Run), cmp.Compare(a.Round, b.Round), cmp.Compare(a.Region, b.Region))
	})
	slices.SortFunc(r.Checkpoints, func(a, b Checkpoint) int {
		return cmp.Or(cmp.Compare(a.Owner, b.Owner), cmp.Compare(a.Run, b.Run), cmp.Compare(a.Round, b.Round))
	})
	slices.SortFunc(r.Models, func(a, b Model) int {
		return cmp.Or(cmp.Compare(a.Owner, b.Owner), cmp.Compare(a.Model, b.Model), cmp.Compare(a.Version, b.Version))
	})
	r.Regions, r.Residual = []string{}, []string{}
	for _, e := range r.Effects {
		if e.Region != "" && !slices.Contains(r.Regions, e.Region) {
			r.Regions = append(r.Regions, e.Region)
		}
		if e.Region != "" && e.Action == Tainted {
			r.Residual = append(r.Residual, fmt.Sprintf("round %d of run %s had added the update in %s: its weights, once they are there, are tainted", e.Round, e.Run, e.Region))
		}
	}
	slices.Sort(r.Regions)
	for _, m := range r.Models {
		if len(m.Serves) > 0 {
			r.Residual = append(r.Residual, fmt.Sprintf("version %d of %s serves %s until it is rolled back", m.Version, m.Model, strings.Join(m.Serves, ", ")))
		}
	}
	if n := len(r.Checkpoints); n > 0 {
		r.Residual = append(r.Residual, fmt.Sprintf("%d checkpoints hold what was learnt before the withdrawal; copies that left the fabric are not known to it", n))
	}
	r.Latency = LatencyOf(r.WithdrawnAt, r.Effects)
	return r
}

// Undecided says whether somebody has to decide what becomes of what was learnt.
func (r Report) Undecided() bool {
	return len(r.Checkpoints) > 0 || slices.ContainsFunc(r.Effects, func(e Effect) bool { return e.Action == Tainted })
}

// Markdown shows the report to people.
func (r Report) Markdown() string {
	var b strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	say("# Withdrawal %d of %s: feature %s", r.Epoch, r.Tenant, r.Feature)
	say("")
	say("- withdrawn %s; this report %s", r.WithdrawnAt.UTC().Format(time.RFC3339Nano), r.WrittenAt.UTC().Format(time.RFC3339Nano))
	say("- grants that ended: %s, of %s", orNone(r.Grants), orNone(r.Grantees))
	if r.Reason != "" {
		say("- reason given: %s", oneLine(r.Reason))
	}
	say("- effect in running rounds: %d groups in %s; p50 %d ms, p99 %d ms, at most %d ms", r.Latency.Groups, orNone(r.Regions),
		r.Latency.P50Milliseconds, r.Latency.P99Milliseconds, r.Latency.MaxMilliseconds)
	say("")
	say("## Rounds")
	say("")
	say("| run | round | model | owner | region | action | from stage | sites | at |")
	say("|---|---|---|---|---|---|---|---|---|")
	for _, e := range r.Effects {
		say("| %s | %d | %s | %s | %s | %s | %s | %d | %s |", e.Run, e.Round, e.Model, e.Owner, e.Region, e.Action, e.Stage, e.Sites, e.At.UTC().Format(time.RFC3339Nano))
	}
	say("")
	say("## Checkpoints that learnt from it")
	say("")
	say("| run | round | weights | last clean weights |")
	say("|---|---|---|---|")
	for _, c := range r.Checkpoints {
		clean := "none"
		if c.Clean != "" {
			clean = fmt.Sprintf("round %d, %s", c.CleanRound, c.Clean)
		}
		say("| %s | %d | %s | %s |", c.Run, c.Round, c.Weights, clean)
	}
	say("")
	say("## Models made from them")
	say("")
	say("| model | version | owner | package | serves |")
	say("|---|---|---|---|---|")
	for _, m := range r.Models {
		say("| %s | %d | %s | %s | %s |", m.Model, m.Version, m.Owner, m.Package, orNone(m.Serves))
	}
	say("")
	say("## What remains")
	say("")
	for _, line := range r.Residual {
		say("- %s", line)
	}
	if r.Undecided() {
		say("- a person decides: `fabric consent decide %d --decision stop|retrain|retire`; until then no tainted version is promoted", r.Epoch)
	}
	if len(r.Residual) == 0 && !r.Undecided() {
		say("- nothing: no weights have learnt from it")
	}
	return b.String()
}

func orNone(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// oneLine keeps foreign text out of the document's structure.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == '|' || r == '`' || r == '<' || r == '>' {
			return ' '
		}
		return r
	}, s)
}

// Decisions about what learnt from withdrawn data.
const (
	DecideStop    = "stop"    // nothing more is learnt from it; what was learnt lawfully stays
	DecideRetrain = "retrain" // from the last clean checkpoint; tainted versions stay blocked
	DecideRetire  = "retire"  // tainted versions are taken out of use, and stay blocked
)

// Decisions returns all of them.
func Decisions() []string { return []string{DecideStop, DecideRetrain, DecideRetire} }

// Blocks says whether a taint with this decision ("" for none yet) keeps a
// version from being promoted.
func Blocks(decision string) bool { return decision != DecideStop }
