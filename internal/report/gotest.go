package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// ErrTestOutput says that the text is not what go test -json prints, or ends
// before every package has its verdict.
var ErrTestOutput = errors.New("not the whole output of go test -json")

// ParseGoTestJSON reads the output of `go test -json`, whose form is that of
// `go doc test2json`, and returns what became of each package that has tests,
// by package. Tests and their subtests count alike. A package that failed
// without a failed test (it does not build, or its process died) counts one
// failure, with what it printed. Errors: [ErrTestOutput].
func ParseGoTestJSON(r io.Reader) ([]TestRun, error) {
	packages := map[string]*ran{}
	built := map[string][]string{} // output of the compiler, by import path
	decoder := json.NewDecoder(r)
	for n := 1; ; n++ {
		var e event
		err := decoder.Decode(&e)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%w: event %d: %w", ErrTestOutput, n, err)
		}
		if e.Package == "" {
			built[e.ImportPath] = append(built[e.ImportPath], e.Output)
			continue
		}
		p := packages[e.Package]
		if p == nil {
			p = &ran{printed: map[string][]string{}, verdicts: map[string]string{}}
			packages[e.Package] = p
		}
		switch e.Action {
		case "output":
			p.printed[e.Test] = append(p.printed[e.Test], e.Output)
		case "pass", "fail", "skip":
			p.verdicts[e.Test] = e.Action
			if e.FailedBuild != "" {
				p.printed[""] = append(p.printed[""], built[e.FailedBuild]...)
			}
		}
	}
	var runs []TestRun
	for _, name := range slices.Sorted(maps.Keys(packages)) {
		p := packages[name]
		if p.verdicts[""] == "" {
			return nil, fmt.Errorf("%w: package %s has no verdict", ErrTestOutput, name)
		}
		if run := p.run(name); run.Passed+run.Failed+run.Skipped > 0 {
			runs = append(runs, run)
		}
	}
	return runs, nil
}

// An event is one line.
type event struct {
	Action      string
	Package     string
	ImportPath  string // of build output
	Test        string
	Output      string
	FailedBuild string
}

// ran is what was seen of a package; its own entries are those of test "".
type ran struct {
	printed  map[string][]string
	verdicts map[string]string
}

func (p *ran) run(name string) TestRun {
	run := TestRun{Package: name}
	for _, test := range slices.Sorted(maps.Keys(p.verdicts)) {
		if test == "" {
			continue
		}
		switch p.verdicts[test] {
		case "pass":
			run.Passed++
		case "skip":
			run.Skipped++
		case "fail":
			run.Failed++
			if !p.failedBelow(test) {
				run.Excerpts = append(run.Excerpts, strings.Join(p.printed[test], ""))
			}
		}
	}
	switch whole := strings.Join(p.printed[""], ""); {
	case p.verdicts[""] == "fail" && run.Failed == 0:
		run.Failed = 1
		run.Excerpts = append(run.Excerpts, whole)
	case run.Failed == 0 && run.Passed > 0:
		lines := strings.Split(strings.TrimSpace(whole), "\n")
		run.Excerpts = append(run.Excerpts, lines[len(lines)-1]) // "ok  package  0.1s"
	}
	return run
}

// failedBelow says whether a subtest tells why a test failed.
func (p *ran) failedBelow(test string) bool {
	for other, verdict := range p.verdicts {
		if verdict == "fail" && strings.HasPrefix(other, test+"/") {
			return true
		}
	}
	return false
}
