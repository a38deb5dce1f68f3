//go:build bench

package load

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/approval"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/policy"
	"github.com/atom-fabric/fabric/domain/promotion"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/domain/routing"
	"github.com/atom-fabric/fabric/domain/site"
	"github.com/atom-fabric/fabric/internal/blob"
	"github.com/atom-fabric/fabric/internal/postgres"
)

// How much there is: of one tenant, half of it of one model.
const (
	manyRuns      = 10_000
	manyRequests  = 1_000
	manyModels    = 20
	manyVersions  = 200 // of the one model
	manyRounds    = 20  // of a run
	longRun       = 500 // rounds of one run
	manySites     = 200
	manyFeatures  = 500
	manyCalls     = 50_000
	manyRevisions = 30
	newestEnded   = manyRuns - 102 // of the one model; those after it still run
	tenantOf      = "onc"
	modelOf       = "screen"
)

// fill writes all of it: what is written once for each by the product's own
// adapters, and what is much of the same by statements that make rows from a
// series of numbers.
func fill(t *testing.T, db *postgres.DB, blobs *blob.Dir, dsn string) {
	t.Helper()
	began := time.Now()
	conn, err := pgx.Connect(t.Context(), dsn)
	require.NoError(t, err)
	defer conn.Close(context.Background())
	fillModels(t, conn)
	fillPlaces(t, db, conn)
	fillRequests(t, db, blobs, conn)
	fillRuns(t, db, conn)
	_, err = conn.Exec(t.Context(), "analyze")
	require.NoError(t, err)
	var leaves int
	require.NoError(t, conn.QueryRow(t.Context(), "select count(*) from fabric.audit_leaf").Scan(&leaves))
	t.Logf("%d runs, %d requests, %d leaves after %.0f s", manyRuns, manyRequests, leaves, time.Since(began).Seconds())
}

func sql(t *testing.T, conn *pgx.Conn, text string, args ...any) {
	t.Helper()
	_, err := conn.Exec(t.Context(), text, args...)
	require.NoError(t, err, text)
}

func by(subject string) api.Command {
	return api.Command{Caller: api.Caller{Tenant: tenantOf, Subject: subject, TraceID: "0af7651916cd43dd8448eb211c80319c"}, Operation: "bench", Fingerprint: artifact.DigestOf([]byte("bench"))}
}

func told[T any](T) (api.Answer, error) { return api.Answer{Status: 200, Body: []byte("{}")}, nil }

func runID(i int) string { return fmt.Sprintf("run-%06d", i) }

// fillRuns accepts the runs one by one, each with its leaf in the log, and lets
// all but the newest hundred have ended.
func fillRuns(t *testing.T, db *postgres.DB, conn *pgx.Conn) {
	t.Helper()
	params := round.Params{Model: round.ModelSpec{Trainer: "logistic", Inputs: 30, Classes: 2}, Rounds: manyRounds, LearningRate: 0.1, Features: []string{"rows"}}
	const writers = 8
	errs := make(chan error, writers)
	for w := range writers {
		go func() {
			for i := w; i < manyRuns; i += writers {
				model := modelOf
				if i%2 == 1 {
					model = fmt.Sprintf("model-%02d", i%manyModels)
				}
				_, err := db.Runs().StartRun(t.Context(), by("mira"), api.Run{ID: runID(i), ModelID: model, Tenants: []string{tenantOf, "clinic"}, Params: params},
					api.Start{Workflow: "TrainingRun", ID: contract.RunID(runID(i)), Queue: "control", Input: contract.RunInput{Run: runID(i)}, Attributes: api.Attributes{Tenant: tenantOf}}, told)
				if err != nil {
					errs <- err
					return
				}
			}
			errs <- nil
		}()
	}
	for range writers {
		require.NoError(t, <-errs)
	}
	sql(t, conn, `update fabric.outbox set done_at = now()`) // nobody starts them: no worker is here
	sql(t, conn, `update fabric.run set created_at = now() - interval '100 days' + interval '10 minutes' * substr(id, 5)::int, rounds = $1,
		metrics = jsonb_build_object('evaluated', 1000, 'correct', 850 + substr(id, 5)::int % 100, 'lossMicros', 300000000)`, manyRounds)
	sql(t, conn, `update fabric.run set ended_at = created_at + interval '5 minutes', status = case substr(id, 5)::int % 20 when 0 then 'failed' when 1 then 'stopped' else 'completed' end
		where substr(id, 5)::int < $1`, manyRuns-100)
	sql(t, conn, `update fabric.run set status = 'running' where ended_at is null`)
	rounds := `insert into fabric.round (tenant, run, number, kind, status, manifest, metrics, regions, started_at, ended_at)
		select r.tenant, r.id, n, case when n = $1 then 'evaluate' else 'train' end, 'closed', jsonb_build_object('digest', 'sha256:' || encode(sha256((r.id || n)::bytea), 'hex')), jsonb_build_object('evaluated', 1000, 'correct', 500 + n % 400, 'lossMicros', 900000000 / n),
			'[{"region":"eu","counts":{"selected":4,"accepted":3},"dropped":["clinic/s4"]},{"region":"us","counts":{"selected":4,"accepted":4}}]',
			r.created_at + n * interval '10 seconds', r.created_at + n * interval '10 seconds' + interval '9 seconds'
		from fabric.run r, generate_series(1, $1::int) n where `
	sql(t, conn, rounds+`substr(r.id, 5)::int >= $2 and r.id <> $3`, manyRounds, manyRuns-2000, runID(manyRuns-1))
	sql(t, conn, rounds+`r.id = $2`, longRun, runID(manyRuns-1))
}

