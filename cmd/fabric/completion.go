package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	v1 "github.com/atom-fabric/fabric/api/v1"
)

// completionTakes is how long somebody who pressed Tab waits at most. What is
// away then offers nothing, and says nothing.
const completionTakes = time.Second

// A named thing is what a placeholder of a command's usage stands for.
type named struct {
	// list returns the names that there are, newest first, each with a word
	// about it behind a tab. args are the arguments that stand before it.
	list func(ctx context.Context, c *caller, args []string) ([]string, error)
	see  string // command that shows them
}

// things are the placeholders whose names the API knows.
func things() map[string]named {
	return map[string]named{
		"RUN":        {runNames, "fabric round list"},
		"MODEL":      {modelNames, "fabric model list"},
		"FEATURE":    {featureNames, "fabric feature list"},
		"PROMOTION":  {actionsOf("promotion"), "fabric approvals list --state ''"},
		"ROLLOUT":    {actionsOf("policy"), "fabric approvals list --state ''"},
		"RESTORE":    {actionsOf("restore"), "fabric approvals list --state ''"},
		"ACTION":     {actionsOf(""), "fabric approvals list --state ''"},
		"PROPOSAL":   {proposalNames, "fabric proposals list"},
		"POINT":      {pointNames, "fabric snapshot list"},
		"REQUEST":    {requestNames, "fabric consent requests"},
		"DELEGATION": {delegationNames, "fabric approvals delegations"},
		"APPROVER":   {approverNames, "fabric approver list"},
	}
}

// names makes the names of a list.
func names[T any](items []T, err error, name func(T) string) ([]string, error) {
	out := make([]string, len(items))
	for i, item := range items {
		out[i] = name(item)
	}
	return out, err
}

func runNames(ctx context.Context, c *caller, _ []string) ([]string, error) {
	page, err := v1.Fetch[v1.RunPage](c.ListRuns(ctx, &v1.ListRunsParams{Tenant: c.tenant}))
	return names(page.Items, err, func(r v1.Run) string { return fmt.Sprintf("%s\t%s, %s", r.ID, r.ModelID, r.Status) })
}

func modelNames(ctx context.Context, c *caller, _ []string) ([]string, error) {
	page, err := v1.Fetch[v1.ModelPage](c.ListModels(ctx, &v1.ListModelsParams{Tenant: c.tenant}))
	return names(page.Items, err, func(m v1.Model) string { return fmt.Sprintf("%s\tnewest version %d", m.ID, m.Latest) })
}

func featureNames(ctx context.Context, c *caller, _ []string) ([]string, error) {
	page, err := v1.Fetch[v1.FeaturePage](c.ListFeatures(ctx, c.tenant, &v1.ListFeaturesParams{}))
	return names(page.Items, err, func(f v1.Feature) string { return fmt.Sprintf("%s\tversion %d", f.FeatureID, f.Version) })
}

func actionsOf(kind string) func(ctx context.Context, c *caller, _ []string) ([]string, error) {
	return func(ctx context.Context, c *caller, _ []string) ([]string, error) {
		page, err := v1.Fetch[v1.BallotPage](c.ListApprovals(ctx, &v1.ListApprovalsParams{Tenant: c.tenant}))
		items := slices.DeleteFunc(page.Items, func(b v1.Ballot) bool { return kind != "" && b.Kind != kind })
		return names(items, err, func(b v1.Ballot) string { return fmt.Sprintf("%s\t%s: %s", b.ID, b.Outcome, b.Summary) })
	}
}

func proposalNames(ctx context.Context, c *caller, _ []string) ([]string, error) {
	page, err := v1.Fetch[v1.ProposalPage](c.ListProposals(ctx, &v1.ListProposalsParams{Tenant: c.tenant}))
	return names(page.Items, err, func(p v1.Proposal) string { return fmt.Sprintf("%s\t%s: %s", p.ID, p.State, p.Summary) })
}

func pointNames(ctx context.Context, c *caller, _ []string) ([]string, error) {
	page, err := v1.Fetch[v1.RecoveryPointPage](c.ListRecoveryPoints(ctx, &v1.ListRecoveryPointsParams{Tenant: c.tenant}))
	return names(page.Items, err, func(p v1.RecoveryPoint) string {
		return fmt.Sprintf("%d\ttaken %s %s", p.Sequence, p.At.Format(time.RFC3339), p.Reason)
	})
}

