package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/api/apitest"
	"github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/approval"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/recovery"
	"github.com/atom-fabric/fabric/domain/routing"
	"github.com/atom-fabric/fabric/domain/summary"
	"github.com/atom-fabric/fabric/domain/tuning"
)

// owned fills a fabric with one of everything that tenant b has.
func owned(t *testing.T) *served {
	s := governed(t)
	feature(s.fabric, "b", "f1", "{}")
	s.fabric.RunRows["run-1"] = api.Run{ID: "run-1", Tenant: "b", ModelID: "m", Status: "running", CreatedAt: apitest.Epoch}
	m := s.fabric.ModelRows["t1/m"]
	m.Tenant, m.Versions[0].Tenant = "b", "b"
	for _, part := range pack(t, "b", nil).parts {
		s.fabric.Registry[artifact.DigestOf(part.text)] = part.text
		if part.name == "manifest" {
			m.Versions[0].Package = artifact.Describe("application/vnd.oci.image.manifest.v1+json", part.text)
		}
	}
	s.fabric.ModelRows = map[string]api.Model{"b/m": m}
	for _, v := range []string{"w", "b"} {
		s.fabric.Keep("x", []byte(v))
	}
	for kind, id := range map[string]string{"promotion": "promote-1", "policy": "policy-1", "tuning": "tune-1", "restore": "restore-1"} {
		s.fabric.ActionRows[id] = api.Action{ID: id, Kind: kind, Tenant: "b", Environment: "dev", State: "started", CreatedAt: apitest.Epoch}
	}
	evidenced := s.fabric.ActionRows["promote-1"]
	evidenced.Pack = s.fabric.Keep("x", []byte("pack"))
	s.fabric.ActionRows["promote-1"] = evidenced
	ballot(s, "promote-1", apitest.Epoch, approval.Pending)
	b := s.fabric.BallotRows["promote-1"]
	b.Request.Action.Tenant = "b"
	b.Votes = []approval.Vote{{Approver: "bob", Statement: artifact.DigestOf([]byte("w")), Bundle: s.fabric.Keep("x", []byte("{}")).Digest}}
	s.fabric.BallotRows["promote-1"] = b
	point := recovery.Point{Sequence: 1, Tenant: "b", At: apitest.Epoch, Snapshot: 7, Models: []recovery.Model{}, Aliases: []recovery.Alias{}, Routes: []recovery.Route{}, Policies: []recovery.Policy{}}
	encoded, pointDigest, err := point.Encode()
	require.NoError(t, err)
	s.fabric.Points = map[string][]api.RecoveryPoint{"b": {{Sequence: 1, Action: "recovery-1", Digest: pointDigest, Point: s.fabric.Keep("x", encoded), Bundle: s.fabric.Keep("x", []byte("{}")), At: apitest.Epoch}}}
	s.fabric.Decided = []api.Decision{{ID: "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331", Owner: "b", Caller: "b", At: apitest.Epoch}}
	s.fabric.Withdrawals = []api.Withdrawal{{Tenant: "b", Epoch: 2, Feature: "f1", AskedAt: apitest.Epoch, Grants: []string{}, Grantees: []string{}}}
	s.fabric.Ran = api.Ran{Snapshot: routing.Snapshot{Version: 7}, Digest: artifact.DigestOf([]byte("w")), At: apitest.Epoch}
	proposed := s.fabric.Keep("x", []byte(`{}`)).Digest
	s.fabric.Proposed = []api.KeptProposal{{Action: "policy-1", Template: "min_cohort", Direction: "tighten", Predicate: proposed, Bundle: proposed, ProposedAt: apitest.Epoch, ExpiresAt: apitest.Epoch, State: "started"}}
	s.fabric.Published["b/f1"] = api.FeatureStatistics{Question: summary.Question{Tenant: "b", Feature: "f1", Version: 1}, Attempt: 1, State: summary.StateFailed, AskedAt: apitest.Epoch}
	s.fabric.StudyRows["study-1"] = api.Study{ID: "study-1", Tenant: "b", ModelID: "m", Environment: "dev", Status: "running", CreatedAt: apitest.Epoch,
		Spec: tuning.Study{Space: tuning.Space{{Name: "learningRate", Kind: tuning.Double, Low: 0.1, High: 1}}, Metric: "loss", Goal: "minimize", Trials: 1, Parallel: 1, Repeats: 1}}
	s.fabric.TrialRows["b/m"] = []api.Trial{{Run: "run-1", Status: "completed"}}
	return s
}

