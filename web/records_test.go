package web

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/scorecard"
)

// hostile is what somebody calls things by who wants a page to run it.
const hostile = `<script>alert(1)</script>"'`

// oda operates, rea reads only.
func oda() session { s := ada(); s.Subject, s.Roles = "oda", []string{"operator", "auditor"}; return s }
func rea() session { s := ada(); s.Subject, s.Roles = "rea", []string{"auditor"}; return s }

func bp(n int64) *int64 { return &n }

// aRun has trained four of ten rounds; the fifth is open.
func aRun() (v1.Run, v1.RunProgress) {
	run := v1.Run{
		ID: "run-1", Tenant: "onc", ModelID: "screen", Tenants: []string{"onc", "clinic"}, Status: "running", RoundsDone: 4, CreatedAt: noon.Add(-time.Hour),
		Params:  v1.RunParams{Rounds: 10, Features: []string{"scans"}, TargetBp: 9500, Privacy: v1.Privacy{Mechanism: "gaussian", NoiseMultiplier: 1.1, MaxEpsilon: 8}},
		Metrics: v1.Metrics{AccuracyBp: bp(9123), Evaluated: 1000, Correct: 912}, TraceID: "0af7651916cd43dd8448eb211c80319c", WorkflowID: "run/run-1",
	}
	progress := v1.RunProgress{ID: "run-1", Privacy: v1.RunPrivacy{Delta: 1e-5, Feature: "onc/scans", Limit: 8}}
	for n := 1; n <= 5; n++ {
		r := v1.Round{Number: n, Kind: "train", Status: "closed", StartedAt: noon.Add(time.Duration(n-10) * time.Minute), EndedAt: noon.Add(time.Duration(n-9) * time.Minute),
			Metrics: v1.Metrics{AccuracyBp: bp(int64(5000 + 1000*n)), Evaluated: 1000, Correct: int64(500 + 100*n), LossMicros: int64(900_000_000 / n)},
			Regions: []v1.RoundRegion{{Region: "eu", Selected: 4, Accepted: 3, Dropped: []string{"clinic/s4"}}}}
		if n == 5 {
			r.Status, r.EndedAt, r.Metrics = "open", time.Time{}, v1.Metrics{}
			r.Regions = []v1.RoundRegion{{Region: "eu", Selected: 4, Accepted: 2, Rejected: 1}}
		}
		run.Rounds = append(run.Rounds, r)
		progress.Rounds = append(progress.Rounds, v1.RoundTraffic{Number: n, Answers: 3, UploadedBytes: 40_000})
		progress.Privacy.Points = append(progress.Privacy.Points, v1.PrivacyPoint{Number: n, Epsilon: 0.9 * float64(n)})
	}
	progress.Privacy.Spent = 4.5
	progress.Stages = []v1.StageProgress{{Number: 5, Region: "eu", Stage: "update", Status: "open", Sites: 4, Answered: 2, Refused: 1, OpenedAt: noon, Deadline: noon.Add(time.Minute), Waiting: []string{"clinic/s4"}}}
	return run, progress
}

func TestRuns(t *testing.T) {
	run, _ := aRun()
	bad := v1.Run{ID: "run-0", Tenant: "onc", ModelID: hostile, Tenants: []string{"a", "b", "c", "d"}, Status: "failed", Cause: "fewer than 3 sites answered " + hostile, CreatedAt: noon, Params: v1.RunParams{Rounds: 1}}
	held := run
	held.ID, held.Paused = "run-2", true
	api := &fakeAPI{answers: map[string]any{"GET /train/runs": v1.RunPage{Items: []v1.Run{held, run, bad}, Next: "bmV4dA"}}}
	golden(t, "runs", ask(t, testConsole(t, api), ada(), "GET", "/console/runs?status=running&model=a%26b", nil))
	require.Contains(t, api.asked, "GET /train/runs?model=a%26b&status=running", "the API filters")

	api.answers["GET /train/runs"] = v1.RunPage{}
	w := ask(t, testConsole(t, api), ada(), "GET", "/console/runs", nil)
	require.Contains(t, w.Body.String(), "No run is like that")
	sound(t, w)
}

