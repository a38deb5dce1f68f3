package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	v1 "github.com/atom-fabric/fabric/api/v1"
)

func newFeature(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "feature", Short: "Register features, record consent and withdraw it"}

	var schema, fingerprint, semantics, described, mode string
	var consented, staged bool
	var tags []string
	var grantees, purposes []string
	register := a.command("register FEATURE", "Register a feature of the tenant", cobra.ExactArgs(1), func(c *caller, cmd *cobra.Command, args []string) error {
		body := v1.FeatureRegistration{Tenant: c.tenant, FeatureID: args[0], Consented: consented, Fingerprint: fingerprint, Grantees: grantees, Schema: v1.JSON("{}")}
		for _, p := range purposes {
			body.Purposes = append(body.Purposes, v1.Purpose(p))
		}
		if schema != "" {
			text, err := os.ReadFile(schema)
			if err != nil {
				return usage(err)
			}
			body.Schema = text
		}
		if semantics != "" {
			text, err := os.ReadFile(semantics)
			if err != nil {
				return usage(err)
			}
			body.Semantics = text
		}
		body.Description, body.Tags, body.Compatibility, body.Staged = described, tags, v1.Compatibility(mode), staged
		f, err := v1.Fetch[v1.Feature](c.RegisterFeature(cmd.Context(), nil, body))
		if err != nil {
			return err
		}
		return c.print(f, func(w *tabwriter.Writer) { features(w, f) })
	})
	register.Flags().StringVar(&schema, "schema", "", "file with the JSON Schema of a row")
	register.Flags().StringVar(&fingerprint, "fingerprint", "", "sha256:... of the data set, nothing else is kept of it")
	register.Flags().BoolVar(&consented, "consented", false, "record consent")
	register.Flags().StringSliceVar(&grantees, "grantee", nil, "tenants that may use it beside its own")
	register.Flags().StringVar(&semantics, "semantics", "", `file with {"columns": {NAME: {"unit": ..., "nullable": ..., "meaning": ...}}}`)
	register.Flags().StringVar(&described, "description", "", "for people; outsiders see it")
	register.Flags().StringSliceVar(&tags, "tag", nil, "for search; outsiders see them")
	register.Flags().StringVar(&mode, "compatibility", "", "what the next version must keep: none, backward, forward or full (default: as it is)")
	register.Flags().BoolVar(&staged, "staged", false, "register a version beside the one in use; fabric feature promote puts it into use")
	register.Flags().StringSliceVar(&purposes, "purpose", nil, "train, evaluate, stats (default: all)")

	list := a.command("list", "Show the features of the tenant and their consent", cobra.NoArgs, func(c *caller, cmd *cobra.Command, _ []string) error {
		page, err := v1.Fetch[v1.FeaturePage](c.ListFeatures(cmd.Context(), c.tenant, &v1.ListFeaturesParams{}))
		if err != nil {
			return err
		}
		return c.print(page, func(w *tabwriter.Writer) { features(w, page.Items...) })
	})

	apply := false
	withdraw := a.command("withdraw FEATURE", "Show what withdrawing all consent to a feature would reach; with --apply, withdraw it", cobra.ExactArgs(1), func(c *caller, cmd *cobra.Command, args []string) error {
		if !apply {
			preview, err := v1.Fetch[v1.Withdrawal](c.WithdrawGrants(cmd.Context(), &v1.WithdrawGrantsParams{Tenant: c.tenant}, v1.WithdrawalRequest{FeatureID: args[0]}))
			if err != nil {
				return err
			}
			return c.print(preview, func(w *tabwriter.Writer) {
				fmt.Fprintf(w, "%s\nNothing was changed. To withdraw: fabric feature withdraw %s --apply\n", preview.Markdown, args[0])
			})
		}
		f, err := v1.Fetch[v1.Feature](c.WithdrawConsent(cmd.Context(), c.tenant, args[0], &v1.WithdrawConsentParams{}))
		if err != nil {
			return err
		}
		return c.print(f, func(w *tabwriter.Writer) { features(w, f) })
	})
	withdraw.Flags().BoolVar(&apply, "apply", false, "withdraw; without it nothing changes")
	versions := a.command("versions FEATURE", "Show every version of a feature, staged ones too", cobra.ExactArgs(1), func(c *caller, cmd *cobra.Command, args []string) error {
		page, err := v1.Fetch[v1.FeaturePage](c.FeatureVersions(cmd.Context(), c.tenant, args[0]))
		if err != nil {
			return err
		}
		return c.print(page, func(w *tabwriter.Writer) {
			fmt.Fprintln(w, "VERSION\tIN USE\tCONTENT\tFINGERPRINT")
			for _, f := range page.Items {
				fmt.Fprintf(w, "%d\t%t\t%s\t%s\n", f.Version, !f.Staged, short(f.Content), short(f.Fingerprint))
			}
		})
	})
	promote := a.command("promote FEATURE VERSION", "Put a version of a feature into use", cobra.ExactArgs(2), func(c *caller, cmd *cobra.Command, args []string) error {
		version, err := strconv.Atoi(args[1])
		if err != nil {
			return usage(fmt.Errorf("version %q: a number", args[1]))
		}
		f, err := v1.Fetch[v1.Feature](c.PromoteFeature(cmd.Context(), c.tenant, args[0], nil, v1.FeaturePromotion{Version: version}))
		if err != nil {
			return err
		}
		return c.print(f, func(w *tabwriter.Writer) { features(w, f) })
	})
	cmd.AddCommand(register, list, versions, promote, newFeatureStatistics(a), withdraw)
	return cmd
}

func features(w *tabwriter.Writer, list ...v1.Feature) {
	fmt.Fprintln(w, "TENANT\tFEATURE\tVERSION\tCONSENT\tPURPOSES\tGRANTEES")
	for _, f := range list {
		consent := "none"
		switch {
		case !f.Consent.WithdrawnAt.IsZero():
			consent = "withdrawn"
		case f.Consent.Granted:
			consent = "granted"
		}
		purposes := make([]string, len(f.Consent.Purposes))
		for i, p := range f.Consent.Purposes {
			purposes[i] = string(p)
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\t%s\n", f.Tenant, f.FeatureID, f.Version, consent, strings.Join(purposes, ","), strings.Join(f.Consent.Grantees, ","))
	}
}
