package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	v1 "github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/evidence"
	"github.com/atom-fabric/fabric/domain/promotion"
)

// ErrChain says that a link between an answer and where it came from is broken.
var ErrChain = errors.New("the chain is broken")

func newTrace(a *app) *cobra.Command {
	var pack string
	cmd := a.command("trace AUDIT-HEADER|DECISION|MODEL[@VERSION]", "Walk from an answer, or a model, to its rounds, features, consents and approvals, verifying each link", cobra.ExactArgs(1), func(c *caller, cmd *cobra.Command, args []string) error {
		walk := c.trace
		if pack != "" {
			walk = func(_ context.Context, what string) ([]evidence.Link, error) { return c.traceOffline(what, pack) }
		}
		links, err := walk(cmd.Context(), args[0])
		if printed := c.print(links, func(w *tabwriter.Writer) { showLinks(w, links) }); printed != nil {
			return printed
		}
		return err
	})
	cmd.Flags().StringVar(&pack, "evidence", "", "evidence pack to walk through instead of asking anybody; the answer is named by its audit header")
	return cmd
}

// An answered is what is known of an answer: all of it by the router's record,
// some of it by its audit header alone.
type answered struct {
	DecisionID string          `json:"decision_id"`
	At         time.Time       `json:"at"`
	Tenant     string          `json:"tenant"`
	Model      string          `json:"model"`
	Version    int             `json:"version"`
	Manifest   artifact.Digest `json:"manifest"`
	Region     string          `json:"region"`
	Endpoint   string          `json:"endpoint"`
	Snapshot   int64           `json:"snapshot"`
	Policy     int64           `json:"policy"`
	TraceID    string          `json:"trace_id"`
}

// readHeader takes an audit header apart. Its MAC is for the router that made
// it; here it says which package answered.
func readHeader(text string) (answered, error) {
	var d answered
	parts := strings.Split(text, ";")
	if parts[0] != "v1" {
		return d, usage(fmt.Errorf("%q is no audit header of version 1", text))
	}
	fields := map[string]string{}
	for _, part := range parts[1:] {
		key, value, _ := strings.Cut(part, "=")
		fields[key] = value
	}
	var errs [3]error
	d.DecisionID, d.Region = fields["did"], fields["region"]
	d.Manifest, errs[0] = artifact.ParseDigest(fields["model"])
	d.Snapshot, errs[1] = strconv.ParseInt(fields["snapshot"], 10, 64)
	d.Policy, errs[2] = strconv.ParseInt(fields["policy"], 10, 64)
	if err := errors.Join(errs[:]...); err != nil {
		return d, usage(fmt.Errorf("audit header: %w", err))
	}
	return d, nil
}

// trace returns the links that verified, and why the next one did not.
func (c *caller) trace(ctx context.Context, what string) ([]evidence.Link, error) {
	var links []evidence.Link
	var d answered
	pkg, err := c.packageNamed(ctx, what)
	if err != nil {
		return nil, err
	}
	if pkg == "" {
		if d, err = c.decision(ctx, decisionID(what)); err != nil {
			return nil, err
		}
		pkg = d.Manifest
		links = append(links,
			evidence.Link{What: "answer", Which: d.DecisionID + " at " + d.At.Format(time.RFC3339), Evidence: "the router's own record, trace " + d.TraceID},
			evidence.Link{What: "route", Which: fmt.Sprintf("%s in %s, snapshot %d, policy %d", d.Endpoint, d.Region, d.Snapshot, d.Policy), Evidence: "the same record; the snapshot that the router ran was signed"})
	}
	promoted, err := c.promotionOf(ctx, pkg)
	if err != nil {
		return links, err
	}
	packed, bundle, err := c.evidence(ctx, promoted)
	if err != nil {
		return links, err
	}
	chain, err := c.verifyPack(packed, bundle)
	links = append(links, chain.Links...)
	if err != nil {
		return links, err
	}
	if err := about(chain, pkg); err != nil {
		return links, err
	}
	since, err := c.governed(ctx, d, promoted, chain.Plan)
	links = append(links, since...)
	if err != nil {
		return links, err
	}
	checked, err := c.verifyAudit(ctx)
	if err != nil {
		return links, err
	}
	return append(links, evidence.Link{What: "audit log", Which: fmt.Sprintf("%d leaves today", checked.Size), Evidence: "root " + checked.Root.Short() + " rebuilt from the leaves"}), nil
}