// A table of 100,000 rows is pages of what the API gives at once: the page asks
// for one, and links to the next.
func TestALargeTablePages(t *testing.T) {
	var items []v1.Run
	run, _ := aRun()
	for i := range 200 {
		run.ID, run.Rounds = fmt.Sprintf("run-%06d", i), nil
		items = append(items, run)
	}
	api := &fakeAPI{answers: map[string]any{"GET /train/runs": v1.RunPage{Items: items, Next: "MDAwMTk5"}}}
	w := ask(t, testConsole(t, api), ada(), "GET", "/console/runs?status=running", nil)
	require.Len(t, api.asked, 1)
	require.Less(t, w.Body.Len(), 250_000)
	require.Contains(t, w.Body.String(), `href="?status=running&amp;cursor=MDAwMTk5"`, "the filter stays")
}

func TestRun(t *testing.T) {
	run, progress := aRun()
	api := &fakeAPI{answers: map[string]any{"GET /train/status/run-1": run, "GET /train/runs/run-1/progress": progress}}
	c := testConsole(t, api, func(o *Options) { o.TemporalUI, o.Namespace = "http://127.0.0.1:8233", "fabric" })
	page := ask(t, c, oda(), "GET", "/console/runs/run-1", nil)
	require.Contains(t, page.Body.String(), `href="http://127.0.0.1:8233/namespaces/fabric/workflows/run%2Frun-1"`)
	require.Equal(t, 5, strings.Count(page.Body.String(), `role="img"`), "accuracy, loss, sites, bytes, epsilon")
	golden(t, "run", withoutKeys(page))

	run.ModelID, run.Cause, run.Status = hostile, hostile, "failed"
	progress.Stages[0].Waiting = []string{hostile}
	api.answers["GET /train/status/run-1"] = run
	page = ask(t, c, oda(), "GET", "/console/runs/run-1", nil)
	sound(t, page)
	require.NotContains(t, page.Body.String(), "<script>alert")
}

// withoutKeys takes out what no two pages share.
func withoutKeys(w *httptest.ResponseRecorder) *httptest.ResponseRecorder {
	page := strings.Split(w.Body.String(), `name="key" value="`)
	for i := 1; i < len(page); i++ {
		page[i] = "KEY" + page[i][strings.IndexByte(page[i], '"'):]
	}
	w.Body = bytes.NewBufferString(strings.Join(page, `name="key" value="`))
	return w
}

func TestRoundsPage(t *testing.T) {
	run, progress := aRun()
	run.Rounds = nil
	for n := range 10_000 {
		run.Rounds = append(run.Rounds, v1.Round{Number: n, Kind: "train", Status: "closed", StartedAt: noon, Metrics: v1.Metrics{AccuracyBp: bp(9000), Evaluated: 1}})
	}
	api := &fakeAPI{answers: map[string]any{"GET /train/status/run-1": run, "GET /train/runs/run-1/progress": progress}}
	w := ask(t, testConsole(t, api), oda(), "GET", "/console/runs/run-1?before=60", nil)
	require.Contains(t, w.Body.String(), `href="?before=10"`)
	require.Less(t, w.Body.Len(), 150_000)
	sound(t, w)
}

