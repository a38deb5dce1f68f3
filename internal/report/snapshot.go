package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/internal/precheck"
)

// snapshot is the document for programs: everything but the bodies of the
// answers, and the digest of each page, so that it stands for all of them.
func (f Facts) snapshot(pages []File) ([]byte, error) {
	type call struct {
		Title   string `json:"title"`
		Command string `json:"command"`
		Status  int    `json:"status"`
	}
	type entry struct {
		ID     string          `json:"id"`
		Name   string          `json:"name"`
		Port   int             `json:"port"`
		Report string          `json:"report"`
		Digest artifact.Digest `json:"digest"`
		Calls  []call          `json:"calls"`
	}
	all := total(f.Tests)
	document := struct {
		Phase       string          `json:"phase"`
		Version     string          `json:"version"`
		Commit      string          `json:"commit"`
		At          time.Time       `json:"at"`
		Precheck    precheck.Report `json:"precheck"`
		Passed      int             `json:"testsPassed"`
		Failed      int             `json:"testsFailed"`
		Skipped     int             `json:"testsSkipped"`
		Tests       []TestRun       `json:"tests"`
		Services    []entry         `json:"services"`
		Policies    []Policy        `json:"policies"`
		AuditHashes []string        `json:"auditHashes"`
		Blockers    []string        `json:"blockers"`
		NextSteps   []string        `json:"nextSteps"`
	}{
		Phase: "I.1", Version: f.Version, Commit: f.Commit, At: f.At.UTC(), Precheck: f.Precheck,
		Passed: all.Passed, Failed: all.Failed, Skipped: all.Skipped, Tests: f.Tests,
		Policies: f.Policies, AuditHashes: f.AuditHashes, Blockers: f.blockers(), NextSteps: f.NextSteps,
	}
	if document.Blockers == nil {
		document.Blockers = []string{}
	}
	for i, s := range services() {
		e := entry{ID: s.id, Name: s.name, Port: s.port, Report: s.file, Digest: artifact.DigestOf(pages[i].Content)}
		for _, c := range f.Calls {
			if c.Service == s.id {
				e.Calls = append(e.Calls, call{c.Title, c.Command, c.Status})
			}
		}
		document.Services = append(document.Services, e)
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(document); err != nil {
		return nil, fmt.Errorf("%s: %w", SnapshotFile, err)
	}
	return out.Bytes(), nil
}
