// Package script is a small world of scripted activities, for tests of the
// workflows and for capturing their histories.
//
// Invariant: what an activity answers depends on its input and on the script
// alone, so that a captured history holds nothing of the machine it was
// captured on.
package script

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/approval"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/canary"
	"github.com/atom-fabric/fabric/domain/promotion"
	"github.com/atom-fabric/fabric/domain/round"
)

// A World answers activities by its script and remembers what it was asked.
type World struct {
	Cohort   []round.Cohort
	Secured  bool
	Steps    map[string]Step           // of secured groups
	Counts   map[string][]round.Counts // of a region's stage, one answer a wait; the last one stays
	Measured map[int]round.Metrics     // of a round, by its number; else what the regions add up to
	Checked  contract.Checked
	Checks   []error          // of CheckPlan, one a call; none left: Checked
	Races    []error          // of RecordPoint, one a call; none left: recorded
	Errors   map[string]error // by "Activity" or "Activity/region" or "PublishSnapshot/phase"
	Tune     contract.Suggestion
	Guarded  map[string][]canary.Verdict // of a policy by region, one a look; the last one stays
	Refused  string                      // why ProposePolicy keeps nothing
	Looks    []canary.Verdict            // of a rollout, one a look; the last one stays
	Again    contract.Checked            // what AskAgain answers; its ballot is named as asked
	Stands   approval.Standing           // what BeginBallot and CheckStanding find
	Began    time.Time                   // by the clock of BeginBallot; zero: as soon as it may
	Passing  map[string]int              // failures that pass, left, by the same keys
	Book     *Book                       // rows of the study; nil is a study of one trial
	OnCall   func(key string)
	mu       sync.Mutex
	calls    []string
	ballots  []approval.Ballot
	outcomes []contract.OutcomeInput
	rounds   []contract.CloseRoundInput
	runs     []contract.CloseRunInput
	regions  []contract.RegionInput
	signed   []contract.SignInput
	attested []contract.AttestInput
	kept     []contract.KeepInput
	facts    []canary.Fact
	looked   int
	advances []contract.AdvanceInput
	waits    map[string]int
	snapshot int64
}

// Calls returns what was called, in order, as "Activity" or "Activity/detail".
func (w *World) Calls() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string{}, w.calls...)
}

// Ballots returns every recorded ballot, in order.
func (w *World) Ballots() []approval.Ballot {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]approval.Ballot{}, w.ballots...)
}

// Outcomes returns every recorded outcome.
func (w *World) Outcomes() []contract.OutcomeInput {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]contract.OutcomeInput{}, w.outcomes...)
}

// Rounds and Runs return the recorded ends.
func (w *World) Rounds() []contract.CloseRoundInput {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]contract.CloseRoundInput{}, w.rounds...)
}

// Runs returns the recorded ends of runs.
func (w *World) Runs() []contract.CloseRunInput {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]contract.CloseRunInput{}, w.runs...)
}

// Regions returns what the regions were asked to open.
func (w *World) Regions() []contract.RegionInput {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]contract.RegionInput{}, w.regions...)
}

// Signed returns what was signed, in order.
func (w *World) Signed() []contract.SignInput {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]contract.SignInput{}, w.signed...)
}

// Attested returns what was asked to be said of rounds.
func (w *World) Attested() []contract.AttestInput {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]contract.AttestInput{}, w.attested...)
}

// Kept returns the evidence packs that were kept.
func (w *World) Kept() []contract.KeepInput {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]contract.KeepInput{}, w.kept...)
}

// call notes a call and returns the error that the script has for it.
func (w *World) call(name, detail string) error {
	key := name
	if detail != "" {
		key += "/" + detail
	}
	w.mu.Lock()
	w.calls = append(w.calls, key)
	err := w.Errors[key]
	if err == nil {
		err = w.Errors[name]
	}
	if w.Passing[key] > 0 {
		w.Passing[key]--
		err = fmt.Errorf("a passing failure of %s", key)
	}
	w.mu.Unlock()
	if w.OnCall != nil {
		w.OnCall(key)
	}
	return err
}

// Final is an error that an activity would have again.
func Final(kind, words string) error {
	return temporal.NewNonRetryableApplicationError(words, kind, nil)
}

// Blob is the descriptor of a piece of text.
func Blob(text string) artifact.Descriptor { return artifact.Describe("text/plain", []byte(text)) }

// Vote is the script of a vote: [World.VerifyVote] reads it back. The real
// bundle is verified elsewhere.
func Vote(v approval.Vote) contract.SignedVote {
	if v.Statement == "" {
		v.Statement = artifact.DigestOf(fmt.Appendf(nil, "%s %t", v.Approver, v.Approve))
	}
	text, err := json.Marshal(v)
	if err != nil {
		return contract.SignedVote{}
	}
	return contract.SignedVote{Bundle: string(text)}
}

