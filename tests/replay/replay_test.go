// Package replay runs today's workflows on yesterday's histories.
//
// Invariant: none missing, none edited, none skipped. A history is only ever
// added; one that no longer replays is a change of the wire, and the code that
// broke it is wrong.
package replay

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/api/temporalproto"
	"go.temporal.io/sdk/client"
	sdk "go.temporal.io/sdk/worker"

	"github.com/atom-fabric/fabric/worker"
)

const digests = "testdata/digests.txt" // as sha256sum writes them; only gains lines

func TestHistoriesReplay(t *testing.T) {
	for _, workflow := range handles(t, "Workflow") {
		t.Run(workflow, func(t *testing.T) {
			for _, file := range histories(t, workflow) {
				r := sdk.NewWorkflowReplayer()
				worker.BindWorkflows(r)
				require.NoError(t, r.ReplayWorkflowHistoryFromJSONFile(nil, file), file)
			}
		})
	}
}

// A worker may die after any task of a workflow, and its successor knows
// nothing but the history up to there: each such beginning must replay.
func TestHistoriesReplayFromEveryRestart(t *testing.T) {
	for _, workflow := range handles(t, "Workflow") {
		t.Run(workflow, func(t *testing.T) {
			for _, file := range histories(t, workflow) {
				events := load(t, file).Events
				tasks := 0
				for i, e := range events {
					if e.EventType != enumspb.EVENT_TYPE_WORKFLOW_TASK_COMPLETED {
						continue
					}
					tasks++
					end := i + 1
					for end < len(events) && commanded(events[end].EventType) {
						end++
					}
					r := sdk.NewWorkflowReplayer()
					worker.BindWorkflows(r)
					require.NoError(t, r.ReplayWorkflowHistory(nil, &historypb.History{Events: events[:end]}), "%s up to event %d", file, end)
				}
				require.Greater(t, tasks, 1, file)
			}
		})
	}
}

// commanded says whether an event of this type was asked for by the workflow
// task before it, rather than by the world.
func commanded(e enumspb.EventType) bool {
	switch e {
	case enumspb.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED,
		enumspb.EVENT_TYPE_ACTIVITY_TASK_CANCEL_REQUESTED,
		enumspb.EVENT_TYPE_TIMER_STARTED,
		enumspb.EVENT_TYPE_TIMER_CANCELED,
		enumspb.EVENT_TYPE_MARKER_RECORDED,
		enumspb.EVENT_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES,
		enumspb.EVENT_TYPE_START_CHILD_WORKFLOW_EXECUTION_INITIATED,
		enumspb.EVENT_TYPE_REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION_INITIATED,
		enumspb.EVENT_TYPE_SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_INITIATED,
		enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED,
		enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_COMPLETED,
		enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED,
		enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED,
		enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_CANCELED,
		enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_CONTINUED_AS_NEW:
		return true
	}
	return false
}

// Each activity, signal and update of the contract is in a history: a name that
// no history holds could be changed without anybody noticing.
func TestEveryHandleIsInAHistory(t *testing.T) {
	seen := map[string]bool{}
	for _, workflow := range handles(t, "Workflow") {
		for _, file := range histories(t, workflow) {
			for _, e := range load(t, file).Events {
				seen["Activity "+e.GetActivityTaskScheduledEventAttributes().GetActivityType().GetName()] = true
				seen["Signal "+e.GetWorkflowExecutionSignaledEventAttributes().GetSignalName()] = true
				seen["Update "+e.GetWorkflowExecutionUpdateAcceptedEventAttributes().GetAcceptedRequest().GetInput().GetName()] = true
			}
		}
	}
	for _, kind := range []string{"Activity", "Signal", "Update"} {
		for _, name := range handles(t, kind) {
			require.True(t, seen[kind+" "+name], "%s %s is in no history", kind, name)
		}
	}
}

func TestNoHistoryWasEdited(t *testing.T) {
	want := map[string]string{}
	list, err := os.Open(digests)
	require.NoError(t, err)
	defer list.Close()
	for lines := bufio.NewScanner(list); lines.Scan(); {
		digest, file, ok := strings.Cut(lines.Text(), "  ")
		require.True(t, ok, lines.Text())
		want[file] = digest
	}
	got := map[string]string{}
	for _, file := range allHistories(t) {
		got[file] = digestOf(t, file)
	}
	require.Equal(t, want, got, "a history is only ever added, with its line")
}

// A region's part of a round is as long for 300 sites as for 3, and short.
func TestRegionHistoriesAreShort(t *testing.T) {
	for _, file := range histories(t, "RegionRound") {
		require.LessOrEqual(t, len(load(t, file).Events), 60, file)
	}
	for few, many := range map[string]string{"proceeded": "three-hundred-sites", "secured": "secured-three-hundred-sites"} {
		require.Equal(t, kinds(load(t, "testdata/RegionRound/"+few+".json")), kinds(load(t, "testdata/RegionRound/"+many+".json")))
	}
}

