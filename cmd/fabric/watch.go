package main

import (
	"bytes"
	"context"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	v1 "github.com/atom-fabric/fabric/api/v1"
)

// watchEvery is how often a command that watches looks.
const watchEvery = 500 * time.Millisecond

// A sight is what a look at something shows.
type sight struct {
	value any
	rows  func(w *tabwriter.Writer)
	over  bool  // there is nothing more to see
	err   error // how it ended, once it is over
}

// watchable gives a command the flag --watch, which has its look done again
// and again. What it looks at decides when that ends, and with which status.
func (a *app) watchable(cmd *cobra.Command, until string) *bool {
	watch := new(bool)
	cmd.Flags().BoolVarP(watch, "watch", "w", false, "show it again whenever it changes, until "+until)
	return watch
}

// see shows what a look finds: once, or until it is over. A program that reads
// the output gets one document for each change.
func (c *caller) see(ctx context.Context, watch bool, look func(context.Context) (sight, error)) error {
	var last []byte
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		s, err := look(ctx)
		if err != nil {
			return err
		}
		text, err := c.render(s.value, s.rows)
		if err != nil {
			return err
		}
		if !bytes.Equal(text, last) {
			if _, err := fmt.Fprint(c.Out, c.between(last == nil), string(text)); err != nil {
				return err
			}
			last = text
		}
		switch {
		case !watch:
			return nil
		case s.over:
			return s.err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// between is what stands between two sights: on a terminal the next one takes
// the place of the last.
func (c *caller) between(first bool) string {
	switch {
	case first:
		return ""
	case c.output == asYAML:
		return "---\n"
	case c.output == asTable && c.terminal(c.Out):
		return "\x1b[H\x1b[2J"
	case c.output == asTable:
		return "\n"
	}
	return ""
}

// ended says whether an action has come to its end.
func ended(state string) bool { return state != "planned" && state != "started" }

// outcome is nil when what was asked for has been done, and else says what came
// instead, for the exit status.
func outcome(what, state, cause string) error {
	switch state {
	case "applied", "suggested", "nothing", "completed", "stopped", "approved", "held", "planned", "started":
		return nil
	}
	if cause != "" {
		cause = ": " + cause
	}
	return &exitError{exitFailure, fmt.Errorf("%s: %s%s", what, state, cause)}
}

// seeAction shows how an action stands.
func (c *caller) seeAction(ctx context.Context, watch bool, get func(context.Context) (v1.Action, error)) error {
	return c.see(ctx, watch, func(ctx context.Context) (sight, error) {
		action, err := get(ctx)
		return sight{action, func(w *tabwriter.Writer) { actionRows(w, action) }, ended(action.State), outcome(string(action.Kind)+" "+action.ID, action.State, action.Cause)}, err
	})
}

// actionStatus is a command that shows how an action stands, and can wait for
// its end.
func (a *app) actionStatus(use, short string, of func(c *caller, id string) func(context.Context) (v1.Action, error)) *cobra.Command {
	var watch *bool
	cmd := a.command(use, short, cobra.ExactArgs(1), func(c *caller, cmd *cobra.Command, args []string) error {
		return c.seeAction(cmd.Context(), *watch, of(c, args[0]))
	})
	watch = a.watchable(cmd, "it is applied, rejected or expired")
	return cmd
}
