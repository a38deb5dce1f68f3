package report

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"time"
)

// page is the report of one service, for people.
func (f Facts) page(s service) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }

	line("# %s %s", s.id, s.name)
	line("")
	line("Version %s, commit `%s`, %s. Port %d. Written by `fabric report`.", f.Version, f.Commit, f.At.UTC().Format(time.RFC3339), s.port)
	line("")
	f.precheck(line)
	f.tests(s, line)
	f.calls(s, line)
	line("## Policies")
	line("")
	line("| policy | verdict | why |")
	line("| --- | --- | --- |")
	for _, p := range f.Policies {
		line("| %s | %s | %s |", p.ID, p.Verdict, cell(p.Why))
	}
	line("")
	list(line, "Audit hashes", f.AuditHashes, true)
	list(line, "Blockers", f.blockers(), false)
	list(line, "Next steps", f.NextSteps, false)
	return strings.TrimRight(b.String(), "\n") + "\n"
}

func (f Facts) precheck(line func(string, ...any)) {
	p := f.Precheck
	line("## Precheck: %s", p.Decision)
	line("")
	for _, why := range p.Why {
		line("- %s", cell(why))
	}
	line("- environment %s, signing (P2) %s, deployment `%s`", p.Environment, p.Signing, p.Deployment)
	line("")
	line("| variable | state | critical |")
	line("| --- | --- | --- |")
	for _, v := range p.Variables {
		critical := ""
		if v.Critical {
			critical = "yes"
		}
		line("| %s | %s | %s |", v.Name, v.State, critical)
	}
	line("")
}

// tests shows the packages that are about the service, then those that are
// about no single one.
func (f Facts) tests(s service, line func(string, ...any)) {
	own, shared := f.own(s), f.shared()
	all := total(f.Tests)
	line("## Tests: %d passed, %d failed, %d skipped in all", all.Passed, all.Failed, all.Skipped)
	line("")
	line("| package | passed | failed | skipped |")
	line("| --- | --- | --- | --- |")
	for _, t := range append(own, shared...) {
		line("| %s | %d | %d | %d |", strings.TrimPrefix(t.Package, module), t.Passed, t.Failed, t.Skipped)
	}
	line("")
	for _, t := range append(own, shared...) {
		if t.Failed == 0 && !s.about(t.Package) {
			continue // what passed is shown for the service's own alone
		}
		for _, excerpt := range t.Excerpts {
			fence(line, "", excerpt)
		}
	}
}

func (f Facts) calls(s service, line func(string, ...any)) {
	line("## Calls")
	line("")
	for _, c := range f.Calls {
		if c.Service != s.id {
			continue
		}
		line("### %s", cell(c.Title))
		line("")
		fence(line, "sh", c.Command)
		if c.Status == 0 {
			line("No answer.")
		} else {
			line("Answer %d:", c.Status)
		}
		line("")
		if c.Body != "" {
			kind := ""
			if json.Valid([]byte(c.Body)) {
				kind = "json"
			}
			fence(line, kind, c.Body)
		}
	}
}

// blockers are those that were given and every package with a failed test.
func (f Facts) blockers() []string {
	var failed []string
	for _, t := range f.Tests {
		if t.Failed > 0 {
			failed = append(failed, fmt.Sprintf("failed tests in %s: %d", strings.TrimPrefix(t.Package, module), t.Failed))
		}
	}
	return append(failed, f.Blockers...)
}

func (f Facts) own(s service) []TestRun {
	var own []TestRun
	for _, t := range f.Tests {
		if s.about(t.Package) {
			own = append(own, t)
		}
	}
	return own
}

func (f Facts) shared() []TestRun {
	var shared []TestRun
next:
	for _, t := range f.Tests {
		for _, s := range services() {
			if s.about(t.Package) {
				continue next
			}
		}
		shared = append(shared, t)
	}
	return shared
}

// total adds up.
func total(runs []TestRun) TestRun {
	var sum TestRun
	for _, t := range runs {
		sum.Passed, sum.Failed, sum.Skipped = sum.Passed+t.Passed, sum.Failed+t.Failed, sum.Skipped+t.Skipped
	}
	return sum
}

func list(line func(string, ...any), title string, items []string, code bool) {
	line("## %s", title)
	line("")
	if len(items) == 0 {
		line("None.")
	}
	for _, item := range items {
		if code {
			line("- `%s`", strings.ReplaceAll(cell(item), "`", ""))
			continue
		}
		line("- %s", cell(item))
	}
	line("")
}

// fence quotes text in a block that the text itself cannot close.
func fence(line func(string, ...any), kind, text string) {
	marks := "```"
	for _, run := range regexp.MustCompile("`{3,}").FindAllString(text, -1) {
		if len(run) >= len(marks) {
			marks = run + "`"
		}
	}
	line("%s%s", marks, kind)
	line("%s", strings.TrimRight(text, "\n"))
	line("%s", marks)
	line("")
}

// cell makes text safe for one line of a table.
func cell(s string) string {
	return strings.ReplaceAll(strings.Join(strings.Fields(s), " "), "|", `\|`)
}

func more(n int) string { return fmt.Sprintf("... %d more lines", n) }
