package worker

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/google/uuid"
	sdk "go.temporal.io/sdk/worker"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/feedback"
	"github.com/atom-fabric/fabric/domain/tuning"
	"github.com/atom-fabric/fabric/workflows"
)

// ErrPort says that a worker was given nothing where it needs a port.
var ErrPort = errors.New("a port is missing")

// pause is between two questions to a runtime.
const pause = 250 * time.Millisecond

// BindWorkflows binds every workflow of the contract. The compiler checks that
// the code speaks the contract's types.
func BindWorkflows(r sdk.WorkflowRegistry) {
	contract.TrainingRun.Bind(r, workflows.TrainingRun)
	contract.FederatedRound.Bind(r, workflows.FederatedRound)
	contract.RegionRound.Bind(r, workflows.RegionRound)
	contract.Approval.Bind(r, workflows.Approval)
	contract.ModelPromotion.Bind(r, workflows.ModelPromotion)
	contract.PolicyRollout.Bind(r, workflows.PolicyRollout)
	contract.AutoTune.Bind(r, workflows.AutoTune)
	contract.Replication.Bind(r, workflows.Replication)
	contract.RecoveryPoint.Bind(r, workflows.RecoveryPoint)
	contract.Restore.Bind(r, workflows.Restore)
	contract.ConsentWithdrawal.Bind(r, workflows.ConsentWithdrawal)
	contract.Canary.Bind(r, workflows.Canary)
	contract.Feedback.Bind(r, workflows.Feedback)
	contract.Study.Bind(r, workflows.Study)
	contract.FeatureStatistics.Bind(r, workflows.FeatureStatistics)
}

// A Control is what the activities of the control queue need. It signs
// snapshots, so it holds a signer too.
type Control struct {
	Blobs     activities.Blobs
	Rounds    activities.Rounds
	Consents  activities.Consents
	Stats     activities.Statistics
	Versions  activities.Versions
	Snapshots activities.Snapshots
	Actions   activities.Actions
	Dossiers  activities.Dossiers
	Registry  activities.Registry
	Signer    activities.Signer
	Verifier  activities.Verifier
	Notifier  activities.Notifier
	Mirrors   activities.Mirrors
	Replicas  activities.Replicas
	Points    activities.Points
	Heads     activities.Heads
	Grants    activities.Grants
	Canaries  activities.Canaries
	Traffic   activities.Traffic
	Cards     activities.Cards
	Scored    activities.Scored
	Telemetry activities.Telemetry
	Verdicts  activities.Verdicts
	Proposals activities.Proposals
	Replayer  activities.Replayer
	Studies   activities.Studies
	Admission activities.Admission
	Engine    tuning.Suggester // of studies
	// Accepted says when a bundle was accepted; see activities.Snapshot.
	Accepted func(ctx context.Context, bundle artifact.Digest) (time.Time, error)

	Simulation bool          // see activities.Round and activities.Promotion
	BallotTTL  time.Duration // how long approvers have; 0 means three days
}

// Queue returns the control queue. Its workflows are all but those of a region.
func (c Control) Queue() Queue {
	return Queue{Name: contract.QueueControl, Bind: c.bind, Slots: 64}
}

