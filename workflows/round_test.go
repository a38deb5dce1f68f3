package workflows_test

import (
	"testing"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/tests/replay/script"
)

func roundInput(publish bool) contract.RoundInput {
	return contract.RoundInput{
		Subject: script.Subject(), Run: "run-1", Number: 3, Kind: round.Train,
		Tenants: []string{"h1", "h2"}, Params: script.Params(10), Publish: publish,
	}
}

func TestFederatedRound(t *testing.T) {
	slow := []round.Counts{{Selected: 2}, {Selected: 2, Accepted: 1}}
	none := []round.Counts{{Selected: 2}}
	tests := []struct {
		name   string
		world  *script.World
		kind   string // of the error; empty: the round succeeds
		cause  string
		combed int // regions that were combined
	}{
		{"succeeds with every region", &script.World{}, "", "", 3},
		{"goes on without a region while the quorum holds",
			&script.World{Errors: map[string]error{"OpenStage/apac": script.Final(contract.BadPackage, "the order does not verify")}}, "", "", 2},
		{"extends a region's deadline once, and takes what came",
			&script.World{Counts: map[string][]round.Counts{"eu": slow}}, "", "", 3},
		{"goes on without a region whose update cannot be summed",
			&script.World{Errors: map[string]error{"AggregateRegion/us": script.Final(contract.BadUpdate, "site h4/s1: NaN")}}, "", "", 2},
		{"fails below the quorum of sites and says what each region said",
			&script.World{Counts: map[string][]round.Counts{"eu": none, "us": {{Selected: 2, Accepted: 1, Rejected: 1}}}}, contract.NoQuorum,
			"below quorum: 2 of 3 sites that are needed, 2 of 2 regions; eu: 0 of 2 sites delivered, 0 were refused, 1 are needed", 0},
		{"fails below the quorum of regions",
			&script.World{Errors: map[string]error{"OpenStage/apac": script.Final(contract.BadPackage, "no"), "OpenStage/us": script.Final(contract.BadPackage, "no")}},
			contract.NoQuorum, "below quorum: 2 of 3 sites that are needed, 1 of 2 regions; apac: no; us: no", 0},
		{"does not start without consent",
			&script.World{Errors: map[string]error{"PlanRound/3": script.Final(contract.NoConsent, "feature wdbc of h2 is not consented")}},
			contract.NoConsent, "feature wdbc of h2 is not consented", 0},
		{"keeps internal text to itself",
			&script.World{Errors: map[string]error{"PlanRound/3": script.Final("pgx", "password of fabric_app is wrong")}},
			contract.RoundFailed, "PlanRound failed", 0},
		{"outlasts failures that pass",
			&script.World{Passing: map[string]int{"PlanRound/3": 5, "AwaitStage/eu": 2, "CombineRegions/3": 3, "CloseRound/3": 4}}, "", "", 3},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := tt.world
			w.Cohort = script.FiveSites()
			env := environment(t, w)
			env.ExecuteWorkflow(contract.FederatedRound.Name, roundInput(false))

			ends := w.Rounds()
			require.NotEmpty(t, ends, "the end is always recorded")
			end := ends[len(ends)-1]
			if tt.kind != "" {
				require.Equal(t, tt.kind, kindOf(env.GetWorkflowError()))
				require.Equal(t, tt.cause, causeOf(env.GetWorkflowError()))
				require.Equal(t, tt.cause, end.Cause)
				require.Empty(t, end.Weights)
				return
			}
			got := result[contract.RoundResult](t, env)
			require.Empty(t, got.Cause)
			require.Equal(t, script.Blob("weights after 3"), got.Weights)
			require.EqualValues(t, 20*tt.combed, got.Metrics.Evaluated, "only regions that delivered are combined")
			require.Len(t, end.Regions, 3, "every region is recorded")
		})
	}
}

func TestFederatedRoundPublishes(t *testing.T) {
	w := &script.World{Cohort: script.FiveSites()}
	env := environment(t, w)
	env.ExecuteWorkflow(contract.FederatedRound.Name, roundInput(true))

	got := result[contract.RoundResult](t, env)
	require.Equal(t, 4, got.Version.Number)
	calls := w.Calls()
	require.Equal(t, []string{"CombineRegions/3", "AttestRound/3", "SignStatement", "PushCandidate", "SignStatement", "AttachSignature", "RegisterVersion", "CloseRound/3"}, calls[len(calls)-8:])
	signed := w.Signed()
	require.Equal(t, artifact.PredicateRoundManifest, signed[0].PredicateType)
	require.Equal(t, script.Blob("manifest 3").Digest, signed[0].Digest)
	require.Equal(t, artifact.PredicateRound, signed[1].PredicateType)
	require.Equal(t, script.Blob("weights after 3").Digest, signed[1].Digest)
	require.Equal(t, artifact.PredicateModelPackage, signed[2].PredicateType)
	require.Equal(t, script.Blob("package").Digest, signed[2].Digest)
}

// What is said of a round names what was said of the one before, and a package
// what was said of its weights.
func TestProvenanceIsAChain(t *testing.T) {
	w := &script.World{Cohort: script.FiveSites()}
	env := environment(t, w)
	env.ExecuteWorkflow(contract.TrainingRun.Name, script.Run("run-1", 2))
	require.NoError(t, env.GetWorkflowError())
	said := w.Attested()
	require.Len(t, said, 4)
	require.Empty(t, said[0].Previous)
	for i, in := range said[1:] {
		require.Equal(t, script.Blob("statement of "+contract.RoundID("run-1", i)).Digest, in.Previous, "round %d", in.Number)
	}
	for i, end := range w.Rounds() {
		require.Equal(t, script.Blob("statement of "+contract.RoundID("run-1", i)).Digest, end.Provenance.Statement)
		require.Equal(t, script.Blob("bundle of "+string(end.Weights.Digest)), end.Provenance.Bundle)
	}
}

