package main

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
)

// With this variable set the test binary is the program under test: what the
// tests kill is a real process, and the server is linked once.
const asProgram = "FABRIC_TEST_AS_TEMPORAL"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	os.Exit(m.Run())
}

var tenant = temporal.NewSearchAttributeKeyKeyword("FlTenant")

// The SDK's own test suite starts the program, and starts it again on the same
// file and other ports: everything is still there.
func TestStartDevServerCarriesOn(t *testing.T) {
	t.Setenv(asProgram, "1")
	ctx := t.Context()
	self, err := os.Executable()
	require.NoError(t, err)
	opts := testsuite.DevServerOptions{
		ExistingPath:     self,
		ClientOptions:    &client.Options{Namespace: "fabric"},
		DBFilename:       filepath.Join(t.TempDir(), "a?b c.db"),
		EnableUI:         true,
		UIPort:           "0",
		LogLevel:         "never",
		SearchAttributes: temporal.NewSearchAttributes(tenant.ValueSet("")),
		ExtraArgs:        []string{"--retention", "2h"},
	}
	first, err := testsuite.StartDevServer(ctx, opts)
	require.NoError(t, err)
	run := begin(t, first.Client(), "kept")
	require.NoError(t, first.Stop(), "an interrupt is a clean end")
	require.FileExists(t, opts.DBFilename)

	opts.ExtraArgs = []string{"--retention", "3h", "--search-attribute", "FlStage=Keyword"}
	second, err := testsuite.StartDevServer(ctx, opts)
	require.NoError(t, err)
	defer func() { require.NoError(t, second.Stop()) }()
	require.NotEqual(t, first.FrontendHostPort(), second.FrontendHostPort())
	c := second.Client()

	got, err := c.DescribeWorkflowExecution(ctx, "kept", "")
	require.NoError(t, err)
	require.Equal(t, enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING, got.WorkflowExecutionInfo.Status)
	require.Equal(t, run.GetRunID(), got.WorkflowExecutionInfo.Execution.RunId)
	require.EqualValues(t, 1, count(t, c, `FlTenant = "t1" and FlStage is null`), "both attributes can be searched")

	ns, err := c.WorkflowService().DescribeNamespace(ctx, &workflowservice.DescribeNamespaceRequest{Namespace: "fabric"})
	require.NoError(t, err)
	require.Equal(t, 3*time.Hour, ns.Config.WorkflowExecutionRetentionTtl.AsDuration())

	finish(t, c, run)
}

// A process that is killed has lost nothing that it acknowledged.
func TestKillLosesNothing(t *testing.T) {
	file := filepath.Join(t.TempDir(), "t.db")
	args := []string{"--db-filename", file, "--search-attribute", "FlTenant=Keyword"}
	p := launch(t, args...)
	run := begin(t, p.dial(t), "kept")
	require.NoError(t, p.cmd.Process.Kill())
	require.Error(t, p.cmd.Wait())

	p = launch(t, args...)
	defer p.interrupt(t)
	c := p.dial(t)
	require.EqualValues(t, 1, count(t, c, `FlTenant = "t1"`))
	finish(t, c, run)
}

func TestUIAnswers(t *testing.T) {
	p := launch(t)
	defer p.interrupt(t)
	require.NotEmpty(t, p.ui)
	page := get(t, p.ui+"/")
	require.Contains(t, page, "<html")
	// The UI reaches the frontend through its own API.
	require.Contains(t, get(t, p.ui+"/api/v1/namespaces/default"), `"name": "default"`)
}

func TestHeadlessHasNoUI(t *testing.T) {
	p := launch(t, "--headless")
	defer p.interrupt(t)
	require.Empty(t, p.ui)
}

