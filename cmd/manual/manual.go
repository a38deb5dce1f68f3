// Package manual writes down what a program's commands are, from the commands
// themselves, and holds what is said about them to what they are.
//
// Invariant: equal command trees give equal pages; nothing of the environment
// gets into them.
package manual

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"mvdan.cc/sh/v3/syntax"
)

// ErrExample says that a command line is not one that the program takes.
var ErrExample = errors.New("not a command of the program")

// Commands lists a command and all below it that people are shown, parents
// first and then by name.
func Commands(root *cobra.Command) []*cobra.Command {
	out := []*cobra.Command{root}
	children := slices.Clone(root.Commands())
	slices.SortFunc(children, func(a, b *cobra.Command) int { return strings.Compare(a.Name(), b.Name()) })
	for _, c := range children {
		if !c.Hidden && c.Name() != "help" && c.Name() != "completion" {
			out = append(out, Commands(c)...)
		}
	}
	return out
}

// Markdown returns the reference of a program, after what the caller says first.
func Markdown(root *cobra.Command, opening string) string {
	var b strings.Builder
	b.WriteString(opening)
	all := Commands(root)
	if every := table(root.PersistentFlags()); every != "" {
		b.WriteString("\n## Every command takes\n\n" + every)
	}
	b.WriteString("\n## Commands\n\n| command | |\n| --- | --- |\n")
	for _, c := range all[1:] {
		if c.Runnable() {
			fmt.Fprintf(&b, "| [`%s`](#%s) | %s |\n", c.CommandPath(), anchor(c.CommandPath()), cell(c.Short))
		}
	}
	for _, c := range all[1:] {
		if !c.Runnable() {
			continue
		}
		fmt.Fprintf(&b, "\n### %s\n\n%s\n", c.CommandPath(), sentence(c.Short))
		if c.Long != "" {
			fmt.Fprintf(&b, "\n%s\n", prose(c.Long))
		}
		fmt.Fprintf(&b, "\n```text\n%s\n```\n", c.Parent().CommandPath()+" "+c.Use)
		if c.Example != "" {
			fmt.Fprintf(&b, "\n```sh\n%s\n```\n", unindent(c.Example))
		}
		if rows := table(c.LocalNonPersistentFlags()); rows != "" {
			b.WriteString("\n" + rows)
		}
	}
	return b.String()
}

// Help returns what --help prints for every command, one after the other.
func Help(root *cobra.Command) (string, error) {
	var b strings.Builder
	for _, c := range Commands(root) {
		c.InitDefaultHelpFlag()
		var out strings.Builder
		before := root.OutOrStdout()
		root.SetOut(&out)
		err := c.Help()
		root.SetOut(before)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "$ %s --help\n%s\n", c.CommandPath(), out.String())
	}
	return b.String(), nil
}

func table(flags *pflag.FlagSet) string {
	var rows []string
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" {
			return
		}
		name := "`--" + f.Name + "`"
		if f.Shorthand != "" {
			name = "`-" + f.Shorthand + "`, " + name
		}
		kind, usage := pflag.UnquoteUsage(f)
		def := f.DefValue
		if def == "[]" || def == "false" || def == "0" || def == "0s" {
			def = ""
		}
		if def != "" {
			def = "`" + strings.Trim(def, "[]") + "`"
		}
		if must := f.Annotations[cobra.BashCompOneRequiredFlag]; len(must) > 0 {
			def = "required"
		}
		rows = append(rows, fmt.Sprintf("| %s | %s | %s | %s |\n", name, kind, def, cell(usage)))
	})
	if len(rows) == 0 {
		return ""
	}
	return "| flag | takes | default | |\n| --- | --- | --- | --- |\n" + strings.Join(rows, "")
}

// cell keeps a text in one cell of a table.
func cell(text string) string {
	return strings.NewReplacer("|", `\|`, "<", "&lt;", "\n", " ").Replace(text)
}

func sentence(text string) string { return prose(text) + "." }

// prose keeps a browser from taking a placeholder for an element.
func prose(text string) string { return strings.ReplaceAll(text, "<", "&lt;") }

func unindent(text string) string {
	lines := strings.Split(strings.Trim(text, "\n"), "\n")
	for i, line := range lines {
		lines[i] = strings.TrimPrefix(line, "  ")
	}
	return strings.Join(lines, "\n")
}

// anchor is the fragment that a heading gets.
func anchor(heading string) string { return strings.ReplaceAll(heading, " ", "-") }

// Check returns nil if a script of the shell calls the program rightly: every
// command exists and may be run, its flags exist and take what they are given,
// the required ones are there, and the arguments are as many as it takes. What
// other programs it calls is not looked at. fresh makes the tree anew: parsing
// leaves its marks on one.
// Errors: [ErrExample].
func Check(fresh func() *cobra.Command, script string) error {
	file, err := syntax.NewParser(syntax.Variant(syntax.LangBash)).Parse(strings.NewReader(script), "")
	if err != nil {
		return fmt.Errorf("%w: %q: %w", ErrExample, script, err)
	}
	var all []error
	syntax.Walk(file, func(n syntax.Node) bool {
		call, ok := n.(*syntax.CallExpr)
		if !ok || len(call.Args) == 0 {
			return true
		}
		words := make([]string, len(call.Args))
		for i, w := range call.Args {
			words[i] = word(w)
		}
		root := fresh()
		if words[0] != root.Name() && words[0] != "bin/"+root.Name() {
			return true
		}
		if err := takes(root, words[1:]); err != nil {
			all = append(all, fmt.Errorf("%w: %s: %w", ErrExample, strings.Join(words, " "), err))
		}
		return true
	})
	return errors.Join(all...)
}

// word is the text of a word; what is substituted stands as a name.
func word(w *syntax.Word) string {
	var b strings.Builder
	for _, part := range w.Parts {
		switch part := part.(type) {
		case *syntax.Lit:
			b.WriteString(part.Value)
		case *syntax.SglQuoted:
			b.WriteString(part.Value)
		case *syntax.DblQuoted:
			b.WriteString(word(&syntax.Word{Parts: part.Parts}))
		default:
			b.WriteString("x")
		}
	}
	return b.String()
}

func takes(root *cobra.Command, words []string) error {
	cmd, args, err := root.Find(words)
	if err != nil {
		return err
	}
	if !cmd.Runnable() {
		return errors.New("it is a group of commands")
	}
	if err := cmd.ParseFlags(args); err != nil {
		return err
	}
	if err := cmd.ValidateRequiredFlags(); err != nil {
		return err
	}
	if err := cmd.ValidateFlagGroups(); err != nil {
		return err
	}
	return cmd.ValidateArgs(cmd.Flags().Args())
}