func TestFederatedRoundWithoutSignatureIsNoVersion(t *testing.T) {
	w := &script.World{Cohort: script.FiveSites(), Errors: map[string]error{"AttachSignature": script.Final(contract.BadPackage, "the registry gave back another bundle")}}
	env := environment(t, w)
	env.ExecuteWorkflow(contract.FederatedRound.Name, roundInput(true))

	require.Equal(t, contract.BadPackage, kindOf(env.GetWorkflowError()))
	require.Zero(t, count(w, "RegisterVersion"))
	require.Zero(t, w.Rounds()[0].Version.Number)
}

func TestFederatedRoundGoesOnWhenARegionIsAway(t *testing.T) {
	w := &script.World{Cohort: script.FiveSites()}
	env := environment(t, w)
	env.OnWorkflow(contract.RegionRound.Name, mock.Anything, mock.MatchedBy(func(in contract.RegionInput) bool { return in.Region == "us" })).
		Return(contract.RegionResult{}, temporal.NewTimeoutError(enumspb.TIMEOUT_TYPE_START_TO_CLOSE, nil))
	for _, region := range []string{"apac", "eu"} {
		env.OnWorkflow(contract.RegionRound.Name, mock.Anything, mock.MatchedBy(func(in contract.RegionInput) bool { return in.Region == region })).
			Return(contract.RegionResult{Region: region, Counts: round.Counts{Selected: 2, Accepted: 2}}, nil)
	}
	env.ExecuteWorkflow(contract.FederatedRound.Name, roundInput(false))

	require.Empty(t, result[contract.RoundResult](t, env).Cause)
	require.Equal(t, "RegionRound did not answer in time", w.Rounds()[0].Regions[2].Cause)
	require.Equal(t, round.Counts{Selected: 2}, w.Rounds()[0].Regions[2].Counts)
}

func TestFederatedRoundRecordsItsCancellation(t *testing.T) {
	w := &script.World{Cohort: script.FiveSites(), Counts: map[string][]round.Counts{"eu": {{Selected: 2}}, "us": {{Selected: 2}}}}
	env := environment(t, w)
	w.OnCall = func(key string) {
		if key == "AwaitStage/eu" {
			env.CancelWorkflow()
		}
	}
	env.ExecuteWorkflow(contract.FederatedRound.Name, roundInput(false))

	require.True(t, temporal.IsCanceledError(env.GetWorkflowError()), "%v", env.GetWorkflowError())
	require.Equal(t, "it was canceled", w.Rounds()[0].Cause)
}

func TestRegionRound(t *testing.T) {
	tests := []struct {
		name   string
		need   int
		counts []round.Counts
		waits  int
		cause  string
	}{
		{"delivers when everybody answered", 1, []round.Counts{{Selected: 3, Accepted: 3}}, 1, ""},
		{"delivers what came when the deadline passed", 1, []round.Counts{{Selected: 3, Accepted: 1}}, 1, ""},
		{"extends below its need", 2, []round.Counts{{Selected: 3, Accepted: 1}, {Selected: 3, Accepted: 2}}, 2, ""},
		{"gives up after its extensions", 2, []round.Counts{{Selected: 3, Accepted: 1}}, 2, "1 of 3 sites delivered, 0 were refused, 2 are needed"},
		{"does not wait when nobody is left to answer", 1, []round.Counts{{Selected: 3, Rejected: 3}}, 1, "0 of 3 sites delivered, 3 were refused, 1 are needed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := &script.World{Counts: map[string][]round.Counts{"eu": tt.counts}}
			env := environment(t, w)
			env.ExecuteWorkflow(contract.RegionRound.Name, contract.RegionInput{
				Subject: script.Subject(), Run: "run-1", Number: 3, Kind: round.Train, Region: "eu", Sites: 3, Need: tt.need, Params: script.Params(10),
			})
			got := result[contract.RegionResult](t, env)
			require.Equal(t, tt.cause, got.Cause)
			require.Equal(t, "eu", got.Region)
			require.Equal(t, tt.waits, count(w, "AwaitStage/eu"))
			require.Equal(t, tt.cause == "", count(w, "AggregateRegion/eu") == 1)
		})
	}
}

// The need of a region follows from the quorum: with 5 sites asked and 5
// needed, no region may miss one.
func TestRegionsLearnTheirNeed(t *testing.T) {
	w := &script.World{Cohort: script.FiveSites()}
	env := environment(t, w)
	in := roundInput(false)
	in.Params.Quorum = 4
	env.ExecuteWorkflow(contract.FederatedRound.Name, in)

	needs := map[string]int{}
	for _, r := range w.Regions() {
		needs[r.Region] = r.Need
	}
	require.Equal(t, map[string]int{"apac": 1, "eu": 1, "us": 1}, needs)

	in.Params.Quorum = 5
	w = &script.World{Cohort: script.FiveSites()}
	env = environment(t, w)
	env.ExecuteWorkflow(contract.FederatedRound.Name, in)
	for _, r := range w.Regions() {
		needs[r.Region] = r.Need
	}
	require.Equal(t, map[string]int{"apac": 1, "eu": 2, "us": 2}, needs)
}
