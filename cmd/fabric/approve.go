package main

import (
	"context"
	"crypto/ecdsa"
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
	"github.com/atom-fabric/fabric/internal/cosign"
	"github.com/atom-fabric/fabric/internal/precheck"
)

func newApprovals(a *app) *cobra.Command {
	var state string
	cmd := a.command("approvals", "The inbox: what waits for a decision, newest first", cobra.NoArgs, func(c *caller, cmd *cobra.Command, _ []string) error {
		page, err := v1.Fetch[v1.BallotPage](c.ListApprovals(cmd.Context(), &v1.ListApprovalsParams{Tenant: c.tenant, State: v1.ListApprovalsParamsState(state)}))
		if err != nil {
			return err
		}
		return c.print(page, func(w *tabwriter.Writer) {
			fmt.Fprintln(w, "ACTION\tWHAT\tENVIRONMENT\tRISK\tVOTES\tSTATE\tREQUESTER\tEXPIRES")
			for _, b := range page.Items {
				fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d of %d\t%s\t%s\t%s\n", b.ID, b.Summary, b.Environment, b.Risk, len(b.Votes), b.Need, b.Outcome, b.Requester, b.ExpiresAt.Format(time.RFC3339))
			}
		})
	})
	cmd.Flags().StringVar(&state, "state", "pending", "pending, approved, rejected, expired, or empty for all")
	cmd.AddCommand(a.command("show ACTION", "Show a ballot with every vote", cobra.ExactArgs(1), func(c *caller, cmd *cobra.Command, args []string) error {
		b, err := v1.Fetch[v1.Ballot](c.GetApproval(cmd.Context(), args[0], &v1.GetApprovalParams{Tenant: c.tenant}))
		if err != nil {
			return err
		}
		return c.printBallot(b)
	}))
	return cmd
}