func TestWhatCanBeDoneWithARun(t *testing.T) {
	for _, tt := range []struct {
		name   string
		status string
		paused bool
		who    session
		can    string
		why    string
	}{
		{"a running one is held or stopped", "running", false, oda(), "pause stop", "It is not held"},
		{"one that was just accepted, too", "accepted", false, oda(), "pause stop", "It is not held"},
		{"a held one goes on or is stopped", "running", true, oda(), "resume stop", "It holds already"},
		{"one that is over is left alone", "completed", false, oda(), "", "The run is over: completed"},
		{"a failed one too", "failed", true, oda(), "", "The run is over: failed"},
		{"a reader sees why not", "running", false, rea(), "", "You need the role data-scientist, operator or admin"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			run, progress := aRun()
			run.Status, run.Paused = v1.RunStatus(tt.status), tt.paused
			api := &fakeAPI{answers: map[string]any{"GET /train/status/run-1": run, "GET /train/runs/run-1/progress": progress}}
			page := ask(t, testConsole(t, api), tt.who, "GET", "/console/runs/run-1", nil).Body.String()
			for _, do := range []string{"pause", "resume", "stop"} {
				require.Equal(t, strings.Contains(tt.can, do), strings.Contains(page, `action="/console/runs/run-1/`+do+`"`), do)
			}
			require.Contains(t, page, tt.why)
		})
	}
}

func TestARunIsSteeredOnce(t *testing.T) {
	api := &fakeAPI{answers: map[string]any{"POST /train/runs/run-1/pause": v1.RunAccepted{ID: "run-1"}}}
	c := testConsole(t, api)
	w := ask(t, c, oda(), "POST", "/console/runs/run-1/pause", url.Values{"reason": {"a site is repaired"}, "key": {"k1"}})
	require.Equal(t, http.StatusSeeOther, w.Code)
	require.Equal(t, "/console/runs/run-1?done=run-pause", w.Header().Get("Location"))
	require.JSONEq(t, `{"reason":"a site is repaired"}`, api.bodies[0])

	api.answers["POST /train/runs/run-1/stop"] = v1.Problem{Status: 409, Title: "the run is over", Code: "conflict"}
	w = ask(t, c, oda(), "POST", "/console/runs/run-1/stop", url.Values{"key": {"k2"}})
	require.Equal(t, http.StatusConflict, w.Code)
	require.Contains(t, w.Body.String(), "The run is over")
	sound(t, w)
}

// A change is seen on an open stream within a second, by all who look; the API
// is asked for all of them at once.
func TestAChangeIsSeenWithinASecond(t *testing.T) {
	run, progress := aRun()
	api := &lockedAPI{fakeAPI: fakeAPI{answers: map[string]any{"GET /train/status/run-1": run, "GET /train/runs/run-1/progress": progress}}}
	c := testConsole(t, api)
	server := httptest.NewServer(c)
	defer server.Close()
	defer c.Close()
	const viewers = 5
	var streams []*bufio.Scanner
	for range viewers {
		streams = append(streams, follow(t, c, server, oda(), "/console/runs/run-1/events?state=runningfalse"))
	}
	for _, s := range streams {
		require.Contains(t, next(t, s, "part"), "4 of 10")
	}
	run.RoundsDone, run.Paused = 5, true
	api.put("GET /train/status/run-1", run)
	changed := time.Now()
	for _, s := range streams {
		require.Contains(t, next(t, s, "part"), "5 of 10")
		require.Contains(t, next(t, s, "state"), "runningtrue", "the buttons are loaded anew")
	}
	require.Less(t, time.Since(changed), time.Second)
	before := api.count()
	time.Sleep(2 * lookEvery)
	require.LessOrEqual(t, api.count()-before, 2*4, "one look for all")
}

