package docs

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"mvdan.cc/sh/v3/syntax"

	"github.com/atom-fabric/fabric/tests/harness"
)

// A call is one simple command of a shell script, as far as it is literal.
type call struct {
	where string
	line  int
	env   []string // names that are set or exported
	words []string // "" for a word that is not literal
}

// calls parses a script. Every simple command is found, in substitutions too.
func calls(where string, first int, script string) ([]call, error) {
	file, err := syntax.NewParser(syntax.Variant(syntax.LangBash)).Parse(strings.NewReader(script), where)
	if err != nil {
		return nil, err
	}
	var all []call
	syntax.Walk(file, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.CallExpr:
			c := call{where: where, line: first + int(n.Pos().Line())}
			for _, a := range n.Assigns {
				c.env = append(c.env, a.Name.Value)
			}
			for _, w := range n.Args {
				c.words = append(c.words, literal(w))
			}
			all = append(all, c)
		case *syntax.DeclClause:
			c := call{where: where, line: first + int(n.Pos().Line())}
			for _, a := range n.Args {
				if a.Name != nil {
					c.env = append(c.env, a.Name.Value)
				}
			}
			all = append(all, c)
		}
		return true
	})
	return all, nil
}

// literal is the text of a word, up to its first expansion.
func literal(w *syntax.Word) string {
	var b strings.Builder
	for _, part := range w.Parts {
		switch part := part.(type) {
		case *syntax.Lit:
			b.WriteString(part.Value)
		case *syntax.SglQuoted:
			b.WriteString(part.Value)
		case *syntax.DblQuoted:
			for _, inner := range part.Parts {
				lit, ok := inner.(*syntax.Lit)
				if !ok {
					return b.String()
				}
				b.WriteString(lit.Value)
			}
		default:
			return b.String()
		}
	}
	return b.String()
}

// A help is what a command says of itself.
type help struct {
	children []string
	flags    []string // --name and -n
	takes    bool     // arguments of its own
}

// A guide asks the programs for help, once a command.
type guide struct {
	t    *testing.T
	bin  string
	seen map[string]help
}

var (
	child = regexp.MustCompile(`^  ([a-z][a-z0-9-]*)\s+\S`)
	flag  = regexp.MustCompile(`^\s+(?:(-[a-zA-Z]), )?(--[a-z0-9-]+)`)
)

func (g *guide) of(path []string) help {
	name := strings.Join(path, " ")
	if h, ok := g.seen[name]; ok {
		return h
	}
	out, err := exec.CommandContext(g.t.Context(), filepath.Join(g.bin, path[0]), append(slices.Clone(path[1:]), "--help")...).Output()
	require.NoError(g.t, err, name)
	var h help
	section := ""
	for line := range strings.SplitSeq(string(out), "\n") {
		switch m := flag.FindStringSubmatch(line); {
		case strings.HasSuffix(line, ":") && !strings.HasPrefix(line, " "):
			section = line
		case line == "":
			section = ""
		case section == "Usage:":
			rest := strings.TrimPrefix(strings.TrimSpace(line), name)
			h.takes = h.takes || strings.TrimSpace(strings.NewReplacer("[flags]", "", "[command]", "").Replace(rest)) != ""
		case strings.HasSuffix(section, "Flags:") && m != nil:
			h.flags = append(h.flags, m[1], m[2])
		case section != "" && section != "Examples:" && !strings.HasSuffix(section, "Flags:"):
			if m := child.FindStringSubmatch(line); m != nil {
				h.children = append(h.children, m[1])
			}
		}
	}
	g.seen[name] = h
	return h
}

// fault says what is wrong with a call of one of our programs, or nothing.
func (g *guide) fault(words []string) string {
	path := []string{filepath.Base(words[0])}
	h := g.of(path)
	for i := 1; i < len(words); i++ {
		word := words[i]
		switch {
		case word == "--" || word == "" || word == "-": // an arrow, or standard input
			return ""
		case strings.HasPrefix(word, "-"):
			name, _, _ := strings.Cut(word, "=")
			if !slices.Contains(h.flags, name) && name != "--help" && name != "--version" {
				return fmt.Sprintf("%s has no flag %s", strings.Join(path, " "), name)
			}
		case slices.Contains(h.children, word):
			path = append(path, word)
			h = g.of(path)
		case len(h.children) > 0 && !h.takes && len(path) == i:
			return fmt.Sprintf("%s has no command %q", strings.Join(path, " "), word)
		}
	}
	return ""
}

