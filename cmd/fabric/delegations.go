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
		bundle, err := c.signDelegation(cmd.Context(), p.keyPath, approval.Delegation{
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
	f.StringVar(&p.keyPath, "key", "", keyHelp)
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
	var p proxy
	cmd := a.command("undelegate DELEGATION", "End a delegation: sign it, if it is yours, or give a reason as an administrator", cobra.ExactArgs(1), func(c *caller, cmd *cobra.Command, args []string) error {
		request := v1.DelegationRevocation{Reason: p.reason}
		switch {
		case p.keyPath != "":
			bundle, err := c.signEnd(cmd.Context(), args[0], p)
			if err != nil {
				return err
			}
			request = v1.DelegationRevocation{Bundle: string(bundle)}
		case p.reason == "":
			return usage(errors.New("sign it with --key KEY --as NAME --to-key FILE, if the delegation is yours; an administrator says --reason"))
		}
		got, err := v1.Fetch[v1.Delegation](c.RevokeDelegation(cmd.Context(), args[0], &v1.RevokeDelegationParams{Tenant: c.tenant}, request))
		if err != nil {
			return err
		}
		return c.print(got, func(w *tabwriter.Writer) { printDelegations(w, got) })
	})
	f := cmd.Flags()
	f.StringVar(&p.keyPath, "key", "", keyHelp)
	f.StringVar(&p.name, "as", "", "your name among the approvers")
	f.StringVar(&p.public, "to-key", "", "file with the public key of who stands in for you (PEM, ECDSA P-256)")
	f.StringVar(&p.reason, "reason", "", "why, for the record")
	cmd.MarkFlagsRequiredTogether("key", "as", "to-key")
	return cmd
}

// signEnd signs that a delegation of the person's own ends. The delegate's key
// is theirs to name: the statement is about it.
func (c *caller) signEnd(ctx context.Context, id string, p proxy) ([]byte, error) {
	public, err := os.ReadFile(p.public)
	if err != nil {
		return nil, usage(err)
	}
	key, err := artifact.ParsePublicKey(public)
	if err != nil {
		return nil, usage(fmt.Errorf("%s: %w", p.public, err))
	}
	all, err := v1.Fetch[v1.DelegationList](c.ListDelegations(ctx, &v1.ListDelegationsParams{Tenant: c.tenant}))
	if err != nil {
		return nil, err
	}
	at := slices.IndexFunc(all.Items, func(d v1.Delegation) bool { return d.ID == id })
	if at < 0 {
		return nil, &exitError{exitNotFound, fmt.Errorf("there is no delegation %s\n  fabric approvals delegations shows them", id)}
	}
	d := all.Items[at]
	if string(artifact.KeyID(key)) != d.Key {
		return nil, usage(fmt.Errorf("%s holds the key %s; the delegation is to %s", p.public, artifact.KeyID(key).Short(), short(d.Key)))
	}
	now := time.Now().UTC().Truncate(time.Second)
	return c.signDelegation(ctx, p.keyPath, approval.Delegation{
		Decision: approval.RevokeDelegation, From: p.name, To: d.To, PublicKey: string(public), Reason: p.reason, Nonce: d.Nonce,
		IssuedAt: now, NotBefore: now, ExpiresAt: d.ExpiresAt,
	})
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
func (c *caller) signDelegation(ctx context.Context, keyPath string, said approval.Delegation) ([]byte, error) {
	public, err := artifact.ParsePublicKey([]byte(said.PublicKey))
	if err != nil {
		return nil, usage(err)
	}
	key, done, err := c.approverKey(ctx, keyPath)
	if err != nil {
		return nil, err
	}
	defer done()
	statement, err := artifact.NewStatement("delegation to "+said.To, artifact.KeyID(public), artifact.PredicateDelegation, said)
	if err != nil {
		return nil, err
	}
	return artifact.SignStatement(rand.Reader, key, statement)
}
