package demo

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	v1 "github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/examples/tumour"
)

// Where it happens: the region whose inputs drift, and the one that tries the
// version that is too slow.
const (
	drifting = "eu"
	trying   = "us"
)

// GovernanceOptions are what the governance demonstration needs beside [Options].
type GovernanceOptions struct {
	Seed uint64
	// Rows is the file that a site reads its rows from.
	Rows func(site string) string
	// Audit rebuilds the audit log from its leaves and checks its signature.
	Audit func(ctx context.Context, token string) error
}

// A Governance is one walk from drift to a rollback. Its callers and the rows of
// its hospitals are simulated and said to be; the fabric that answers, judges,
// proposes, asks people and goes back is the real one.
type Governance struct {
	*Demo
	GovernanceOptions
	random   *rand.Rand
	calls    *callers
	first    v1.Run    // whose version serves
	began    time.Time // of the drift
	pace     float64   // calls a second where fewest were asked since then
	proposal v1.Proposal
	rollback string // promotion that went back
}

// NewGovernance prepares the people and the chance that both kinds of simulation
// draw from.
func NewGovernance(o Options, more GovernanceOptions) (*Governance, error) {
	d, err := New(o)
	return &Governance{Demo: d, GovernanceOptions: more, random: rand.New(rand.NewPCG(more.Seed, 5))}, err
}

// Run walks every step. However it ends, its callers stop asking.
func (g *Governance) Run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer func() {
		stop()
		g.calls.wait()
	}()
	g.say("SIMULATED: the callers and the hospitals' rows, seed %d. Everything else is what runs in production.", g.Seed)
	return g.walk(ctx, []step{
		{"five hospitals consent, and a first version is trained and measured", g.begin},
		{"it passes its scorecard, and people promote it", g.serve},
		{"callers in three regions ask it, and what they send is compared with what it was trained on", g.ask},
		{"a region's inputs drift: its scorecard says so, and a version trained on them may not be promoted", g.drift},
		{"the policy loop proposes to close the region, with its evidence", g.propose},
		{"replay: what would have been decided otherwise in the last seven days", g.replay},
		{"people sign; the loop has no vote", g.sign},
		{"the policy goes to one region, and to the next only when that one does well under it", g.rollout},
		{"a new version is promoted; its canary regresses and goes back by itself", g.regress},
		{"every step is in the audit log", g.audit},
		{"an auditor walks from an answer back to the hospitals, and rebuilds the log", g.explain},
	})
}

// begin writes the hospitals' rows, registers them and trains a version.
func (g *Governance) begin(ctx context.Context) error {
	if err := g.register(ctx); err != nil {
		return err
	}
	var err error
	g.first, err = g.learn(ctx, g.params())
	g.run = g.first // what the shared steps promote and trace
	return err
}

// params are those of a run that counts, beside right and wrong, how the watched
// columns are spread. Regions of two hospitals are summed in the open, each by
// itself: masks would put them together, and what is shown here is not privacy.
func (g *Governance) params() v1.RunParams {
	return v1.RunParams{
		Model:  v1.ModelSpec{Trainer: round.TrainerLogistic, Inputs: tumour.Inputs, Classes: 2},
		Rounds: 3, Quorum: len(tumour.Split()), DeadlineSeconds: 60, LocalEpochs: 1, BatchSize: 16, LearningRate: 0.1, Seed: int64(g.Seed),
		Secure: v1.Secure{Mode: round.SecureOff}, Features: []string{Feature}, Measurement: v1.Measurement{Features: watched()},
	}
}

// learn trains a version to its end.
func (g *Governance) learn(ctx context.Context, p v1.RunParams) (v1.Run, error) {
	accepted, err := v1.Fetch[v1.RunAccepted](g.lead.StartRun(ctx, &v1.StartRunParams{}, v1.RunRequest{ModelID: Model, Tenants: hospitals(), Params: p}))
	if err != nil {
		return v1.Run{}, err
	}
	for {
		run, err := v1.Fetch[v1.Run](g.lead.GetRun(ctx, accepted.ID, &v1.GetRunParams{}))
		if err != nil {
			return run, err
		}
		switch run.Status {
		case "completed":
			g.say("run %s: %s of %d parameters, %d rounds, version %d, accuracy %.2f %% on %d held-out rows", run.ID, p.Model.Trainer,
				parameters(p.Model), p.Rounds, run.Version, 100*share(run.Metrics), run.Metrics.Evaluated)
			return run, nil
		case "failed", "stopped":
			return run, holds(false, "run %s %s: %s", run.ID, run.Status, run.Cause)
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return run, err
		}
	}
}

func parameters(m v1.ModelSpec) int64 {
	return round.ModelSpec{Trainer: string(m.Trainer), Inputs: m.Inputs, Hidden: m.Hidden, Classes: m.Classes}.Parameters()
}

// serve shows the first card and promotes the version.
func (g *Governance) serve(ctx context.Context) error {
	card, err := g.card(ctx, g.first.Version, "")
	if err != nil {
		return err
	}
	gate := card.Gate()
	g.say("scorecard of version %d: %s; promotion %s; %s", g.first.Version, card.Status, gate.Decision, noteOf(card))
	if err := holds(gate.Decision == "open", "the gate is %s: %v", gate.Decision, gate.Reasons); err != nil {
		return err
	}
	return g.promote(ctx)
}

// approve lets everybody who may vote on an action do so, until it is decided.
func (g *Governance) approve(ctx context.Context, id string) error {
	if err := g.enrol(ctx); err != nil {
		return err
	}
	ballot, err := g.ballot(ctx, id)
	if err != nil {
		return err
	}
	g.say("ballot %s: %d votes of roles %v, asked for by %s", id, ballot.Need, ballot.Roles, ballot.Requester)
	voted := map[string]bool{}
	for _, p := range g.people {
		if !slices.Contains(ballot.Roles, p.role) || p.name == ballot.Requester || voted[p.role] {
			continue
		}
		voted[p.role] = true // more than one of a role adds little where two roles are wanted
		after, err := g.cast(ctx, p, ballot)
		if err != nil {
			return err
		}
		_, why := counts(after, p.name)
		g.say("%-8s (%s) signs: %d of %d, %s %s", p.name, p.role, len(after.Votes), after.Need, after.Outcome, why)
		if after.Outcome != "pending" {
			return holds(after.Outcome == "approved", "the ballot ended %s", after.Outcome)
		}
	}
	return holds(false, "the ballot waits for more people than there are")
}

// cast signs and sends a vote, as soon as the ballot takes votes: it is shown a
// moment before.
func (g *Governance) cast(ctx context.Context, p approver, ballot v1.Ballot) (after v1.Ballot, err error) {
	bundle, err := g.Demo.sign(p, ballot)
	if err != nil {
		return after, err
	}
	return after, until(ctx, 20*time.Second, "the ballot takes no vote", func(ctx context.Context) (bool, error) {
		after, err = v1.Fetch[v1.Ballot](p.CastVote(ctx, ballot.ID, &v1.CastVoteParams{}, v1.VoteRequest{Bundle: string(bundle)}))
		var problem *v1.ProblemError
		if errors.As(err, &problem) && problem.Code == "not_ready" {
			return false, nil
		}
		return true, err
	})
}

// until asks again and again, until what it asks for is so.
func until(ctx context.Context, within time.Duration, what string, so func(context.Context) (bool, error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, within, fmt.Errorf("%w: %s within %s", ErrShown, what, within))
	defer cancel()
	for {
		ok, err := so(ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil || ok {
			return err
		}
		if pause(ctx, 200*time.Millisecond) != nil {
			return context.Cause(ctx)
		}
	}
}
