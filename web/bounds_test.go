package web

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/round"
)

// A table of 100,000 rows is a page of the first and a link to the next.
func TestATableOfAHundredThousandRows(t *testing.T) {
	p, _ := aPlace(t)
	const all = 100_000
	for i := range all {
		id := fmt.Sprintf("run-%06d", i)
		p.fabric.RunRows[id] = api.Run{ID: id, Tenant: "onc", ModelID: "screen", Status: "completed", Tenants: []string{"onc"}, Params: round.Params{Rounds: 3}, CreatedAt: noon, TraceID: strings.Repeat("0", 32)}
	}
	rea := p.person("rea", "auditor")
	first := ask(t, p.Console, rea, "GET", "/console/runs", nil)
	require.Equal(t, http.StatusOK, first.Code, first.Body.String())
	require.Less(t, first.Body.Len(), 100_000)
	require.Equal(t, 50, strings.Count(first.Body.String(), `<th scope="row">`))
	_, link, found := strings.Cut(first.Body.String(), `<a rel="next" href="`)
	require.True(t, found)
	link, _, _ = strings.Cut(link, `"`)
	second := ask(t, p.Console, rea, "GET", "/console/runs"+strings.ReplaceAll(link, "&amp;", "&"), nil)
	require.Equal(t, http.StatusOK, second.Code)
	require.Contains(t, second.Body.String(), "run-099949")
	require.NotContains(t, second.Body.String(), "run-099950")
	sound(t, first)
}

// No list of a page is longer than the API gives at once, and each goes on.
func TestEveryListGoesOn(t *testing.T) {
	sites := v1.SitePage{Next: "s&2"}
	for i := range 50 {
		sites.Items = append(sites.Items, v1.Site{Site: fmt.Sprintf("s%d", i), Tenant: "onc", Region: "eu", EnrolledAt: noon, SeenAt: noon})
	}
	fake := decisions(t, ballot(t))
	fake.answers["GET /sites"] = sites
	w := ask(t, testConsole(t, fake), ada(), "GET", "/console/settings?sites=s1", nil)
	require.Equal(t, http.StatusOK, w.Code, w.Body.String())
	require.Contains(t, w.Body.String(), `<a rel="next" href="?sites=s%262#sites"`)
	require.Contains(t, fake.asked, "GET /sites?cursor=s1")
	sound(t, w)
}

// A browser that cannot sign (no WebCrypto, no script at all) sees everything,
// buttons that do nothing, and what else it can do; what it sends all the same
// is no vote.
func TestABrowserThatCannotSign(t *testing.T) {
	p, cast := aPlace(t)
	p.opened("nonce-1")
	ada := p.person("ada", "approver")
	w := ask(t, p.Console, ada, "GET", "/console/requests/promote-1", nil)
	require.Equal(t, http.StatusOK, w.Code, w.Body.String())
	page := w.Body.String()
	for _, button := range []string{"approve", "reject", "request-changes"} {
		require.Regexp(t, `<button name="decision" value="`+button+`"[^>]*\sdisabled`, page, "without a script the button does nothing")
	}
	require.Contains(t, page, "<noscript>")
	require.Contains(t, page, "fabric approve promote-1 --key YOUR.key --as ada")
	script, err := assetFiles.ReadFile("assets/vote.js")
	require.NoError(t, err)
	require.Contains(t, string(script), "if (!able) return say(state, unable, true);")

	// The form as it is without the script: no bundle.
	w = ask(t, p.Console, ada, "POST", votes, map[string][]string{"decision": {"approve"}, "confirm": {"promote-1"}, "key": {fresh()}})
	require.GreaterOrEqual(t, w.Code, 400)
	require.Less(t, w.Code, 500)
	require.Contains(t, w.Body.String(), "Nothing was changed.")
	require.Zero(t, *cast)
	sound(t, w)
}

// A session ends while a form is filled in, in a tab that was open since before
// noon: what was typed is not lost to a redirect that would drop it silently.
func TestAFormOfYesterday(t *testing.T) {
	c := testConsole(t, &fakeAPI{}, func(o *Options) { o.Now = func() time.Time { return noon.Add(24 * time.Hour) } })
	for _, path := range []string{"/console/runs/run-1/stop", "/console/rollouts/promote-1/steer", "/console/catalog/onc/scans/withdrawal", "/console/access/access-1"} {
		w := ask(t, c, oda(), "POST", path, nil)
		require.Equal(t, http.StatusUnauthorized, w.Code, path)
		require.Contains(t, w.Body.String(), "Nothing was changed.", path)
		sound(t, w)
	}
}