func requestNames(ctx context.Context, c *caller, _ []string) ([]string, error) {
	list, err := v1.Fetch[v1.AccessRequestList](c.ListAccessRequests(ctx, &v1.ListAccessRequestsParams{Tenant: c.tenant}))
	return names(list.Items, err, func(r v1.AccessRequest) string {
		return fmt.Sprintf("%s\t%s of %s, %s", r.ID, r.FeatureID, r.Owner, r.State)
	})
}

func delegationNames(ctx context.Context, c *caller, _ []string) ([]string, error) {
	list, err := v1.Fetch[v1.DelegationList](c.ListDelegations(ctx, &v1.ListDelegationsParams{Tenant: c.tenant}))
	return names(list.Items, err, func(d v1.Delegation) string { return fmt.Sprintf("%s\t%s for %s", d.ID, d.To, d.From) })
}

func approverNames(ctx context.Context, c *caller, _ []string) ([]string, error) {
	list, err := v1.Fetch[v1.ApproverList](c.ListApprovers(ctx, &v1.ListApproversParams{Tenant: c.tenant}))
	return names(list.Items, err, func(p v1.Approver) string { return fmt.Sprintf("%s\t%s", p.Name, p.Role) })
}

// versionNames are the versions of the model that is the first argument.
func versionNames(ctx context.Context, c *caller, args []string) ([]string, error) {
	if len(args) == 0 {
		return nil, nil
	}
	m, err := v1.Fetch[v1.Model](c.GetModel(ctx, args[0], &v1.GetModelParams{Tenant: c.tenant}))
	slices.Reverse(m.Versions)
	return names(m.Versions, err, func(v v1.ModelVersion) string { return fmt.Sprintf("%d\tround %d of %s", v.Version, v.Round, v.Run) })
}

// placeholders are the words of a usage line that stand for arguments.
func placeholders(cmd *cobra.Command) []string {
	words := strings.Fields(cmd.Use)
	var out []string
	for _, word := range words[1:] {
		out = append(out, strings.Trim(word, "[]"))
	}
	return out
}

// complete gives every command of the tree its completions: of arguments by
// what its usage says, of flags by their name.
func (a *app) complete(root *cobra.Command) {
	for _, cmd := range tree(root) {
		holders := placeholders(cmd)
		if cmd.RunE != nil && cmd.ValidArgsFunction == nil {
			cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
				if len(args) >= len(holders) {
					return nil, cobra.ShellCompDirectiveNoFileComp
				}
				return a.offers(cmd, holders[len(args)], args)
			}
		}
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if do := a.flagCompletion(cmd, f); do != nil {
				must(cmd.RegisterFlagCompletionFunc(f.Name, do))
			}
		})
	}
	must(root.RegisterFlagCompletionFunc("output", func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		return append([]string{asTable, asJSON, asYAML}, strings.FieldsFunc(cmd.Annotations[moreForms], func(r rune) bool { return r == ',' })...), cobra.ShellCompDirectiveNoFileComp
	}))
}

// tree lists a command and all below it.
func tree(cmd *cobra.Command) []*cobra.Command {
	all := []*cobra.Command{cmd}
	for _, child := range cmd.Commands() {
		all = append(all, tree(child)...)
	}
	return all
}

// offers are the completions of one placeholder.
func (a *app) offers(cmd *cobra.Command, holder string, args []string) ([]string, cobra.ShellCompDirective) {
	if strings.ToLower(holder) == holder { // words to choose from: pause|resume|abort
		return strings.Split(holder, "|"), cobra.ShellCompDirectiveNoFileComp
	}
	out, files := []string(nil), cobra.ShellCompDirectiveNoFileComp
	for _, one := range strings.Split(strings.ReplaceAll(holder, "[@VERSION]", ""), "|") {
		if thing, ok := things()[one]; ok {
			out = append(out, a.ask(cmd, args, thing.list)...)
		}
		if slices.Contains([]string{"FILE", "FOLDER", "DIR", "DRAFT", "EXPORT-FOLDER", "PROOF-FILE", "PUBLIC-KEY", "KEY", "EVIDENCE.ZIP", "BEFORE", "AFTER"}, one) {
			files = cobra.ShellCompDirectiveDefault
		}
		if one == "VERSION" {
			out = append(out, a.ask(cmd, args, versionsOfFeature)...)
		}
	}
	return out, files
}

