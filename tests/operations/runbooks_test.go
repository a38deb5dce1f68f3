//go:build operations

package operations

import (
	"context"
	"net/http"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
	sdk "go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	v1 "github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/approval"
	"github.com/atom-fabric/fabric/examples/tumour"
	"github.com/atom-fabric/fabric/internal/demo"
	"github.com/atom-fabric/fabric/internal/pgserver"
	"github.com/atom-fabric/fabric/tests/harness"
)

// TestRunbooks causes, on one running system with a replica of its database, the
// condition of each runbook; waits until its alert fires in Prometheus and has
// arrived at Alertmanager's receiver; gives the commands that stand on the page;
// and waits until the alert is resolved. It counts as failure when a command
// fails, when an alert does not come or does not go, and when it leads to
// another page.
func TestRunbooks(t *testing.T) {
	began := time.Now()
	place, err := shortDir(t)
	require.NoError(t, err)
	primary := cluster(t, filepath.Join(place, "p"))
	replica := standby(t, primary, place)
	s := harness.Up(t, harness.State(t), harness.FreeBase(t), "POSTGRES_DSN="+primary.DSN("postgres", pgserver.Superuser),
		"POSTGRES_REPLICA_DSNS="+replica.DSN("postgres", pgserver.Superuser), "FABRIC_PRIVACY_EPSILON=3")
	m := watch(t, s)
	s.Consent(t)
	lead := s.Lead(t)
	operator := desk(t, s).with("PROMETHEUS="+m.url, "MODEL="+demo.Model,
		"POSTGRES_DSN="+primary.DSN("postgres", pgserver.Superuser), "REPLICA="+replica.DSN("postgres", pgserver.Superuser))
	plain := operator.with("RUNBOOK=" + control(t, s, nil))
	t.Logf("system, Prometheus and Alertmanager are up after %.1f s", time.Since(began).Seconds())
	stop := func(t *testing.T, name string) { require.NoError(t, syscall.Kill(s.Child(t, name), syscall.SIGSTOP)) }

	t.Run("replica lag", func(t *testing.T) {
		lever, err := pgx.Connect(t.Context(), replica.DSN("postgres", pgserver.Superuser))
		require.NoError(t, err)
		m.cause("replica-lag", "somebody pauses the replica's replay")
		_, err = lever.Exec(t.Context(), "select pg_wal_replay_pause()")
		require.NoError(t, err)
		require.NoError(t, lever.Close(t.Context()))
		m.walk(t, plain, "replica-lag", "FabricReplicaBehind")
	})

	t.Run("stuck round", func(t *testing.T) {
		var sites []string
		for _, h := range tumour.Split() {
			sites = append(sites, h.Site)
			stop(t, "site-"+h.Site)
		}
		request := harness.Request(1)
		request.Params.DeadlineSeconds = 3600
		m.cause("stuck-round", "all five sites hang, and a run is started")
		run := s.Train(t, lead, request)
		m.walk(t, plain.with("RUN="+run, "SITES="+strings.Join(sites, " ")), "stuck-round", "FabricRoundStuck")
		harness.Watch(t, lead, run, 5*time.Minute, harness.Completed)
	})

	t.Run("region loss", func(t *testing.T) {
		m.cause("region-loss", "the only runtime of a region hangs")
		stop(t, "runtime-eu")
		m.walk(t, plain.with("REGION=eu"), "region-loss", "FabricRegionLost")
	})

	t.Run("a queue that nobody works for", func(t *testing.T) {
		m.cause("queue-unserved", "the worker of a region hangs")
		stop(t, "worker-apac")
		m.walk(t, plain.with("REGION=apac"), "queue-unserved", "FabricQueueUnserved")
	})

	t.Run("commands wait", func(t *testing.T) {
		m.cause("outbox", "Temporal hangs, and a run is asked for")
		stop(t, "temporal")
		run := s.Train(t, lead, harness.Request(1))
		m.walk(t, plain, "outbox", "FabricOutboxLate")
		harness.Watch(t, lead, run, 5*time.Minute, harness.Completed)
	})

	t.Run("a process is away", func(t *testing.T) {
		m.cause("restart", "the router hangs")
		stop(t, "router")
		m.walk(t, plain.with("PROCESS=router"), "restart", "FabricDown")
	})

	t.Run("budget exhausted", func(t *testing.T) {
		request := harness.Request(1)
		request.Params.Privacy = v1.Privacy{Mechanism: "gaussian", Unit: "site", NoiseMultiplier: 1.8, ClipNorm: 1}
		for _, b := range tumour.Bounds() {
			request.Params.Bounds = append(request.Params.Bounds, b[:])
		}
		m.cause("budget-exhausted", "a private run spends more than half of epsilon 3")
		harness.Watch(t, lead, s.Train(t, lead, request), 5*time.Minute, harness.Completed)
		m.fires(t, "FabricBudgetExhausted")
		for _, h := range tumour.Split() {
			owner := plain.with("FABRIC_TOKEN="+s.Token(t, h.Tenant, "steward", "operator", "admin"), "FEATURE="+demo.Feature, "EPSILON=100")
			owner.follow(t, "budget-exhausted", "check")
			m.mends(func() { owner.follow(t, "budget-exhausted", "mend") })
		}
		m.resolves(t, "FabricBudgetExhausted")
		plain.follow(t, "budget-exhausted", "mended")
	})

	t.Run("key rotation", func(t *testing.T) {
		m.cause("key-rotation", "the signing key is rotated, and nobody restarts the workers")
		plain.run(t, "the condition, with the root key of the state directory", "env -u FABRIC_TRUST_POLICY -u FABRIC_TRUST_ROOT fabric keys rotate --overlap 6h")
		m.walk(t, plain, "key-rotation", "FabricSigningKeyEnds", "FabricKeyRotationDue")
	})

	t.Run("failed replay", func(t *testing.T) { failedReplay(t, s, m, operator, stop) })

	one, two := s.Enrol(t, lead, "vera", "owner"), s.Enrol(t, lead, "wim", "risk")
	t.Run("a ballot expires", func(t *testing.T) {
		m.cause("approvals-expiring", "a promotion is asked for, and nobody votes")
		first := harness.Promote(t, lead, 1, "production")
		m.fires(t, "FabricApprovalExpires")
		plain.follow(t, "approvals-expiring", "check")
		m.others("two people vote")
		vote(t, lead, first, one, two)
		m.resolves(t, "FabricApprovalExpires")
		plain.follow(t, "approvals-expiring", "mended")
		require.Equal(t, "applied", ended(t, lead, first).State)
	})

	t.Run("rollback", func(t *testing.T) { goesBack(t, s, m, lead, plain, one, two) })

	t.Run("decision records are late", func(t *testing.T) {
		m.cause("decision-records", "the API hangs while the router answers")
		stop(t, "api")
		asked(t, s)
		m.walk(t, plain, "decision-records", "FabricDecisionRecordsLate")
	})

	t.Run("the commands of pages whose condition is not caused", func(t *testing.T) {
		answers(t, s.Gateway()+"/health") // the API was restarted
		plain.follow(t, "audit-checkpoint", "check")
		plain.follow(t, "audit-checkpoint", "mended")
		plain.follow(t, "audit-log", "check")
		plain.follow(t, "audit-log", "mended")
		plain.follow(t, "refused", "check")
		plain.follow(t, "refused", "mended")
		plain.follow(t, "routing-budget", "check")
		plain.follow(t, "routing-budget", "mended")
		plain.follow(t, "simulation", "check")
		plain.follow(t, "simulation", "mended")
	})

	t.Run("every metric is there", func(t *testing.T) { scraped(t, m) })
	m.report(t, time.Since(began))
}