func TestStreamsEnd(t *testing.T) {
	run, progress := aRun()
	api := &lockedAPI{fakeAPI: fakeAPI{answers: map[string]any{"GET /train/status/run-1": run, "GET /train/runs/run-1/progress": progress}}}
	c := testConsole(t, api)
	server := httptest.NewServer(c)
	defer server.Close()
	const path = "/console/runs/run-1/events?state=runningfalse"
	ended := func(s *bufio.Scanner) {
		t.Helper()
		for s.Scan() {
		}
	}
	s := follow(t, c, server, oda(), path)
	next(t, s, "part")
	api.put("GET /train/status/run-1", v1.Problem{Status: 403, Title: "no", Code: "forbidden"})
	ended(s) // the right was taken away
	api.put("GET /train/status/run-1", run)

	s = follow(t, c, server, oda(), path)
	next(t, s, "part")
	c.hub.end(func(who session) bool { return who.Token == oda().Token })
	ended(s) // signed out

	for range mostPerUser {
		follow(t, c, server, oda(), path)
	}
	resp := open(t, c, server, oda(), path)
	require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode, "one person does not take all streams")
	resp.Body.Close()
	other := follow(t, c, server, rea(), path)
	next(t, other, "part")
	c.Close()
	ended(other) // the server stops
	require.Eventually(t, func() bool {
		c.hub.mu.Lock()
		defer c.hub.mu.Unlock()
		return c.hub.total == 0 && len(c.hub.lives) == 0 && len(c.hub.users) == 0
	}, 5*time.Second, 10*time.Millisecond, "nothing is looked at for nobody")
}

func open(t *testing.T, c *Console, server *httptest.Server, who session, path string) *http.Response {
	t.Helper()
	signed := request(t, c, who, "GET", path, nil)
	req, err := http.NewRequestWithContext(t.Context(), "GET", server.URL+path, nil)
	require.NoError(t, err)
	for _, k := range signed.Cookies() {
		req.AddCookie(k)
	}
	resp, err := server.Client().Do(req)
	require.NoError(t, err)
	return resp
}

func follow(t *testing.T, c *Console, server *httptest.Server, who session, path string) *bufio.Scanner {
	t.Helper()
	resp := open(t, c, server, who, path)
	t.Cleanup(func() { resp.Body.Close() })
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.Equal(t, "text/event-stream", resp.Header.Get("Content-Type"))
	s := bufio.NewScanner(resp.Body)
	s.Buffer(nil, 1<<20)
	return s
}

// next reads the next event, which has this name.
func next(t *testing.T, s *bufio.Scanner, name string) string {
	t.Helper()
	var text strings.Builder
	event := ""
	for s.Scan() {
		line := s.Text()
		switch {
		case strings.HasPrefix(line, "event: "):
			event = line[len("event: "):]
		case strings.HasPrefix(line, "data: "):
			text.WriteString(line[len("data: "):] + "\n")
		case line == "" && event != "":
			require.Equal(t, name, event)
			return text.String()
		}
	}
	require.FailNow(t, "the stream ended")
	return ""
}

func TestModels(t *testing.T) {
	api := &fakeAPI{answers: map[string]any{"GET /models": v1.ModelPage{Items: []v1.Model{
		{Tenant: "onc", ID: "screen", Latest: 3, Champions: map[string]int{"production": 2, "dev": 3}, CreatedAt: noon},
		{Tenant: "onc", ID: hostile, Champions: map[string]int{}, CreatedAt: noon},
	}, Next: "bW9yZQ"}}}
	golden(t, "models", ask(t, testConsole(t, api), ada(), "GET", "/console/models", nil))
}

func aModel() v1.Model {
	m := v1.Model{Tenant: "onc", ID: "screen", Latest: 3, Champions: map[string]int{"production": 2}, CreatedAt: noon}
	for n := 1; n <= 3; n++ {
		m.Versions = append(m.Versions, v1.ModelVersion{Tenant: "onc", ModelID: "screen", Version: n, Run: fmt.Sprintf("run-%d", n), Round: 10, RegisteredAt: noon.Add(time.Duration(n) * time.Hour), Metrics: v1.Metrics{AccuracyBp: bp(int64(9000 + n))},
			Package: descriptor(fmt.Sprint("p", n)), Weights: descriptor(fmt.Sprint("w", n)), Bundle: descriptor(fmt.Sprint("b", n)), Tainted: []string{hostile}[:n/3], Blocked: n == 3})
	}
	return m
}

func descriptor(text string) v1.Descriptor {
	d := artifact.Describe("text/plain", []byte(text))
	return v1.Descriptor{Digest: string(d.Digest), SizeBytes: d.SizeBytes, MediaType: d.MediaType}
}

