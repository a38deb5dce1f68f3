package v1_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/google/uuid"

	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/api/apitest"
	v1 "github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/approval"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/policy"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/domain/routing"
	"github.com/atom-fabric/fabric/domain/site"
	"github.com/atom-fabric/fabric/internal/issuer"
)

// serve starts a fabric in memory and returns a client who acts as an admin of
// hosp-north, and what ends it. The examples do not show it: a program of yours
// has v1.New(url, token, http.DefaultClient).
func serve() (*v1.Client, *apitest.Fabric, func()) {
	dir := must(os.MkdirTemp("", "example"))
	tokens := must(issuer.Open(dir, "https://dev.invalid/fabric"))
	fabric := apitest.New()
	fabric.SiteRows["hosp-north/north"] = site.Site{Tenant: "hosp-north", ID: "north", Region: "eu"}
	govern(fabric)
	server := must(api.NewGateway(api.Options{
		Version: "example", Tokens: tokens.Verifier("fabric", time.Now), SiteTokens: tokens.Verifier("fabric-site", time.Now),
		Enrolment: must(api.NewEnrolment("a federation token of 32 bytes!!")), TrustedKeys: []string{"-----BEGIN PUBLIC KEY-----"}, Regions: []string{"eu"},
		Log: slog.New(slog.NewJSONHandler(io.Discard, nil)), Now: time.Now, NewID: uuid.NewString,
	}, fabric.Ports()))
	listener := must(net.Listen("tcp", "127.0.0.1:0"))
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ctx, listener) }()
	token := must(tokens.Mint("hosp-north", "ann", []string{"data-scientist", "operator", "admin"}, time.Hour))
	client := must(v1.New("http://"+listener.Addr().String(), token, http.DefaultClient))
	return client, fabric, func() {
		stop()
		<-ended
		os.RemoveAll(dir)
	}
}

// govern gives a fabric a data plane of one region, a model with one version
// and two approvers.
func govern(fabric *apitest.Fabric) {
	document := policy.Document{
		Revision: 1, Rules: []policy.Rule{{Name: "all", Tenant: "*", Model: "*", Regions: []string{"*"}, Kinds: []string{"neural"}}},
		Weights: policy.Weights{Latency: 500, Cost: 100, Fabric: 200, Locality: 200}, Threshold: 40,
	}
	text := must(document.Encode())
	fabric.Snapshot = routing.Snapshot{
		Version: 7, Policies: []policy.Document{document},
		Regions: []routing.Region{{Name: "eu", Policy: 1, PolicyDigest: artifact.DigestOf(text)}},
	}
	fabric.Signed = routing.Signed{Snapshot: json.RawMessage(`{"version":7}`), Bundle: json.RawMessage(`{}`)}
	fabric.ModelRows["hosp-north/tumour"] = api.Model{Tenant: "hosp-north", ID: "tumour", Latest: 1, Versions: []api.ModelVersion{{
		Tenant: "hosp-north", ModelID: "tumour", Number: 1, Repository: "models/hosp-north/tumour", Package: artifact.Describe("p", []byte("p")),
		Weights: fabric.Keep(artifact.MediaTypeWeights, []byte("weights")), Bundle: artifact.Describe("b", []byte("b")), Metrics: round.Metrics{Evaluated: 400, Correct: 390},
	}}}
	for name, role := range map[string]string{"bob": "owner", "cyd": "risk"} {
		fabric.Persons["hosp-north"] = append(fabric.Persons["hosp-north"], approval.Approver{Name: name, Role: role, Key: artifact.DigestOf([]byte(name))})
	}
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

// complete ends a run well.
func complete(fabric *apitest.Fabric, id string) {
	run := fabric.RunRows[id]
	run.Status = "completed"
	fabric.RunRows[id] = run
}
