// Package load measures what the system costs: histories, rounds, processes.
//
// Invariant: a figure is of real servers and of the code that ships. What is
// simulated is said beside it.
package load

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/testsuite"
	"golang.org/x/sync/errgroup"

	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/catalog"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/domain/site"
	"github.com/atom-fabric/fabric/internal/blob"
	"github.com/atom-fabric/fabric/internal/cosign"
	"github.com/atom-fabric/fabric/internal/mirror"
	"github.com/atom-fabric/fabric/internal/notify"
	"github.com/atom-fabric/fabric/internal/oci"
	"github.com/atom-fabric/fabric/internal/opa"
	"github.com/atom-fabric/fabric/internal/pgserver/pgtest"
	"github.com/atom-fabric/fabric/internal/postgres"
	"github.com/atom-fabric/fabric/internal/regional"
	"github.com/atom-fabric/fabric/internal/telemetry"
	"github.com/atom-fabric/fabric/tests/harness"
	"github.com/atom-fabric/fabric/worker"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

const (
	owner   = "consortium"
	feature = "rows"
	model   = "load"
	region  = "eu"
	most    = 60 // events of a region's round, whatever the number of sites
)

// TestHistoryDoesNotGrowWithSites runs one train round with 3 and with 300
// sites: real Temporal, PostgreSQL, workers, signatures and blobs. The sites
// are goroutines that ask for work and answer it through the API's ports, with
// an update that is made beforehand, so nearly all of the time is overhead.
func TestHistoryDoesNotGrowWithSites(t *testing.T) {
	l := newLoad(t)
	few, many := l.round(t, 3), l.round(t, 300)
	t.Logf("%+v", few)
	t.Logf("%+v", many)
	require.Equal(t, few.RegionEvents, many.RegionEvents)
	require.Equal(t, few.RoundEvents, many.RoundEvents)
	require.LessOrEqual(t, many.RegionEvents, most)
	require.Less(t, many.RegionBytes, 2*few.RegionBytes, "names and counts of sites stay out of the history")
	if os.Getenv("FABRIC_BENCH") == "1" {
		report(t, few, many)
	}
}

// A figure is what one round cost.
type figure struct {
	Sites        int   `json:"sites"`
	RegionEvents int   `json:"regionRoundEvents"`
	RegionBytes  int   `json:"regionRoundHistoryBytes"`
	RoundEvents  int   `json:"federatedRoundEvents"`
	RoundMillis  int64 `json:"roundMillis"` // from the start to the result
	SitesMillis  int64 `json:"sitesMillis"` // of it, from the first site that was given work to the last that had answered
}

// A load is the servers and the workers.
type load struct {
	db      *postgres.DB
	blobs   *blob.Dir
	client  client.Client
	program round.ModelSpec
}

func newLoad(t *testing.T) *load {
	t.Helper()
	l := &load{program: round.ModelSpec{Trainer: round.TrainerLogistic, Inputs: 30, Classes: 2}}
	var err error
	l.db, err = postgres.Open(t.Context(), postgres.Options{DSN: pgtest.New(t, postgres.Migrate)})
	require.NoError(t, err)
	t.Cleanup(l.db.Close)
	l.blobs, err = blob.NewDir(t.TempDir())
	require.NoError(t, err)

	server, err := testsuite.StartDevServer(t.Context(), testsuite.DevServerOptions{
		ExistingPath: filepath.Join(harness.Programs(t), "temporal-dev"), ClientOptions: &client.Options{}, LogLevel: "error",
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Stop()) })
	tel, err := telemetry.New(t.Context(), "load", telemetry.Options{Out: io.Discard})
	require.NoError(t, err)
	l.client, err = worker.Dial(t.Context(), worker.Options{Address: server.FrontendHostPort(), Namespace: "default", Telemetry: tel})
	require.NoError(t, err)
	t.Cleanup(l.client.Close)
	l.work(t)
	return l
}

