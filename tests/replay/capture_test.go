package replay

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	sdk "go.temporal.io/sdk/worker"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/tests/replay/script"
	"github.com/atom-fabric/fabric/worker"
)

// capturing asks TestCapture to run scenarios that have no history yet:
//
//	make dev/temporal && FABRIC_CAPTURE=1 go test ./tests/replay -run TestCapture
//
// A history that exists is never written again. Capture with the code that is
// deployed, never with a change under test.
const capturing = "FABRIC_CAPTURE"

// devServer is the development server, from this folder.
const devServer = "../../bin/temporal-dev"

// TestCapture holds the scenarios and the histories together: each scenario has
// one. When it is asked to, it captures those that are missing.
func TestCapture(t *testing.T) {
	var missing []scenario
	for _, s := range scenarios() {
		if _, err := os.Stat(s.file()); err != nil {
			missing = append(missing, s)
		}
	}
	if os.Getenv(capturing) == "" {
		for _, s := range missing {
			t.Errorf("%s was never captured", s.file())
		}
		return
	}
	if len(missing) == 0 {
		return
	}
	server := serve(t)
	for _, s := range missing {
		t.Run(s.workflow+"/"+s.name, func(t *testing.T) { capture(t, server, s) })
	}
}

func serve(t *testing.T) *testsuite.DevServer {
	t.Helper()
	server, err := testsuite.StartDevServer(t.Context(), testsuite.DevServerOptions{
		ExistingPath:  devServer,
		ClientOptions: &client.Options{Identity: "capture"},
		LogLevel:      "error",
		ExtraArgs: []string{
			"--search-attribute", "FabricTenant=Keyword",
			"--search-attribute", "FabricModel=Keyword",
			"--search-attribute", "FabricStage=Keyword",
			"--search-attribute", "FabricApproval=Keyword",
			"--search-attribute", "FabricRisk=Int",
		},
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Stop()) })
	return server
}

// capture runs one scenario and writes the history that its workflow left.
func capture(t *testing.T, server *testsuite.DevServer, s scenario) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c, err := client.Dial(client.Options{HostPort: server.FrontendHostPort(), Identity: "capture"})
	require.NoError(t, err)
	defer c.Close()

	w := s.world()
	stop := work(t, c, w)
	run, err := c.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
		ID:            s.id(),
		TaskQueue:     s.queue(),
		StaticSummary: s.workflow + ": " + s.name,
		TypedSearchAttributes: temporal.NewSearchAttributes(
			contract.AttrTenant.ValueSet(script.Subject().Tenant),
			contract.AttrModel.ValueSet(script.Subject().ModelID)),
	}, s.workflow, s.input())
	require.NoError(t, err)
	d := &driver{t: t, ctx: ctx, client: c, id: s.id(), world: w, restart: func() { stop(); stop = work(t, c, w) }}
	if s.during != nil {
		s.during(d)
	}
	err = c.GetWorkflow(ctx, s.id(), run.GetRunID()).GetWithOptions(ctx, nil, client.WorkflowRunGetOptions{DisableFollowingRuns: true})
	require.NoError(t, ctx.Err(), "it did not end: %v", err)
	if s.after != nil {
		s.after(d)
	}
	stop()

	history := &historypb.History{}
	events := c.GetWorkflowHistory(ctx, s.id(), run.GetRunID(), false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for events.HasNext() {
		e, err := events.Next()
		require.NoError(t, err)
		history.Events = append(history.Events, e)
	}
	text, err := encode(history)
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(filepath.Dir(s.file()), 0o755))
	require.NoError(t, os.WriteFile(s.file(), text, 0o644))
	list, err := os.OpenFile(digests, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	require.NoError(t, err)
	_, err = fmt.Fprintf(list, "%s  %s\n", digestOf(t, s.file()), s.file())
	require.NoError(t, err)
	require.NoError(t, list.Close())
}

// work starts a worker on every queue and returns how to stop them all.
func work(t *testing.T, c client.Client, w *script.World) (stop func()) {
	t.Helper()
	var workers []sdk.Worker
	for _, queue := range []string{contract.QueueControl, contract.QueueSigning, contract.QueueRegion("eu"), contract.QueueRegion("us"), contract.QueueRegion("apac")} {
		one := sdk.New(c, queue, sdk.Options{Identity: "capture", DisableRegistrationAliasing: true})
		worker.BindWorkflows(one)
		w.Bind(one)
		require.NoError(t, one.Start())
		workers = append(workers, one)
	}
	return func() {
		for _, one := range workers {
			one.Stop()
		}
	}
}