func (c *caller) printBallot(b v1.Ballot) error {
	return c.print(b, func(w *tabwriter.Writer) {
		fmt.Fprintf(w, "%s: %s\nwhat\t%s\nplan\t%s\nrisk\t%d of 100\nneeds\t%d of roles %v\nrequested by\t%s\n", b.ID, b.Outcome, b.Summary, b.PlanDigest, b.Risk, b.Need, b.Roles, b.Requester)
		if len(b.Votes)+len(b.Refused) > 0 {
			fmt.Fprintln(w, "\nAPPROVER\tROLE\tVOTE\tCOUNTS\tAT")
		}
		for _, v := range append(b.Votes, b.Refused...) {
			vote, counts := "reject", "yes"
			if v.Approve {
				vote = "approve"
			}
			if v.Refused != "" {
				counts = "no: " + v.Refused
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", v.Approver, v.Role, vote, counts, v.At.Format(time.RFC3339))
		}
	})
}

// A ballotPaper is what a person signs.
type ballotPaper struct {
	keyPath, name, reason, deployment string
	reject, printOnly                 bool
}

func newApprove(a *app) *cobra.Command {
	var p ballotPaper
	cmd := a.command("approve [ACTION]", "Sign a vote with your own key and cast it (or print it for the Temporal Web UI)", cobra.MaximumNArgs(1), func(c *caller, cmd *cobra.Command, args []string) error {
		key, err := c.approverKey(p.keyPath)
		if err != nil {
			return err
		}
		if p.deployment != "" {
			return c.voteDeployment(key, p)
		}
		if len(args) != 1 {
			return usage(errors.New("name the action: fabric approve ACTION --key KEY --as NAME (fabric approvals lists them)"))
		}
		bundle, err := c.signVote(cmd.Context(), args[0], key, p)
		if err != nil {
			return err
		}
		if p.printOnly {
			// The value of the signal "vote", as the Web UI's signal form takes it.
			return c.print(map[string]string{"bundle": string(bundle)}, func(w *tabwriter.Writer) { fmt.Fprintf(w, "{\"bundle\": %q}\n", bundle) })
		}
		b, err := v1.Fetch[v1.Ballot](c.CastVote(cmd.Context(), args[0], &v1.CastVoteParams{Tenant: c.tenant}, v1.VoteRequest{Bundle: string(bundle)}))
		if err != nil {
			return err
		}
		if err := c.printBallot(b); err != nil {
			return err
		}
		return uncounted(b, p.name)
	})
	f := cmd.Flags()
	f.StringVar(&p.keyPath, "key", "", "your private key, as `fabric keys generate` or `cosign generate-key-pair` made it")
	f.StringVar(&p.name, "as", "", "your name among the approvers")
	f.BoolVar(&p.reject, "reject", false, "vote against")
	f.StringVar(&p.reason, "reason", "", "why, for the record")
	f.BoolVar(&p.printOnly, "print", false, "print the signed vote instead of casting it")
	f.StringVar(&p.deployment, "deployment", "", "vote that this deployment may leave simulation (digest printed by fabric precheck)")
	must(cmd.MarkFlagRequired("key"))
	must(cmd.MarkFlagRequired("as"))
	return cmd
}

// uncounted fails when the vote that was just cast does not count.
func uncounted(b v1.Ballot, name string) error {
	for _, v := range b.Votes {
		if v.Approver == name {
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

// approverKey loads a person's key with the password from COSIGN_PASSWORD.
func (a *app) approverKey(path string) (*ecdsa.PrivateKey, error) {
	settings, err := a.config()
	if err != nil {
		return nil, err
	}
	key, err := cosign.LoadPrivateKey(path, []byte(settings.CosignPassword.Reveal()))
	if err != nil {
		return nil, usage(fmt.Errorf("%w; the password is read from COSIGN_PASSWORD or COSIGN_PASSWORD_FILE", err))
	}
	return key, nil
}

// signVote makes the statement that the ballot asks for, over the plan's digest.
func (c *caller) signVote(ctx context.Context, action string, key *ecdsa.PrivateKey, p ballotPaper) ([]byte, error) {
	b, err := v1.Fetch[v1.Ballot](c.GetApproval(ctx, action, &v1.GetApprovalParams{Tenant: c.tenant}))
	if err != nil {
		return nil, err
	}
	plan, err := artifact.ParseDigest(b.PlanDigest)
	if err != nil {
		return nil, err
	}
	return sign(key, b.Kind+" "+b.ID, plan, approval.Predicate{
		Decision: p.decision(), Action: b.ID, Kind: b.Kind, Nonce: b.Nonce, Approver: p.name, Reason: p.reason, ExpiresAt: b.ExpiresAt,
	})
}

// voteDeployment prints the vote that lets a deployment leave simulation.
func (c *caller) voteDeployment(key *ecdsa.PrivateKey, p ballotPaper) error {
	deployment, err := artifact.ParseDigest(p.deployment)
	if err != nil {
		return usage(err)
	}
	bundle, err := sign(key, "deployment", deployment, approval.Predicate{
		Decision: p.decision(), Action: "deployment", Kind: precheck.KindLeave, Nonce: rand.Text(), Approver: p.name, Reason: p.reason,
		ExpiresAt: time.Now().UTC().Add(72 * time.Hour).Truncate(time.Second),
	})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(c.Out, string(bundle))
	return err
}

func (p ballotPaper) decision() string {
	if p.reject {
		return "reject"
	}
	return "approve"
}

func sign(key *ecdsa.PrivateKey, name string, subject artifact.Digest, vote approval.Predicate) ([]byte, error) {
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
	cmd.AddCommand(add, list)
	return cmd
}

func approvers(w *tabwriter.Writer, list ...v1.Approver) {
	fmt.Fprintln(w, "NAME\tROLE\tKEY")
	for _, a := range list {
		fmt.Fprintf(w, "%s\t%s\t%s\n", a.Name, a.Role, short(a.Key))
	}
}

func newKeys(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "keys", Short: "Make key pairs, as cosign makes them"}
	var dir string
	generate := &cobra.Command{
		Use: "generate NAME", Short: "Write NAME.key, encrypted with COSIGN_PASSWORD, and NAME.pub", Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			settings, err := a.config()
			if err != nil {
				return err
			}
			if err := cosign.GenerateKeyPair(dir, args[0], []byte(settings.CosignPassword.Reveal())); err != nil {
				return err
			}
			_, err = fmt.Fprintf(a.Out, "wrote %s and %s\n", absolute(dir, args[0]+".key"), absolute(dir, args[0]+".pub"))
			return err
		},
	}
	generate.Flags().StringVar(&dir, "dir", ".", "folder to write to")
	cmd.AddCommand(generate)
	return cmd
}
