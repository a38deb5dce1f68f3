package activities_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/activities/activitytest"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/approval"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/catalog"
	"github.com/atom-fabric/fabric/domain/policy"
	"github.com/atom-fabric/fabric/domain/promotion"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/domain/routing"
	"github.com/atom-fabric/fabric/domain/site"
)

var noon = time.Date(2026, 11, 2, 12, 0, 0, 0, time.UTC)

func clock() time.Time { return noon }

func subject() contract.Subject {
	return contract.Subject{Tenant: "clinic", ModelID: "tumour", TraceID: "4bf92f3577b34da6a3ce929d0e0e4736"}
}

// act runs an activity as a worker does, so that an error is what a workflow
// would see.
func act[In, Out any](t *testing.T, h contract.Activity[In, Out], fn func(context.Context, In) (Out, error), in In, before ...func(*testsuite.TestActivityEnvironment)) (Out, error) {
	t.Helper()
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(log.NewStructuredLogger(slog.New(slog.DiscardHandler)))
	env := suite.NewTestActivityEnvironment()
	env.SetTestTimeout(10 * time.Second)
	for _, f := range before {
		f(env)
	}
	h.Bind(env, fn)
	var out Out
	value, err := env.ExecuteActivity(h.Name, in)
	if err != nil {
		return out, err
	}
	return out, value.Get(&out)
}

// kind returns the kind of a final failure, and nothing for a passing one.
func kind(err error) string {
	var failure *temporal.ApplicationError
	if !errors.As(err, &failure) || !failure.NonRetryable() {
		return ""
	}
	return failure.Type()
}

func params() round.Params {
	return round.Params{
		Model:  round.ModelSpec{Trainer: round.TrainerLogistic, Inputs: 2, Classes: 2},
		Rounds: 1, Quorum: 2, QuorumRegions: 1, DeadlineSeconds: 30, LocalEpochs: 1, BatchSize: 8, LearningRate: .1,
		Features: []string{"radius", "texture"},
		Secure:   round.Secure{Mode: round.SecureOff}, // the plain road; secured rounds say so
	}
}

// world has two tenants with consent and three sites in two regions.
// ours signs in every world: a plan names the grants by their signed bytes, and
// those of two worlds are compared.
var ours = activitytest.New().Key

func world(t *testing.T) *activitytest.World {
	t.Helper()
	w := activitytest.New()
	w.Key = ours
	for _, tenant := range []string{"clinic", "north"} {
		for _, id := range params().Features {
			w.Features = append(w.Features, catalog.Feature{
				Tenant: tenant, ID: id, Version: 1, Fingerprint: artifact.DigestOf([]byte(tenant + id)),
				Consent: catalog.Consent{Granted: true, Purposes: catalog.Purposes(), Grantees: []string{"clinic"}},
			})
		}
	}
	w.Sites = []site.Site{
		{Tenant: "clinic", ID: "a", Region: "eu"}, {Tenant: "clinic", ID: "b", Region: "us"}, {Tenant: "north", ID: "a", Region: "eu"},
	}
	return w
}

func roundInput(number int, kind round.Kind) contract.RoundInput {
	return contract.RoundInput{
		Subject: subject(), Run: "run-1", Number: number, Kind: kind, Tenants: []string{"clinic", "north"}, Params: params(),
	}
}

func ref(number int, kind round.Kind, region string) contract.StageRef {
	return contract.StageRef{Subject: subject(), Run: "run-1", Number: number, Kind: kind, Region: region}
}

// begin plans a round and signs its manifest.
func begin(t *testing.T, w *activitytest.World, number int, kind round.Kind) contract.RegionInput {
	t.Helper()
	plan, err := act(t, contract.PlanRound, (&activities.Round{Blobs: w, Rounds: w.Rows()}).PlanRound, roundInput(number, kind))
	require.NoError(t, err)
	signed, err := act(t, contract.SignStatement, (&activities.Sign{Blobs: w, Signer: w}).SignStatement, contract.SignInput{
		Subject: subject(), Name: "round", Digest: plan.Manifest.Digest, PredicateType: artifact.PredicateRoundManifest,
	})
	require.NoError(t, err)
	return contract.RegionInput{
		Subject: subject(), Run: "run-1", Number: number, Kind: kind, Region: "eu", Sites: 2, Params: params(),
		Manifest: plan.Manifest, Signature: signed.Bundle,
	}
}

