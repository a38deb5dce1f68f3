package main

import (
	"context"
	"crypto"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	v1 "github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/approval"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/internal/precheck"
)

// voteLasts is how long a signed vote is good for: it must be cast by then.
const voteLasts = 72 * time.Hour

// A ballotPaper is what a person signs.
type ballotPaper struct {
	keyPath, name, reason, deployment string
	says, onBehalfOf                  string
	reject, printOnly                 bool
}

func (p *ballotPaper) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&p.keyPath, "key", "", keyHelp)
	f.StringVar(&p.name, "as", "", "your name among the approvers, or in the delegation")
	f.StringVar(&p.onBehalfOf, "on-behalf-of", "", "the approver who delegated to you")
	f.StringVar(&p.reason, "reason", "", "why, for the record; all but an approval need it")
	f.BoolVar(&p.printOnly, "print", false, "print the signed vote instead of casting it")
	must(cmd.MarkFlagRequired("key"))
	must(cmd.MarkFlagRequired("as"))
}

func newApprove(a *app) *cobra.Command {
	var p ballotPaper
	cmd := a.command("approve [ACTION]", "Sign a vote with your own key and cast it (or print it for the Temporal Web UI)", cobra.MaximumNArgs(1), func(c *caller, cmd *cobra.Command, args []string) error {
		if p.reject {
			p.says = approval.Reject
		} else {
			p.says = approval.Approve
		}
		if p.deployment != "" {
			return c.voteDeployment(cmd.Context(), p)
		}
		if len(args) != 1 {
			return usage(errors.New("name the action: fabric approve ACTION --key KEY --as NAME (fabric approvals lists them)"))
		}
		if p.reject && p.reason == "" {
			return usage(errors.New("say why: --reason"))
		}
		return c.cast(cmd.Context(), args[0], p)
	})
	p.flags(cmd)
	f := cmd.Flags()
	f.BoolVar(&p.reject, "reject", false, "vote against")
	f.StringVar(&p.deployment, "deployment", "", "vote that this deployment may leave simulation (digest printed by fabric precheck)")
	return cmd
}

// cast signs a vote and brings it to its ballot, or prints it.
func (c *caller) cast(ctx context.Context, action string, p ballotPaper) error {
	key, done, err := c.approverKey(ctx, p.keyPath)
	if err != nil {
		return err
	}
	defer done()
	bundle, err := c.signVote(ctx, action, key, p)
	if err != nil {
		return err
	}
	if p.printOnly {
		// The value of the signal "vote", as the Web UI's signal form takes it.
		return c.print(map[string]string{"bundle": string(bundle)}, func(w *tabwriter.Writer) { fmt.Fprintf(w, "{\"bundle\": %q}\n", bundle) })
	}
	b, err := v1.Fetch[v1.Ballot](c.CastVote(ctx, action, &v1.CastVoteParams{Tenant: c.tenant}, v1.VoteRequest{Bundle: string(bundle)}))
	if err != nil {
		return err
	}
	if err := c.printBallot(b); err != nil {
		return err
	}
	return uncounted(b, p.name)
}

// uncounted fails when the vote that was just cast does not count.
func uncounted(b v1.Ballot, name string) error {
	for _, v := range b.Votes {
		if v.Approver == name {
			return nil
		}
	}
	for _, v := range b.Withdrawn {
		if v.Approver == name && v.Decision == approval.Revoke {
			return nil
		}
	}
	for i := len(b.Refused) - 1; i >= 0; i-- {
		if b.Refused[i].Approver == name {
			return &exitError{exitUnallowed, fmt.Errorf("the vote of %s does not count: %s", name, b.Refused[i].Refused)}
		}
	}
	return &exitError{exitUnallowed, fmt.Errorf("the vote of %s does not count: its key is no eligible approver's", name)}
}