// traceOffline walks through a pack, and holds it against an audit header.
func (c *caller) traceOffline(header, file string) ([]evidence.Link, error) {
	d, err := readHeader(header)
	if err != nil {
		return nil, err
	}
	packed, bundle, err := readPack(file)
	if err != nil {
		return nil, err
	}
	chain, err := c.verifyPack(packed, bundle)
	links := append([]evidence.Link{{
		What: "answer", Which: fmt.Sprintf("%s from %s, snapshot %d, policy %d", d.DecisionID, d.Region, d.Snapshot, d.Policy),
		Evidence: "what its header says; its MAC is for the router to verify",
	}}, chain.Links...)
	if err != nil {
		return links, err
	}
	return links, about(chain, d.Manifest)
}

// readPack reads a pack, and the bundle beside it where there is one.
func readPack(file string) (packed, bundle []byte, err error) {
	if packed, err = os.ReadFile(file); err != nil {
		return nil, nil, usage(err)
	}
	bundle, err = os.ReadFile(file + ".bundle.json")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, nil, usage(err)
	}
	return packed, bundle, nil
}

// about fails unless the chain leads to that package.
func about(chain evidence.Chain, pkg artifact.Digest) error {
	if got := chain.Plan.Version.Package; got != pkg {
		return fmt.Errorf("%w: the answer names package %s, the evidence is about %s", ErrChain, pkg.Short(), got.Short())
	}
	return nil
}

// decisionID takes the id out of an audit header, or is the id itself.
func decisionID(text string) string {
	for field := range strings.SplitSeq(text, ";") {
		if id, ok := strings.CutPrefix(strings.TrimSpace(field), "did="); ok {
			return id
		}
	}
	return text
}

// isAnswer says whether text names an answer: an audit header, or a decision
// id, which is a trace id, a hyphen and a span id.
func isAnswer(text string) bool {
	trace, span, _ := strings.Cut(text, "-")
	return strings.Contains(text, ";") || len(trace) == 32 && len(span) == 16
}

// packageNamed returns the package that MODEL[@VERSION] names, the newest
// without a version; "" when text names an answer.
func (c *caller) packageNamed(ctx context.Context, text string) (artifact.Digest, error) {
	if isAnswer(text) {
		return "", nil
	}
	model, number, _ := strings.Cut(text, "@")
	version := 0
	if number != "" {
		var err error
		if version, err = strconv.Atoi(number); err != nil || version < 1 {
			return "", usage(fmt.Errorf("%q: a version is a number above 0", number))
		}
	}
	manifest, err := v1.Content(c.DownloadModel(ctx, model, &v1.DownloadModelParams{Version: version, Tenant: c.tenant, Part: "manifest"}))
	if err != nil {
		return "", err
	}
	return artifact.DigestOf(manifest), nil
}

// decision asks the router for its record.
func (c *caller) decision(ctx context.Context, id string) (answered, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.Server+"router/decisions/"+id, nil)
	if err != nil {
		return answered{}, usage(err)
	}
	for _, edit := range c.RequestEditors {
		if err := edit(ctx, req); err != nil {
			return answered{}, err
		}
	}
	return v1.Fetch[answered](c.Client.Client.Do(req))
}

// promotionOf returns the newest applied promotion whose plan serves a package.
func (c *caller) promotionOf(ctx context.Context, pkg artifact.Digest) (string, error) {
	leaves, err := c.leavesOf(ctx)
	if err != nil {
		return "", err
	}
	for _, l := range slices.Backward(leaves) {
		id, ok := strings.CutPrefix(l.leaf.Subject, "promotion/")
		if !ok || l.leaf.Kind != "promotion.applied" {
			continue
		}
		action, err := v1.Fetch[v1.Action](c.GetPromotion(ctx, id, &v1.GetPromotionParams{Tenant: c.tenant}))
		if err != nil {
			return "", err
		}
		var plan promotion.Plan
		if err := json.Unmarshal(action.Plan, &plan); err != nil {
			return "", fmt.Errorf("%w: plan of %s: %w", ErrChain, id, err)
		}
		if plan.Version != nil && plan.Version.Package == pkg {
			return id, nil
		}
	}
	return "", fmt.Errorf("%w: no promotion of package %s was applied", ErrChain, pkg.Short())
}
