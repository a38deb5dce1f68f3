package harness

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/approval"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/examples/tumour"
	"github.com/atom-fabric/fabric/internal/demo"
	"github.com/atom-fabric/fabric/internal/issuer"
)

// Issuer is the name of the development issuer.
const Issuer = "https://dev.invalid/fabric"

// Token mints a token of the system's development issuer.
func (s *System) Token(t testing.TB, tenant, name string, roles ...string) string {
	t.Helper()
	i, err := issuer.Open(s.Path("issuer"), Issuer)
	require.NoError(t, err)
	token, err := i.Mint(tenant, name, roles, time.Hour)
	require.NoError(t, err)
	return token
}

// Person returns a client who acts with a token.
func (s *System) Person(t testing.TB, tenant, name string, roles ...string) *v1.Client {
	t.Helper()
	client, err := v1.New(s.Gateway(), s.Token(t, tenant, name, roles...), &http.Client{Timeout: 30 * time.Second})
	require.NoError(t, err)
	return client
}

// Lead returns the person who starts runs and asks for promotions.
func (s *System) Lead(t testing.TB) *v1.Client {
	t.Helper()
	return s.Person(t, demo.Consortium, "mira", "data-scientist", "operator", "admin")
}

// Consent lets every hospital register its rows for the consortium's use.
func (s *System) Consent(t testing.TB) {
	t.Helper()
	for _, h := range tumour.Split() {
		steward := s.Person(t, h.Tenant, "steward", "operator", "admin")
		_, err := v1.Fetch[v1.Feature](steward.RegisterFeature(t.Context(), &v1.RegisterFeatureParams{}, v1.FeatureRegistration{
			Tenant: h.Tenant, FeatureID: demo.Feature, Schema: v1.JSON(`{"type":"object"}`), Consented: true,
			Fingerprint: string(artifact.DigestOf(h.CSV())), Grantees: []string{demo.Consortium}, Purposes: []v1.Purpose{"train", "evaluate", "stats"},
		}))
		require.NoError(t, err)
	}
}

// Request is a run over every hospital's rows. What it asks for determines the
// weights to the bit.
func Request(rounds int) v1.RunRequest {
	request := v1.RunRequest{ModelID: demo.Model, Params: v1.RunParams{
		Model:  v1.ModelSpec{Trainer: round.TrainerLogistic, Inputs: tumour.Inputs, Classes: 2},
		Rounds: rounds, Quorum: len(tumour.Split()), DeadlineSeconds: 60, LocalEpochs: 1, BatchSize: 16, LearningRate: 0.1, Seed: 1,
		Features: []string{demo.Feature},
	}}
	for _, h := range tumour.Split() {
		request.Tenants = append(request.Tenants, h.Tenant)
	}
	return request
}

// Train starts a run and returns its id.
func (s *System) Train(t testing.TB, lead *v1.Client, request v1.RunRequest) string {
	t.Helper()
	accepted, err := v1.Fetch[v1.RunAccepted](lead.StartRun(t.Context(), &v1.StartRunParams{}, request))
	require.NoError(t, err)
	return accepted.ID
}

// Watch looks at a run again and again until it is as wanted. What is away
// meanwhile is waited for: that is what these tests kill.
func Watch(t testing.TB, lead *v1.Client, id string, within time.Duration, wanted func(v1.Run) bool) v1.Run {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	var last v1.Run
	var lost error
	for {
		run, err := v1.Fetch[v1.Run](lead.GetRun(ctx, id, &v1.GetRunParams{}))
		if lost = err; err == nil {
			if last = run; wanted(run) {
				return run
			}
			require.NotContains(t, []v1.RunStatus{"failed", "stopped", "completed"}, run.Status, "run %s: %s", id, run.Cause)
		}
		select {
		case <-ctx.Done():
			t.Fatalf("run %s is %s after %d rounds, %s later; the last question: %v", id, last.Status, len(last.Rounds), within, lost)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Completed says that a run has ended well.
func Completed(run v1.Run) bool { return run.Status == "completed" }

// An Approver has a key of their own.
type Approver struct {
	*v1.Client
	Name string
	key  *ecdsa.PrivateKey
}

// Enrol makes a person an approver of the consortium.
func (s *System) Enrol(t testing.TB, lead *v1.Client, name, role string) Approver {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	public, err := artifact.MarshalPublicKey(&key.PublicKey)
	require.NoError(t, err)
	_, err = v1.Fetch[v1.Approver](lead.AddApprover(t.Context(), &v1.AddApproverParams{}, v1.ApproverRequest{Name: name, Role: role, PublicKey: string(public)}))
	require.NoError(t, err)
	return Approver{s.Person(t, demo.Consortium, name, "approver"), name, key}
}

// Approve casts a vote for exactly what a ballot is about.
func (a Approver) Approve(t testing.TB, b v1.Ballot) (v1.Ballot, error) {
	t.Helper()
	statement, err := artifact.NewStatement(b.Kind+" "+b.ID, artifact.Digest(b.PlanDigest), artifact.PredicateApproval, approval.Predicate{
		Decision: "approve", Action: b.ID, Kind: b.Kind, Nonce: b.Nonce, Request: artifact.DigestOf([]byte(b.Request)), Approver: a.Name, Reason: "evidence read",
		IssuedAt: time.Now().UTC().Truncate(time.Second), ExpiresAt: b.ExpiresAt,
	})
	require.NoError(t, err)
	bundle, err := artifact.SignStatement(rand.Reader, a.key, statement)
	require.NoError(t, err)
	return v1.Fetch[v1.Ballot](a.CastVote(t.Context(), b.ID, &v1.CastVoteParams{}, v1.VoteRequest{Bundle: string(bundle)}))
}

// Promote asks for a version in an environment and returns the action's id.
func Promote(t testing.TB, lead *v1.Client, version int, environment v1.Environment) string {
	t.Helper()
	request := v1.PromotionRequest{Version: version, Environment: environment, Canary: v1.CanaryRequest{None: true}} // nobody asks it anything
	planned, err := v1.Fetch[v1.Planned](lead.PromoteModel(t.Context(), demo.Model, &v1.PromoteModelParams{}, request))
	require.NoError(t, err)
	require.Positive(t, planned.ApprovalsNeeded)
	request.Apply, request.PlanDigest = true, planned.PlanDigest
	accepted, err := v1.Fetch[v1.ActionAccepted](lead.PromoteModel(t.Context(), demo.Model, &v1.PromoteModelParams{}, request))
	require.NoError(t, err)
	return accepted.ID
}

// Ballot returns the ballot of an action, as soon as it is open.
func Ballot(t testing.TB, lead *v1.Client, id string) v1.Ballot {
	t.Helper()
	var ballot v1.Ballot
	require.Eventually(t, func() bool {
		var err error
		ballot, err = v1.Fetch[v1.Ballot](lead.GetApproval(t.Context(), id, &v1.GetApprovalParams{}))
		var problem *v1.ProblemError
		if errors.As(err, &problem) && problem.Status == http.StatusNotFound {
			return false
		}
		require.NoError(t, err)
		return true
	}, 30*time.Second, 50*time.Millisecond, "no ballot was opened")
	return ballot
}

// Rows are some that no site has trained on, as the router takes them.
func Rows(t testing.TB) v1.JSON {
	t.Helper()
	_, held := tumour.Pooled()
	text, err := json.Marshal(map[string]any{"data": held.Rows[:4]})
	require.NoError(t, err)
	return text
}