// update is a train update whose four weights are v.
func update(t *testing.T, w *activitytest.World, v float32) artifact.Descriptor {
	t.Helper()
	return tensors(t, w, artifact.Tensors{
		{Name: "linear.bias", DType: artifact.F32, Shape: []int{2}, F32: []float32{v, v}},
		{Name: "linear.weight", DType: artifact.F32, Shape: []int{2, 2}, F32: []float32{v, v, v, v}},
	})
}

func tensors(t *testing.T, w *activitytest.World, all artifact.Tensors) artifact.Descriptor {
	t.Helper()
	encoded, err := all.Encode()
	require.NoError(t, err)
	return w.Keep(artifact.MediaTypeWeights, encoded)
}

func submission(tenant, id string, update artifact.Descriptor, examples int64) activities.Submission {
	return activities.Submission{
		Tenant: tenant, Site: id, Update: update,
		Metrics: round.Metrics{Examples: examples, Evaluated: 10, Correct: 9, LossMicros: 100},
	}
}

// candidate pushes a package of the initial weights and signs it.
func candidate(t *testing.T, w *activitytest.World) contract.RegisterInput {
	t.Helper()
	order := begin(t, w, 2, round.Evaluate)
	plan, err := (&activities.Round{Blobs: w, Rounds: w.Rows()}).PlanRound(t.Context(), roundInput(2, round.Evaluate))
	require.NoError(t, err)
	metrics := round.Metrics{Examples: 10, Evaluated: 500, Correct: 490, LossMicros: 9}
	pushed, err := act(t, contract.PushCandidate, (&activities.CandidatePackage{Blobs: w, Registry: w}).PushCandidate, contract.CandidateInput{
		Subject: subject(), Run: "run-1", Number: 2, Params: params(), Weights: plan.Base, Manifest: order.Manifest, Metrics: metrics,
	})
	require.NoError(t, err)
	signed, err := act(t, contract.SignStatement, (&activities.Sign{Blobs: w, Signer: w}).SignStatement, contract.SignInput{
		Subject: subject(), Name: pushed.Repository, Digest: pushed.Package.Digest,
		PredicateType: artifact.PredicateModelPackage, Predicate: pushed.Predicate, Also: pushed.Also,
	})
	require.NoError(t, err)
	return contract.RegisterInput{
		Subject: subject(), Run: "run-1", Number: 2, Candidate: pushed, Bundle: signed.Bundle, Weights: plan.Base, Metrics: metrics, Also: signed.Also,
	}
}

func versions(w *activitytest.World) *activities.Version {
	return &activities.Version{Blobs: w, Registry: w, Verifier: w, Versions: w}
}

func snapshots(w *activitytest.World) *activities.Snapshot {
	return &activities.Snapshot{Blobs: w, Snapshots: w, Replicas: w, Registry: w, Signer: w, Grants: trusting(w), Now: clock}
}

func promotions(w *activitytest.World) *activities.Promotion {
	return &activities.Promotion{
		Blobs: w, Versions: w, Registry: w, Verifier: w, Snapshots: w, Actions: w, Grants: trusting(w), Simulation: true, BallotTTL: time.Hour, Now: clock,
	}
}

// bootstrap publishes the first snapshot.
func bootstrap(t *testing.T, w *activitytest.World) {
	t.Helper()
	_, err := snapshots(w).Bootstrap(t.Context(), []string{"eu", "us"}, []routing.Endpoint{
		{Name: "eu-1", Region: "eu", Kind: policy.Neural, URL: "http://127.0.0.1:9101"},
		{Name: "us-1", Region: "us", Kind: policy.Neural, URL: "http://127.0.0.1:9102"},
	})
	require.NoError(t, err)
}