// start fails before it has touched anything, and says what is in the way.
func TestStartRefuses(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer busy.Close()
	port := busy.Addr().(*net.TCPAddr).Port

	dir := t.TempDir()
	locked := filepath.Join(dir, "locked.db")
	lock, err := acquire(locked + ".lock")
	require.NoError(t, err)
	defer lock.Close()

	base := options{ip: "127.0.0.1", headless: true, namespaces: []string{"default"}, retention: time.Hour,
		logLevel: "never", dynamic: dynamicDefaults(), pragmas: pragmaDefaults()}
	tests := []struct {
		name string
		edit func(*options)
		want error
		text string
	}{
		{"a frontend port in use", func(o *options) { o.port = port }, errInUse, "port"},
		{"a UI port in use", func(o *options) { o.headless, o.uiPort = false, port }, errInUse, "port"},
		{"a database in use", func(o *options) { o.dbFile = locked }, errInUse, locked},
		{"a folder that does not exist", func(o *options) { o.dbFile = filepath.Join(dir, "no", "t.db") }, os.ErrNotExist, ""},
		{"a reserved attribute", func(o *options) { o.attributes = attributes{"RunId": keyword} }, errReserved, "RunId"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			opts := base
			tt.edit(&opts)
			_, err := start(t.Context(), opts)
			require.ErrorIs(t, err, tt.want)
			require.ErrorContains(t, err, tt.text)
		})
	}
}

// What a killed start leaves half-made is not taken for a database.
func TestHalfMadeFileIsReplaced(t *testing.T) {
	file := filepath.Join(t.TempDir(), "t.db")
	require.NoError(t, os.WriteFile(file+".new", []byte("torn"), 0o600))
	db, err := openDatabase(file, pragmaDefaults())
	require.NoError(t, err)
	defer db.close()
	require.NoFileExists(t, file+".new")
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())
	head, err := os.ReadFile(file)
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(string(head), "SQLite format 3\x00"))
}

func waitForGo(ctx workflow.Context) (string, error) {
	var word string
	workflow.GetSignalChannel(ctx, "go").Receive(ctx, &word)
	return word, nil
}

func begin(t *testing.T, c client.Client, id string) client.WorkflowRun {
	t.Helper()
	run, err := c.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{
		ID: id, TaskQueue: "q", TypedSearchAttributes: temporal.NewSearchAttributes(tenant.ValueSet("t1")),
	}, waitForGo)
	require.NoError(t, err)
	require.Eventually(t, func() bool { return count(t, c, `FlTenant = "t1"`) == 1 }, 5*time.Second, 20*time.Millisecond)
	return run
}

// finish lets the workflow of an earlier process end in this one.
func finish(t *testing.T, c client.Client, run client.WorkflowRun) {
	t.Helper()
	w := worker.New(c, "q", worker.Options{})
	w.RegisterWorkflow(waitForGo)
	require.NoError(t, w.Start())
	defer w.Stop()
	require.NoError(t, c.SignalWorkflow(t.Context(), run.GetID(), "", "go", "on"))
	var word string
	require.NoError(t, c.GetWorkflow(t.Context(), run.GetID(), run.GetRunID()).Get(t.Context(), &word))
	require.Equal(t, "on", word)
}

// count is -1 while the server does not know the attributes of the query.
func count(t *testing.T, c client.Client, query string) int64 {
	t.Helper()
	got, err := c.CountWorkflow(t.Context(), &workflowservice.CountWorkflowExecutionsRequest{Query: query})
	var unknown *serviceerror.InvalidArgument
	if err != nil {
		require.ErrorAs(t, err, &unknown)
		return -1
	}
	return got.Count
}

type process struct {
	cmd          *exec.Cmd
	frontend, ui string
}

// launch starts the program on free ports and waits for its two lines.
func launch(t *testing.T, args ...string) process {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	args = append([]string{"server", "start-dev", "--port", "0", "--log-level", "never"}, args...)
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill() })

	p := process{cmd: cmd}
	lines := bufio.NewReader(out)
	p.frontend = after(t, lines, "frontend ")
	if !strings.Contains(strings.Join(args, " "), "--headless") {
		p.ui = after(t, lines, "ui ")
	}
	return p
}

func after(t *testing.T, lines *bufio.Reader, prefix string) string {
	t.Helper()
	line, err := lines.ReadString('\n')
	require.NoError(t, err)
	rest, ok := strings.CutPrefix(line, prefix)
	require.True(t, ok, "line %q", line)
	return strings.TrimSpace(rest)
}

func (p process) dial(t *testing.T) client.Client {
	t.Helper()
	c, err := client.DialContext(t.Context(), client.Options{HostPort: p.frontend})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

func (p process) interrupt(t *testing.T) {
	t.Helper()
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(t, p.cmd.Wait())
}

func get(t *testing.T, url string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), http.MethodGet, url, nil)
	require.NoError(t, err)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, resp.StatusCode, string(body))
	return string(body)
}
