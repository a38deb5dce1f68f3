package contract

import (
	"fmt"

	"go.temporal.io/sdk/temporal"

	"github.com/atom-fabric/fabric/domain/approval"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/promotion"
)

// Workflows.
var (
	TrainingRun    = Workflow[RunInput, RunResult]{"TrainingRun"}
	FederatedRound = Workflow[RoundInput, RoundResult]{"FederatedRound"}
	RegionRound    = Workflow[RegionInput, RegionResult]{"RegionRound"}
	Approval       = Workflow[approval.Request, approval.Ballot]{"Approval"}
	ModelPromotion = Workflow[PromotionInput, PromotionResult]{"ModelPromotion"}
	PolicyRollout  = Workflow[RolloutInput, RolloutResult]{"PolicyRollout"}
	AutoTune       = Workflow[TuneInput, TuneResult]{"AutoTune"}
	Replication    = Workflow[ReplicaInput, ReplicaResult]{"Replication"}
	RecoveryPoint  = Workflow[PointInput, PointResult]{"RecoveryPoint"}
	Restore        = Workflow[RestoreInput, RestoreResult]{"Restore"}
	Canary         = Workflow[CanaryInput, CanaryResult]{"Canary"}
	Feedback       = Workflow[FeedbackInput, FeedbackResult]{"Feedback"}
	Study          = Workflow[StudyInput, StudyResult]{"Study"}
)

// Activities of a run and its rounds, on the control queue unless said.
var (
	PlanRound       = Activity[RoundInput, RoundPlan]{"PlanRound"}
	SignStatement   = Activity[SignInput, Signed]{"SignStatement"}        // queue signing
	OpenStage       = Activity[RegionInput, StageRef]{"OpenStage"}        // queue region-<name>
	AwaitStage      = Activity[AwaitInput, StageCounts]{"AwaitStage"}     // queue region-<name>
	AggregateRegion = Activity[StageRef, RegionResult]{"AggregateRegion"} // queue region-<name>
	AdvanceStage    = Activity[AdvanceInput, Advanced]{"AdvanceStage"}    // queue region-<name>
	CommitSurvivors = Activity[StageRef, Survivors]{"CommitSurvivors"}    // queue region-<name>
	AggregateMasked = Activity[StageRef, RegionResult]{"AggregateMasked"} // queue region-<name>
	CombineRegions  = Activity[CombineInput, Combined]{"CombineRegions"}
	AttestRound     = Activity[AttestInput, artifact.Descriptor]{"AttestRound"}
	PushCandidate   = Activity[CandidateInput, Candidate]{"PushCandidate"}
	RegisterVersion = Activity[RegisterInput, Version]{"RegisterVersion"}
	CloseRound      = Activity[CloseRoundInput, RoundResult]{"CloseRound"}
	CloseRun        = Activity[CloseRunInput, RunResult]{"CloseRun"}
)

// Activities of an approval.
var (
	NotifyApprovers = Activity[approval.Request, Nothing]{"NotifyApprovers"}
	VerifyVote      = Activity[VoteInput, approval.Vote]{"VerifyVote"}
	RecordBallot    = Activity[approval.Ballot, Nothing]{"RecordBallot"}
	TellBallot      = Activity[TellInput, Nothing]{"TellBallot"}
	CheckStanding   = Activity[approval.Ballot, Standing]{"CheckStanding"}
	BeginBallot     = Activity[BeginInput, Begun]{"BeginBallot"}
)

// Activities of promotions, rollouts and tuning.
var (
	CheckPlan        = Activity[CheckInput, Checked]{"CheckPlan"}
	PublishSnapshot  = Activity[PublishInput, SnapshotRef]{"PublishSnapshot"}
	AwaitActive      = Activity[ActiveInput, Evidence]{"AwaitActive"} // queue region-<name>
	RecordOutcome    = Activity[OutcomeInput, Nothing]{"RecordOutcome"}
	PackEvidence     = Activity[EvidenceInput, Packed]{"PackEvidence"}
	KeepEvidence     = Activity[KeepInput, Nothing]{"KeepEvidence"}
	PushPolicy       = Activity[PushPolicyInput, PolicyPackage]{"PushPolicy"}
	AttachSignature  = Activity[AttachInput, Nothing]{"AttachSignature"}
	ComputeScorecard = Activity[TuneInput, Scorecard]{"ComputeScorecard"}
	Suggest          = Activity[Scorecard, Suggestion]{"Suggest"}
	ApplySuggestion  = Activity[ApplyInput, TuneResult]{"ApplySuggestion"}
)

// Activities of a study. SuggestTrial chooses the point of a trial, BeginTrial
// admits one run of it, AskRung is asked by that run between its rounds.
var (
	SuggestTrial = Activity[TrialRef, SuggestedTrial]{"SuggestTrial"}
	BeginTrial   = Activity[TrialRef, BegunTrial]{"BeginTrial"}
	AskRung      = Activity[RungInput, Rung]{"AskRung"}
	EndTrial     = Activity[TrialEnd, EndedTrial]{"EndTrial"}
	CloseStudy   = Activity[CloseStudyInput, StudyResult]{"CloseStudy"}
)

// Activities of a canary, and of the grant that everything which writes carries.
var (
	MintGrant    = Activity[MintInput, promotion.Grant]{"MintGrant"}
	LookCanary   = Activity[LookInput, Looked]{"LookCanary"}
	AskAgain     = Activity[AskInput, Checked]{"AskAgain"}
	NoteCanary   = Activity[CanaryNote, Nothing]{"NoteCanary"}
	RecordCanary = Activity[CanaryEnd, CanaryResult]{"RecordCanary"}
)

