package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	v1 "github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/approval"
)

func newApprovals(a *app) *cobra.Command {
	var state string
	var mine bool
	var watching []*bool // of the command and of its subcommand list
	list := func(c *caller, cmd *cobra.Command, _ []string) error {
		watch := slices.ContainsFunc(watching, func(w *bool) bool { return *w })
		return c.see(cmd.Context(), watch, func(ctx context.Context) (sight, error) {
			page, err := v1.Fetch[v1.BallotPage](c.ListApprovals(ctx, &v1.ListApprovalsParams{Tenant: c.tenant, State: v1.ListApprovalsParamsState(state), Mine: mine}))
			return sight{value: page, rows: func(w *tabwriter.Writer) { inboxRows(w, page.Items) }}, err
		})
	}
	flags := func(cmd *cobra.Command) *cobra.Command {
		cmd.Flags().StringVar(&state, "state", "pending", "pending, approved, rejected, expired, returned, revoked, lapsed, or empty for all")
		cmd.Flags().BoolVar(&mine, "mine", false, "only what waits for you")
		watching = append(watching, a.watchable(cmd, "Ctrl-C"))
		return cmd
	}
	cmd := flags(a.command("approvals", "The inbox: what waits for a decision, newest first", cobra.NoArgs, list))
	cmd.AddCommand(
		flags(a.command("list", "The inbox: what waits for a decision, newest first", cobra.NoArgs, list)),
		newApprovalShow(a),
		newDecision(a, "approve ACTION", "Sign that it may be done, and cast the vote", approval.Approve, nil),
		newDecision(a, "reject ACTION", "Sign that it must not be done, with the reason", approval.Reject, nil),
		newDecision(a, "request-changes ACTION", "Return it to its requester, with the reason; a new plan gets a new ballot", approval.RequestChanges, nil),
		newDecision(a, "revoke ACTION", "Take your approval back before the action has begun, with the reason", approval.Revoke, nil),
		newDecision(a, "break-glass ACTION", "Approve alone, in an emergency and where the policy allows it; others review it afterwards", approval.BreakGlass, nil),
		newDecision(a, "review ACTION", "Sign off the broken glass of an action; --against says that it was misused", approval.Approve, approval.ReviewID),
		newDelegate(a), newDelegations(a), newUndelegate(a),
	)
	return cmd
}

// newDecision is a command that signs one decision and casts it. of names the
// ballot of an action.
func newDecision(a *app, use, short, decision string, of func(string) string) *cobra.Command {
	p := ballotPaper{says: decision}
	against := false
	cmd := a.command(use, short, cobra.ExactArgs(1), func(c *caller, cmd *cobra.Command, args []string) error {
		id := args[0]
		if of != nil {
			id = of(id)
		}
		if against {
			p.says = approval.Reject
		}
		if p.says != approval.Approve && p.reason == "" {
			return usage(errors.New("say why: --reason"))
		}
		return c.cast(cmd.Context(), id, p)
	})
	p.flags(cmd)
	if of != nil {
		cmd.Flags().BoolVar(&against, "against", false, "the glass was misused")
	}
	return cmd
}

func inboxRows(w *tabwriter.Writer, items []v1.Ballot) {
	fmt.Fprintln(w, "ACTION\tWHAT\tENVIRONMENT\tRISK\tVOTES\tSTATE\tREQUESTER\tEXPIRES\tYOU")
	for _, b := range items {
		you := cmp.Or(b.You.Because, "may decide")
		if b.You.OnBehalfOf != "" {
			you = "may decide for " + b.You.OnBehalfOf
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d of %d\t%s\t%s\t%s\t%s\n", b.ID, b.Summary, b.Environment, b.Risk, b.Need-b.Missing, b.Need, b.Outcome, b.Requester, b.ExpiresAt.Format(time.RFC3339), you)
	}
}

func newApprovalShow(a *app) *cobra.Command {
	var watch *bool
	cmd := a.command("show ACTION", "Show a ballot with every vote", cobra.ExactArgs(1), func(c *caller, cmd *cobra.Command, args []string) error {
		return c.see(cmd.Context(), *watch, func(ctx context.Context) (sight, error) {
			b, err := v1.Fetch[v1.Ballot](c.GetApproval(ctx, args[0], &v1.GetApprovalParams{Tenant: c.tenant}))
			return sight{b, func(w *tabwriter.Writer) { ballotRows(w, b) }, b.Outcome != "pending", outcome("the ballot of "+b.ID, string(b.Outcome), "")}, err
		})
	})
	watch = a.watchable(cmd, "it is decided; all but an approval ends with status 1")
	return cmd
}

func (c *caller) printBallot(b v1.Ballot) error {
	return c.print(b, func(w *tabwriter.Writer) { ballotRows(w, b) })
}

func ballotRows(w *tabwriter.Writer, b v1.Ballot) {
	fmt.Fprintf(w, "%s: %s\nwhat\t%s\nplan\t%s\nrisk\t%d of 100\nneeds\t%d of roles %v, %d missing\nrequested by\t%s\n", b.ID, b.Outcome, b.Summary, b.PlanDigest, b.Risk, b.Need, b.Roles, b.Missing, b.Requester)
	at := func(what string, t time.Time) {
		if !t.IsZero() {
			fmt.Fprintf(w, "%s\t%s\n", what, t.Format(time.RFC3339))
		}
	}
	at("decide by", b.ExpiresAt)
	at("others are asked", b.EscalatesAt)
	at("begins from", b.ExecuteFrom)
	at("begins until", b.ExecuteBy)
	at("begun", b.BegunAt)
	for _, e := range b.Evidence {
		fmt.Fprintf(w, "%s\t%s\n", e.Name, e.Digest)
	}
	if b.Glass {
		fmt.Fprintf(w, "glass\tbroken; its review is %s\n", approval.ReviewID(b.ID))
	}
	if len(b.Votes)+len(b.Refused)+len(b.Withdrawn) > 0 {
		fmt.Fprintln(w, "\nAPPROVER\tROLE\tVOTE\tCOUNTS\tAT")
	}
	for _, v := range append(append(b.Votes, b.Withdrawn...), b.Refused...) {
		counts, who := "yes", v.Approver
		if v.OnBehalfOf != "" {
			who += " for " + v.OnBehalfOf
		}
		if v.Refused != "" {
			counts = "no: " + v.Refused
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", who, v.Role, v.Decision, counts, v.At.Format(time.RFC3339))
	}
}