func versionsOfFeature(ctx context.Context, c *caller, args []string) ([]string, error) {
	page, err := v1.Fetch[v1.FeaturePage](c.FeatureVersions(ctx, c.tenant, args[0]))
	return names(page.Items, err, func(f v1.Feature) string { return strconv.Itoa(f.Version) })
}

// ask asks the API, for a second at most.
func (a *app) ask(cmd *cobra.Command, args []string, list func(context.Context, *caller, []string) ([]string, error)) []string {
	c, err := a.connect()
	if err != nil {
		return nil
	}
	if f := cmd.Flags().Lookup("tenant"); f != nil && f.Value.String() != "" {
		c.tenant = f.Value.String()
	}
	base := cmd.Context()
	if base == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(base, completionTakes)
	defer cancel()
	found, err := list(ctx, c, args)
	if err != nil {
		return nil
	}
	return found
}

// choices are flags that take one of a few words, on every command that has
// them with this name.
func flagChoices() map[string][]string {
	return map[string][]string{
		"environment":  {"dev", "staging", "production"},
		"trainer":      {"logistic", "mlp", "exec"},
		"strategy":     {"fedavg", "fedprox", "fedavgm", "fedadagrad", "fedadam", "fedyogi", "scaffold", "fedbuff"},
		"rule":         {"mean", "median", "trimmed_mean", "krum", "multi_krum", "bulyan", "geometric_median", "norm_bound"},
		"privacy":      {"gaussian", "discrete_gaussian", "skellam"},
		"privacy-unit": {"site", "example"},
		"compression":  {"fp16", "bf16", "int8", "topk", "randk"},
		"canary":       {"usual", "none", "1,5,25,50,100"},
		"shadow":       {"1%", "10%", "100%"},
		"decision":     {"stop", "retrain", "retire"},
		"role":         {"data-scientist", "operator", "approver", "auditor", "admin", "data-plane"},
		"in":           {"file", "transit", "token"},
		"data":         {"digits", "tumour"},
		"partition":    {"iid", "shards"},
		"attack":       {"sign-flip", "scale", "noise"},
	}
}

type flagCompletion = func(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective)

// flagCompletion completes a flag's value, nil where the shell's own way (file
// names) is right or nothing can be known.
func (a *app) flagCompletion(cmd *cobra.Command, f *pflag.Flag) flagCompletion {
	fixed := func(words ...string) flagCompletion {
		return func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return words, cobra.ShellCompDirectiveNoFileComp
		}
	}
	asked := func(list func(context.Context, *caller, []string) ([]string, error)) flagCompletion {
		return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			return a.ask(cmd, args, list), cobra.ShellCompDirectiveNoFileComp
		}
	}
	path := cmd.CommandPath()
	switch f.Name {
	case "key", "root-key", "to-key", "new", "root", "verifier":
		return func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return []string{"key", "pub"}, cobra.ShellCompDirectiveFilterFileExt
		}
	case "dir", "reports", "out-dir":
		return func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveFilterDirs
		}
	case "version", "to":
		if len(placeholders(cmd)) > 0 && placeholders(cmd)[0] == "MODEL" {
			return asked(versionNames)
		}
	case "features", "feature":
		return asked(featureNames)
	case "region":
		return func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			c, err := a.config()
			if err != nil {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return c.RegionNames(), cobra.ShellCompDirectiveNoFileComp
		}
	case "state":
		if strings.HasPrefix(path, "fabric approvals") {
			return fixed("pending", "approved", "rejected", "expired", "returned", "revoked", "lapsed")
		}
	case "role":
		if strings.HasPrefix(path, "fabric approver") {
			return fixed("owner", "on-call", "operator", "risk", "platform", "privacy", "security")
		}
	case "rule":
		if strings.HasPrefix(path, "fabric keys") {
			return nil
		}
	}
	if words, ok := flagChoices()[f.Name]; ok && f.Value.Type() != "bool" {
		return fixed(words...)
	}
	return nil
}
