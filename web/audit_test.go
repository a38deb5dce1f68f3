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
	}}
	c := testConsole(t, api)
	golden(t, "audit", ask(t, c, rea(), "GET", "/console/audit", nil))
	golden(t, "leaf", ask(t, c, rea(), "GET", "/console/audit/1", nil))

	ask(t, c, rea(), "GET", "/console/audit?match=RUN%2F", nil)
	require.Contains(t, strings.Join(api.asked, "\n"), "match=RUN%2F")

	proof.Hashes[0], proof.Hashes[1] = proof.Hashes[1], proof.Hashes[0]
	require.Contains(t, ask(t, c, rea(), "GET", "/console/audit/1", nil).Body.String(), "does not lead to the root")

	api.answers["GET /audit/leaves"] = v1.Problem{Status: 403, Title: "your roles do not let you", Detail: "it needs auditor or admin", Code: "forbidden"}
	w := ask(t, c, ada(), "GET", "/console/audit", nil)
	require.Equal(t, http.StatusForbidden, w.Code)
	require.Contains(t, w.Body.String(), "It needs auditor or admin")
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