// Activities of the policy loop, and of what watches a rollout of a policy.
var (
	ReadTelemetry     = Activity[FeedbackInput, Telemetry]{"ReadTelemetry"}
	EvaluateTelemetry = Activity[EvaluateInput, Evaluated]{"EvaluateTelemetry"}
	ReplayDecisions   = Activity[ReplayInput, Replayed]{"ReplayDecisions"}
	ProposePolicy     = Activity[ProposeInput, Proposed]{"ProposePolicy"}
	GuardRegion       = Activity[GuardInput, Guarded]{"GuardRegion"}
	NoteRegion        = Activity[RegionStateInput, Nothing]{"NoteRegion"}
)

// Activities of replicas and of the way back.
var (
	CopyPackage     = Activity[ReplicaInput, Copied]{"CopyPackage"}
	InspectReplica  = Activity[InspectInput, Inspected]{"InspectReplica"}
	AttachReplica   = Activity[AttachReplicaInput, Nothing]{"AttachReplica"}
	RecordReplica   = Activity[ReplicaOutcome, Nothing]{"RecordReplica"}
	VerifyHeld      = Activity[HeldInput, Nothing]{"VerifyHeld"}
	TakePoint       = Activity[PointInput, Point]{"TakePoint"}
	RecordPoint     = Activity[RecordPointInput, PointResult]{"RecordPoint"}
	VerifyPoint     = Activity[VerifyPointInput, VerifiedPoint]{"VerifyPoint"}
	PublishRecovery = Activity[RecoverInput, Recovered]{"PublishRecovery"}
	AwaitRecovered  = Activity[AwaitRecoveredInput, Evidence]{"AwaitRecovered"} // queue region-<name>
)

// What carries consent that was taken back.
var (
	ConsentWithdrawal = Workflow[WithdrawalInput, WithdrawalRecord]{"ConsentWithdrawal"}
	EnforceWithdrawal = Activity[WithdrawalInput, Enforced]{"EnforceWithdrawal"}
	ReportWithdrawal  = Activity[WithdrawalInput, WithdrawalRecord]{"ReportWithdrawal"}
	RecordWithdrawal  = Activity[WithdrawalRecord, Nothing]{"RecordWithdrawal"}
)

// What publishes the statistics of a version of a feature.
var (
	FeatureStatistics = Workflow[StatisticsInput, StatisticsResult]{"FeatureStatistics"}
	AskStatistics     = Activity[StatisticsInput, StatisticsAsked]{"AskStatistics"}
	AwaitStatistics   = Activity[StatisticsAsked, StatisticsCounts]{"AwaitStatistics"}
	PublishStatistics = Activity[StatisticsEnd, StatisticsResult]{"PublishStatistics"}
)

// Messages.
var (
	CastVote   = Signal[SignedVote]{"vote"}                      // to an Approval; fire and forget
	VoteNow    = Update[SignedVote, approval.Ballot]{"vote-now"} // to an Approval; answers at once
	BallotNow  = Query[approval.Ballot]{"ballot"}                // of an Approval
	Reconsider = Signal[Nothing]{"reconsider"}                   // to an Approval; somebody's standing has changed
	StopRun    = Signal[StopRequest]{"stop"}                     // to a TrainingRun; ends after the open round
	StopStudy  = Signal[StopRequest]{"stop-study"}               // to a Study; ends when the open rounds of its runs have
	PauseRun   = Signal[PauseRequest]{"pause"}                   // to a TrainingRun; holds before the next round
	Steering   = Update[Steer, CanaryState]{"steer"}             // to a Canary or a PolicyRollout; pauses, resumes or aborts it
)

// Task queues.
const (
	QueueControl = "control"
	QueueSigning = "signing"
)

// QueueRegion returns the task queue of the workers that live in a region.
func QueueRegion(region string) string { return "region-" + region }

// Workflow IDs say what the workflow is, so that starting it twice is starting
// it once.
func RunID(run string) string                     { return "run/" + run }
func RoundID(run string, n int) string            { return fmt.Sprintf("round/%s/%d", run, n) }
func RegionID(run string, n int, r string) string { return fmt.Sprintf("round/%s/%d/%s", run, n, r) }
func ApprovalID(action string) string             { return "approval/" + action }
func PromotionID(action string) string            { return "promotion/" + action }
func RolloutID(action string) string              { return "rollout/" + action }
func TuneID(action string) string                 { return "tune/" + action }
func PointID(action string) string                { return "point/" + action }
func RestoreID(action string) string              { return "restore/" + action }

// ReplicaID names the one replication of a package to a region: the n-th time
// that it was asked for, which is when the one before had ended.
func ReplicaID(repository string, pkg artifact.Digest, region string, attempt int) string {
	return fmt.Sprintf("replica/%s/%s/%s/%d", region, repository, pkg.Hex(), attempt)
}

// Search attributes: what a person filters by in the Temporal Web UI. None is
// personal or secret. FabricRisk is 0..100.
var (
	AttrTenant   = temporal.NewSearchAttributeKeyKeyword("FabricTenant")
	AttrModel    = temporal.NewSearchAttributeKeyKeyword("FabricModel")
	AttrStage    = temporal.NewSearchAttributeKeyKeyword("FabricStage")
	AttrRisk     = temporal.NewSearchAttributeKeyInt64("FabricRisk")
	AttrApproval = temporal.NewSearchAttributeKeyKeyword("FabricApproval")
)
