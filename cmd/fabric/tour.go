package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/atom-fabric/fabric/examples/tumour"
	"github.com/atom-fabric/fabric/internal/durable"
)

func newTour(a *app) *cobra.Command {
	var o upOptions
	var t tourFlags
	cmd := &cobra.Command{
		Use:   "tour",
		Short: "Walk through the first five minutes, step by step: what comes, the command, what to look at",
		Long: `Each step says what will happen, shows the command as you would type it, runs it when you press Enter,
and says what to look at. The steps are those of the README. Where no fabric up runs on the state
directory the tour starts one, and stops it at its end. One that was broken off goes on where it was.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.tour(cmd.Context(), o, t) },
	}
	o.flags(cmd)
	f := cmd.Flags()
	f.BoolVarP(&t.yes, "yes", "y", false, "do not wait for Enter")
	f.IntVar(&t.from, "from", 0, "begin with this step (default: after the last one that was done)")
	f.BoolVar(&t.list, "list", false, "show the steps and do nothing")
	return cmd
}

type tourFlags struct {
	yes, list bool
	from      int
}

// progressFile remembers in the state directory which steps were done.
const progressFile = "tour.json"

// A tourState is how far somebody has come.
type tourState struct {
	Done int `json:"done"` // steps
}

func (a *app) tour(ctx context.Context, o upOptions, flags tourFlags) error {
	steps := tourSteps()
	if flags.list {
		return a.print(steps, func(w *tabwriter.Writer) {
			for i, s := range steps {
				fmt.Fprintf(w, "%d\t%s\n", i+1, s.Title)
				for _, c := range s.Commands {
					fmt.Fprintf(w, "\t  %s\n", c)
				}
			}
		})
	}
	walking := a.terminal(a.In) && a.terminal(a.Out)
	switch {
	case a.output != asTable:
		return usage(errors.New("a tour is for people; fabric tour --list -o json shows its steps to a program"))
	case !walking && !flags.yes:
		return usage(errors.New("there is no terminal to press Enter at\n  fabric tour --yes goes through without waiting; fabric tour --list shows the steps"))
	case flags.from < 0 || flags.from > len(steps):
		return usage(fmt.Errorf("--from %d: there are steps 1 to %d", flags.from, len(steps)))
	}
	g, err := a.guide(ctx, o, flags)
	if err != nil {
		return err
	}
	defer g.stop()
	if err := g.walk(ctx, steps, flags.from); err != nil {
		return err
	}
	return g.leave(ctx)
}

// A tourGuide goes through the steps with somebody.
type tourGuide struct {
	*app
	wait    *bufio.Reader // nil: nobody is waited for
	state   string
	console string
	ui      string
	environ []string
	stop    func()
	own     bool // the system was started for the tour
}

// guide finds the system that runs, or starts one.
func (a *app) guide(ctx context.Context, o upOptions, flags tourFlags) (*tourGuide, error) {
	c, err := a.config()
	if err != nil {
		return nil, err
	}
	layout, err := o.layout(c)
	if err != nil {
		return nil, err
	}
	g := &tourGuide{app: a, state: layout.State, console: layout.Gateway() + "/console/", ui: layout.TemporalUI(), stop: func() {}}
	if !flags.yes {
		g.wait = bufio.NewReader(a.In)
	}
	gateway := layout.Gateway()
	if c.Set("FABRIC_API_URL") {
		gateway = strings.TrimRight(c.APIURL, "/")
	}
	switch resp, err := get(ctx, gateway+"/health"); {
	case err == nil && resp.StatusCode == http.StatusOK:
		g.console = gateway + "/console/"
	case c.Set("FABRIC_API_URL") && gateway != layout.Gateway():
		return nil, &exitError{exitUnavailable, fmt.Errorf("no fabric answers at %s\n  unset FABRIC_API_URL, and the tour starts one of its own; fabric doctor says what is away", gateway)}
	default:
		fmt.Fprintln(a.Out, "No fabric runs here yet: the tour starts the whole system on this machine, as fabric up does.")
		s, err := a.start(ctx, o, a.notes())
		if err != nil {
			return nil, err
		}
		g.stop, g.own, g.console, g.ui = s.Stop, true, s.plan.Console(), s.plan.TemporalUI()
	}
	g.environ = append(slices.Clone(a.environ), "FABRIC_API_URL="+gateway, "FABRIC_STATE_DIR="+g.state)
	return g, nil
}

// walk does the steps from one on; 0 goes on after those that were done.
func (g *tourGuide) walk(ctx context.Context, steps []tourStep, from int) error {
	done := 0
	if from > 0 {
		done = from - 1
	} else if text, err := os.ReadFile(g.at(progressFile)); err == nil {
		var was tourState
		if json.Unmarshal(text, &was) == nil && was.Done < len(steps) {
			done = was.Done
		}
	}
	if from == 0 && done > 0 {
		fmt.Fprintf(g.Out, "The tour goes on with step %d; fabric tour --from 1 begins anew.\n", done+1)
	}
	for i, s := range steps {
		if i < done && !s.Always {
			continue
		}
		if err := g.step(ctx, i+1, len(steps), s); err != nil {
			return err
		}
		text, err := json.Marshal(tourState{max(done, i+1)})
		if err != nil {
			return err
		}
		if err := durable.Write(g.at(progressFile), text, 0o600); err != nil {
			return err
		}
	}
	return nil
}

func (g *tourGuide) at(name string) string { return g.state + "/" + name }

// step does one step with the person.
func (g *tourGuide) step(ctx context.Context, number, of int, s tourStep) error {
	fmt.Fprintf(g.Out, "\n%d of %d: %s\n   %s\n", number, of, s.Title, s.Comes)
	for _, command := range s.Commands {
		fmt.Fprintf(g.Out, "\n   $ %s\n", g.shown(command))
		if err := g.enter(ctx, "Enter runs it, q leaves"); err != nil {
			return err
		}
		if err := g.do(ctx, command); err != nil {
			return fmt.Errorf("step %d: %w\n  mend it, then go on with: fabric tour; fabric doctor helps", number, err)
		}
	}
	fmt.Fprintf(g.Out, "\n   %s\n", strings.ReplaceAll(s.Look, "CONSOLE", g.console))
	return nil
}

// errLeft says that the person had enough, which is no failure of anything.
var errLeft = &exitError{exitInterrupted, errors.New("the tour goes on another time with: fabric tour")}

// enter waits for the person, if there is one.
func (g *tourGuide) enter(ctx context.Context, says string) error {
	if g.wait == nil {
		return ctx.Err()
	}
	fmt.Fprintf(g.Out, "   [%s] ", says)
	said := make(chan string, 1)
	go func() {
		line, err := g.wait.ReadString('\n')
		if err != nil {
			line = "q"
		}
		said <- strings.TrimSpace(line)
	}()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case line := <-said:
		if strings.EqualFold(line, "q") {
			return errLeft
		}
		return nil
	}
}

// shown is a command as the person would type it here.
func (g *tourGuide) shown(command string) string {
	return strings.NewReplacer(tourFolder+"/", g.state+"/", tourSchema, g.schema()).Replace(command)
}

// schema is where the schema of the rows is: beside a checkout, or written to
// the state directory.
func (g *tourGuide) schema() string {
	if !missing(tourSchema) {
		return tourSchema
	}
	return g.at("tour-schema.json")
}

// do does what a line of the script says: a command of ours, or an export.
func (g *tourGuide) do(ctx context.Context, line string) error {
	if path := g.schema(); path != tourSchema && missing(path) {
		if err := os.WriteFile(path, tumour.Schema(), 0o644); err != nil {
			return err
		}
	}
	line = g.shown(line)
	name, value, export := strings.Cut(strings.TrimPrefix(line, "export "), "=")
	export = export && strings.HasPrefix(line, "export ")
	switch command, substituted := strings.CutPrefix(value, "$("); {
	case export && name == "PATH": // this program needs none
		return nil
	case export && substituted:
		var out bytes.Buffer
		if err := g.call(ctx, strings.TrimSuffix(command, ")"), &out); err != nil {
			return err
		}
		g.environ = append(g.environ, name+"="+strings.TrimSpace(out.String()))
		return nil
	case export:
		g.environ = append(g.environ, name+"="+value)
		return nil
	}
	return g.call(ctx, line, g.Out)
}

// call runs a command of this program as the person would.
func (g *tourGuide) call(ctx context.Context, line string, out io.Writer) error {
	words := strings.Fields(line)
	if words[0] != "fabric" {
		return fmt.Errorf("%q is no command of the tour", words[0])
	}
	args := words[1:]
	if g.file != "" {
		args = append([]string{"--config", g.file}, args...)
	}
	var failed bytes.Buffer
	if status := run(ctx, args, streams{In: g.In, Out: out, Err: io.MultiWriter(g.Err, &failed)}, g.environ); status != exitOK {
		return &exitError{status, fmt.Errorf("%s ended with status %d", strings.Join(words, " "), status)}
	}
	return nil
}

// leave says where everything is, and stops what the tour has started when the
// person has looked.
func (g *tourGuide) leave(ctx context.Context) error {
	fmt.Fprintf(g.Out, `
That was the tour. Where to look now:
   console          %s  (sign in as anybody: it is a simulation)
   Temporal Web UI  %s  (each run, round, region and ballot is a workflow)
   state            %s
   all commands     fabric --help; what is wrong, and what mends it: fabric doctor
   more             docs/README.md, by reader; fabric demo shows approvals, routing and evidence packs
`, g.console, g.ui, g.state)
	if !g.own {
		return nil
	}
	if g.wait == nil {
		fmt.Fprintln(g.Out, "The system stops now; fabric up starts it again with everything that you have made.")
		return nil
	}
	fmt.Fprintln(g.Out, "The system runs until you press Enter; fabric up starts it again with everything that you have made.")
	if err := g.enter(ctx, "Enter stops it"); err != nil && !errors.Is(err, errLeft) && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}
