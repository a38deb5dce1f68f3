// Package report writes the evidence of a phase, one page a service and one
// document for programs, from what was really run.
//
// Invariant: nothing is written that a fact does not say, no fact that speaks
// against us is left out, and no secret is written whatever the facts hold.
// The same facts give the same bytes.
package report

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/atom-fabric/fabric/internal/config"
	"github.com/atom-fabric/fabric/internal/durable"
	"github.com/atom-fabric/fabric/internal/precheck"
)

// ErrFacts says that the facts are incomplete or contradict each other.
var ErrFacts = errors.New("the facts do not make a report")

// Verdicts on a policy.
const (
	Pass    = "PASS"
	Blocked = "BLOCKED"
)

// Facts are what was found out about one commit.
type Facts struct {
	Commit      string
	Version     string
	At          time.Time
	Precheck    precheck.Report
	Tests       []TestRun
	Calls       []Call
	Policies    []Policy // P1 to P7, each once
	AuditHashes []string // roots or leaves of the audit log, as they were read
	Blockers    []string // beside failed tests, which are blockers by themselves
	NextSteps   []string
	Secrets     []config.Secret // values that were in use: removed wherever they turn up
}

// A TestRun is what go test said of one package.
type TestRun struct {
	Package  string   `json:"package"`
	Passed   int      `json:"passed"`
	Failed   int      `json:"failed"`
	Skipped  int      `json:"skipped"`
	Excerpts []string `json:"excerpts,omitempty"`
}

// A Call is a request that was made, and its answer.
type Call struct {
	Service string // "I.1.1" to "I.1.6"
	Title   string
	Command string // as a person would type it
	Status  int    // of the answer; 0: there was none
	Body    string // JSON or text
}

// A Policy is the verdict on one of P1 to P7.
type Policy struct {
	ID      string `json:"id"`
	Verdict string `json:"verdict"`
	Why     string `json:"why"`
}

// A service is one page.
type service struct {
	id, name, file string
	port           int
	packages       []string // whose tests are about it; those in no list are shared
}

// services returns the six, in order.
func services() []service {
	return []service{
		{"I.1.1", "Global feature catalog", "I.1.1_feature_catalog.md", 9001,
			[]string{"domain/catalog", "domain/privacy", "internal/opa"}},
		{"I.1.2", "Federated trainer", "I.1.2_federated_trainer.md", 9002,
			[]string{"domain/round", "domain/aggregate", "domain/model", "domain/site", "domain/secagg", "domain/dp", "internal/site", "internal/regional", "workflows", "activities", "tests/replay", "examples"}},
		{"I.1.3", "Model exchange bus", "I.1.3_model_exchange_bus.md", 9003,
			[]string{"domain/artifact", "internal/cosign", "internal/oci", "internal/registry", "internal/blob"}},
		{"I.1.4", "Global inference router", "I.1.4_inference_router.md", 9004,
			[]string{"domain/routing", "domain/endpoint", "internal/router", "internal/runtime", "internal/follow", "cmd/fabric-router"}},
		{"I.1.5", "Policy feedback loop", "I.1.5_policy_feedback_loop.md", 9005,
			[]string{"domain/policy", "domain/promotion", "domain/approval", "domain/audit", "internal/notify", "internal/precheck"}},
		{"I.1.6", "Scorecard and auto-tuner", "I.1.6_fabric_scorecard.md", 9006,
			[]string{"domain/scorecard", "domain/tuning", "domain/drift", "domain/fairness"}},
	}
}

// SnapshotFile is the document for programs.
const SnapshotFile = "PhaseI.1_Snapshot.json"

const module = "github.com/atom-fabric/fabric/"

// about says whether a package's tests are about the service.
func (s service) about(pkg string) bool {
	pkg = strings.TrimPrefix(pkg, module)
	return slices.ContainsFunc(s.packages, func(p string) bool { return pkg == p || strings.HasPrefix(pkg, p+"/") })
}

// Write puts every report into dir, each whole or not at all.
// Errors: [ErrFacts], and those of the file system.
func (f Facts) Write(dir string) error {
	files, err := f.Render()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("reports: %w", err)
	}
	for _, file := range files {
		if err := durable.Write(filepath.Join(dir, file.Name), file.Content, 0o644); err != nil {
			return fmt.Errorf("reports: %w", err)
		}
	}
	return nil
}

// A File is one report.
type File struct {
	Name    string
	Content []byte
}

// Render returns the reports, the six pages by service and then the document
// for programs. Errors: [ErrFacts].
func (f Facts) Render() ([]File, error) {
	if err := f.validate(); err != nil {
		return nil, err
	}
	f, err := f.clean()
	if err != nil {
		return nil, err
	}
	var files []File
	for _, s := range services() {
		files = append(files, File{s.file, []byte(f.page(s))})
	}
	snapshot, err := f.snapshot(files)
	if err != nil {
		return nil, err
	}
	return append(files, File{SnapshotFile, snapshot}), nil
}

// validate refuses what would mislead.
func (f Facts) validate() error {
	wrong := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s", ErrFacts, fmt.Sprintf(format, args...))
	}
	switch {
	case f.Commit == "" || f.Version == "" || f.At.IsZero():
		return wrong("commit, version or time is missing")
	case f.Precheck.Decision == "":
		return wrong("the precheck is missing")
	case len(f.Tests) == 0:
		return wrong("no test was run")
	}
	known := services()
	for _, c := range f.Calls {
		if !slices.ContainsFunc(known, func(s service) bool { return s.id == c.Service }) {
			return wrong("call %q is of service %q", c.Title, c.Service)
		}
	}
	for _, s := range known {
		if !slices.ContainsFunc(f.Calls, func(c Call) bool { return c.Service == s.id }) {
			return wrong("service %s was not called", s.id)
		}
	}
	if len(f.Policies) != 7 {
		return wrong("%d policies, not 7", len(f.Policies))
	}
	for i, p := range f.Policies {
		switch {
		case p.ID != fmt.Sprintf("P%d", i+1):
			return wrong("policy %d is %q", i+1, p.ID)
		case p.Verdict != Pass && p.Verdict != Blocked:
			return wrong("verdict %q on %s", p.Verdict, p.ID)
		case p.Why == "":
			return wrong("nothing says why %s is %s", p.ID, p.Verdict)
		case p.ID == "P2" && p.Verdict == Pass && f.Precheck.Signing != Pass:
			return wrong("P2 is PASS and the precheck says %s", f.Precheck.Signing)
		}
	}
	return nil
}
