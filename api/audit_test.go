package api_test

import (
	"encoding/json"
	"io"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/api"
	v1 "github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/artifact"
)

func logOf(s *served, n int) {
	leaf := json.RawMessage(`{"tenant":"t2"}`)
	for i := range n {
		s.fabric.Entries = append(s.fabric.Entries, api.AuditEntry{Index: int64(i), Tenant: "t2", Hash: artifact.DigestOf(leaf), Leaf: leaf})
	}
}

func TestConsistencyIsAskedBySizes(t *testing.T) {
	s := serve(t)
	logOf(s, 5)
	step := into[v1.Consistency](s.do("GET", "/audit/consistency?from=2&to=4", nil, s.as("t1", "data-plane")).is(200))
	require.Equal(t, [2]int64{2, 4}, [2]int64{step.From, step.To})
	require.EqualValues(t, 5, into[v1.Consistency](s.do("GET", "/audit/consistency?from=2", nil, s.as("t1", "auditor")).is(200)).To)
	s.do("GET", "/audit/consistency?from=2&to=6", nil, s.as("t1", "auditor")).is(404, "not_found")
	s.do("GET", "/audit/consistency?from=5&to=4", nil, s.as("t1", "auditor")).is(404, "not_found")
	for _, bad := range []string{"", "?to=3", "?from=-1", "?from=x", "?from=1&to=0", "?from=1&size=2"} {
		s.do("GET", "/audit/consistency"+bad, nil, s.as("t1", "auditor")).is(400, "invalid_request")
	}
}

// A tenant's own leaves are listed without others', upwards or the newest first.
func TestOwnLeavesAreListedFromTheNewest(t *testing.T) {
	s := serve(t)
	logOf(s, 6)
	for _, i := range []int{1, 2} {
		s.fabric.Entries[i].Tenant = "t1"
	}
	ask := func(query string) (indexes []int64, next int64) {
		page := into[v1.LeafPage](s.do("GET", "/audit/leaves?"+query, nil, s.as("t1", "auditor")).is(200))
		for _, l := range page.Items {
			indexes = append(indexes, l.Index)
			require.Equal(t, l.Index == 1 || l.Index == 2, len(l.Leaf) > 0, "%s: %d", query, l.Index)
		}
		return indexes, page.Next
	}
	for query, want := range map[string]struct {
		indexes []int64
		next    int64
	}{
		"limit=2":           {[]int64{0, 1}, 2},
		"own=false&limit=2": {[]int64{0, 1}, 2},
		"own=true":          {[]int64{1, 2}, 0},
		"own=true&limit=1":  {[]int64{1}, 2},
		"own=true&from=2":   {[]int64{2}, 0},
		"own=true&before=6": {[]int64{2, 1}, 0},
		"own=true&before=9007199254740991&limit=1": {[]int64{2}, 2},
		"own=true&before=2":                        {[]int64{1}, 0},
		"own=true&from=2&before=3":                 {[]int64{2}, 0},
		"own=true&before=1":                        {nil, 0},
	} {
		indexes, next := ask(query)
		require.Equal(t, want.indexes, indexes, query)
		require.Equal(t, want.next, next, query)
	}
	for _, bad := range []string{"before=3", "own=false&before=3", "own=true&before=0", "own=true&before=3&match=x", "own=yes"} {
		s.do("GET", "/audit/leaves?"+bad, nil, s.as("t1", "auditor")).is(400, "invalid_request")
	}
}

// The checkpoint is the signed note alone to whoever asks for text; a log that
// nobody signs has none.
func TestAnUnsignedLogHasNoNote(t *testing.T) {
	s := serve(t)
	s.do("GET", "/audit/checkpoint", nil, s.as("t1", "data-plane"), header("Accept", "text/plain")).is(404, "not_found")
	a := s.do("GET", "/audit/checkpoint", nil, s.as("t1", "data-plane"), header("Accept", "application/json")).is(200)
	require.Equal(t, "Accept", a.Header.Get("Vary"))
}

// get asks for a path that holds slashes, which the router of the document
// does not find.
func (s *served) get(path string, changes ...request) (*http.Response, []byte) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.url+path, nil)
	require.NoError(s.t, err)
	for _, change := range changes {
		change(req)
	}
	resp, err := http.DefaultClient.Do(req)
	require.NoError(s.t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(s.t, err)
	return resp, text
}

func TestATileIsHashesForEver(t *testing.T) {
	s := serve(t)
	logOf(s, 300)
	tests := []struct {
		path   string
		status int
		hashes int
	}{
		{"0/000", 200, 256},
		{"0/001.p/44", 200, 44},
		{"0/001.p%2F44", 200, 44}, // as the generated client writes it
		{"1/000.p/1", 200, 1},
		{"0/001", 404, 0},
		{"0/001.p/45", 404, 0},
		{"0/x001/234", 404, 0},
		{"1/001.p/1", 404, 0},
		{"7/000", 400, 0},
		{"-1/000", 400, 0},
		{"0/0", 400, 0},
		{"0/x000/001", 400, 0},
		{"0/001.p/256", 400, 0},
		{"0/001.p/0", 400, 0},
		{"0/abc", 400, 0},
		{"0/", 400, 0},
		{"entries/000", 400, 0},
	}
	for _, tt := range tests {
		t.Run(tt.path, func(t *testing.T) {
			resp, text := s.in(t).get("/audit/tile/"+tt.path, s.as("t1", "auditor"))
			require.Equal(t, tt.status, resp.StatusCode, "%s", text)
			if tt.status != 200 {
				require.NotContains(t, resp.Header.Get("Cache-Control"), "immutable")
				return
			}
			require.Len(t, text, 32*tt.hashes)
			require.Equal(t, "application/octet-stream", resp.Header.Get("Content-Type"))
			require.Equal(t, "private, max-age=31536000, immutable", resp.Header.Get("Cache-Control"))
		})
	}
	resp, _ := s.get("/audit/tile/0/000", header("Authorization", "Bearer x"))
	require.Equal(t, 401, resp.StatusCode)
}
