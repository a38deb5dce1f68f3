package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// runners are the tests that run blocks of a mark as they stand, wherever the
// block is. The test must be in the file and know the mark.
var runners = map[string]struct{ file, test string }{
	"run":  {"tests/docs/run_test.go", "TestPagesRun"},
	"tour": {"tests/docs/run_test.go", "TestPagesRun"},
	"own":  {"tests/docs/own_test.go", "TestOwnServers"},
	"then": {"tests/docs/own_test.go", "TestOwnServers"},
}

// followed finds what the tests of operations follow: a page, and the purpose
// that the fence names; walked finds the pages that they follow from their
// check to what is mended.
var (
	followed = regexp.MustCompile(`\.follow\(t, "([a-z-]+)", "([a-z ]+)"\)`)
	walked   = regexp.MustCompile(`\.walk\(t, .+, "([a-z-]+)", "Fabric`)
	walk     = regexp.MustCompile(`at\.follow\(t, page, "([a-z]+)"\)`)
)

// checked are the tests that hold every block of a language to something
// stronger than its grammar.
var checked = map[string]struct{ file, test string }{
	"go":     {"tests/docs/fragments_test.go", "TestGoCompiles"},
	"python": {"tests/docs/fragments_test.go", "TestPythonAsksWhatTheDocumentAllows"},
	"json":   {"tests/docs/fragments_test.go", "TestJSONIsWhatItIsReadAs"},
	"yaml":   {"tests/docs/fragments_test.go", "TestScrapedJobsAreOurs"},
	"rego":   {"tests/docs/fragments_test.go", "TestRulesBesideOursDecide"},
}

// generated are the pages that a test makes from code and compares: an example
// of an operation has a body that its schema allows, an example of a command
// is the command's own.
var generated = map[string]struct{ file, test string }{
	"docs/reference/api.md":        {"tests/docs/api_test.go", "TestTheAPIReferenceIsTheDocument"},
	"docs/reference/cli.md":        {"cmd/fabric/reference_test.go", "TestTheReferenceIsWhatTheCommandsSay"},
	"docs/reference/cli-router.md": {"cmd/fabric-router/reference_test.go", "TestTheReferenceIsWhatTheCommandsSay"},
	"docs/reference/cli-site.md":   {"cmd/fabric-site/reference_test.go", "TestTheReferenceIsWhatTheCommandsSay"},
}

// commanding finds a line that somebody might type.
var commanding = regexp.MustCompile(`^\s*(?:\$ )?(?:[A-Z_]+=\S+ )*(?:bin/)?(?:fabric|fabric-site|fabric-router|cosign|temporal|curl|psql|make|python3|docker|kubectl|helm) `)

// commands says whether a block is something to be typed.
func (b block) commands() bool {
	if b.language() == "sh" {
		return true
	}
	if b.language() != "" && b.language() != "text" {
		return false
	}
	for _, line := range b.lines {
		if commanding.MatchString(line) && !strings.Contains(line, " -> ") {
			return true
		}
	}
	return false
}

// elsewhere is how a reason names a test.
var elsewhere = regexp.MustCompile(`(\S+_test\.go) (Test\w+)`)

// first is the first line of a block, by which a list can name it.
func (b block) first() string {
	for _, line := range b.lines {
		if strings.TrimSpace(line) != "" {
			return strings.TrimSpace(line)
		}
	}
	return ""
}

// Every block of every page is run, compiled, read as what it is, or stands in
// notRun with a reason. All commands of all blocks are parsed besides, and are
// commands and flags that exist: TestEveryCommandAndFlagExists.
func TestEverySnippetIsProvenOrListed(t *testing.T) {
	var operations strings.Builder
	files, err := filepath.Glob(filepath.Join(root, "tests/operations/*_test.go"))
	require.NoError(t, err)
	for _, name := range files {
		content, err := os.ReadFile(name)
		require.NoError(t, err)
		operations.Write(content)
	}
	follows := map[string]bool{}
	for _, m := range followed.FindAllStringSubmatch(operations.String(), -1) {
		follows["docs/operations/"+m[1]+".md "+m[2]] = true
	}
	for _, m := range walked.FindAllStringSubmatch(operations.String(), -1) {
		for _, step := range walk.FindAllStringSubmatch(operations.String(), -1) {
			follows["docs/operations/"+m[1]+".md "+step[1]] = true
		}
	}
	for mark, r := range runners {
		text := read(t, r.file)
		require.Contains(t, text, "func "+r.test+"(")
		require.Contains(t, text, `"`+mark+`"`)
	}
	for page, g := range generated {
		text := read(t, g.file)
		require.Contains(t, text, "func "+g.test+"(")
		require.Contains(t, text, page)
	}
	for language, c := range checked {
		text := read(t, c.file)
		require.Contains(t, text, "func "+c.test+"(")
		require.Contains(t, text, `"`+language+`"`)
	}

	counts, met := map[string]int{}, map[string]bool{}
	for _, b := range blocks(t) {
		name := b.page + ": " + b.first()
		_, listed := notRun[name]
		switch {
		case len(b.info) > 1 && runners[b.info[1]].test != "":
			counts["run"]++
		case len(b.info) > 1 && follows[b.page+" "+strings.Join(b.info[1:], " ")]:
			counts["run by make operations"]++
		case checked[b.language()].test != "":
			counts["compiled or read"]++
		case generated[b.page].test != "":
			counts["made from code"]++
		case !b.commands() && b.language() != "sql":
			counts["pictures and formulas"]++
		case listed:
			counts["listed"]++
			met[name] = true
			continue
		default:
			t.Errorf("%s:%d: nothing runs this block: mark it, or list it in notRun with a reason as\n%q", b.page, b.line, name)
		}
	}
	for name, reason := range notRun {
		require.True(t, met[name] || follows[name], "notRun lists a block that is not there or is run: %s", name)
		require.Greater(t, len(reason), 20, name)
		for _, m := range elsewhere.FindAllStringSubmatch(reason, -1) {
			require.Contains(t, read(t, m[1]), "\nfunc "+m[2]+"(", name)
		}
	}
	t.Log(counts)
}