// No history holds what a payload must not: they are read by whoever operates
// the server, and kept.
func TestHistoriesHoldNoContent(t *testing.T) {
	for _, file := range allHistories(t) {
		for _, e := range load(t, file).Events {
			for _, p := range payloads(e) {
				require.Less(t, len(p.GetData()), 16<<10, "%s, event %d", file, e.EventId)
			}
		}
	}
}

// handles returns the names of the contract's handles of one kind, from its
// source: none can be left out of a list.
func handles(t *testing.T, kind string) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join("..", "..", "contract", "names.go"), nil, 0)
	require.NoError(t, err)
	var names []string
	ast.Inspect(file, func(n ast.Node) bool {
		literal, ok := n.(*ast.CompositeLit)
		if !ok {
			return true
		}
		handle := literal.Type
		switch generic := handle.(type) {
		case *ast.IndexExpr:
			handle = generic.X
		case *ast.IndexListExpr:
			handle = generic.X
		}
		if id, ok := handle.(*ast.Ident); ok && id.Name == kind {
			name, err := strconv.Unquote(literal.Elts[0].(*ast.BasicLit).Value)
			require.NoError(t, err)
			names = append(names, name)
		}
		return true
	})
	require.NotEmpty(t, names, "no %s found in contract/names.go", kind)
	return names
}

func histories(t *testing.T, workflow string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", workflow, "*.json"))
	require.NoError(t, err)
	require.NotEmpty(t, files, "no history captured for %s", workflow) // never skip
	return files
}

func allHistories(t *testing.T) []string {
	t.Helper()
	var files []string
	require.NoError(t, filepath.WalkDir("testdata", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && path != digests {
			files = append(files, filepath.ToSlash(path))
		}
		return err
	}))
	sort.Strings(files)
	return files
}

func load(t *testing.T, file string) *historypb.History {
	t.Helper()
	f, err := os.Open(file)
	require.NoError(t, err)
	defer f.Close()
	h, err := client.HistoryFromJSON(f, client.HistoryJSONOptions{})
	require.NoError(t, err, file)
	return h
}

func digestOf(t *testing.T, file string) string {
	t.Helper()
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

func kinds(h *historypb.History) []string {
	var names []string
	for _, e := range h.Events {
		names = append(names, e.EventType.String())
	}
	return names
}

// payloads returns what workflow code put into an event.
func payloads(e *historypb.HistoryEvent) []*commonpb.Payload {
	var all []*commonpb.Payload
	for _, p := range []*commonpb.Payloads{
		e.GetWorkflowExecutionStartedEventAttributes().GetInput(),
		e.GetWorkflowExecutionCompletedEventAttributes().GetResult(),
		e.GetActivityTaskScheduledEventAttributes().GetInput(),
		e.GetActivityTaskCompletedEventAttributes().GetResult(),
		e.GetStartChildWorkflowExecutionInitiatedEventAttributes().GetInput(),
		e.GetWorkflowExecutionSignaledEventAttributes().GetInput(),
	} {
		all = append(all, p.GetPayloads()...)
	}
	return all
}

// encode is how a captured history is written: one line, so that nobody reads
// or edits it by hand.
func encode(h *historypb.History) ([]byte, error) {
	text, err := temporalproto.CustomJSONMarshalOptions{}.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("history: %w", err)
	}
	return append(text, '\n'), nil
}

// Whoever opens a workflow in the Web UI reads what each step is for.
func TestHistoriesAreReadable(t *testing.T) {
	for _, file := range allHistories(t) {
		for _, e := range load(t, file).Events {
			switch e.EventType {
			case enumspb.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED, enumspb.EVENT_TYPE_TIMER_STARTED, enumspb.EVENT_TYPE_START_CHILD_WORKFLOW_EXECUTION_INITIATED:
				require.NotEmpty(t, e.GetUserMetadata().GetSummary().GetData(), "%s, event %d has no summary", file, e.EventId)
			}
		}
	}
}

// The way back to what served before goes before other work.
func TestWaysBackComeFirst(t *testing.T) {
	urgent := func(file string) (first, rest int) {
		for _, e := range load(t, file).Events {
			a := e.GetActivityTaskScheduledEventAttributes()
			switch {
			case a.GetActivityType().GetName() != "PublishSnapshot" && a.GetActivityType().GetName() != "AwaitActive":
			case a.GetPriority().GetPriorityKey() == 1:
				first++
			default:
				rest++
			}
		}
		return first, rest
	}
	first, rest := urgent("testdata/ModelPromotion/rollback.json")
	require.Equal(t, [2]int{8, 0}, [2]int{first, rest}, "a rollback is urgent in both phases")
	first, rest = urgent("testdata/ModelPromotion/went-back.json")
	require.Equal(t, [2]int{4, 8}, [2]int{first, rest}, "only the way back is")
	first, rest = urgent("testdata/PolicyRollout/went-back.json")
	require.Equal(t, [2]int{3, 4}, [2]int{first, rest})
}