// promotable has a registered version and a data plane, and a plan to serve
// the version in production.
func promotable(t *testing.T) (*activitytest.World, promotion.Plan) {
	t.Helper()
	w := world(t)
	bootstrap(t, w)
	_, err := act(t, contract.RegisterVersion, versions(w).RegisterVersion, candidate(t, w))
	require.NoError(t, err)
	return w, promotionPlan(t, w)
}

func promotionPlan(t *testing.T, w *activitytest.World) promotion.Plan {
	t.Helper()
	latest := w.History[len(w.History)-1]
	version := w.Models[0].Version
	regions := []string{"eu", "us"}
	plan, err := promotion.NewPlan(
		promotion.Desire{Kind: promotion.KindPromotion, Tenant: "clinic", ModelID: "tumour", Environment: "production", Version: &version},
		promotion.World{
			Observed: promotion.Observe(promotion.KindPromotion, "clinic", "tumour", "production", regions, latest),
			Regions:  regions, Evaluated: 500,
		})
	require.NoError(t, err)
	return plan
}

func policyPlan(t *testing.T, w *activitytest.World, threshold int) promotion.Plan {
	t.Helper()
	latest := w.History[len(w.History)-1]
	regions := []string{"eu", "us"}
	observed := promotion.Observe(promotion.KindPolicy, "clinic", "", "production", regions, latest)
	document := policy.Default()
	document.Revision, document.Threshold = observed.Policy+1, threshold
	before, ok := latest.Policy("eu")
	require.True(t, ok)
	plan, err := promotion.NewPlan(
		promotion.Desire{Kind: promotion.KindPolicy, Tenant: "clinic", Environment: "production", Policy: &document},
		promotion.World{Observed: observed, Regions: regions, Policy: before})
	require.NoError(t, err)
	return plan
}

// planned keeps a plan as the API does and returns the question about it.
func planned(t *testing.T, w *activitytest.World, plan promotion.Plan) contract.CheckInput {
	t.Helper()
	encoded, err := artifact.Canonical(plan)
	require.NoError(t, err)
	who := subject()
	who.ModelID = plan.ModelID
	return contract.CheckInput{
		Subject: who, Action: plan.Kind + "-1", Kind: plan.Kind, Requester: "ann",
		Plan: w.Keep(artifact.MediaTypePlan, encoded),
	}
}

func publishing(plan promotion.Plan, phase string, regions ...string) contract.PublishInput {
	return contract.PublishInput{Subject: subject(), Action: plan.Kind + "-1", Phase: phase, Plan: plan, Regions: regions, Grant: grantOf(plan, plan.Kind+"-1")}
}

// grantOf is what the control plane would have minted for a plan that needs
// nobody.
func grantOf(plan promotion.Plan, action string) promotion.Grant {
	text, err := artifact.Canonical(plan)
	if err != nil {
		return promotion.Grant{}
	}
	grant, err := promotion.NewGrant(promotion.Grant{Tenant: plan.Tenant, Kind: plan.Kind, Action: action, Plan: artifact.DigestOf(text)})
	if err != nil {
		return promotion.Grant{}
	}
	return grant
}

// trusting takes every grant that is whole, for tests of what comes after.
func trusting(w *activitytest.World) *activitytest.Rollouts {
	r := activitytest.NewRollouts(w)
	r.Trusting = true
	return r
}

// voter enrols an approver and returns their key.
func voter(t *testing.T, w *activitytest.World, name, role string) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	pem, err := artifact.MarshalPublicKey(&key.PublicKey)
	require.NoError(t, err)
	w.Voters = append(w.Voters, approval.Approver{Name: name, Role: role, Key: artifact.KeyID(&key.PublicKey), PublicKey: string(pem)})
	return key
}

// once fails the first call of an activity at each place in turn.
func once(n int, after bool) string {
	if after {
		return fmt.Sprintf("call %d fails when it is done", n)
	}
	return fmt.Sprintf("call %d fails", n)
}