func fillModels(t *testing.T, conn *pgx.Conn) {
	t.Helper()
	sql(t, conn, `insert into fabric.model (tenant, id, versions) select $1::text, 'model-' || to_char(n, 'FM00'), 1 from generate_series(0, $2::int - 1) n`, tenantOf, manyModels)
	sql(t, conn, `insert into fabric.model (tenant, id, versions) values ($1, $2, $3)`, tenantOf, modelOf, manyVersions)
	const blob = `jsonb_build_object('digest', 'sha256:' || encode(sha256(($2::text || n || '%s')::bytea), 'hex'), 'mediaType', 'text/plain', 'sizeBytes', 1000)`
	sql(t, conn, `insert into fabric.model_version (tenant, model, number, repository, package, weights, bundle, run, round, metrics, registered_at)
		select $1::text, $2::text, n, 'onc/' || $2::text, `+fmt.Sprintf(blob, "p")+`, `+fmt.Sprintf(blob, "w")+`, `+fmt.Sprintf(blob, "b")+`, 'run-' || to_char($4::int - 2 * ($3::int - n), 'FM000000'), 20,
			'{"evaluated": 1000, "correct": 900}', now() - interval '100 days' + n * interval '1 hour' from generate_series(1, $3::int) n`, tenantOf, modelOf, manyVersions, newestEnded)
	sql(t, conn, `insert into fabric.model_alias (tenant, model, environment, number, action) values ($1, $2, 'production', $3, 'promote-0000')`, tenantOf, modelOf, manyVersions-1)
}

func requestID(i int) string { return fmt.Sprintf("promote-%04d", i) }

// fillRequests opens ballots that wait for two of a dozen people, each over a
// plan of its own.
func fillRequests(t *testing.T, db *postgres.DB, blobs *blob.Dir, conn *pgx.Conn) {
	t.Helper()
	var people []approval.Approver
	for i := range 12 {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		require.NoError(t, err)
		text, err := artifact.MarshalPublicKey(&key.PublicKey)
		require.NoError(t, err)
		a := approval.Approver{Name: fmt.Sprintf("approver-%02d", i), Role: []string{"owner", "risk"}[i%2], Key: artifact.KeyID(&key.PublicKey), PublicKey: string(text)}
		people = append(people, a)
		_, err = db.Approvals().AddApprover(t.Context(), by("root"), a, told)
		require.NoError(t, err)
	}
	now := time.Now().UTC().Truncate(time.Millisecond)
	for i := range manyRequests {
		plan := promotion.Plan{
			Kind: promotion.KindPromotion, Tenant: tenantOf, ModelID: modelOf, Environment: "production", Regions: []string{"eu", "us", "apac"},
			Observed: promotion.Observed{Snapshot: int64(i + 1), Champion: manyVersions - 1, Policy: 1}, Version: &promotion.Version{Number: manyVersions, Repository: "onc/screen"},
			Diff: []promotion.Change{{What: "model screen", From: fmt.Sprint(manyVersions - 1), To: fmt.Sprint(manyVersions)}}, Risk: promotion.Risk{Score: 71, Reach: 500, Environ: 1000},
		}
		text, err := artifact.Canonical(plan)
		require.NoError(t, err)
		at, err := blobs.Put(t.Context(), artifact.MediaTypePlan, bytes.NewReader(text))
		require.NoError(t, err)
		sql(t, conn, `insert into fabric.action (tenant, id, kind, model, environment, requester, plan, risk, need, state, created_at) values ($1, $2, 'promotion', $3, 'production', 'mira', $4, 71, 2, 'started', $5)`,
			tenantOf, requestID(i), modelOf, at, now.Add(time.Duration(i-manyRequests)*time.Minute))
		req := approval.Request{
			Action: approval.Action{ID: requestID(i), Kind: promotion.KindPromotion, Tenant: tenantOf, Summary: fmt.Sprintf("screen: version %d to %d in production", manyVersions-1, manyVersions),
				Environment: "production", Plan: at.Digest, Risk: 71, Reasons: []string{"it is production (71)", "it reaches 50.0 % of the calls (40)"}},
			Requester: "mira", Need: 2, Roles: []string{"owner", "risk"}, Seats: [][]string{{"owner"}, {"risk"}}, Approvers: people, Nonce: fmt.Sprintf("nonce-%d", i),
			OpenedAt: now.Add(time.Duration(i-manyRequests) * time.Minute), TTLSeconds: 3 * 24 * 3600,
		}
		_, err = db.Actions().OpenBallot(t.Context(), req)
		require.NoError(t, err)
	}
}

