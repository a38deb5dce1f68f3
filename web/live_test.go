package web

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/api/v1"
)

// The lists follow what happens. What a row of the inbox says is the visitor's
// own: its stream tells all of them that something changed, and nothing of it.
func TestListsFollow(t *testing.T) {
	run, _ := aRun()
	ballot := v1.Ballot{ID: "promote-1", Summary: "promote tumour 2", Outcome: "pending", Need: 2, Missing: 2, You: v1.Voter{Because: "a secret of ada's"}}
	api := &lockedAPI{fakeAPI: fakeAPI{answers: map[string]any{"GET /approvals": v1.BallotPage{Items: []v1.Ballot{ballot}}, "GET /train/runs": v1.RunPage{Items: []v1.Run{run}}}}}
	c := testConsole(t, api)
	server := httptest.NewServer(c)
	defer server.Close()
	defer c.Close()

	page := ask(t, c, ada(), "GET", "/console/?show=mine", nil).Body.String()
	_, address, found := strings.Cut(page, `sse-connect="`)
	require.True(t, found)
	address, _, _ = strings.Cut(address, `"`)
	inbox := follow(t, c, server, ada(), strings.ReplaceAll(address, "&amp;", "&"))
	require.NotContains(t, next(t, inbox, "part"), "secret")
	ballot.Missing = 1
	api.put("GET /approvals", v1.BallotPage{Items: []v1.Ballot{ballot}})
	changed := time.Now()
	next(t, inbox, "part")  // no state before: the page began with what there was
	next(t, inbox, "state") // the page asks for its rows
	require.Less(t, time.Since(changed), time.Second)
	api.mu.Lock()
	asked := api.asked[len(api.asked)-1]
	api.mu.Unlock()
	require.Contains(t, asked, "state=pending", "what is shared is asked for without a person")

	table := follow(t, c, server, oda(), "/console/runs/events?")
	require.NotContains(t, next(t, table, "part"), "held")
	run.Paused = true
	api.put("GET /train/runs", v1.RunPage{Items: []v1.Run{run}})
	require.Contains(t, next(t, table, "part"), "held")
}

// A time that is none is a very long time ago, and no reason to end the process.
func TestLongAgo(t *testing.T) {
	require.Equal(t, "106751 d 23 h ago", inWords(time.Until(time.Time{})))
	require.Equal(t, "3 s ago", inWords(-3*time.Second))
}

// A rollout that waits is looked at again and again: what is the same again is
// one line.
func TestLooksThatSayTheSame(t *testing.T) {
	look := func(step int, verdict v1.RolloutVerdict, at int) v1.RolloutFact {
		return v1.RolloutFact{Kind: v1.RolloutFactKindLook, Verdict: verdict, Step: v1.RolloutStep{Number: step}, At: noon.Add(time.Duration(at) * time.Minute)}
	}
	step := v1.RolloutFact{Kind: v1.RolloutFactKindStep, Step: v1.RolloutStep{Number: 2}, At: noon}
	rows := factRows([]v1.RolloutFact{look(1, "NO_DATA", 1), look(1, "NO_DATA", 2), look(1, "NO_DATA", 3), look(1, "PASS", 4), step, step, look(2, "PASS", 5)})
	var times []int
	for _, r := range rows {
		times = append(times, r.Times)
	}
	require.Equal(t, []int{3, 1, 1, 1, 1}, times, "only looks, only of one step and one verdict")
	require.Equal(t, noon.Add(time.Minute), rows[0].Since)
	require.Equal(t, noon.Add(3*time.Minute), rows[0].At)
}
