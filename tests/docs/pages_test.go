// Package docs holds the pages to what is there: references are what the code
// says, commands and settings exist, blocks that are marked are run as they
// stand, links lead somewhere, and a claim names a test that exists.
//
// Invariant: nothing here is a copy of the product; each check reads the page
// and the thing that it is about. A page that is made from code is written anew
// with FABRIC_UPDATE=1 and otherwise compared.
package docs

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const root = "../.."

// A page is one Markdown file.
type page struct {
	path  string // slash-separated, from the root
	lines []string
}

// A block is fenced text of a page.
type block struct {
	page  string
	line  int      // of the opening fence, from 1
	info  []string // words after the fence: language, then marks
	lines []string
}

func (b block) text() string { return strings.Join(b.lines, "\n") + "\n" }

func (b block) language() string {
	if len(b.info) == 0 {
		return ""
	}
	return b.info[0]
}

// marked says whether the fence carries a word after its language.
func (b block) marked(word string) bool {
	return len(b.info) > 1 && b.info[1] == word
}

// pages returns every Markdown file of the tree but generated reports.
func pages(t testing.TB) []page {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "git", "-C", root, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "*.md").Output()
	require.NoError(t, err)
	var all []page
	for name := range strings.SplitSeq(strings.TrimRight(string(out), "\x00"), "\x00") {
		if strings.HasPrefix(name, "reports/") || strings.Contains(name, "/testdata/") {
			continue
		}
		content, err := os.ReadFile(filepath.Join(root, name))
		if os.IsNotExist(err) {
			continue // removed, and not committed yet
		}
		require.NoError(t, err)
		all = append(all, page{name, strings.Split(string(content), "\n")})
	}
	require.Greater(t, len(all), 40, "the pages were not found")
	return all
}

var fence = regexp.MustCompile("^(```+)(.*)$")

// split takes a page apart: its blocks, and its prose with the blocks blanked
// out, so that line numbers hold.
func (p page) split() (blocks []block, prose []string) {
	var open *block
	mark := ""
	for i, line := range p.lines {
		m := fence.FindStringSubmatch(line)
		switch {
		case open == nil && m != nil:
			open, mark = &block{page: p.path, line: i + 1, info: strings.Fields(m[2])}, m[1]
		case open != nil && m != nil && m[1] == mark && strings.TrimSpace(m[2]) == "":
			blocks, open = append(blocks, *open), nil
		case open != nil:
			open.lines = append(open.lines, line)
		default:
			prose = append(prose, line)
			continue
		}
		prose = append(prose, "")
	}
	return blocks, prose
}

// history says that a page tells what was: it was true once.
func history(p page) bool { return p.path == "CHANGELOG.md" }

// blocks returns the fenced blocks of all pages.
func blocks(t testing.TB) []block {
	t.Helper()
	var all []block
	for _, p := range pages(t) {
		found, _ := p.split()
		all = append(all, found...)
	}
	return all
}

// written compares a page, or a part of it, with what the code says, and writes
// it anew when that is asked for.
func written(t *testing.T, name, want string) {
	t.Helper()
	path := filepath.Join(root, name)
	if os.Getenv("FABRIC_UPDATE") == "1" {
		require.NoError(t, os.WriteFile(path, []byte(want), 0o644))
		return
	}
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	is := strings.Split(string(content), "\n")
	for i, line := range strings.Split(want, "\n") {
		if i >= len(is) || is[i] != line {
			t.Fatalf("%s is made from code and differs from it at line %d: write it anew with FABRIC_UPDATE=1 go test ./tests/docs\nwant: %s\nhas:  %s", name, i+1, line, strings.Join(is[min(i, len(is)):min(i+1, len(is))], ""))
		}
	}
	require.Len(t, content, len(want), "%s has more than the code says: write it anew with FABRIC_UPDATE=1 go test ./tests/docs", name)
}

func TestABlockIsTakenFromItsPage(t *testing.T) {
	p := page{"x.md", []string{"a", "```sh run", "echo 1", "````", "```", "b", "```", "c", "```"}}
	found, prose := p.split()
	require.Equal(t, []block{
		{"x.md", 2, []string{"sh", "run"}, []string{"echo 1", "````"}},
		{"x.md", 7, []string{}, []string{"c"}},
	}, found)
	require.Equal(t, []string{"a", "", "", "", "", "b", "", "", ""}, prose)
	require.True(t, found[0].marked("run"))
	require.False(t, found[1].marked("run"))
}