// Bind registers every activity of the contract.
func (w *World) Bind(r worker.ActivityRegistry) {
	w.waits = map[string]int{}
	w.bindRounds(r)
	w.bindRecovery(r)
	w.bindConsent(r)
	w.bindStatistics(r)
	w.bindCanary(r)
	w.bindLoop(r)
	w.bindStudy(r)
	contract.NotifyApprovers.Bind(r, func(_ context.Context, in approval.Request) (contract.Nothing, error) {
		return contract.Nothing{}, w.call("NotifyApprovers", "")
	})
	contract.TellBallot.Bind(r, func(_ context.Context, in contract.TellInput) (contract.Nothing, error) {
		return contract.Nothing{}, w.call("TellBallot", in.Event)
	})
	contract.CheckStanding.Bind(r, func(_ context.Context, in approval.Ballot) (contract.Standing, error) {
		return contract.Standing{Losses: w.Stands.Losses(in)}, w.call("CheckStanding", "")
	})
	contract.BeginBallot.Bind(r, w.beginBallot)
	contract.VerifyVote.Bind(r, w.verifyVote)
	contract.RecordBallot.Bind(r, func(_ context.Context, in approval.Ballot) (contract.Nothing, error) {
		err := w.call("RecordBallot", "")
		if err == nil {
			w.mu.Lock()
			w.ballots = append(w.ballots, in)
			w.mu.Unlock()
		}
		return contract.Nothing{}, err
	})
	contract.CheckPlan.Bind(r, w.checkPlan)
	contract.PublishSnapshot.Bind(r, func(_ context.Context, in contract.PublishInput) (contract.SnapshotRef, error) {
		err := w.call("PublishSnapshot", in.Step())
		w.mu.Lock()
		defer w.mu.Unlock()
		if failed := w.Errors["PublishSnapshot/"+in.Phase]; failed != nil {
			err = failed
		}
		if err != nil {
			return contract.SnapshotRef{}, err
		}
		w.snapshot++
		return contract.SnapshotRef{Version: w.snapshot, Digest: artifact.DigestOf([]byte(in.Action + in.Step()))}, nil
	})
	contract.AwaitActive.Bind(r, func(_ context.Context, in contract.ActiveInput) (contract.Evidence, error) {
		e := contract.Evidence{Region: in.Region, Snapshot: in.Version}
		return e, w.call("AwaitActive", in.Phase+"/"+in.Region)
	})
	contract.RecordOutcome.Bind(r, func(_ context.Context, in contract.OutcomeInput) (contract.Nothing, error) {
		err := w.call("RecordOutcome", in.Outcome)
		w.mu.Lock()
		w.outcomes = append(w.outcomes, in)
		w.mu.Unlock()
		return contract.Nothing{}, err
	})
	contract.PackEvidence.Bind(r, func(_ context.Context, in contract.EvidenceInput) (contract.Packed, error) {
		return contract.Packed{Pack: Blob("pack of " + in.Action), Predicate: Blob("about the pack")}, w.call("PackEvidence", "")
	})
	contract.KeepEvidence.Bind(r, func(_ context.Context, in contract.KeepInput) (contract.Nothing, error) {
		err := w.call("KeepEvidence", "")
		w.mu.Lock()
		w.kept = append(w.kept, in)
		w.mu.Unlock()
		return contract.Nothing{}, err
	})
	contract.PushPolicy.Bind(r, func(_ context.Context, in contract.PushPolicyInput) (contract.PolicyPackage, error) {
		return contract.PolicyPackage{Repository: "policies/routing", Package: Blob("policy package"), Policy: Blob("policy"), Revision: 2}, w.call("PushPolicy", "")
	})
	contract.AttachSignature.Bind(r, func(_ context.Context, in contract.AttachInput) (contract.Nothing, error) {
		return contract.Nothing{}, w.call("AttachSignature", "")
	})
	contract.ComputeScorecard.Bind(r, func(_ context.Context, in contract.TuneInput) (contract.Scorecard, error) {
		return contract.Scorecard{Subject: in.Subject, Action: in.Action, Card: Blob("card"), Score: 93, Status: "PASS"}, w.call("ComputeScorecard", "")
	})
	contract.Suggest.Bind(r, func(_ context.Context, in contract.Scorecard) (contract.Suggestion, error) {
		return w.Tune, w.call("Suggest", "")
	})
	contract.ApplySuggestion.Bind(r, func(_ context.Context, in contract.ApplyInput) (contract.TuneResult, error) {
		return contract.TuneResult{Action: in.Action, Outcome: contract.Applied}, w.call("ApplySuggestion", "")
	})
}

// beginBallot uses an approval at the moment when it may begin, or at w.Began.
func (w *World) beginBallot(_ context.Context, in contract.BeginInput) (contract.Begun, error) {
	if err := w.call("BeginBallot", ""); err != nil {
		return contract.Begun{}, err
	}
	out := contract.Begun{Ballot: in.Ballot, Losses: w.Stands.Losses(in.Ballot)}
	if len(out.Losses) > 0 {
		return out, nil
	}
	at := w.Began
	if at.IsZero() {
		at = in.Ballot.ExecuteFrom()
	}
	var err error
	if out.Ballot, err = in.Ballot.Begin(at); err != nil {
		return out, nil // lapsed
	}
	if review, ok := in.Ballot.Review("nonce of the review", at, time.Hour); ok {
		out.Review = &review
	}
	return out, nil
}