// walk waits until a page's alerts fire, follows the page, and waits until they
// are over.
func (m *monitor) walk(t *testing.T, at terminal, page string, alerts ...string) {
	t.Helper()
	for _, alert := range alerts {
		m.fires(t, alert)
	}
	at.follow(t, page, "check")
	m.mends(func() { at.follow(t, page, "mend") })
	for _, alert := range alerts {
		m.resolves(t, alert)
	}
	at.follow(t, page, "mended")
}

// failedReplay begins a workflow with the code of another release, which waits
// for a timer before anything else, and hands it to today's worker.
func failedReplay(t *testing.T, s *harness.System, m *monitor, operator terminal, stop func(*testing.T, string)) {
	c, err := client.Dial(client.Options{HostPort: s.TemporalAddress(), Namespace: "fabric"})
	require.NoError(t, err)
	defer c.Close()
	const nudge = "nudge"
	another := func(ctx workflow.Context, _ approval.Request) error {
		if err := workflow.Sleep(ctx, 2*time.Second); err != nil {
			return err
		}
		workflow.GetSignalChannel(ctx, nudge).Receive(ctx, nil)
		return nil
	}
	var before sdk.Worker
	run := func(word string) {
		if word == "stop" {
			before.Stop()
			return
		}
		before = sdk.New(c, contract.QueueControl, sdk.Options{})
		before.RegisterWorkflowWithOptions(another, workflow.RegisterOptions{Name: contract.Approval.Name})
		if err := before.Start(); err != nil {
			t.Error(err)
		}
	}
	stop(t, "worker-control")
	time.Sleep(65 * time.Second) // its polls are open for a minute: a task would go to a worker that hangs
	run("start")
	flow, err := c.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{ID: "approval/of-another-release", TaskQueue: contract.QueueControl}, contract.Approval.Name, approval.Request{})
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		history := c.GetWorkflowHistory(t.Context(), flow.GetID(), "", false, 0)
		n := 0
		for ; history.HasNext(); n++ {
			_, err := history.Next()
			require.NoError(t, err)
		}
		return n >= 8 // the timer has fired and its task is done
	}, 2*time.Minute, 200*time.Millisecond)
	run("stop")
	m.cause("failed-replay", "a workflow of another release comes to this one's worker")
	require.NoError(t, syscall.Kill(s.Child(t, "worker-control"), syscall.SIGCONT))
	require.NoError(t, c.SignalWorkflow(t.Context(), flow.GetID(), "", "vote", nil))

	m.fires(t, "FabricWorkflowCodeDiffers")
	at := operator.with("RUNBOOK=" + control(t, s, map[string]func(string){"worker-control-before": run}))
	at.follow(t, "failed-replay", "check")
	m.mends(func() { at.follow(t, "failed-replay", "mend") })
	require.NoError(t, c.SignalWorkflow(t.Context(), flow.GetID(), "", nudge, nil))
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	require.NoError(t, flow.Get(ctx, nil), "the release before this one ends it")
	m.away = 1 // the worker beside which the release before this one must not work
	m.resolves(t, "FabricWorkflowCodeDiffers")
	at.follow(t, "failed-replay", "mend after")
	m.away = 0
	at.follow(t, "failed-replay", "mended")
}

