package evidence

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/provenance"
)

// cards compares the two cards with what the verified statements say: they are
// a way to read them and no claim of their own.
func (w *walker) cards() error {
	for path, card := range map[string][]byte{readmeFile: readme(w.chain), bomFile: bom(w.chain)} {
		content, err := w.read(path)
		if err != nil {
			return err
		}
		if !bytes.Equal(content, card) {
			return fmt.Errorf("%w: %s says something else than the statements", ErrChain, path)
		}
	}
	w.link("model card", bomFile+", "+readmeFile, "made again from the verified statements, equal to the byte")
	return nil
}

// readme is the model card for people.
func readme(c Chain) []byte {
	var b strings.Builder
	p, v := c.Package, c.Plan.Version
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("# %s, version %d", p.Model, v.Number)
	line("")
	if p.Simulation {
		line("**Simulation**: trained on a development system; it counts for nothing outside.")
		line("")
	}
	line("| | |\n|---|---|")
	line("| owner | %s |", p.Tenant)
	line("| package | `%s` |", v.Package)
	line("| weights | `%s` |", v.Weights)
	line("| promoted to | %s: %s |", c.Plan.Environment, strings.Join(c.Plan.Regions, ", "))
	line("| plan | `%s`, risk %d of 100 |", c.Digest, c.Plan.Risk.Score)
	line("| measured | %s |", measured(p.Metrics))
	if len(c.Rounds) == 0 {
		line("| trained | outside the fabric |")
		return []byte(b.String())
	}
	last := c.Rounds[len(c.Rounds)-1]
	line("| trained | run %s, %d rounds, %s |", p.Run, len(c.Rounds), last.Aggregation.Strategy)
	for _, promise := range spent(c.Rounds) {
		line("| privacy | %s |", promise)
	}
	line("")
	line("## Read")
	line("")
	for _, f := range last.Features {
		line("- %s/%s, fingerprint `%s`", f.Tenant, f.Feature, f.Fingerprint)
	}
	line("")
	line("## Rounds")
	line("")
	line("| round | kind | sites asked | answered | refused | measured before it |\n|---|---|---|---|---|---|")
	for _, r := range c.Rounds {
		line("| %d | %s | %d | %d | %d | %s |", r.Number, r.Kind, r.Participants.Selected, r.Participants.Accepted, r.Participants.Rejected, measured(r.Metrics))
	}
	return []byte(b.String())
}

// The parts of a CycloneDX 1.6 document that a model card needs.
// Source: https://cyclonedx.org/docs/1.6/json, component and modelCard.
type (
	cdxDocument struct {
		Format   string      `json:"bomFormat"`
		Spec     string      `json:"specVersion"`
		Serial   string      `json:"serialNumber"`
		Version  int         `json:"version"`
		Metadata cdxMetadata `json:"metadata"`
	}
	cdxMetadata struct {
		Timestamp string       `json:"timestamp,omitempty"`
		Component cdxComponent `json:"component"`
	}
	cdxComponent struct {
		Type       string        `json:"type"`
		Ref        string        `json:"bom-ref"`
		Publisher  string        `json:"publisher"`
		Name       string        `json:"name"`
		Version    string        `json:"version"`
		Hashes     []cdxHash     `json:"hashes"`
		Card       cdxCard       `json:"modelCard"`
		Properties []cdxProperty `json:"properties"`
	}
	cdxHash struct {
		Algorithm string `json:"alg"`
		Content   string `json:"content"`
	}
	cdxCard struct {
		Parameters cdxParameters `json:"modelParameters"`
		Analysis   cdxAnalysis   `json:"quantitativeAnalysis"`
	}
	cdxParameters struct {
		Approach cdxApproach  `json:"approach"`
		Task     string       `json:"task"`
		Datasets []cdxDataset `json:"datasets,omitempty"`
	}
	cdxApproach struct {
		Type string `json:"type"`
	}
	cdxDataset struct {
		Type           string `json:"type"`
		Name           string `json:"name"`
		Classification string `json:"classification"`
		Description    string `json:"description"`
	}
	cdxAnalysis struct {
		Metrics []cdxMetric `json:"performanceMetrics"`
	}
	cdxMetric struct {
		Type  string `json:"type"`
		Value string `json:"value"`
		Slice string `json:"slice"`
	}
	cdxProperty struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	}
)

// bom is the model card for programs.
func bom(c Chain) []byte {
	p, v := c.Package, c.Plan.Version
	doc := cdxDocument{Format: "CycloneDX", Spec: "1.6", Serial: serial(v.Package), Version: 1}
	part := &doc.Metadata.Component
	part.Type, part.Ref, part.Publisher, part.Name, part.Version = "machine-learning-model", string(v.Package), p.Tenant, p.Model, fmt.Sprint(v.Number)
	part.Hashes = []cdxHash{{"SHA-256", v.Weights.Hex()}}
	part.Card.Parameters.Approach.Type, part.Card.Parameters.Task = "supervised", "classification"
	part.Card.Analysis.Metrics = metrics(p)
	part.Properties = []cdxProperty{
		{"fabric:package", string(v.Package)}, {"fabric:plan", string(c.Digest)}, {"fabric:environment", c.Plan.Environment},
		{"fabric:risk", fmt.Sprint(c.Plan.Risk.Score)}, {"fabric:simulation", fmt.Sprint(p.Simulation)},
	}
	if n := len(c.Rounds); n > 0 {
		doc.Metadata.Timestamp = c.Rounds[n-1].StartedAt.UTC().Format("2006-01-02T15:04:05Z07:00")
		for _, f := range c.Rounds[n-1].Features {
			part.Card.Parameters.Datasets = append(part.Card.Parameters.Datasets, cdxDataset{
				Type: "dataset", Name: f.Tenant + "/" + f.Feature, Classification: "not pooled", Description: "fingerprint " + string(f.Fingerprint),
			})
		}
		part.Properties = append(part.Properties, cdxProperty{"fabric:run", p.Run}, cdxProperty{"fabric:rounds", fmt.Sprint(n)})
		for _, promise := range spent(c.Rounds) {
			part.Properties = append(part.Properties, cdxProperty{"fabric:privacy", promise})
		}
	}
	text, err := artifact.Canonical(doc)
	if err != nil { // plain strings and small integers encode
		return nil
	}
	return text
}

func metrics(p provenance.Package) []cdxMetric {
	all := []cdxMetric{{"held-out rows", fmt.Sprint(p.Metrics.Evaluated), "all regions"}}
	if bp, ok := p.Metrics.AccuracyBP(); ok {
		all = append(all, cdxMetric{"accuracy", fmt.Sprintf("%d.%04d", bp/10000, bp%10000), "all regions"})
	}
	return all
}

// serial is a version 8 UUID (RFC 9562, section 5.8) from the package's digest:
// one package, one number.
func serial(d artifact.Digest) string {
	sum := sha256.Sum256([]byte("fabric model card\n" + string(d)))
	u := sum[:16]
	u[6], u[8] = u[6]&0x0f|0x80, u[8]&0x3f|0x80
	h := hex.EncodeToString(u)
	return "urn:uuid:" + strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:]}, "-")
}
