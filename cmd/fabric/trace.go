package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	v1 "github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/audit"
	"github.com/atom-fabric/fabric/domain/promotion"
	"github.com/atom-fabric/fabric/domain/round"
)

// ErrChain says that a link between an answer and where it came from is broken.
var ErrChain = errors.New("the chain is broken")

// auditCheck is the outcome of rebuilding the tree.
type auditCheck struct {
	Size int64           `json:"size"`
	Root artifact.Digest `json:"root"`
}

// verifyAudit reads every leaf, hashes it, and compares the root with the
// checkpoint's. A leaf of another tenant counts by its hash.
func (c *caller) verifyAudit(ctx context.Context) (auditCheck, error) {
	checkpoint, err := v1.Fetch[v1.Checkpoint](c.AuditCheckpoint(ctx))
	if err != nil {
		return auditCheck{}, err
	}
	var tree audit.Tree
	for tree.Size < checkpoint.Size {
		page, err := v1.Fetch[v1.LeafPage](c.AuditLeaves(ctx, &v1.AuditLeavesParams{From: tree.Size, Limit: 200, Tenant: c.tenant}))
		if err != nil {
			return auditCheck{}, err
		}
		if len(page.Items) == 0 {
			return auditCheck{}, fmt.Errorf("%w: the checkpoint counts %d leaves, the log shows %d", ErrChain, checkpoint.Size, tree.Size)
		}
		for _, item := range page.Items {
			if tree.Size == checkpoint.Size {
				break // appended after the checkpoint was read
			}
			hash, err := leafHash(item)
			if err != nil {
				return auditCheck{}, err
			}
			tree, _ = tree.Append(hash)
		}
	}
	root := tree.Root()
	got := artifact.Digest("sha256:" + hex.EncodeToString(root[:]))
	if string(got) != checkpoint.Root {
		return auditCheck{}, fmt.Errorf("%w: the leaves give root %s, the checkpoint says %s: a leaf was changed", ErrChain, got, checkpoint.Root)
	}
	return auditCheck{Size: tree.Size, Root: got}, nil
}

// leafHash hashes a leaf's own bytes where they are shown, and compares.
func leafHash(item v1.Leaf) (audit.Hash, error) {
	var told audit.Hash
	decoded, err := hex.DecodeString(artifact.Digest(item.Hash).Hex())
	if err != nil || len(decoded) != len(told) {
		return told, fmt.Errorf("%w: leaf %d has no hash", ErrChain, item.Index)
	}
	copy(told[:], decoded)
	if len(item.Leaf) == 0 {
		return told, nil
	}
	body, err := compact(item.Leaf)
	if err != nil {
		return told, fmt.Errorf("%w: leaf %d: %w", ErrChain, item.Index, err)
	}
	if audit.LeafHash(body) != told {
		return told, fmt.Errorf("%w: leaf %d does not hash to what the log says", ErrChain, item.Index)
	}
	return told, nil
}

// compact undoes the indentation that transport may have added.
func compact(text json.RawMessage) ([]byte, error) {
	var b bytes.Buffer
	err := json.Compact(&b, text)
	return b.Bytes(), err
}

// A link is one verified step from an answer back to its rows' consent.
type link struct {
	What     string `json:"what"`
	Which    string `json:"which"`
	Evidence string `json:"evidence"` // how it was verified
}

func newTrace(a *app) *cobra.Command {
	return a.command("trace AUDIT-HEADER|DECISION", "Walk from an answer to its model, rounds, features, consents and approvals, verifying each link", cobra.ExactArgs(1), func(c *caller, cmd *cobra.Command, args []string) error {
		links, err := c.trace(cmd.Context(), args[0])
		if printed := c.print(links, func(w *tabwriter.Writer) {
			fmt.Fprintln(w, "LINK\tWHICH\tVERIFIED BY")
			for _, l := range links {
				fmt.Fprintf(w, "%s\t%s\t%s\n", l.What, l.Which, l.Evidence)
			}
		}); printed != nil {
			return printed
		}
		return err
	})
}