// goesBack has a version taken back twice: by the fabric, when its canary is
// aborted, which people are told of; and by a person, when it serves everybody.
func goesBack(t *testing.T, s *harness.System, m *monitor, lead *v1.Client, at terminal, one, two harness.Approver) {
	canary := v1.PromotionRequest{Version: 2, Environment: "production", Canary: v1.CanaryRequest{
		SharesBp: []int{4000, 10000}, BakeSeconds: 60, LookSeconds: 10, DeadlineSeconds: 240, Answers: 40, LatencyMarginBp: 90_000, ErrorMarginBp: 5_000,
	}}
	planned, err := v1.Fetch[v1.Planned](lead.PromoteModel(t.Context(), demo.Model, &v1.PromoteModelParams{}, canary))
	require.NoError(t, err)
	canary.Apply, canary.PlanDigest = true, planned.PlanDigest
	accepted, err := v1.Fetch[v1.ActionAccepted](lead.PromoteModel(t.Context(), demo.Model, &v1.PromoteModelParams{}, canary))
	require.NoError(t, err)
	vote(t, lead, accepted.ID, one, two)
	require.Eventually(t, func() bool {
		out, err := v1.Fetch[v1.Rollout](lead.GetCanary(t.Context(), accepted.ID, &v1.GetCanaryParams{}))
		return err == nil && len(out.Facts) > 0
	}, 3*time.Minute, time.Second, "the rollout does not begin")
	at = at.with("ACTION=" + accepted.ID)
	m.cause("rollout-held", "somebody pauses a canary under way")
	at.run(t, "the condition", `fabric rollout pause "$ACTION" --reason "the runbook is tried"`)
	m.walk(t, at, "rollout-held", "FabricRolloutHeld")
	m.cause("rollback", "a canary is aborted and goes back by itself")
	at.run(t, "the condition", `fabric rollout abort "$ACTION" --reason "the runbook is tried"`)
	m.fires(t, "FabricRolloutWentBack")
	require.Equal(t, "failed", ended(t, lead, accepted.ID).State)
	at.follow(t, "rollback", "check")
	m.resolves(t, "FabricRolloutWentBack")
	at.follow(t, "rollback", "mended")

	serves := promote(t, lead, 2, "production", one, two)
	require.Equal(t, "applied", ended(t, lead, serves).State)
	require.Equal(t, 2, asked(t, s), "version 2 answers")
	m.cause("rollback", "a version that serves everybody is not wanted")
	m.mends(func() {
		said := at.follow(t, "rollback", "mend")
		found := regexp.MustCompile(`promote-[0-9a-f-]{36}`).FindAllString(said, -1)
		require.NotEmpty(t, found, said)
		vote(t, lead, found[len(found)-1], one) // an owner
	})
	require.Eventually(t, func() bool { return asked(t, s) == 1 }, 3*time.Minute, 200*time.Millisecond, "version 1 does not answer")
	m.over()
	at.follow(t, "rollback", "mended")
}