// signVote makes the statement that the ballot asks for, over the plan's
// digest. What it signs is what it was shown: the digest of the request is made
// here, from its text, and the plan, the action and the nonce are read from it.
func (c *caller) signVote(ctx context.Context, action string, key crypto.Signer, p ballotPaper) ([]byte, error) {
	b, err := v1.Fetch[v1.Ballot](c.GetApproval(ctx, action, &v1.GetApprovalParams{Tenant: c.tenant}))
	if err != nil {
		return nil, err
	}
	var asked approval.Request
	if err := artifact.DecodeStrict([]byte(b.Request), &asked); err != nil {
		return nil, fmt.Errorf("the ballot's request: %w", err)
	}
	if asked.Action.ID != action {
		return nil, fmt.Errorf("the ballot is about %s", asked.Action.ID)
	}
	return sign(key, asked.Action.Kind+" "+action, asked.Action.Plan, approval.Predicate{
		Decision: p.says, Action: action, Kind: asked.Action.Kind, Nonce: asked.Nonce, Request: artifact.DigestOf([]byte(b.Request)),
		Approver: p.name, OnBehalfOf: p.onBehalfOf, Reason: p.reason, ExpiresAt: time.Now().UTC().Add(voteLasts).Truncate(time.Second),
	})
}

// voteDeployment prints the vote that lets a deployment leave simulation.
func (c *caller) voteDeployment(ctx context.Context, p ballotPaper) error {
	key, done, err := c.approverKey(ctx, p.keyPath)
	if err != nil {
		return err
	}
	defer done()
	deployment, err := artifact.ParseDigest(p.deployment)
	if err != nil {
		return usage(err)
	}
	bundle, err := sign(key, "deployment", deployment, approval.Predicate{
		Decision: p.says, Action: "deployment", Kind: precheck.KindLeave, Nonce: rand.Text(), Approver: p.name, Reason: p.reason,
		ExpiresAt: time.Now().UTC().Add(72 * time.Hour).Truncate(time.Second),
	})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(c.Out, string(bundle))
	return err
}

func sign(key crypto.Signer, name string, subject artifact.Digest, vote approval.Predicate) ([]byte, error) {
	vote.IssuedAt = time.Now().UTC().Truncate(time.Second)
	statement, err := artifact.NewStatement(name, subject, artifact.PredicateApproval, vote)
	if err != nil {
		return nil, err
	}
	return artifact.SignStatement(rand.Reader, key, statement)
}

func newApprover(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "approver", Short: "Register who may vote, by name, role and public key"}
	var role, key string
	add := a.command("add NAME", "Register an approver of the tenant", cobra.ExactArgs(1), func(c *caller, cmd *cobra.Command, args []string) error {
		public, err := os.ReadFile(key)
		if err != nil {
			return usage(err)
		}
		got, err := v1.Fetch[v1.Approver](c.AddApprover(cmd.Context(), &v1.AddApproverParams{Tenant: c.tenant}, v1.ApproverRequest{Name: args[0], Role: role, PublicKey: string(public)}))
		if err != nil {
			return err
		}
		return c.print(got, func(w *tabwriter.Writer) { approvers(w, got) })
	})
	add.Flags().StringVar(&role, "role", "", "role that the vote counts for: owner, on-call, operator, risk, platform, privacy or security")
	add.Flags().StringVar(&key, "key", "", "file with the public key (PEM, ECDSA P-256)")
	must(add.MarkFlagRequired("role"))
	must(add.MarkFlagRequired("key"))
	list := a.command("list", "Show who may vote for the tenant", cobra.NoArgs, func(c *caller, cmd *cobra.Command, _ []string) error {
		got, err := v1.Fetch[v1.ApproverList](c.ListApprovers(cmd.Context(), &v1.ListApproversParams{Tenant: c.tenant}))
		if err != nil {
			return err
		}
		return c.print(got, func(w *tabwriter.Writer) { approvers(w, got.Items...) })
	})
	var reason string
	revoke := a.command("revoke APPROVER", "Revoke a registration: later votes are refused, and ballots that wait lose its vote", cobra.ExactArgs(1), func(c *caller, cmd *cobra.Command, args []string) error {
		got, err := v1.Fetch[v1.Approver](c.RevokeApprover(cmd.Context(), args[0], &v1.RevokeApproverParams{Tenant: c.tenant}, v1.ReasonRequest{Reason: reason}))
		if err != nil {
			return err
		}
		return c.print(got, func(w *tabwriter.Writer) { approvers(w, got) })
	})
	revoke.Flags().StringVar(&reason, "reason", "", "why, for the record")
	must(revoke.MarkFlagRequired("reason"))
	cmd.AddCommand(add, list, revoke)
	return cmd
}

func approvers(w *tabwriter.Writer, list ...v1.Approver) {
	fmt.Fprintln(w, "NAME\tROLE\tKEY")
	for _, a := range list {
		fmt.Fprintf(w, "%s\t%s\t%s\n", a.Name, a.Role, short(a.Key))
	}
}
