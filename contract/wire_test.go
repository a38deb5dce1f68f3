package contract

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/artifact"
)

// golden is the wire as it was: every name, and every field of what travels
// under it, one a line. It only gains lines:
//
//	FABRIC_GOLDEN=append go test ./contract
const golden = "testdata/wire.golden"

// A form is what travels under a name.
type form struct {
	kind, name string
	types      []reflect.Type
}

func pair[In, Out any](kind, name string) form {
	return form{kind, name, []reflect.Type{reflect.TypeFor[In](), reflect.TypeFor[Out]()}}
}

func wf[In, Out any](w Workflow[In, Out]) form  { return pair[In, Out]("workflow", w.Name) }
func act[In, Out any](a Activity[In, Out]) form { return pair[In, Out]("activity", a.Name) }
func up[In, Out any](u Update[In, Out]) form    { return pair[In, Out]("update", u.Name) }
func sig[T any](s Signal[T]) form {
	return form{"signal", s.Name, []reflect.Type{reflect.TypeFor[T]()}}
}
func qry[T any](q Query[T]) form { return form{"query", q.Name, []reflect.Type{reflect.TypeFor[T]()}} }

func forms() []form {
	return []form{
		wf(TrainingRun), wf(FederatedRound), wf(RegionRound), wf(Approval), wf(ModelPromotion), wf(PolicyRollout), wf(AutoTune),
		wf(Replication), wf(RecoveryPoint), wf(Restore),
		act(CopyPackage), act(InspectReplica), act(AttachReplica), act(RecordReplica), act(VerifyHeld),
		act(TakePoint), act(RecordPoint), act(VerifyPoint), act(PublishRecovery), act(AwaitRecovered),
		act(PlanRound), act(SignStatement), act(OpenStage), act(AwaitStage), act(AggregateRegion), act(AdvanceStage), act(CommitSurvivors), act(AggregateMasked), act(CombineRegions), act(AttestRound),
		act(PushCandidate), act(RegisterVersion), act(CloseRound), act(CloseRun),
		act(NotifyApprovers), act(VerifyVote), act(RecordBallot), act(TellBallot), act(CheckStanding), act(BeginBallot),
		act(CheckPlan), act(PublishSnapshot), act(AwaitActive), act(RecordOutcome), act(PackEvidence), act(KeepEvidence), act(PushPolicy), act(AttachSignature),
		wf(Feedback), act(ReadTelemetry), act(EvaluateTelemetry), act(ReplayDecisions), act(ProposePolicy), act(GuardRegion), act(NoteRegion),
		act(ComputeScorecard), act(Suggest), act(ApplySuggestion),
		wf(Canary), act(MintGrant), act(LookCanary), act(AskAgain), act(NoteCanary), act(RecordCanary), up(Steering),
		wf(Study), act(SuggestTrial), act(BeginTrial), act(AskRung), act(EndTrial), act(CloseStudy),
		wf(ConsentWithdrawal), act(EnforceWithdrawal), act(ReportWithdrawal), act(RecordWithdrawal),
		wf(FeatureStatistics), act(AskStatistics), act(AwaitStatistics), act(PublishStatistics),
		sig(CastVote), up(VoteNow), qry(BallotNow), sig(Reconsider), sig(StopRun), sig(StopStudy), sig(PauseRun),
	}
}

