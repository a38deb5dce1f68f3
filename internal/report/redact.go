package report

import (
	"cmp"
	"encoding/json"
	"regexp"
	"slices"
	"strings"

	"github.com/atom-fabric/fabric/internal/telemetry"
)

// Limits of what is quoted, in lines. What is cut is counted.
const (
	maxBody    = 80
	maxExcerpt = 30
)

const redacted = "[redacted]"

// assignment is a setting in a shell command whose name says that its value is
// secret; a NAME_FILE or NAME_PATH says only where one is.
var assignment = regexp.MustCompile(`\b([A-Z][A-Z0-9_]*(?:TOKEN|PASSWORD|SECRET|SECRET_ACCESS_KEY|ACCESS_KEY_ID|DSNS?)|PGPASSWORD)=("[^"]*"|'[^']*'|[^\s"']+)`)

// clean returns the facts without secrets, in one order.
func (f Facts) clean() (Facts, error) {
	text := func(s string) string {
		for _, secret := range f.Secrets {
			if value := secret.Reveal(); len(value) >= 4 {
				s = strings.ReplaceAll(s, value, redacted)
			}
		}
		return telemetry.Redact(assignment.ReplaceAllString(s, "$1="+redacted))
	}
	all := func(list []string) []string {
		out := make([]string, len(list))
		for i, s := range list {
			out[i] = text(s)
		}
		return out
	}
	f.Commit, f.Version = text(f.Commit), text(f.Version)
	f.AuditHashes, f.NextSteps, f.Blockers = all(f.AuditHashes), all(f.NextSteps), all(f.Blockers)
	f.Precheck.Why = all(f.Precheck.Why)
	f.Precheck.Approver = text(f.Precheck.Approver)

	f.Policies = slices.Clone(f.Policies)
	for i := range f.Policies {
		f.Policies[i].Why = text(f.Policies[i].Why)
	}
	f.Tests = slices.Clone(f.Tests)
	for i, t := range f.Tests {
		f.Tests[i].Excerpts = all(t.Excerpts)
		for j, excerpt := range f.Tests[i].Excerpts {
			f.Tests[i].Excerpts[j] = tail(excerpt, maxExcerpt)
		}
	}
	slices.SortStableFunc(f.Tests, func(a, b TestRun) int { return cmp.Compare(a.Package, b.Package) })

	f.Calls = slices.Clone(f.Calls)
	for i, c := range f.Calls {
		body := text(c.Body)
		if json.Valid([]byte(c.Body)) {
			document, err := telemetry.RedactJSON([]byte(c.Body))
			if err != nil {
				return f, err
			}
			body = text(string(document))
		}
		f.Calls[i].Title, f.Calls[i].Command, f.Calls[i].Body = text(c.Title), text(c.Command), head(body, maxBody)
	}
	slices.SortStableFunc(f.Calls, func(a, b Call) int { return cmp.Compare(a.Service, b.Service) })
	return f, nil
}

// head keeps the first lines.
func head(s string, most int) string {
	lines := strings.Split(strings.TrimRight(s, "\n"), "\n")
	if len(lines) <= most {
		return strings.Join(lines, "\n")
	}
	return strings.Join(lines[:most], "\n") + "\n" + more(len(lines)-most)
}

// tail keeps the last lines: a failure is told at the end.
func tail(s string, most int) string {
	lines := strings.Split(strings.TrimRight(s, "\n"), "\n")
	if len(lines) <= most {
		return strings.Join(lines, "\n")
	}
	return more(len(lines)-most) + "\n" + strings.Join(lines[len(lines)-most:], "\n")
}