// work runs every queue that a round needs, bound as the product binds them.
func (l *load) work(t *testing.T) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	signer, err := cosign.NewSigner(key)
	require.NoError(t, err)
	verifier, err := cosign.NewVerifier(&key.PublicKey)
	require.NoError(t, err)
	registry, err := oci.New("http://127.0.0.1:1", oci.Login{}) // a train round pushes nothing
	require.NoError(t, err)
	inbox, err := notify.New(notify.Options{Path: filepath.Join(t.TempDir(), "inbox.jsonl")})
	require.NoError(t, err)
	mirrors, err := mirror.New(registry, []string{region}, nil)
	require.NoError(t, err)
	rules, err := opa.New(t.Context(), opa.Options{})
	require.NoError(t, err)
	rounds := l.db.Rounds()
	queues := []worker.Queue{
		worker.Control{
			Blobs: l.blobs, Rounds: rounds, Versions: l.db.Versions(), Snapshots: l.db.Snapshots(), Actions: l.db.Actions(), Dossiers: l.db.Dossiers(),
			Registry: registry, Signer: signer, Verifier: verifier, Notifier: inbox, Simulation: true,
			Grants: l.db.Rollouts(), Canaries: l.db.Rollouts(), Traffic: l.db.Decisions(), Cards: l.db.Rollouts(), Scored: l.db.Rollouts(), Consents: l.db.Consents(), Stats: l.db.Statistics(),
			Studies: l.db.Studies(), Admission: api.NewAdmission(api.Options{Now: time.Now, NewID: uuid.NewString}, api.Ports{
				Catalog: l.db.Catalog(), Sites: l.db.Sites(), Rules: rules, Verdicts: l.db.Verdicts(), Snapshots: l.db.Snapshots(), Budgets: l.db.Budgets(),
			}),
			Telemetry: l.db.Proposals(), Verdicts: l.db.Verdicts(), Proposals: l.db.Proposals(), Replayer: opa.Replayer{},
			Mirrors: mirrors, Replicas: l.db.ModelReplicas(), Points: l.db.RecoveryPoints(), Heads: l.blobs,
		}.Queue(),
		worker.Signing{Blobs: l.blobs, Signer: signer}.Queue(),
		worker.Region{Name: region, Blobs: l.blobs, Rounds: rounds, Verifier: verifier, Runtime: regional.New(nil, http.DefaultTransport)}.Queue(),
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- worker.Run(ctx, l.client, queues...) }()
	t.Cleanup(func() {
		stop()
		require.NoError(t, <-ended)
	})
}

// round runs one train round over that many sites of a tenant of their own.
func (l *load) round(t *testing.T, sites int) figure {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	tenant := fmt.Sprintf("fleet-%d", sites)
	fleet := l.enrol(t, tenant, sites)
	in := l.accept(t, tenant, sites)

	began := time.Now()
	run, err := l.client.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
		ID: contract.RoundID(in.Run, in.Number), TaskQueue: contract.QueueControl,
	}, contract.FederatedRound.Name, in)
	require.NoError(t, err)
	took := l.answer(ctx, t, fleet)
	var result contract.RoundResult
	require.NoError(t, run.Get(ctx, &result))
	total := time.Since(began)
	require.Empty(t, result.Cause)
	require.EqualValues(t, sites, result.Metrics.Examples, "each site brought one row")

	f := figure{Sites: sites, RoundMillis: total.Milliseconds(), SitesMillis: took.Milliseconds()}
	f.RegionEvents, f.RegionBytes = l.history(ctx, t, contract.RegionID(in.Run, in.Number, region))
	f.RoundEvents, _ = l.history(ctx, t, contract.RoundID(in.Run, in.Number))
	return f
}

// enrol writes the sites, each with a key of its own, and their consent.
func (l *load) enrol(t *testing.T, tenant string, sites int) []site.Site {
	t.Helper()
	caller := api.Caller{Tenant: tenant, Subject: "load", TraceID: trace()}
	_, err := l.db.Catalog().Register(t.Context(), api.Command{Caller: caller, Operation: "registerFeature"}, catalog.Feature{
		Tenant: tenant, ID: feature, Schema: json.RawMessage(`{}`), Fingerprint: artifact.DigestOf([]byte(tenant)),
		Consent: catalog.Consent{Granted: true, Purposes: catalog.Purposes(), Grantees: []string{tenant, owner}},
	}, func(catalog.Feature) (api.Answer, error) { return api.Answer{Status: http.StatusCreated}, nil })
	require.NoError(t, err)
	fleet := make([]site.Site, sites)
	for i := range fleet {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		require.NoError(t, err)
		public, err := artifact.MarshalPublicKey(&key.PublicKey)
		require.NoError(t, err)
		fleet[i], err = l.db.Sites().Enrol(t.Context(), caller, site.Site{Tenant: tenant, ID: fmt.Sprintf("site-%03d", i), Region: region, PublicKey: string(public)})
		require.NoError(t, err)
	}
	return fleet
}