// constants are texts of the wire that are no handles.
func constants() []string {
	var lines []string
	add := func(kind string, texts ...string) {
		for _, s := range texts {
			lines = append(lines, kind+" "+s)
		}
	}
	add("failure", NoConsent, NoSites, NoBudget, BadUpdate, BadPackage, StalePlan, BadPlan, NotActive, NotHeld, NoQuorum, RoundFailed, RunFailed, VoteRefused, BallotClosed, NoGrant, NotSteered, Regressed, OldPlan)
	add("phase", PhaseLoad, PhaseSwitch, PhasePolicy, PhaseBack, PhaseCanary, PhaseGive)
	add("outcome", Applied, Suggested, Unchanged, Rejected, Expired, Stale, Failed)
	add("queue", QueueControl, QueueSigning, QueueRegion("<region>"))
	add("id", RunID("<run>"), RoundID("<run>", 7), RegionID("<run>", 7, "<region>"), ApprovalID("<action>"), PromotionID("<action>"), RolloutID("<action>"), TuneID("<action>"),
		PointID("<action>"), RestoreID("<action>"), CanaryID("<action>"), HalfID("<action>"), HoldID("<action>", 7), ReplicaID("<repository>", artifact.DigestOf(nil), "<region>", 1), WithdrawalID("<tenant>", 2))
	add("id", StudyID("<study>"))
	add("id", FeedbackID("<evaluation>"), FeedbackSchedule("<tenant>"))
	add("id", StatisticsID("<tenant>", "<feature>", 3, 1))
	add("policy state", PolicyPublished, PolicyDelivered, PolicyVerified, PolicyActive, PolicyHalted, PolicyRolledBack)
	for _, a := range []interface{ GetName() string }{AttrTenant, AttrModel, AttrStage, AttrRisk, AttrApproval} {
		add("attribute", a.GetName())
	}
	return lines
}

func TestWireOnlyGrows(t *testing.T) {
	wire := constants()
	for _, f := range forms() {
		line := f.kind + " " + f.name
		for _, typ := range f.types {
			line += " " + typ.String()
			wire = append(wire, fields(typ)...)
		}
		wire = append(wire, line)
	}
	slices.Sort(wire)
	wire = slices.Compact(wire)

	text, err := os.ReadFile(golden)
	if os.Getenv("FABRIC_GOLDEN") == "append" {
		var was []string
		if err == nil {
			was = strings.Split(strings.TrimSpace(string(text)), "\n")
		}
		wire = append(wire, was...)
		slices.Sort(wire)
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(golden, []byte(strings.Join(slices.Compact(wire), "\n")+"\n"), 0o644))
		return
	}
	require.NoError(t, err)
	was := strings.Split(strings.TrimSpace(string(text)), "\n")
	for _, line := range was {
		require.Contains(t, wire, line, "the wire lost or changed a line that histories may hold")
	}
	for _, line := range wire {
		require.Contains(t, was, line, "the wire has grown: append the line to %s", golden)
	}
}

// fields lists the fields of a struct as JSON sees them, and those of what it
// holds, each with its type.
func fields(t reflect.Type) []string {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		return fields(t.Elem())
	case reflect.Struct:
	default:
		return nil
	}
	if !strings.Contains(t.PkgPath(), "atom-fabric") {
		return nil
	}
	var lines []string
	for i := range t.NumField() {
		f := t.Field(i)
		lines = append(lines, fields(f.Type)...)
		if f.Anonymous {
			for _, line := range fields(f.Type) {
				if own, ok := strings.CutPrefix(line, "field "+f.Type.String()+"."); ok {
					lines = append(lines, fmt.Sprintf("field %s.%s", t, own))
				}
			}
			continue
		}
		lines = append(lines, fmt.Sprintf("field %s.%s %s", t, f.Tag.Get("json"), f.Type))
	}
	return lines
}

// Every handle of names.go is among the forms, found in its source.
func TestWireIsComplete(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "names.go", nil, 0)
	require.NoError(t, err)
	var declared []string
	ast.Inspect(file, func(n ast.Node) bool {
		literal, ok := n.(*ast.CompositeLit)
		if !ok || len(literal.Elts) != 1 {
			return true
		}
		name, err := strconv.Unquote(literal.Elts[0].(*ast.BasicLit).Value)
		require.NoError(t, err)
		declared = append(declared, name)
		return true
	})
	var known []string
	for _, f := range forms() {
		known = append(known, f.name)
	}
	require.ElementsMatch(t, declared, known)
	slices.Sort(known)
	require.Len(t, slices.Compact(known), len(declared), "a name is used twice")
}

// A field without a JSON name would travel under its Go name, which may change.
func TestWireFieldsAreNamed(t *testing.T) {
	for _, f := range forms() {
		for _, typ := range f.types {
			for _, line := range fields(typ) {
				require.NotContains(t, line, ". ", "%s: %s", f.name, line)
				require.NotContains(t, line, "Duration", "wire numbers carry their unit: %s", line)
			}
		}
	}
}