// A decision is what the router keeps of an answer.
type decision struct {
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

// decisionID takes the id out of an audit header, or is the id itself.
func decisionID(text string) string {
	for field := range strings.SplitSeq(text, ";") {
		if id, ok := strings.CutPrefix(strings.TrimSpace(field), "did="); ok {
			return id
		}
	}
	return text
}

// trace returns the links that verified, and why the next one did not.
func (c *caller) trace(ctx context.Context, text string) ([]link, error) {
	var links []link
	add := func(what, which, evidence string) { links = append(links, link{what, which, evidence}) }

	d, err := c.decision(ctx, decisionID(text))
	if err != nil {
		return links, err
	}
	add("answer", d.DecisionID+" at "+d.At.Format(time.RFC3339), "the router's own record, trace "+d.TraceID)
	add("route", fmt.Sprintf("%s in %s, snapshot %d, policy %d", d.Endpoint, d.Region, d.Snapshot, d.Policy), "the signed snapshot that the router ran")

	manifest, predicate, err := c.verifiedPackage(ctx, d)
	if err != nil {
		return links, err
	}
	add("model", fmt.Sprintf("%s version %d, package %s", d.Model, d.Version, d.Manifest.Short()), fmt.Sprintf("signature over the manifest's %d bytes, pinned key", len(manifest)))

	run, err := v1.Fetch[v1.Run](c.GetRun(ctx, predicate.Run, &v1.GetRunParams{Tenant: c.tenant}))
	if err != nil {
		return links, err
	}
	last := ""
	for _, r := range run.Rounds {
		if artifact.Digest(r.Manifest) == predicate.Manifest {
			last = fmt.Sprintf("round %d", r.Number)
		}
	}
	if last == "" {
		return links, fmt.Errorf("%w: the package names round manifest %s, which run %s does not have", ErrChain, predicate.Manifest.Short(), run.ID)
	}
	accepted, selected := 0, 0
	for _, r := range run.Rounds {
		for _, region := range r.Regions {
			accepted, selected = accepted+region.Accepted, selected+region.Selected
		}
	}
	add("training", fmt.Sprintf("run %s, %d rounds, %d of %d updates", run.ID, len(run.Rounds), accepted, selected), "the package's signed predicate names the manifest of "+last)

	card, err := c.verifiedCard(ctx, d, manifest)
	if err != nil {
		return links, err
	}
	for _, f := range card.Features {
		add("feature", f.Tenant+"/"+f.Feature, "consent checked when round manifest "+predicate.Manifest.Short()+" was signed; fingerprint "+f.Fingerprint.Short())
	}
	leaves, err := c.leavesOf(ctx)
	if err != nil {
		return links, err
	}
	promoted, err := c.promotionOf(ctx, leaves, d.Manifest)
	if err != nil {
		return links, err
	}
	for _, l := range leaves {
		switch {
		case l.leaf.Kind == "promotion.applied" && l.leaf.Subject == "promotion/"+promoted:
			add("promotion", promoted, c.inclusion(ctx, l))
		case l.leaf.Kind == "vote.counted" && l.leaf.Subject == "approval/"+promoted:
			add("approval", "vote of "+l.leaf.Actor+" on plan "+l.leaf.Digest.Short(), c.inclusion(ctx, l))
		}
	}
	checked, err := c.verifyAudit(ctx)
	if err != nil {
		return links, err
	}
	add("audit log", fmt.Sprintf("%d leaves", checked.Size), "root "+checked.Root.Short()+" rebuilt from the leaves")
	return links, nil
}

// decision asks the router for its record.
func (c *caller) decision(ctx context.Context, id string) (decision, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.Server+"router/decisions/"+id, nil)
	if err != nil {
		return decision{}, usage(err)
	}
	for _, edit := range c.RequestEditors {
		if err := edit(ctx, req); err != nil {
			return decision{}, err
		}
	}
	return v1.Fetch[decision](c.Client.Client.Do(req))
}

// A packagePredicate is what the signature says of a model package.
type packagePredicate struct {
	Tenant   string          `json:"tenant"`
	Model    string          `json:"model"`
	Run      string          `json:"run"`
	Round    int             `json:"round"`
	Weights  artifact.Digest `json:"weights"`
	Manifest artifact.Digest `json:"manifest"`
	Metrics  round.Metrics   `json:"metrics"`
}