func (c Control) bind(r sdk.Registry) error {
	if err := complete(c); err != nil {
		return err
	}
	ttl := c.BallotTTL
	if ttl == 0 {
		ttl = 72 * time.Hour
	}
	contract.TrainingRun.Bind(r, workflows.TrainingRun)
	contract.FederatedRound.Bind(r, workflows.FederatedRound)
	contract.Approval.Bind(r, workflows.Approval)
	contract.ModelPromotion.Bind(r, workflows.ModelPromotion)
	contract.PolicyRollout.Bind(r, workflows.PolicyRollout)
	contract.AutoTune.Bind(r, workflows.AutoTune)
	contract.Replication.Bind(r, workflows.Replication)
	contract.RecoveryPoint.Bind(r, workflows.RecoveryPoint)
	contract.Restore.Bind(r, workflows.Restore)
	contract.ConsentWithdrawal.Bind(r, workflows.ConsentWithdrawal)
	contract.Canary.Bind(r, workflows.Canary)
	contract.Feedback.Bind(r, workflows.Feedback)
	contract.Study.Bind(r, workflows.Study)
	contract.FeatureStatistics.Bind(r, workflows.FeatureStatistics)

	rounds := &activities.Round{Blobs: c.Blobs, Rounds: c.Rounds, Snapshots: c.Snapshots, Signer: c.Signer, Now: time.Now, Simulation: c.Simulation}
	contract.PlanRound.Bind(r, rounds.PlanRound)
	contract.AttestRound.Bind(r, rounds.AttestRound)
	contract.CloseRound.Bind(r, rounds.CloseRound)
	contract.CloseRun.Bind(r, rounds.CloseRun)

	consents := &activities.Consent{Blobs: c.Blobs, Consents: c.Consents}
	contract.EnforceWithdrawal.Bind(r, consents.EnforceWithdrawal)
	contract.ReportWithdrawal.Bind(r, consents.ReportWithdrawal)
	contract.RecordWithdrawal.Bind(r, consents.RecordWithdrawal)

	stats := &activities.Statistic{Blobs: c.Blobs, Rounds: c.Rounds, Statistics: c.Stats, Signer: c.Signer, Now: time.Now}
	contract.AskStatistics.Bind(r, stats.AskStatistics)
	contract.AwaitStatistics.Bind(r, stats.AwaitStatistics)
	contract.PublishStatistics.Bind(r, stats.PublishStatistics)

	sums := &activities.Aggregate{Blobs: c.Blobs, Rounds: c.Rounds}
	contract.CombineRegions.Bind(r, sums.CombineRegions)

	candidates := &activities.CandidatePackage{Blobs: c.Blobs, Registry: c.Registry}
	contract.PushCandidate.Bind(r, candidates.PushCandidate)

	versions := &activities.Version{Blobs: c.Blobs, Registry: c.Registry, Verifier: c.Verifier, Versions: c.Versions, Scored: c.Scored}
	contract.RegisterVersion.Bind(r, versions.RegisterVersion)

	ballots := &activities.Approval{Actions: c.Actions, Blobs: c.Blobs, Notifier: c.Notifier, Now: time.Now}
	contract.NotifyApprovers.Bind(r, ballots.NotifyApprovers)
	contract.VerifyVote.Bind(r, ballots.VerifyVote)
	contract.RecordBallot.Bind(r, ballots.RecordBallot)
	contract.TellBallot.Bind(r, ballots.TellBallot)
	contract.CheckStanding.Bind(r, ballots.CheckStanding)
	contract.BeginBallot.Bind(r, ballots.BeginBallot)

	plans := &activities.Promotion{
		Blobs: c.Blobs, Versions: c.Versions, Registry: c.Registry, Verifier: c.Verifier, Snapshots: c.Snapshots,
		Actions: c.Actions, Grants: c.Grants, Cards: c.Cards, Simulation: c.Simulation, BallotTTL: ttl, Now: time.Now,
	}
	contract.CheckPlan.Bind(r, plans.CheckPlan)
	contract.RecordOutcome.Bind(r, plans.RecordOutcome)
	contract.MintGrant.Bind(r, plans.MintGrant)
	contract.AskAgain.Bind(r, plans.AskAgain)

	canaries := &activities.Canary{Blobs: c.Blobs, Traffic: c.Traffic, Canaries: c.Canaries}
	contract.LookCanary.Bind(r, canaries.LookCanary)
	contract.NoteCanary.Bind(r, canaries.NoteCanary)
	contract.RecordCanary.Bind(r, canaries.RecordCanary)

	publisher := c.Publisher()
	contract.PublishSnapshot.Bind(r, publisher.PublishSnapshot)
	contract.PublishRecovery.Bind(r, publisher.PublishRecovery)

	copies := &activities.MirrorCopy{Blobs: c.Blobs, Mirrors: c.Mirrors, Replicas: c.Replicas, Verifier: c.Verifier, Now: time.Now}
	contract.CopyPackage.Bind(r, copies.CopyPackage)
	contract.InspectReplica.Bind(r, copies.InspectReplica)
	contract.AttachReplica.Bind(r, copies.AttachReplica)
	contract.RecordReplica.Bind(r, copies.RecordReplica)
	contract.VerifyHeld.Bind(r, copies.VerifyHeld)

	points := &activities.Point{Blobs: c.Blobs, Heads: c.Heads, Points: c.Points, Versions: c.Versions, Snapshots: c.Snapshots, Verifier: c.Verifier, Now: time.Now}
	contract.TakePoint.Bind(r, points.TakePoint)
	contract.RecordPoint.Bind(r, points.RecordPoint)
	contract.VerifyPoint.Bind(r, points.VerifyPoint)

	packs := &activities.Evidence{Blobs: c.Blobs, Registry: c.Registry, Dossiers: c.Dossiers}
	contract.PackEvidence.Bind(r, packs.PackEvidence)
	contract.KeepEvidence.Bind(r, packs.KeepEvidence)

	loop := &activities.Feedback{
		Blobs: c.Blobs, Snapshots: c.Snapshots, Telemetry: c.Telemetry, Verdicts: c.Verdicts, Proposals: c.Proposals, Replayer: c.Replayer,
		Rails: feedback.DefaultRails(), Now: time.Now,
	}
	contract.ReadTelemetry.Bind(r, loop.ReadTelemetry)
	contract.EvaluateTelemetry.Bind(r, loop.EvaluateTelemetry)
	contract.ReplayDecisions.Bind(r, loop.ReplayDecisions)
	contract.ProposePolicy.Bind(r, loop.ProposePolicy)
	contract.GuardRegion.Bind(r, loop.GuardRegion)
	contract.NoteRegion.Bind(r, loop.NoteRegion)

	policies := &activities.Policy{Blobs: c.Blobs, Registry: c.Registry, Verifier: c.Verifier, Grants: c.Grants}
	contract.PushPolicy.Bind(r, policies.PushPolicy)
	contract.AttachSignature.Bind(r, policies.AttachSignature)

	search := &activities.Search{Studies: c.Studies, Admission: c.Admission, Engine: c.Engine, NewID: func() string { return uuid.Must(uuid.NewV7()).String() }}
	contract.SuggestTrial.Bind(r, search.SuggestTrial)
	contract.BeginTrial.Bind(r, search.BeginTrial)
	contract.AskRung.Bind(r, search.AskRung)
	contract.EndTrial.Bind(r, search.EndTrial)
	contract.CloseStudy.Bind(r, search.CloseStudy)

	tunings := &activities.Tuning{Blobs: c.Blobs, Actions: c.Actions, Snapshots: c.Snapshots, Grants: c.Grants, Studies: c.Studies, Engine: c.Engine}
	contract.ComputeScorecard.Bind(r, tunings.ComputeScorecard)
	contract.Suggest.Bind(r, tunings.Suggest)
	contract.ApplySuggestion.Bind(r, tunings.ApplySuggestion)
	return nil
}

