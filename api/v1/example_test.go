package v1_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"time"

	v1 "github.com/atom-fabric/fabric/api/v1"
)

// Register a feature, with consent for what it may be used for. Of the data
// itself the fabric keeps a fingerprint at most.
func ExampleClient_RegisterFeature() {
	client, _, stop := serve()
	defer stop()
	ctx := context.Background()

	feature, err := v1.Fetch[v1.Feature](client.RegisterFeature(ctx, &v1.RegisterFeatureParams{}, v1.FeatureRegistration{
		Tenant: "hosp-north", FeatureID: "wdbc", Schema: v1.JSON(`{"type":"object"}`),
		Consented: true, Purposes: []v1.Purpose{"train", "evaluate", "stats"},
	}))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(feature.Tenant, feature.FeatureID, "version", feature.Version)
	// Output: hosp-north wdbc version 1
}

// Start a run and watch it. A run is the fabric's: whoever watches may stop
// watching.
func ExampleClient_StartRun() {
	client, fabric, stop := serve()
	defer stop()
	ctx := context.Background()
	_, err := v1.Fetch[v1.Feature](client.RegisterFeature(ctx, &v1.RegisterFeatureParams{}, v1.FeatureRegistration{
		Tenant: "hosp-north", FeatureID: "wdbc", Schema: v1.JSON(`{"properties":{"radius":{}}}`), Consented: true, Purposes: []v1.Purpose{"train", "evaluate", "stats"},
	}))
	if err != nil {
		log.Fatal(err)
	}

	// The key makes it one run, however often this program is started.
	accepted, err := v1.Fetch[v1.RunAccepted](client.StartRun(ctx, &v1.StartRunParams{IdempotencyKey: "nightly-2026-11-23"}, v1.RunRequest{
		ModelID: "tumour", Tenants: []string{"hosp-north"}, Params: v1.RunParams{Rounds: 4, Features: []string{"wdbc"}},
	}))
	if err != nil {
		log.Fatal(err)
	}
	complete(fabric, accepted.ID) // what the workers and sites of a real one do

	for {
		run, err := v1.Fetch[v1.Run](client.GetRun(ctx, accepted.ID, &v1.GetRunParams{}))
		if err != nil {
			log.Fatal(err)
		}
		if run.Status == "completed" || run.Status == "failed" || run.Status == "stopped" {
			fmt.Println(run.ModelID, run.Status)
			return
		}
		time.Sleep(time.Second)
	}
	// Output: tumour completed
}

// Fetch a version's weights, whatever their size, and compare the digest. For
// the signatures see `fabric model verify`.
func ExampleStream() {
	client, _, stop := serve()
	defer stop()
	ctx := context.Background()

	model, err := v1.Fetch[v1.Model](client.GetModel(ctx, "tumour", &v1.GetModelParams{}))
	if err != nil {
		log.Fatal(err)
	}
	newest := model.Versions[0]
	weights, err := v1.Stream(client.DownloadModel(ctx, "tumour", &v1.DownloadModelParams{Version: newest.Version}))
	if err != nil {
		log.Fatal(err)
	}
	defer weights.Close()
	sum := sha256.New()
	size, err := io.Copy(sum, weights)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("version", newest.Version, "bytes", size, "as promised:", fmt.Sprintf("sha256:%x", sum.Sum(nil)) == newest.Weights.Digest)
	// Output: version 1 bytes 7 as promised: true
}

// Plan a promotion, look at the plan, and apply exactly that plan.
func ExampleClient_PromoteModel() {
	client, _, stop := serve()
	defer stop()
	ctx := context.Background()

	request := v1.PromotionRequest{Version: 1, Environment: "production"}
	planned, err := v1.Fetch[v1.Planned](client.PromoteModel(ctx, "tumour", &v1.PromoteModelParams{}, request))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("people who must approve:", planned.ApprovalsNeeded)

	request.Apply, request.PlanDigest = true, planned.PlanDigest
	accepted, err := v1.Fetch[v1.ActionAccepted](client.PromoteModel(ctx, "tumour", &v1.PromoteModelParams{}, request))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("it waits for them:", accepted.ID == planned.ID)
	// Output:
	// people who must approve: 2
	// it waits for them: true
}

// A refusal is a problem document with a code that does not change. Each code
// has its section in docs/errors.md.
func ExampleProblemError() {
	client, _, stop := serve()
	defer stop()

	_, err := v1.Fetch[v1.RunAccepted](client.StartRun(context.Background(), &v1.StartRunParams{}, v1.RunRequest{
		ModelID: "tumour", Tenants: []string{"hosp-south"}, Params: v1.RunParams{Features: []string{"wdbc"}},
	}))
	var problem *v1.ProblemError
	switch {
	case !errors.As(err, &problem):
		log.Fatal(err) // no answer, or none of a fabric
	case problem.Status == http.StatusServiceUnavailable || problem.Status == http.StatusTooManyRequests:
		// try again later, with the same Idempotency-Key
	default:
		fmt.Println(problem.Code)
		for _, item := range problem.Errors {
			fmt.Println(item.Pointer, item.Detail)
		}
	}
	// Output:
	// no_consent
	// /params/features/0 feature wdbc of tenant hosp-south has no consent that you may use
}