// accept writes the run that the round belongs to.
func (l *load) accept(t *testing.T, tenant string, sites int) contract.RoundInput {
	t.Helper()
	params, err := round.Params{Model: l.program, Rounds: 1, Quorum: sites, DeadlineSeconds: 60, Features: []string{feature}, Seed: 1,
		Secure: round.Secure{Mode: round.SecureOff}, // the replay tests count the events of a secured round
	}.Validate()
	require.NoError(t, err)
	in := contract.RoundInput{
		Subject: contract.Subject{Tenant: owner, ModelID: model, TraceID: trace()},
		Run:     "run-" + uuid.NewString(), Number: 1, Kind: round.Train, Tenants: []string{tenant}, Params: params,
	}
	_, err = l.db.Runs().StartRun(t.Context(), api.Command{Caller: api.Caller{Tenant: owner, Subject: "load", TraceID: in.TraceID}, Operation: "startRun"},
		api.Run{ID: in.Run, Tenant: owner, ModelID: model, Tenants: in.Tenants, Params: params},
		api.Start{Workflow: contract.TrainingRun.Name, ID: contract.RunID(in.Run), Queue: contract.QueueControl, Summary: "not started here", Input: contract.RunInput{}},
		func(api.Run) (api.Answer, error) { return api.Answer{Status: http.StatusAccepted}, nil })
	require.NoError(t, err)
	return in
}

// answer lets every site wait for its work and do it, at the same time.
func (l *load) answer(ctx context.Context, t *testing.T, fleet []site.Site) time.Duration {
	t.Helper()
	content := l.update(t)
	first := make(chan time.Time, len(fleet))
	all, ctx := errgroup.WithContext(ctx)
	for _, s := range fleet {
		all.Go(func() error {
			work, err := l.db.Sites().Work(ctx, s.Tenant, s.ID, time.Minute)
			if err != nil {
				return err
			}
			if len(work) != 1 {
				return fmt.Errorf("site %s was given %d stages", s.ID, len(work))
			}
			first <- time.Now()
			update, err := l.blobs.Put(ctx, artifact.MediaTypeWeights, bytes.NewReader(content))
			if err != nil {
				return err
			}
			return l.db.Sites().Submit(ctx, api.Caller{Tenant: s.Tenant, Subject: s.ID, TraceID: work[0].Stage.TraceID}, api.Submission{
				Stage: work[0].Stage, Tenant: s.Tenant, Site: s.ID, Update: update, Bundle: update,
				Metrics: round.Metrics{Examples: 1}, Statement: artifact.DigestOf([]byte(s.Tenant + "/" + s.ID)),
			})
		})
	}
	require.NoError(t, all.Wait())
	return time.Since(<-first)
}

// update is one that can be added, the same for every site.
func (l *load) update(t *testing.T) []byte {
	t.Helper()
	var tensors artifact.Tensors
	for _, s := range l.program.Trainable() {
		n := 1
		for _, d := range s.Shape {
			n *= d
		}
		tensors = append(tensors, artifact.Tensor{Name: s.Name, DType: artifact.F32, Shape: s.Shape, F32: make([]float32, n)})
	}
	content, err := tensors.Encode()
	require.NoError(t, err)
	return content
}

// history counts the events of a closed workflow and their size on the wire.
func (l *load) history(ctx context.Context, t *testing.T, id string) (events, size int) {
	t.Helper()
	for all := l.client.GetWorkflowHistory(ctx, id, "", false, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT); all.HasNext(); events++ {
		e, err := all.Next()
		require.NoError(t, err)
		size += e.Size()
	}
	return events, size
}

func trace() string {
	id := uuid.New()
	return fmt.Sprintf("%x", id[:])
}
