package web

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/audit"
)

// aLog is a log of three leaves, one of them another tenant's, and the proof of
// the second: its path is worked out here from RFC 6962, not by our prover.
func aLog(t *testing.T) (v1.LeafPage, v1.Proof) {
	var page v1.LeafPage
	var hashes []audit.Hash
	for i, tenant := range []string{"onc", "onc", "clinic"} {
		body, err := json.Marshal(audit.Leaf{V: 1, At: noon, Kind: "run.accepted", Tenant: tenant, Actor: hostile, Subject: fmt.Sprintf("run/run-%d", i), State: "accepted"})
		require.NoError(t, err)
		hashes = append(hashes, audit.LeafHash(body))
		l := v1.Leaf{Index: int64(i), Hash: string(hashes[i].Digest())}
		if tenant == "onc" {
			l.Leaf = body
		}
		page.Items = append(page.Items, l)
	}
	root := audit.NodeHash(audit.NodeHash(hashes[0], hashes[1]), hashes[2])
	return page, v1.Proof{Index: 1, Size: 3, Hash: string(hashes[1].Digest()), Root: string(root.Digest()), Hashes: []string{string(hashes[0].Digest()), string(hashes[2].Digest())}}
}

func TestAudit(t *testing.T) {
	page, proof := aLog(t)
	one := v1.LeafPage{Items: page.Items[1:2]}
	api := &fakeAPI{answers: map[string]any{
		"GET /audit/checkpoint": v1.Checkpoint{Origin: "log.example", Size: 3, Root: proof.Root, Note: "signed"}, "GET /audit/leaves": page,
		"GET /audit/leaves?from=1&limit=1": one, "GET /audit/proof?index=1": proof,
		"GET /audit/leaves?before=3&from=0&limit=50&own=true": v1.LeafPage{Items: []v1.Leaf{page.Items[1], page.Items[0]}},
	}}
	c := testConsole(t, api)
	golden(t, "audit", ask(t, c, rea(), "GET", "/console/audit", nil))
	golden(t, "audit-whole", ask(t, c, rea(), "GET", "/console/audit?from=0", nil))
	golden(t, "leaf", ask(t, c, rea(), "GET", "/console/audit/1", nil))

	ask(t, c, rea(), "GET", "/console/audit?match=RUN%2F", nil)
	require.Contains(t, strings.Join(api.asked, "\n"), "match=RUN%2F")

	proof.Hashes[0], proof.Hashes[1] = proof.Hashes[1], proof.Hashes[0]
	require.Contains(t, ask(t, c, rea(), "GET", "/console/audit/1", nil).Body.String(), "does not lead to the root")

	api.answers["GET /audit/leaves"] = v1.Problem{Status: 403, Title: "your roles do not let you", Detail: "it needs auditor or admin", Code: "forbidden"}
	w := ask(t, c, ada(), "GET", "/console/audit?from=0", nil)
	require.Equal(t, http.StatusForbidden, w.Code)
	require.Contains(t, w.Body.String(), "It needs auditor or admin")
}

// A person sees the newest leaves of their own tenant, however many of others
// came after them; others' are shown where the log is read in its order.
func TestTheNewestLeavesAreTheReadersOwn(t *testing.T) {
	page, proof := aLog(t)
	own := func(before string, next int64, indexes ...int64) (string, v1.LeafPage) {
		out := v1.LeafPage{Next: next}
		for _, i := range indexes {
			l := page.Items[i%2]
			l.Index = i
			out.Items = append(out.Items, l)
		}
		return "GET /audit/leaves?" + before + "own=true", out
	}
	api := &fakeAPI{answers: map[string]any{"GET /audit/checkpoint": v1.Checkpoint{Origin: "log.example", Size: 900, Root: proof.Root}, "GET /audit/leaves": page}}
	answer := func(key string, out v1.LeafPage) { api.answers[key] = out }
	answer(own("before=900&from=0&limit=50&", 700))
	answer(own("before=700&from=0&limit=50&", 31, 451, 32))
	answer(own("before=31&from=0&limit=50&", 0, 4))
	answer(own("from=31&limit=50&", 600, 32, 451))
	answer(own("from=600&limit=50&", 0))
	c := testConsole(t, api)
	read := func(path string) string {
		w := ask(t, c, rea(), "GET", path, nil)
		require.Equal(t, http.StatusOK, w.Code, w.Body.String())
		return w.Body.String()
	}
	newest := read("/console/audit")
	require.Less(t, strings.Index(newest, `<a href="/console/audit/451">`), strings.Index(newest, `<a href="/console/audit/32">`))
	require.Contains(t, newest, `<a href="?before=31">Earlier</a>`)
	require.NotContains(t, newest, "Later</a>")
	require.NotContains(t, newest, "another tenant")

	earlier := read("/console/audit?before=31")
	require.Contains(t, earlier, `<a href="/console/audit/4">`)
	require.NotContains(t, earlier, "Earlier</a>")
	require.Contains(t, earlier, `<a rel="next" href="?after=31">Later</a>`)
	back := read("/console/audit?after=31")
	require.Less(t, strings.Index(back, `<a href="/console/audit/451">`), strings.Index(back, `<a href="/console/audit/32">`))
	require.Contains(t, back, `<a href="?before=31">Earlier</a>`)
	require.Contains(t, back, `<a rel="next" href="?after=600">Later</a>`)
	require.NotContains(t, read("/console/audit?after=600"), "Later</a>")

	// A page asks three times, then says that it has not looked through the log.
	for _, from := range []string{"900", "700", "600"} {
		answer(own("before="+from+"&from=0&limit=50&", map[string]int64{"900": 700, "700": 600, "600": 500}[from]))
	}
	lost := read("/console/audit")
	require.Contains(t, lost, "There are more")
	require.Contains(t, lost, `<a href="?before=500">Earlier</a>`)

	whole := read("/console/audit?from=0")
	require.Contains(t, whole, "another tenant's")
	require.Contains(t, whole, `<a href="/console/audit">Show the newest</a>`)
}

func TestTheLogIsExportedWhole(t *testing.T) {
	page, _ := aLog(t)
	second := page.Items[2:]
	page.Items, page.Next = page.Items[:2], 2
	api := &fakeAPI{answers: map[string]any{"GET /audit/leaves": page, "GET /audit/leaves?from=2&limit=200": v1.LeafPage{Items: second}}}
	w := ask(t, testConsole(t, api), rea(), "GET", "/console/audit/export", nil)
	require.Equal(t, `attachment; filename="audit-from-0.ndjson"`, w.Header().Get("Content-Disposition"))
	require.Equal(t, 3, strings.Count(w.Body.String(), "\n"))

	api.answers["GET /audit/leaves?from=2&limit=200"] = v1.Problem{Status: 503, Title: "away", Code: "unavailable"}
	require.Panics(t, func() { ask(t, testConsole(t, api), rea(), "GET", "/console/audit/export", nil) }, "the connection is cut: half a file does not look whole")
}