// Every operation of the document is here, or among those that name nobody's
// rows. The test reads the document, so a new operation fails it.
func TestWhatBelongsToAnotherTenantDoesNotExist(t *testing.T) {
	s := owned(t)
	key, _ := newKey(t)
	digest := string(artifact.DigestOf(nil))
	policyBody := `{"document":{"revision":2,"threshold":1,"rules":[],"weights":{"latency":1,"cost":1,"fabric":1,"locality":1}}}`
	vote, err := json.Marshal(v1.VoteRequest{Bundle: signedVote(t, key)})
	require.NoError(t, err)
	calls := map[string]struct{ path, body string }{ // of tenant b's things
		"registerFeature":          {"/features/register", `{"tenant":"b","feature_id":"f1","schema":{},"consented":true}`},
		"listFeatures":             {"/features/b", ""},
		"withdrawConsent":          {"/features/b/f1/withdraw", ""},
		"featureVersions":          {"/features/b/f1/versions", ""},
		"promoteFeature":           {"/features/b/f1/promote", `{"version":1}`},
		"getFeatureStatistics":     {"/features/b/f1/statistics", ""},
		"publishFeatureStatistics": {"/features/b/f1/statistics", `{"epsilon":1,"columns":[{"name":"x","low":0,"high":1}]}`},
		"listAccessRequests":       {"/access-requests?tenant=b", ""},
		"requestAccess":            {"/access-requests?tenant=b", `{"owner":"c","feature_id":"f1","purpose":"GRU","actions":["train"],"days":1,"reason":"x"}`},
		"decideAccess":             {"/access-requests/access-1/decision?tenant=b", `{"decision":"approve"}`},
		"listConsents":             {"/consents?tenant=b", ""},
		"grantConsent":             {"/consents?tenant=b", `{"feature_id":"f1","grantee":"x","actions":["train"]}`},
		"withdrawGrants":           {"/consents/withdrawals?tenant=b", `{"feature_id":"f1","apply":true}`},
		"getWithdrawal":            {"/consents/withdrawals/2?tenant=b", ""},
		"decideWithdrawal":         {"/consents/withdrawals/2/decision?tenant=b", `{"decision":"stop"}`},
		"getRunLineage":            {"/train/runs/run-1/lineage", ""},
		"setPrivacyBudget":         {"/privacy/budgets/f1?tenant=b", `{"epsilon":3}`},
		"listPrivacyBudgets":       {"/privacy/budgets?tenant=b", ""},
		"getRun":                   {"/train/status/run-1", ""},
		"listRuns":                 {"/train/runs?tenant=b", ""},
		"getRunProgress":           {"/train/runs/run-1/progress", ""},
		"listPromotions":           {"/promotions?tenant=b", ""},
		"listRegions":              {"/regions?tenant=b", ""},
		"stopRun":                  {"/train/runs/run-1/stop", `{}`},
		"pauseRun":                 {"/train/runs/run-1/pause", `{}`},
		"resumeRun":                {"/train/runs/run-1/resume", `{}`},
		"listSites":                {"/sites?tenant=b", ""},
		"listModels":               {"/models?tenant=b", ""},
		"getModel":                 {"/models/m", ""},
		"downloadModel":            {"/models/m/download", ""},
		"getModelBundle":           {"/models/m/bundle", ""},
		"listAliases":              {"/models/m/aliases", ""},
		"moveAlias":                {"/models/m/aliases", `{"version":1,"bundle":"{}"}`},
		"promoteModel":             {"/models/m/promotions", `{"version":1,"environment":"dev"}`},
		"getPromotion":             {"/promotions/promote-1", ""},
		"getEvidence":              {"/promotions/promote-1/evidence", ""},
		"getCanary":                {"/promotions/promote-1/rollout", ""},
		"steerCanary":              {"/promotions/promote-1/rollout", `{"do":"pause"}`},
		"getModelHistory":          {"/models/m/history", ""},
		"rollbackModel":            {"/models/m/rollbacks", `{"environment":"dev"}`},
		"listReplicas":             {"/models/m/replicas", ""},
		"replicateModel":           {"/models/m/replicas", `{"version":1}`},
		"takeRecoveryPoint":        {"/recovery-points?tenant=b", `{}`},
		"listRecoveryPoints":       {"/recovery-points?tenant=b", ""},
		"getRecoveryPoint":         {"/recovery-points/1", ""},
		"restoreRecoveryPoint":     {"/recovery-points/1/restores?tenant=b", `{}`},
		"getRestore":               {"/restores/restore-1", ""},
		"listPolicies":             {"/policies?tenant=b", ""},
		"proposePolicy":            {"/policies/proposals?tenant=b", policyBody},
		"getRollout":               {"/policies/rollouts/policy-1", ""},
		"listRolloutRegions":       {"/policies/rollouts/policy-1/regions", ""},
		"steerPolicy":              {"/policies/rollouts/policy-1/steer?tenant=b", `{"do":"pause"}`},
		"listProposals":            {"/policies/proposals?tenant=b", ""},
		"getProposal":              {"/policies/proposals/policy-1", ""},
		"listVerdicts":             {"/policies/decisions?tenant=b", ""},
		"replayPolicy":             {"/policies/replay?tenant=b", policyBody},
		"recordObservations":       {"/policies/observations?tenant=b", `{"items":[{"metric":"drift","target":"eu","at":"2026-11-22T12:00:00Z","value":1}]}`},
		"evaluatePolicy":           {"/policies/evaluations?tenant=b", `{"window_seconds":60,"baseline_windows":3}`},
		"listApprovers":            {"/approvers?tenant=b", ""},
		"addApprover":              {"/approvers?tenant=b", `{"name":"x","role":"owner","public_key":"x"}`},
		"listApprovals":            {"/approvals?tenant=b", ""},
		"getApproval":              {"/approvals/promote-1", ""},
		"castVote":                 {"/approvals/promote-1/votes", string(vote)},
		"getVote":                  {"/approvals/promote-1/votes/" + string(artifact.DigestOf([]byte("w"))), ""},
		"revokeApprover":           {"/approvers/bob/revoke?tenant=b", `{"reason":"left"}`},
		"listDelegations":          {"/delegations?tenant=b", ""},
		"addDelegation":            {"/delegations?tenant=b", `{"bundle":"{}"}`},
		"revokeDelegation":         {"/delegations/" + string(artifact.DigestOf([]byte("w"))) + "/revoke?tenant=b", `{"reason":"left"}`},
		"getDecision":              {"/decisions/0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331", ""},
		"revokeTokens":             {"/tokens/revocations?tenant=b", `{"reason":"left"}`},
		"listTokenRevocations":     {"/tokens/revocations?tenant=b", ""},
		"auditLeaves":              {"/audit/leaves?tenant=b", ""},
		"getScorecard":             {"/scorecards/m", ""},
		"getScorecardReport":       {"/scorecards/m/report", ""},
		"suggestTuning":            {"/tuning/suggestions", `{"model_id":"m","environment":"dev"}`},
		"getSuggestion":            {"/tuning/suggestions/tune-1", ""},
		"startStudy":               {"/tuning/studies?tenant=b", `{"model_id":"m1","tenants":["b"],"environment":"dev","space":[{"name":"learningRate","kind":"double","low":0.1,"high":1}],"metric":"loss","trials":1}`},
		"listStudies":              {"/tuning/studies?tenant=b", ""},
		"getStudy":                 {"/tuning/studies/study-1", ""},
		"stopStudy":                {"/tuning/studies/study-1/stop", `{}`},
		"getBlob":                  {"/blobs/" + string(artifact.DigestOf([]byte("w"))), ""},
		"submitUpdate":             {"/rounds/run-1/1/submissions", `{"examples":1,"metrics":{"evaluated":1,"correct":1,"loss_micros":1},"bundle":"{}"}`},
	}
	elsewhere := map[string]string{ // why an operation is not in the table
		"discoverFeatures": "shows outsiders that a feature exists, and no more: TestOutsidersSeeACard",
		"startRun":         "others take part by consent: TestARunBeginsOnlyIfItCould",
		"uploadModel":      "its tenant is in the signed statement: TestAPackageThatIsRefusedLeavesNothing",
		"putModelFile":     "of its sender: TestAFileThatWasSentAheadIsItsSendersAlone",
		"putBlob":          "content by digest: TestAnUpdateIsKeptOnlyAsItsDigestSays",
		"siteWork":         "of the token's site",
		"answerQuestion":   "of the token's site: TestASiteAnswersAQuestion",
		"siteRuns":         "of the token's site: TestASiteIsToldItsOpenRuns",
		"enrolSite":        "the FEDERATION_TOKEN is for every tenant",
		"invoke":           "the router's own matrix",
		"routerActive":     "no tenant's",
		"routerDecision":   "the router's own matrix",
		"getSnapshot":      "no tenant's",
		"recordDecisions":  "of every tenant: TestRoutersBringWhatTheyDecided",
		"auditCheckpoint":  "no tenant's",
		"auditProof":       "hashes only",
		"auditConsistency": "hashes only",
		"auditTile":        "hashes only",
		"health":           "no tenant's",
		"metrics":          "no tenant's",
		"whoAmI":           "of the token alone",
	}
	all := s.as("a", "data-scientist", "operator", "approver", "auditor", "admin", "data-plane")
	site := s.asSite("a", "s1")
	missing := strings.NewReplacer("run-1", "run-0", "promote-1", "promote-0", "policy-1", "policy-0", "tune-1", "tune-0", "restore-1", "restore-0", "study-1", "study-0",
		"/m", "/none", "/f1", "/none", `"m"`, `"none"`, "/b", "/c", "=b", "=c", `"b"`, `"c"`, digest, digest)
	before := fmt.Sprint(s.fabric.Leaves, s.fabric.Features, s.fabric.ActionRows, s.fabric.Stops, s.fabric.Votes)
	seen := 0
	for _, item := range document(t).Paths.Map() {
		for method, op := range item.Operations() {
			seen++
			call, ok := calls[op.OperationID]
			if !ok {
				require.Contains(t, elsewhere, op.OperationID, "an operation that nobody looked at")
				continue
			}
			t.Run(op.OperationID, func(t *testing.T) {
				s := s.in(t)
				auth := all
				if op.Extensions["x-access"] == "site" {
					auth = site
				}
				var body any
				if call.body != "" {
					body = call.body
				}
				theirs := s.do(method, call.path, body, auth, header("Idempotency-Key", "k-"+op.OperationID)).is(404, "not_found")
				// What exists for another answers as what exists for nobody.
				if call.body != "" && op.OperationID != "castVote" { // base64 is not to be touched
					body = missing.Replace(call.body)
				}
				nobodys := s.do(method, missing.Replace(call.path), body, auth, header("Idempotency-Key", "n-"+op.OperationID)).is(404, "not_found")
				one, two := into[v1.Problem](theirs), into[v1.Problem](nobodys)
				one.Instance, two.Instance = "", ""
				require.Equal(t, two, one)
			})
		}
	}
	require.Equal(t, seen, len(calls)+len(elsewhere))
	require.Equal(t, before, fmt.Sprint(s.fabric.Leaves, s.fabric.Features, s.fabric.ActionRows, s.fabric.Stops, s.fabric.Votes))

	// And the table is not green because nothing works: tenant b finds its own.
	own := s.as("b", "data-scientist", "operator", "approver", "auditor", "admin")
	for id, call := range calls {
		if call.body == "" && id != "withdrawConsent" && id != "getBlob" {
			t.Run("own "+id, func(t *testing.T) { s.in(t).do(http.MethodGet, call.path, nil, own).is(200) })
		}
	}
}
