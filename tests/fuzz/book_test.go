package fuzz

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/tests/harness"
)

// A page says how the requests to an operation were answered.
type page struct {
	Document  artifact.Digest `json:"document"` // of what openapi.yaml said of the operation
	Seeds     []string        `json:"seeds"`
	Operation string          `json:"operation"`
	Method    string          `json:"method"`
	Path      string          `json:"path"`
	Requests  int             `json:"requests"`
	Elsewhere int             `json:"elsewhere"` // with another method or path in the end
	Status    map[int]int     `json:"status"`
	Seconds   float64         `json:"seconds"`
}

// A book keeps pages in a folder; without one it keeps nothing.
type book struct{ dir string }

func openBook(t testing.TB, dir string) book {
	t.Helper()
	if dir != "" {
		require.NoError(t, os.MkdirAll(dir, 0o755))
	}
	return book{dir}
}

// read returns the page of an operation; an empty one, if there is none of how
// it is documented now.
func (b book) read(t testing.TB, op *operation) page {
	t.Helper()
	var p page
	text, err := os.ReadFile(filepath.Join(b.dir, op.id+".json"))
	if b.dir == "" || errors.Is(err, fs.ErrNotExist) {
		return page{}
	}
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &p))
	if p.Document != op.digest {
		return page{}
	}
	return p
}

// write keeps a page, unless there was a fault.
func (b book) write(t testing.TB, op *operation, p page) {
	t.Helper()
	if b.dir == "" || t.Failed() {
		return
	}
	text, err := json.MarshalIndent(p, "", " ")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(b.dir, p.Operation+".json"), text, 0o644))
}

// TestReport writes reports/fuzz.md from the pages of the whole document, which
// make fuzz has made before.
func TestReport(t *testing.T) {
	dir := os.Getenv("FABRIC_FUZZ_REPORT")
	_, ops := document(t)
	if dir == "" {
		dir = t.TempDir() // what a report of nothing says
	}
	b := openBook(t, dir)
	text := b.report(t, ops)
	if os.Getenv("FABRIC_FUZZ_REPORT") == "" {
		require.Contains(t, text, fmt.Sprintf("Operations that had none: %d of %d", len(ops), len(ops)))
		return
	}
	require.NoError(t, os.WriteFile("../../reports/fuzz.md", []byte(text), 0o644))
}

func (b book) report(t testing.TB, ops []*operation) string {
	t.Helper()
	var rows strings.Builder
	var total, least, missing int
	var seconds float64
	statuses, seeds := map[int]int{}, map[string]bool{}
	for _, op := range ops {
		p := b.read(t, op)
		if p.Requests == 0 {
			missing++
			continue
		}
		if least == 0 || p.Requests < least {
			least = p.Requests
		}
		total, seconds = total+p.Requests, seconds+p.Seconds
		for _, seed := range p.Seeds {
			seeds[seed] = true
		}
		var counts []string
		for _, status := range slices.Sorted(maps.Keys(p.Status)) {
			counts = append(counts, fmt.Sprintf("%d: %d", status, p.Status[status]))
			statuses[status] += p.Status[status]
		}
		fmt.Fprintf(&rows, "| %s | `%s %s` | %d | %s | %.0f |\n", p.Operation, p.Method, p.Path, p.Requests, strings.Join(counts, ", "), p.Seconds)
	}
	var all []string
	for _, status := range slices.Sorted(maps.Keys(statuses)) {
		all = append(all, fmt.Sprintf("%d: %d", status, statuses[status]))
	}
	return fmt.Sprintf(`# Generated requests

Made by `+"`make fuzz`"+`, seed %s, %s.

%d requests, at least %d to an operation; six operations at a time, together %s of waiting for answers.
Operations that had none: %d of %d. No answer was a 5xx, had a status or a body that openapi.yaml does not document,
held a secret of another tenant, or came to somebody without a credential: a turn of requests that finds one fails, and is not counted here.

All answers by status: %s.

| operation | | requests | answers by status | seconds |
| --- | --- | ---: | --- | ---: |
%s`, strings.Join(slices.Sorted(maps.Keys(seeds)), ", "), harness.Describe(t), total, least, time.Duration(seconds*float64(time.Second)).Round(time.Second), missing, len(ops), strings.Join(all, ", "), rows.String())
}