// program says whether a word names one of ours.
func program(word string) bool {
	return slices.Contains([]string{"fabric", "fabric-site", "fabric-router"}, strings.TrimPrefix(word, "bin/"))
}

var (
	inline  = regexp.MustCompile("`((?:bin/)?fabric(?:-site|-router)? [^`]+)`")
	begins  = regexp.MustCompile(`^\s*(?:\$ )?((?:bin/)?fabric(?:-site|-router)? .*)$`)
	shells  = []string{"sh", "bash", "shell", "console"}
	elision = strings.NewReplacer("...", "", "…", "", "[", "", "]", "", "<", "", ">", "", "|", " ", "(", "", ")", "", "'", "", ";", "")
)

// shown returns every command that a page shows: blocks of shell are parsed
// whole, lines of other blocks and code in prose where they begin with one of
// our programs.
func shown(t *testing.T, p page) []call {
	t.Helper()
	var all []call
	found, prose := p.split()
	for _, b := range found {
		if slices.Contains(shells, b.language()) {
			parsed, err := calls(b.page, b.line, b.text())
			if err != nil {
				t.Errorf("%s:%d is no shell script: %v", b.page, b.line, err)
			}
			all = append(all, parsed...)
			continue
		}
		if b.language() != "" && b.language() != "text" {
			continue
		}
		for i := 0; i < len(b.lines); i++ {
			m := begins.FindStringSubmatch(b.lines[i])
			if m == nil {
				continue
			}
			text, first := m[1], i
			for strings.HasSuffix(text, `\`) && i+1 < len(b.lines) {
				i++
				text = strings.TrimSuffix(text, `\`) + b.lines[i]
			}
			all = append(all, loose(b.page, b.line+first+1, text))
		}
	}
	for i, line := range prose {
		for _, m := range inline.FindAllStringSubmatch(line, -1) {
			all = append(all, loose(p.path, i+1, m[1]))
		}
	}
	return all
}

// loose reads a command in prose: words, with what only people read left out.
func loose(where string, line int, text string) call {
	text, _, _ = strings.Cut(text, " #")
	return call{where: where, line: line, words: strings.Fields(elision.Replace(text))}
}

func TestEveryCommandAndFlagExists(t *testing.T) {
	t.Parallel()
	g := &guide{t: t, bin: harness.Programs(t), seen: map[string]help{}}
	checked := 0
	for _, p := range pages(t) {
		if history(p) || strings.HasPrefix(p.path, "docs/reference/cli") { // made from the commands, whose own tests call the examples
			continue
		}
		for _, c := range shown(t, p) {
			if len(c.words) == 0 {
				continue
			}
			if program(c.words[0]) {
				checked++
				if fault := g.fault(c.words); fault != "" {
					t.Errorf("%s:%d: %s", c.where, c.line, fault)
				}
			}
		}
	}
	require.Greater(t, checked, 100)
}

func TestEveryMakeTargetExists(t *testing.T) {
	makefile := read(t, "Makefile")
	for _, p := range pages(t) {
		for _, c := range shown(t, p) {
			if len(c.words) < 2 || c.words[0] != "make" {
				continue
			}
			for _, target := range c.words[1:] {
				if target != "" && !strings.Contains(target, "=") && !strings.HasPrefix(target, "-") && !strings.Contains("\n"+makefile, "\n"+target+":") {
					t.Errorf("%s:%d: there is no target %s", c.where, c.line, target)
				}
			}
		}
	}
}

func TestAFaultyCommandIsFound(t *testing.T) {
	g := &guide{t: t, bin: harness.Programs(t), seen: map[string]help{}}
	for text, fault := range map[string]string{
		"fabric round start m --tenants t --rounds 4":        "",
		"fabric -o json round list":                          "",
		"bin/fabric-site run --exec x":                       "",
		"fabric round begin m":                               `fabric round has no command "begin"`,
		"fabric round start m --no-such 4":                   "fabric round start has no flag --no-such",
		"fabric audit verify && fabric up --post-base 12000": "fabric up has no flag --post-base",
		"X=$(fabric tokens --tenant a)":                      `fabric has no command "tokens"`,
	} {
		parsed, err := calls("x", 0, text)
		require.NoError(t, err)
		var got string
		for _, c := range parsed {
			if len(c.words) > 0 && program(c.words[0]) && got == "" {
				got = g.fault(c.words)
			}
		}
		require.Equal(t, fault, got, text)
	}
	_, err := calls("x", 0, "echo $(fabric\n")
	require.Error(t, err)
}