// asked asks the router and returns the version that answers.
func asked(t *testing.T, s *harness.System) int {
	t.Helper()
	router, err := v1.New(s.Service(4), s.Token(t, demo.Consortium, "mira", "data-scientist"), &http.Client{Timeout: 30 * time.Second})
	require.NoError(t, err)
	answer, err := v1.Fetch[v1.Invocation](router.Invoke(t.Context(), v1.InvokeRequest{Tenant: demo.Consortium, ModelID: demo.Model, Input: harness.Rows(t)}))
	require.NoError(t, err)
	return answer.Version
}

// standby makes a streaming replica of a server.
func standby(t *testing.T, primary *pgserver.Server, place string) *pgserver.Server {
	t.Helper()
	found, err := pgserver.Find()
	require.NoError(t, err)
	dir := filepath.Join(place, "r")
	for _, args := range [][]string{
		{"mkdir", "-m", "700", dir},
		{filepath.Join(found.Dir, "pg_basebackup"), "-d", primary.DSN("postgres", pgserver.Superuser), "-D", filepath.Join(dir, "data"), "-R", "-X", "stream", "-c", "fast", "--no-sync"},
		{"chown", "-R", "--reference=" + filepath.Join(place, "p", "data"), dir},
	} {
		out, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	return cluster(t, dir)
}

// late are the metrics that have no series before something has gone wrong, or
// was asked for, for the first time.
var late = regexp.MustCompile(`^(temporal_workflow_(failed|canceled)_total|temporal_workflow_task_execution_failed_total|temporal_activity_execution_failed_total|temporal_request_failure_total|` +
	`fabric_snapshot_refusals_total|fabric_runtime_package_failures_total|fabric_router_ejections_total|fabric_audit_witness_refusals_total|fabric_router_(requests|decisions|limited)_total|` +
	`fabric_router_(call|upstream)_seconds_.*|fabric_router_budget_.*|fabric_runtime_(requests_total|infer_seconds_.*)|fabric_outbox_starts_total)$`)

// scraped compares the names of rules and dashboards with what the system's
// processes have really shown Prometheus.
func scraped(t *testing.T, m *monitor) {
	names := map[string]bool{}
	word := regexp.MustCompile(`\b(fabric|temporal|process|go)_[a-z0-9_]+\b`)
	for _, r := range rules(t) {
		for _, name := range word.FindAllString(r.Expr, -1) {
			names[name] = true
		}
	}
	for _, panels := range boards(t) {
		for _, p := range panels {
			for _, target := range p.Targets {
				for _, name := range word.FindAllString(target.Expr, -1) {
					names[name] = true
				}
			}
		}
	}
	require.Greater(t, len(names), 50)
	var missing []string
	for name := range names {
		if !late.MatchString(name) && len(m.ask(t, `last_over_time(`+name+`[1h])`)) == 0 {
			missing = append(missing, name)
		}
	}
	require.Empty(t, missing, "used by rules or dashboards, and shown by no process")
	t.Logf("%d metrics are used", len(names))
}
