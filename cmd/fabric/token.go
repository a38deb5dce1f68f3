package main

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	v1 "github.com/atom-fabric/fabric/api/v1"
)

// newTokenRevoke takes tokens back. A token itself is never an argument: those
// of a command are shown to everybody on the machine.
func newTokenRevoke(a *app) *cobra.Command {
	var id, subject, file, before, reason string
	var all bool
	cmd := a.command("revoke", "Take tokens back before they expire: one, those of a subject, or all of the tenant", cobra.NoArgs, func(c *caller, cmd *cobra.Command, _ []string) error {
		in := v1.TokenRevocationRequest{Token: id, Subject: subject, Reason: reason}
		if file != "" {
			read, err := tokenID(cmd.InOrStdin(), file)
			if err != nil {
				return usage(fmt.Errorf("--file: %w", err))
			}
			in.Token = read
		}
		if before != "" {
			at, err := time.Parse(time.RFC3339, before)
			if err != nil {
				return usage(fmt.Errorf("--before: %w", err))
			}
			in.Before = at
		}
		got, err := v1.Fetch[v1.TokenRevocation](c.RevokeTokens(cmd.Context(), &v1.RevokeTokensParams{Tenant: c.tenant}, in))
		if err != nil {
			return err
		}
		return c.print(got, func(w *tabwriter.Writer) { revocations(w, got) })
	})
	cmd.Long = "Routers refuse them as soon as the next snapshot is signed, within seconds; the API at once. What the issuer signs later is not touched."
	cmd.Flags().StringVar(&id, "id", "", "id of the token, its claim jti")
	cmd.Flags().StringVar(&file, "file", "", "file that holds the token; - is standard input")
	cmd.Flags().StringVar(&subject, "subject", "", "whose tokens, the claim sub")
	cmd.Flags().BoolVar(&all, "all", false, "all tokens of the tenant, the one of this command too")
	cmd.Flags().StringVar(&before, "before", "", "those that were issued at this time or earlier (RFC 3339); now where it is left out")
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the record")
	cmd.MarkFlagsMutuallyExclusive("id", "file", "subject", "all")
	cmd.MarkFlagsOneRequired("id", "file", "subject", "all")
	must(cmd.MarkFlagRequired("reason"))
	return cmd
}

func newTokenRevocations(a *app) *cobra.Command {
	return a.command("revocations", "Show what was taken back, newest first", cobra.NoArgs, func(c *caller, cmd *cobra.Command, _ []string) error {
		got, err := v1.Fetch[v1.TokenRevocationPage](c.ListTokenRevocations(cmd.Context(), &v1.ListTokenRevocationsParams{Tenant: c.tenant}))
		if err != nil {
			return err
		}
		return c.print(got, func(w *tabwriter.Writer) { revocations(w, got.Items...) })
	})
}

func revocations(w io.Writer, items ...v1.TokenRevocation) {
	fmt.Fprintln(w, "TOKEN\tSUBJECT\tISSUED UNTIL\tBY\tREASON")
	for _, r := range items {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", r.Token, r.Subject, r.Before.Format(time.RFC3339), r.Actor, r.Reason)
	}
}

// tokenID reads the id in a token. Whether it is genuine matters to nobody who
// wants it refused.
func tokenID(stdin io.Reader, file string) (string, error) {
	if file != "-" {
		opened, err := os.Open(file)
		if err != nil {
			return "", err
		}
		defer opened.Close()
		stdin = opened
	}
	text, err := io.ReadAll(io.LimitReader(stdin, 16<<10))
	if err != nil {
		return "", err
	}
	parts := strings.Split(strings.TrimSpace(string(text)), ".")
	if len(parts) != 3 {
		return "", errors.New("it holds no token")
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	var claims struct {
		ID string `json:"jti"`
	}
	if err != nil || json.Unmarshal(payload, &claims) != nil || claims.ID == "" {
		return "", errors.New("the token has no id; revoke its subject")
	}
	return claims.ID, nil
}