func TestModel(t *testing.T) {
	api := &fakeAPI{answers: map[string]any{
		"GET /models/screen":         aModel(),
		"GET /models/screen/aliases": v1.AliasList{Items: []v1.Alias{{Tenant: "onc", ModelID: "screen", Environment: "production", Alias: "champion", Version: 2, Sequence: 4, Actor: "oda", Action: "promote-1", At: noon}, {ModelID: "screen", Environment: "dev", Alias: "shadow", Version: 1, Actor: hostile, At: noon}}},
		"GET /models/screen/history": v1.ModelHistory{At: noon, Snapshot: 12, PublishedAt: noon, Serving: []v1.Serving{{Environment: "production", Region: "eu", Version: 2, ShareBp: 9900, Mover: v1.Mover{Action: "promote-1", Step: "eu 1 %", At: noon, Requester: "oda", Approvals: []v1.MoverApproval{{Approver: "ada", Role: "owner", Says: "approve"}}}}}},
	}}
	c := testConsole(t, api)
	golden(t, "model", ask(t, c, ada(), "GET", "/console/models/screen?at=2026-11-23T11%3A59", nil))
	require.Contains(t, api.asked, "GET /models/screen/history?at=2026-11-23T11%3A59%3A59.999999Z", "the minute that was typed is in it")
	for at, says := range map[string]string{"yesterday": "That is no time", "2001-01-01T00:00": "Nothing was published"} {
		api.answers["GET /models/screen/history"] = v1.Problem{Status: 404, Title: "nothing was published", Code: "not_found"}
		require.Contains(t, ask(t, c, ada(), "GET", "/console/models/screen?at="+url.QueryEscape(at), nil).Body.String(), says)
	}
}

func TestVersion(t *testing.T) {
	run, _ := aRun()
	low, high, limit := 0.89, 0.93, 0.9
	card := func(value float64, status scorecard.Status) v1.Scorecard {
		text, err := json.Marshal(scorecard.Card{Runs: 6, Overall: 80, Status: status, Dimensions: []scorecard.Dimension{{Name: "performance", Critical: true, Status: status, Figures: []scorecard.Figure{
			{Name: "accuracy", Unit: "share", N: 900, Value: value, Low: &low, High: &high, Limit: &limit, AtLeast: true, Status: status},
			{Name: hostile, Unit: "share", Status: scorecard.NoData, Detail: "no rows"}}}}})
		require.NoError(t, err)
		return v1.Scorecard{ModelID: "screen", Status: string(status), Card: text}
	}
	api := &fakeAPI{answers: map[string]any{
		"GET /models/screen": aModel(), "GET /models/screen/aliases": v1.AliasList{}, "GET /train/status/run-3": run,
		"GET /scorecards/screen?version=3": card(0.91, scorecard.Insufficient), "GET /scorecards/screen?version=2": card(0.92, scorecard.Pass),
	}}
	c := testConsole(t, api)
	w := ask(t, c, ada(), "GET", "/console/models/screen/versions/3", nil)
	golden(t, "version", w)
	page := w.Body.String()
	require.Contains(t, page, `<span class="tag ">INSUFFICIENT</span>`, "it is grey")
	require.Contains(t, page, `class="span open"`, "its bar too")
	require.Contains(t, page, "beside the champion, version 2")

	delete(api.answers, "GET /train/status/run-3")
	api.answers["GET /scorecards/screen?version=3"] = v1.Problem{Status: 404, Title: "it was never measured", Code: "not_found"}
	w = ask(t, c, ada(), "GET", "/console/models/screen/versions/3", nil)
	require.Contains(t, w.Body.String(), "There is no scorecard: It was never measured")
	for _, nothing := range []string{"9", "x"} {
		require.Equal(t, http.StatusNotFound, ask(t, c, ada(), "GET", "/console/models/screen/versions/"+nothing, nil).Code)
	}
}