// fillPlaces makes what is beside: sites, features, calls of the last hour,
// revisions of the policy, and what the data plane runs.
func fillPlaces(t *testing.T, db *postgres.DB, conn *pgx.Conn) {
	t.Helper()
	for i := range manySites {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		require.NoError(t, err)
		text, err := artifact.MarshalPublicKey(&key.PublicKey)
		require.NoError(t, err)
		s := site.Site{Tenant: tenantOf, ID: fmt.Sprintf("site-%03d", i), Region: "eu", PublicKey: string(text)}
		_, err = db.Sites().Enrol(t.Context(), api.Caller{Tenant: tenantOf, Subject: s.ID}, s)
		require.NoError(t, err)
	}
	sql(t, conn, `insert into fabric.feature (tenant, id, version, schema, description, tags)
		select case when n % 2 = 0 then $1::text else 'clinic' end, 'feature-' || to_char(n, 'FM0000'), 1, '{}', 'Rows of study ' || n, array['study'] from generate_series(1, $2::int) n`, tenantOf, manyFeatures)
	sql(t, conn, `insert into fabric.feature_alias (tenant, feature, version, actor) select tenant, id, 1, 'steward' from fabric.feature on conflict do nothing`)
	sql(t, conn, `insert into fabric.decision (tenant, id, at, caller, model, environment, version, manifest, region, endpoint, lineage, canary, status, problem, latency_micros, upstream_micros,
			output, snapshot, policy, trace_id, key_id, header, simulated, router, sequence)
		select $1::text, repeat('a', 32) || '-' || lpad(to_hex(n), 16, '0'), now() - n * interval '50 milliseconds', $1::text, $2::text, 'production', 1, '', 'eu', 'eu-' || n % 3, '', false, case n % 100 when 0 then 503 else 200 end, '',
			5000 + n % 40000, 4000, '', 1, 1, '', '', '', false, repeat('a', 32), n from generate_series(1, $3::int) n`, tenantOf, modelOf, manyCalls)
	sql(t, conn, `insert into fabric.action (tenant, id, kind, environment, requester, state, ended_at)
		select $1::text, 'policy-' || n, 'policy', 'production', 'oda', 'applied', now() from generate_series(1, $2::int) n`, tenantOf, manyRevisions)
	sql(t, conn, `insert into fabric.policy_revision (tenant, revision, digest, document, action)
		select $1::text, n, 'sha256:' || encode(sha256(n::text::bytea), 'hex'), '{}', 'policy-' || n from generate_series(1, $2::int) n`, tenantOf, manyRevisions)
	sql(t, conn, `insert into fabric.policy_region (tenant, action, region, state, revision, policy, snapshot)
		select $1::text, 'policy-' || n, region, state, n, 'sha256:' || encode(sha256(n::text::bytea), 'hex'), n
		from generate_series(1, $2::int) n, unnest(array['eu','us','apac']) region, unnest(array['published','delivered','verified','active']) state`, tenantOf, manyRevisions)
	document := policy.Document{Revision: 1, Threshold: 20}
	text, err := json.Marshal(document)
	require.NoError(t, err)
	world := routing.Snapshot{Version: 1, IssuedAt: time.Now().UTC()}
	for i, name := range []string{"eu", "us", "apac"} {
		world.Regions = append(world.Regions, routing.Region{Name: name, Policy: 1, PolicyDigest: artifact.DigestOf(text)})
		world.Endpoints = append(world.Endpoints, routing.Endpoint{Name: fmt.Sprintf("eu-%d", i), Region: name, Kind: "neural", URL: "http://127.0.0.1:1"})
	}
	signed, err := json.Marshal(world)
	require.NoError(t, err)
	require.NoError(t, db.Snapshots().Publish(t.Context(), "bootstrap", "first", world, routing.Signed{Snapshot: signed, Bundle: []byte("{}")}))
}