// verifiedPackage fetches the package that answered and verifies its signature
// over its digest.
func (c *caller) verifiedPackage(ctx context.Context, d decision) ([]byte, packagePredicate, error) {
	var predicate packagePredicate
	key, err := c.trustedKey()
	if err != nil {
		return nil, predicate, err
	}
	manifest, err := v1.Content(c.DownloadModel(ctx, d.Model, &v1.DownloadModelParams{Version: d.Version, Tenant: c.tenant, Part: "manifest"}))
	if err != nil {
		return nil, predicate, err
	}
	if got := artifact.DigestOf(manifest); got != d.Manifest {
		return nil, predicate, fmt.Errorf("%w: the answer names package %s, version %d is package %s", ErrChain, d.Manifest.Short(), d.Version, got.Short())
	}
	bundle, err := v1.Content(c.GetModelBundle(ctx, d.Model, &v1.GetModelBundleParams{Version: d.Version, Tenant: c.tenant}))
	if err != nil {
		return nil, predicate, err
	}
	verified, err := artifact.VerifyBundle(keys(key), bundle, artifact.PredicateModelPackage, d.Manifest)
	if err != nil {
		return nil, predicate, fmt.Errorf("%w: package %s: %w", ErrChain, d.Manifest.Short(), err)
	}
	if err := json.Unmarshal(verified.Predicate, &predicate); err != nil {
		return nil, predicate, fmt.Errorf("%w: package %s: %w", ErrChain, d.Manifest.Short(), err)
	}
	return manifest, predicate, nil
}

// A modelCard is what the package says of itself, as far as a trace needs it.
type modelCard struct {
	Features []round.FeatureRef `json:"features"`
}

// verifiedCard fetches the card and holds it against the signed manifest.
func (c *caller) verifiedCard(ctx context.Context, d decision, manifest []byte) (modelCard, error) {
	var card modelCard
	text, err := v1.Content(c.DownloadModel(ctx, d.Model, &v1.DownloadModelParams{Version: d.Version, Tenant: c.tenant, Part: "card"}))
	if err != nil {
		return card, err
	}
	if !bytes.Contains(manifest, []byte(artifact.DigestOf(text))) {
		return card, fmt.Errorf("%w: the card is not a layer of package %s", ErrChain, d.Manifest.Short())
	}
	if err := json.Unmarshal(text, &card); err != nil {
		return card, fmt.Errorf("%w: the card: %w", ErrChain, err)
	}
	return card, nil
}

// A numbered leaf.
type numbered struct {
	index int64
	hash  audit.Hash
	leaf  audit.Leaf
}

// leavesOf returns the leaves that the caller may read.
func (c *caller) leavesOf(ctx context.Context) ([]numbered, error) {
	var all []numbered
	for from := int64(0); ; {
		page, err := v1.Fetch[v1.LeafPage](c.AuditLeaves(ctx, &v1.AuditLeavesParams{From: from, Limit: 200, Tenant: c.tenant}))
		if err != nil {
			return nil, err
		}
		for _, item := range page.Items {
			hash, err := leafHash(item)
			if err != nil {
				return nil, err
			}
			n := numbered{index: item.Index, hash: hash}
			if len(item.Leaf) > 0 {
				if err := json.Unmarshal(item.Leaf, &n.leaf); err != nil {
					return nil, fmt.Errorf("%w: leaf %d: %w", ErrChain, item.Index, err)
				}
			}
			all = append(all, n)
			from = item.Index + 1
		}
		if len(page.Items) < 200 {
			return all, nil
		}
	}
}

// inclusion verifies the proof that a leaf is in the log, and says so.
func (c *caller) inclusion(ctx context.Context, l numbered) string {
	proof, err := v1.Fetch[v1.Proof](c.AuditProof(ctx, &v1.AuditProofParams{Index: l.index}))
	if err != nil {
		return "NOT PROVEN: " + err.Error()
	}
	root, err := hashOf(proof.Root)
	if err != nil {
		return "NOT PROVEN: " + err.Error()
	}
	path := make([]audit.Hash, len(proof.Hashes))
	for i, h := range proof.Hashes {
		if path[i], err = hashOf(h); err != nil {
			return "NOT PROVEN: " + err.Error()
		}
	}
	if err := audit.VerifyInclusion(l.index, proof.Size, l.hash, path, root); err != nil {
		return "NOT PROVEN: " + err.Error()
	}
	return fmt.Sprintf("inclusion proof of leaf %d in the tree of %d", l.index, proof.Size)
}

// promotionOf returns the newest applied promotion whose plan serves a package.
func (c *caller) promotionOf(ctx context.Context, leaves []numbered, pkg artifact.Digest) (string, error) {
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

func hashOf(digest string) (audit.Hash, error) {
	var h audit.Hash
	decoded, err := hex.DecodeString(artifact.Digest(digest).Hex())
	if err != nil || len(decoded) != len(h) {
		return h, fmt.Errorf("%q is no hash", digest)
	}
	copy(h[:], decoded)
	return h, nil
}
