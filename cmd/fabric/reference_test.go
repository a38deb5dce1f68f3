package main

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/cmd/manual"
)

// docRoot is where the pages are.
const docRoot = "../../"

// bare is the program's tree, of a machine without settings.
func bare() *cobra.Command {
	return newRoot(streams{In: strings.NewReader(""), Out: &bytes.Buffer{}, Err: &bytes.Buffer{}}, nil)
}

// same compares a file that is made from the code, or makes it anew.
func same(t *testing.T, path, want string) {
	t.Helper()
	if os.Getenv("FABRIC_UPDATE") != "" {
		require.NoError(t, os.WriteFile(path, []byte(want), 0o644))
		return
	}
	text, err := os.ReadFile(path)
	require.NoError(t, err, "make it with FABRIC_UPDATE=1")
	require.Equal(t, want, string(text), "make it anew with: FABRIC_UPDATE=1 go test ./cmd/fabric")
}

func TestTheReferenceIsWhatTheCommandsSay(t *testing.T) {
	same(t, docRoot+"docs/reference/cli.md", manual.Markdown(bare(), "# The command `fabric`\n\n"+
		"Made from the commands themselves; `fabric COMMAND --help` says the same. Data goes to standard output, progress and\n"+
		"errors to standard error, and the [exit status](exit-status.md) says what kind of failure it was. Settings come from the\n"+
		"environment or a file, see [configuration](configuration.md). Completion for bash, zsh, fish and PowerShell, with the names\n"+
		"that there are: `fabric completion bash`.\n"))
}

func TestHelpIsAsItWas(t *testing.T) {
	text, err := manual.Help(bare())
	require.NoError(t, err)
	same(t, filepath.Join("testdata", "help.txt"), text)
}

func TestEveryCommandHasAnExampleThatItTakes(t *testing.T) {
	known := map[string]bool{}
	var without []string
	for _, cmd := range manual.Commands(bare())[1:] {
		path := strings.TrimPrefix(cmd.CommandPath(), "fabric ")
		known[path] = true
		if !cmd.Runnable() {
			require.Empty(t, cmd.Example, path)
			continue
		}
		if cmd.Example == "" {
			without = append(without, path)
			continue
		}
		require.NoError(t, manual.Check(bare, cmd.Example), path)
		for line := range strings.SplitSeq(cmd.Example, "\n") {
			require.Contains(t, line+" ", "fabric "+path+" ", "an example of another command")
		}
	}
	require.Empty(t, without, "commands without an example")
	for path := range examples() {
		require.True(t, known[path], "an example of %q, which is no command", path)
	}
}

// A page that is there may be named in what people read.
func TestPagesThatAreNamedAreThere(t *testing.T) {
	named := regexp.MustCompile(`docs/[a-z-]+/[a-z-]+\.md`)
	seen := 0
	for _, text := range texts(t) {
		for _, page := range named.FindAllString(text.said, -1) {
			seen++
			require.FileExists(t, docRoot+page, text.where)
		}
	}
	require.Greater(t, seen, 10)
}

// A text is one that a program may show.
type text struct{ where, said string }

// texts are the literals of this program's sources, and of the doctor's.
func texts(t *testing.T) []text {
	t.Helper()
	var out []text
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	more, err := filepath.Glob(docRoot + "internal/doctor/*.go")
	require.NoError(t, err)
	for _, file := range slices.Concat(files, more) {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		set := token.NewFileSet()
		parsed, err := parser.ParseFile(set, file, nil, 0)
		require.NoError(t, err)
		ast.Inspect(parsed, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				said, err := strconv.Unquote(lit.Value)
				require.NoError(t, err)
				out = append(out, text{set.Position(lit.Pos()).String(), said})
			}
			return true
		})
	}
	require.Greater(t, len(out), 1000)
	return out
}

// What a message says to do next is a command of this program with flags that
// it has. In prose the arguments are not looked at.
func TestCommandsInMessagesExist(t *testing.T) {
	mention := regexp.MustCompile("fabric ([a-z][a-z-]*(?: [A-Za-z@:|.%/-]+| --[a-z-]+)*)")
	seen := 0
	for _, text := range texts(t) {
		for _, m := range mention.FindAllStringSubmatch(text.said, -1) {
			words := strings.Fields(m[1])
			cmd := bare()
			at := 0
			for at < len(words) {
				i := slices.IndexFunc(cmd.Commands(), func(c *cobra.Command) bool { return c.Name() == words[at] })
				if i < 0 {
					break
				}
				cmd = cmd.Commands()[i]
				at++
			}
			if at == 0 {
				continue // prose: "the fabric signs"
			}
			seen++
			for _, word := range words[at:] {
				if name, ok := strings.CutPrefix(word, "--"); ok {
					cmd.InitDefaultHelpFlag()
					require.NotNil(t, cmd.Flag(strings.Trim(name, ".,;:")), "%s: %q: no flag %s", text.where, m[0], word)
				}
			}
		}
	}
	require.Greater(t, seen, 100)
}
