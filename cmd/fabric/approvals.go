package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	v1 "github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/approval"
	"github.com/atom-fabric/fabric/domain/artifact"
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

// A proxy is what a delegation says.
type proxy struct {
	keyPath, name, to, public, reason string
	kinds, environments               []string
	maxRisk                           int
	lasts                             time.Duration
}

func newDelegate(a *app) *cobra.Command {
	var p proxy
	cmd := a.command("delegate", "Sign that another person may fill your seat, for a time", cobra.NoArgs, func(c *caller, cmd *cobra.Command, _ []string) error {
		public, err := os.ReadFile(p.public)
		if err != nil {
			return usage(err)
		}
		now := time.Now().UTC().Truncate(time.Second)
		bundle, err := c.signDelegation(p.keyPath, approval.Delegation{
			Decision: approval.Delegate, From: p.name, To: p.to, PublicKey: string(public), Kinds: p.kinds, Environments: p.environments, MaxRisk: p.maxRisk,
			Reason: p.reason, Nonce: rand.Text(), IssuedAt: now, NotBefore: now, ExpiresAt: now.Add(p.lasts),
		})
		if err != nil {
			return err
		}
		got, err := v1.Fetch[v1.Delegation](c.AddDelegation(cmd.Context(), &v1.AddDelegationParams{Tenant: c.tenant}, v1.VoteRequest{Bundle: string(bundle)}))
		if err != nil {
			return err
		}
		return c.print(got, func(w *tabwriter.Writer) { printDelegations(w, got) })
	})
	f := cmd.Flags()
	f.StringVar(&p.keyPath, "key", "", "your private key")
	f.StringVar(&p.name, "as", "", "your name among the approvers")
	f.StringVar(&p.to, "to", "", "name of the person who stands in")
	f.StringVar(&p.public, "to-key", "", "file with their public key (PEM, ECDSA P-256)")
	f.StringVar(&p.reason, "reason", "", "why, for the record")
	f.StringSliceVar(&p.kinds, "kind", nil, "only for actions of these kinds")
	f.StringSliceVar(&p.environments, "environment", nil, "only in these environments")
	f.IntVar(&p.maxRisk, "max-risk", 0, "only up to this risk")
	f.DurationVar(&p.lasts, "for", 7*24*time.Hour, "how long; thirty days at most")
	for _, name := range []string{"key", "as", "to", "to-key", "reason"} {
		must(cmd.MarkFlagRequired(name))
	}
	return cmd
}

func newDelegations(a *app) *cobra.Command {
	return a.command("delegations", "Show who stands in for whom", cobra.NoArgs, func(c *caller, cmd *cobra.Command, _ []string) error {
		got, err := v1.Fetch[v1.DelegationList](c.ListDelegations(cmd.Context(), &v1.ListDelegationsParams{Tenant: c.tenant}))
		if err != nil {
			return err
		}
		return c.print(got, func(w *tabwriter.Writer) { printDelegations(w, got.Items...) })
	})
}

func newUndelegate(a *app) *cobra.Command {
	var reason string
	cmd := a.command("undelegate DELEGATION", "End a delegation, as an administrator", cobra.ExactArgs(1), func(c *caller, cmd *cobra.Command, args []string) error {
		got, err := v1.Fetch[v1.Delegation](c.RevokeDelegation(cmd.Context(), args[0], &v1.RevokeDelegationParams{Tenant: c.tenant}, v1.DelegationRevocation{Reason: reason}))
		if err != nil {
			return err
		}
		return c.print(got, func(w *tabwriter.Writer) { printDelegations(w, got) })
	})
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the record")
	must(cmd.MarkFlagRequired("reason"))
	return cmd
}

func printDelegations(w *tabwriter.Writer, list ...v1.Delegation) {
	fmt.Fprintln(w, "ID\tFROM\tTO\tROLE\tKINDS\tUNTIL\tREASON")
	for _, d := range list {
		until := d.ExpiresAt.Format(time.RFC3339)
		if !d.RevokedAt.IsZero() {
			until = "revoked " + d.RevokedAt.Format(time.RFC3339)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", d.ID, d.From, d.To, d.Role, cmp.Or(strings.Join(d.Kinds, ","), "all"), until, d.Reason)
	}
}

// signDelegation signs a statement about the delegate's key.
func (c *caller) signDelegation(keyPath string, said approval.Delegation) ([]byte, error) {
	public, err := artifact.ParsePublicKey([]byte(said.PublicKey))
	if err != nil {
		return nil, usage(err)
	}
	key, err := c.approverKey(keyPath)
	if err != nil {
		return nil, err
	}
	statement, err := artifact.NewStatement("delegation to "+said.To, artifact.KeyID(public), artifact.PredicateDelegation, said)
	if err != nil {
		return nil, err
	}
	return artifact.SignStatement(rand.Reader, key, statement)
}
