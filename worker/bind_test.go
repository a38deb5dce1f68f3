package worker_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"strings"
	"testing"

	nexus "github.com/nexus-rpc/sdk-go/nexus"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	sdk "go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/worker"
)

// recorder counts what is bound under each name.
type recorder map[string]int

var _ sdk.Registry = recorder{}

func (r recorder) RegisterWorkflow(any) { r["?"]++ }
func (r recorder) RegisterWorkflowWithOptions(_ any, o workflow.RegisterOptions) {
	r[o.Name]++
}
func (r recorder) RegisterDynamicWorkflow(any, workflow.DynamicRegisterOptions) { r["?"]++ }
func (r recorder) RegisterActivity(any)                                         { r["?"]++ }
func (r recorder) RegisterActivityWithOptions(_ any, o activity.RegisterOptions) {
	r[o.Name]++
}
func (r recorder) RegisterDynamicActivity(any, activity.DynamicRegisterOptions) { r["?"]++ }
func (r recorder) RegisterNexusService(*nexus.Service)                          { r["?"]++ }

// Ports that are there and are never called. Some have a method of their own
// name, which a field of that name would hide.
type (
	holdings = activities.Replicas
	chain    = activities.Points
)

type rounds struct{ activities.Rounds }
type versions struct{ activities.Versions }
type snapshots struct{ activities.Snapshots }
type actions struct{ activities.Actions }
type dossiers struct{ activities.Dossiers }

func control() worker.Control {
	return worker.Control{Rounds: rounds{}, Versions: versions{}, Snapshots: snapshots{}, Actions: actions{}, Dossiers: dossiers{}, Mirrors: mirrors{}, Replicas: replicas{}, Points: points{}, Heads: heads{}, Grants: grants{}, Canaries: canaries{}, Traffic: traffic{}, Cards: cards{}, Telemetry: series{}, Verdicts: decided{}, Proposals: proposed{}, Replayer: replayer{}, Consents: consenting{}, Stats: publishing{}, Scored: scored{}, Studies: studies{}, Admission: admission{}}
}

type blobs struct{ activities.Blobs }
type registry struct{ activities.Registry }
type signer struct{ activities.Signer }
type verifier struct{ activities.Verifier }
type notifier struct{ activities.Notifier }
type runtime struct{ activities.Runtime }
type mirrors struct{ activities.Mirrors }
type replicas struct{ holdings }
type points struct{ chain }
type heads struct{ activities.Heads }
type grants struct{ activities.Grants }
type canaries struct{ activities.Canaries }
type traffic struct{ activities.Traffic }
type cards struct{ activities.Cards }
type consenting struct{ activities.Consents }
type publishing struct{ activities.Statistics }
type series struct{ activities.Telemetry }
type log = activities.Verdicts
type decided struct{ log }
type proposed struct{ activities.Proposals }
type again = activities.Replayer
type replayer struct{ again }
type scored struct{ activities.Scored }
type search = activities.Studies
type studies struct{ search }
type admission struct{ activities.Admission }

func queues() []worker.Queue {
	c := control()
	c.Blobs, c.Registry, c.Signer, c.Verifier, c.Notifier = blobs{}, registry{}, signer{}, verifier{}, notifier{}
	return []worker.Queue{
		c.Queue(),
		worker.Signing{Blobs: blobs{}, Signer: signer{}}.Queue(),
		worker.Region{Name: "eu", Blobs: blobs{}, Rounds: rounds{}, Verifier: verifier{}, Runtime: runtime{}}.Queue(),
	}
}

// wire reads the names of the contract and the queue that each says it is on,
// from its source: the handles are variables, and variables cannot be listed.
func wire(t *testing.T) map[string]string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "../contract/names.go", nil, parser.ParseComments)
	require.NoError(t, err)
	found := map[string]string{}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Values) != 1 {
			return true
		}
		literal, ok := spec.Values[0].(*ast.CompositeLit)
		if !ok || len(literal.Elts) != 1 {
			return true
		}
		generic, ok := literal.Type.(*ast.IndexListExpr)
		if !ok {
			return true
		}
		kind := generic.X.(*ast.Ident).Name
		name, err := strconv.Unquote(literal.Elts[0].(*ast.BasicLit).Value)
		require.NoError(t, err)
		switch {
		case kind != "Workflow" && kind != "Activity":
			return true
		case strings.Contains(spec.Comment.Text(), "queue signing"):
			found[name] = contract.QueueSigning
		case strings.Contains(spec.Comment.Text(), "queue region-"), name == contract.RegionRound.Name:
			found[name] = contract.QueueRegion("eu")
		default:
			found[name] = contract.QueueControl
		}
		return true
	})
	return found
}

func TestEveryNameOfTheContractIsBoundOnItsQueueOnce(t *testing.T) {
	want := wire(t)
	require.Greater(t, len(want), 20, "the contract was not read")
	got := map[string]string{}
	for _, queue := range queues() {
		names := recorder{}
		require.NoError(t, queue.Bind(names))
		for name, times := range names {
			require.Equal(t, 1, times, name)
			require.NotContains(t, got, name, "bound on two queues")
			got[name] = queue.Name
		}
	}
	require.Equal(t, want, got)
}

func TestReplaysBindEveryWorkflow(t *testing.T) {
	names := recorder{}
	worker.BindWorkflows(names)
	for name, queue := range wire(t) {
		if _, isWorkflow := names[name]; isWorkflow {
			require.Equal(t, 1, names[name], "%s on %s", name, queue)
		}
	}
	require.Len(t, names, 15)
	worker.BindWorkflows(sdk.NewWorkflowReplayer())
}

func TestAWorkerWithoutAPortDoesNotStart(t *testing.T) {
	c := control()
	c.Registry, c.Signer, c.Verifier, c.Notifier = registry{}, signer{}, verifier{}, notifier{}
	tests := []struct {
		name  string
		queue worker.Queue
		says  string
	}{
		{"the control queue", c.Queue(), "Blobs"},
		{"the signing queue", worker.Signing{Blobs: blobs{}}.Queue(), "Signer"},
		{"a region's queue", worker.Region{Name: "eu", Blobs: blobs{}, Verifier: verifier{}}.Queue(), "Rounds, Runtime"},
		{"a region without a name", worker.Region{Blobs: blobs{}, Rounds: rounds{}, Verifier: verifier{}, Runtime: runtime{}}.Queue(), "Name"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			names := recorder{}
			err := tt.queue.Bind(names)
			require.ErrorIs(t, err, worker.ErrPort)
			require.ErrorContains(t, err, tt.says)
			require.Empty(t, names)
		})
	}
}
