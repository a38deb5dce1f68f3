package postgres

import (
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
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/privacy"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/domain/site"
	"github.com/atom-fabric/fabric/internal/pgserver/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// open gives the test a migrated database of its own, and its superuser's DSN.
func open(t testing.TB, change ...func(*Options)) (*DB, string) {
	t.Helper()
	dsn := pgtest.New(t, Migrate)
	opts := Options{DSN: dsn}
	for _, fn := range change {
		fn(&opts)
	}
	db, err := Open(t.Context(), opts)
	require.NoError(t, err)
	t.Cleanup(db.Close)
	return db, dsn
}

// admin connects as the superuser: what an attacker with the server can do,
// and what tests look at the tables with.
func admin(t testing.TB, dsn string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func count(t testing.TB, conn *pgx.Conn, sql string, args ...any) (n int) {
	t.Helper()
	require.NoError(t, conn.QueryRow(t.Context(), sql, args...).Scan(&n))
	return n
}

func digest(text string) artifact.Digest { return artifact.DigestOf([]byte(text)) }

func blob(text string) artifact.Descriptor { return artifact.Describe("text/plain", []byte(text)) }

func caller(tenant string) api.Caller {
	return api.Caller{Tenant: tenant, Subject: "ann", TraceID: "0af7651916cd43dd8448eb211c80319c"}
}

// command is a command with a key; an empty key is a command without one.
func command(tenant, key, body string) api.Command {
	cmd := api.Command{Caller: caller(tenant), Operation: "test", Fingerprint: digest(body)}
	if key != "" {
		cmd.KeyHash = digest(key)
	}
	return cmd
}

// reply answers with the written value itself.
func reply[T any](written T) (api.Answer, error) {
	body, err := json.Marshal(written)
	return api.Answer{Status: 200, Body: body}, err
}

func newKey(t testing.TB) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	text, err := artifact.MarshalPublicKey(&key.PublicKey)
	require.NoError(t, err)
	return string(text)
}

// startRun accepts a run of the tenant.
func startRun(t testing.TB, db *DB, tenant, run string, tenants ...string) {
	t.Helper()
	_, err := db.Runs().StartRun(t.Context(), command(tenant, "", run), api.Run{ID: run, ModelID: "m1", Tenants: tenants, Params: params()},
		api.Start{Workflow: "TrainingRun", ID: "run/" + run, Queue: "control", Input: contract.RunInput{Run: run}, Attributes: api.Attributes{Tenant: tenant}}, reply)
	require.NoError(t, err)
}

func params() round.Params {
	return round.Params{Model: round.ModelSpec{Trainer: "logistic", Inputs: 30, Classes: 2}, Rounds: 3, LearningRate: 0.1, Seed: 1 << 63}
}

// enrol makes n sites of the tenant in the region: s0, s1, ...
func enrol(t testing.TB, db *DB, tenant, region string, n int) []site.Site {
	t.Helper()
	out := make([]site.Site, n)
	for i := range out {
		var err error
		s := site.Site{Tenant: tenant, ID: fmt.Sprintf("s%d", i), Region: region, PublicKey: newKey(t)}
		out[i], err = db.Sites().Enrol(t.Context(), api.Caller{Tenant: tenant, Subject: s.ID}, s)
		require.NoError(t, err)
	}
	return out
}

// openRound begins a round of the run with the cohort and opens its stages.
func openRound(t testing.TB, db *DB, tenant, run string, number int, cohort []site.Site) contract.StageRef {
	t.Helper()
	subject := contract.Subject{Tenant: tenant, ModelID: "m1", TraceID: "0af7651916cd43dd8448eb211c80319c"}
	in := contract.RoundInput{Subject: subject, Run: run, Number: number, Kind: round.Train, Base: blob("base" + run)}
	_, err := db.Rounds().BeginRound(t.Context(), in, blob(fmt.Sprint("manifest", run, number)), round.Plain(cohort), privacy.Request{})
	require.NoError(t, err)
	regions := map[string]int{}
	for _, s := range cohort {
		regions[s.Region]++
	}
	for region, n := range regions {
		require.NoError(t, db.Rounds().OpenStage(t.Context(), contract.RegionInput{Subject: subject, Run: run, Number: number, Kind: round.Train, Region: region,
			Sites: n, Manifest: blob("manifest"), Signature: blob("bundle")}, round.StageUpdate, time.Now().Add(time.Minute)))
	}
	return contract.StageRef{Subject: subject, Run: run, Number: number, Kind: round.Train, Region: cohort[0].Region}
}

// answer is what the site answers in the stage.
func answer(ref contract.StageRef, s site.Site) api.Submission {
	return api.Submission{Stage: ref, Tenant: s.Tenant, Site: s.ID, Update: blob("update of " + s.ID), Metrics: round.Metrics{Examples: 7},
		Bundle: blob("bundle of " + s.ID), Statement: digest("statement of " + s.ID)}
}