// Publisher returns what publishes snapshots: for the queue, and for the
// bootstrap of the regions and endpoints when a process starts.
func (c Control) Publisher() *activities.Snapshot {
	return &activities.Snapshot{Blobs: c.Blobs, Snapshots: c.Snapshots, Replicas: c.Replicas, Registry: c.Registry, Signer: c.Signer, Grants: c.Grants, Accepted: c.Accepted, Now: time.Now}
}

// A Signing is what the signing queue needs.
type Signing struct {
	Blobs  activities.Blobs
	Signer activities.Signer
}

// Queue returns the signing queue, which holds the key and nothing else.
func (s Signing) Queue() Queue {
	return Queue{Name: contract.QueueSigning, Bind: s.bind, Slots: 4}
}

func (s Signing) bind(r sdk.Registry) error {
	if err := complete(s); err != nil {
		return err
	}
	signs := &activities.Sign{Blobs: s.Blobs, Signer: s.Signer}
	contract.SignStatement.Bind(r, signs.SignStatement)
	return nil
}

// A Region is what the queue of a region needs: no key, no registry.
type Region struct {
	Name     string
	Blobs    activities.Blobs
	Rounds   activities.Rounds
	Verifier activities.Verifier
	Runtime  activities.Runtime
	Spool    string // directory for sums on their way; the system's when it is empty
}

// Queue returns the queue of the region. Every open stage waits in a slot.
func (g Region) Queue() Queue {
	return Queue{Name: contract.QueueRegion(g.Name), Bind: g.bind, Slots: 256}
}

func (g Region) bind(r sdk.Registry) error {
	if err := complete(g); err != nil {
		return err
	}
	contract.RegionRound.Bind(r, workflows.RegionRound)

	stages := &activities.Stage{Blobs: g.Blobs, Rounds: g.Rounds, Verifier: g.Verifier, Now: time.Now}
	contract.OpenStage.Bind(r, stages.OpenStage)
	contract.AwaitStage.Bind(r, stages.AwaitStage)

	sums := &activities.Aggregate{Blobs: g.Blobs, Rounds: g.Rounds, Spool: g.Spool}
	contract.AggregateRegion.Bind(r, sums.AggregateRegion)
	contract.AggregateMasked.Bind(r, sums.AggregateMasked)

	groups := &activities.Secure{Blobs: g.Blobs, Rounds: g.Rounds, Verifier: g.Verifier, Now: time.Now}
	contract.AdvanceStage.Bind(r, groups.AdvanceStage)
	contract.CommitSurvivors.Bind(r, groups.CommitSurvivors)

	runtimes := &activities.Region{Runtime: g.Runtime, Now: time.Now, Pause: pause}
	contract.AwaitActive.Bind(r, runtimes.AwaitActive)
	contract.AwaitRecovered.Bind(r, runtimes.AwaitRecovered)
	return nil
}

// complete names the ports that are missing, so that a worker refuses to start
// instead of failing at its first task.
func complete(ports any) error {
	var missing []string
	for field, value := range reflect.ValueOf(ports).Fields() {
		if field.Type.Kind() == reflect.Interface && value.IsNil() || field.Name == "Name" && value.IsZero() {
			missing = append(missing, field.Name)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("%T: %w: %s", ports, ErrPort, strings.Join(missing, ", "))
	}
	return nil
}