func (w *World) verifyVote(_ context.Context, in contract.VoteInput) (approval.Vote, error) {
	if err := w.call("VerifyVote", ""); err != nil {
		return approval.Vote{}, err
	}
	var v approval.Vote
	if err := json.Unmarshal([]byte(in.Vote.Bundle), &v); err != nil {
		return approval.Vote{Statement: artifact.DigestOf([]byte(in.Vote.Bundle)), Refused: "no signature", At: in.Request.OpenedAt}, nil
	}
	if v.At.IsZero() {
		v.At = in.Request.OpenedAt.Add(time.Second)
	}
	return v, nil
}

func (w *World) checkPlan(_ context.Context, in contract.CheckInput) (contract.Checked, error) {
	err := w.call("CheckPlan", "")
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.Checks) > 0 {
		err, w.Checks = w.Checks[0], w.Checks[1:]
	}
	return w.Checked, err
}

// Promotion returns a checked plan that puts version 4 of m1 in the place of 3.
func Promotion(need int) contract.Checked {
	plan := promotion.Plan{
		Kind:        promotion.KindPromotion,
		Tenant:      "consortium",
		ModelID:     "m1",
		Environment: promotion.Production,
		Regions:     []string{"eu", "us", "apac"},
		Observed:    promotion.Observed{Snapshot: 7, Champion: 3, Package: Blob("version 3").Digest, Policy: 1},
		Version:     &promotion.Version{Number: 4, Repository: "models/consortium/m1", Package: Blob("version 4").Digest},
		Diff:        []promotion.Change{{What: "production of m1", From: "version 3", To: "version 4"}},
		Risk:        promotion.Risk{Score: 60, Loosens: true},
	}
	return contract.Checked{Plan: plan, Risk: 60, Request: Request(plan, "promote-1", need)}
}

// Policy returns a checked plan that rolls out revision 2.
func Policy(need int) contract.Checked {
	document := json.RawMessage(`{"revision":2}`)
	plan := promotion.Plan{
		Kind:        promotion.KindPolicy,
		Tenant:      "consortium",
		Environment: promotion.Production,
		Regions:     []string{"eu", "us", "apac"},
		Observed:    promotion.Observed{Snapshot: 7, Policy: 1},
		Policy:      &document,
		Diff:        []promotion.Change{{What: "weight of cost", From: "200", To: "300"}},
		Risk:        promotion.Risk{Score: 60},
	}
	return contract.Checked{Plan: plan, Risk: 60, Request: Request(plan, "policy-1", need)}
}

// Tuning returns a checked plan that changes a learning rate.
func Tuning(need int) contract.Checked {
	plan := promotion.Plan{
		Kind:        promotion.KindTuning,
		Tenant:      "consortium",
		ModelID:     "m1",
		Environment: promotion.Staging,
		Regions:     []string{"eu"},
		Tuning:      &promotion.Tuning{Parameter: "learningRate", From: "0.1", To: "0.162"},
		Diff:        []promotion.Change{{What: "learningRate of m1", From: "0.1", To: "0.162"}},
		Risk:        promotion.Risk{Score: 14, Loosens: true},
	}
	return contract.Checked{Plan: plan, Risk: 14, Request: Request(plan, "tune-1", need)}
}

// PlanBlob is the blob that every scripted plan pretends to be in.
func PlanBlob() artifact.Descriptor { return Blob("plan") }

// Request returns a ballot of ann's, in which need of bob, cyd and dan must
// approve within two hours. bob and cyd are owners, dan is of risk.
func Request(plan promotion.Plan, action string, need int) approval.Request {
	req := approval.Request{
		Action:     plan.Action(action, PlanBlob().Digest),
		Requester:  "ann",
		Need:       need,
		Roles:      []string{approval.RoleOwner, approval.RoleRisk},
		Approvers:  []approval.Approver{Person("bob", approval.RoleOwner), Person("cyd", approval.RoleOwner), Person("dan", approval.RoleRisk)},
		Nonce:      "nonce-1",
		OpenedAt:   time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC),
		TTLSeconds: 7200,
	}
	if need == 2 {
		req.Seats = [][]string{{approval.RoleOwner}, {approval.RoleRisk}}
	}
	return req
}

// Person is an approver with a key of their own.
func Person(name, role string) approval.Approver {
	return approval.Approver{Name: name, Role: role, Key: artifact.DigestOf([]byte("key of " + name))}
}

// Yes and No are votes of a person.
func Yes(name, role string) approval.Vote {
	return approval.Vote{Approver: name, Role: role, Key: Person(name, role).Key, Approve: true}
}

// No is a vote against.
func No(name, role, reason string) approval.Vote {
	return approval.Vote{Approver: name, Role: role, Key: Person(name, role).Key, Reason: reason}
}
