package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	v1 "github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/examples/tumour"
)

// schema describes a row of the table, as a JSON Schema.
func schema() v1.JSON {
	type property struct {
		Type string `json:"type"`
	}
	properties := map[string]property{}
	for _, name := range tumour.Columns() {
		properties[name] = property{"number"}
	}
	text, err := json.Marshal(map[string]any{"type": "object", "properties": properties, "required": tumour.Columns()})
	if err != nil {
		return nil // strings and maps of strings always encode
	}
	return text
}

func (d *Demo) consent(ctx context.Context) error {
	for _, h := range tumour.Split() {
		steward, err := d.as(h.Tenant, "steward", "operator", "admin")
		if err != nil {
			return err
		}
		f, err := v1.Fetch[v1.Feature](steward.RegisterFeature(ctx, &v1.RegisterFeatureParams{}, v1.FeatureRegistration{
			Tenant: h.Tenant, FeatureID: Feature, Schema: schema(), Consented: true,
			Fingerprint: string(artifact.DigestOf(h.CSV())), Grantees: []string{Consortium}, Purposes: []v1.Purpose{"train", "evaluate", "stats"},
		}))
		if err != nil {
			return err
		}
		// The least that a steward can say about privacy: how much all runs
		// together may ever tell about one row.
		if _, err := v1.Fetch[v1.PrivacyBudget](steward.SetPrivacyBudget(ctx, Feature, &v1.SetPrivacyBudgetParams{},
			v1.PrivacyBudgetRequest{Epsilon: budget, Delta: delta})); err != nil {
			return err
		}
		d.say("%-14s %-5s %3d rows stay; registered %s version %d, fingerprint %s, for %s", h.Tenant, h.Region, h.Rows.Len(), f.FeatureID, f.Version, short(f.Fingerprint), Consortium)
	}
	return nil
}

func (d *Demo) refusal(ctx context.Context) error {
	first := tumour.Split()[0]
	steward, err := d.as(first.Tenant, "steward", "operator", "admin")
	if err != nil {
		return err
	}
	if _, err := v1.Fetch[v1.Feature](steward.RegisterFeature(ctx, &v1.RegisterFeatureParams{}, v1.FeatureRegistration{
		Tenant: first.Tenant, FeatureID: "notes", Schema: v1.JSON("{}"), Consented: false,
	})); err != nil {
		return err
	}
	_, err = v1.Fetch[v1.RunAccepted](d.lead.StartRun(ctx, &v1.StartRunParams{}, v1.RunRequest{
		ModelID: Model, Tenants: hospitals(), Params: v1.RunParams{Features: []string{Feature, "notes"}},
	}))
	var problem *v1.ProblemError
	if !errors.As(err, &problem) {
		return holds(false, "a round with feature notes was not refused: %v", err)
	}
	d.say("refused with %d %s: %s", problem.Status, problem.Code, problem.Detail)
	for _, item := range problem.Errors {
		d.say("  %s: %s", item.Pointer, item.Detail)
	}
	return holds(problem.Status == 422, "status %d", problem.Status)
}

// budget is what a hospital's rows may give away for good, over all runs; a
// run of twelve rounds takes about three of it.
const (
	budget = 20
	delta  = 1e-5
)

// params are what the sites train with: masked sums, every row's gradient
// clipped, and noise that they add themselves. The columns' public bounds are
// the normalisation, so nothing of the rows is released for it.
func (d *Demo) params() v1.RunParams {
	bounds := make([][]float64, 0, tumour.Inputs)
	for _, b := range tumour.Bounds() {
		bounds = append(bounds, b[:])
	}
	return v1.RunParams{
		Model:  v1.ModelSpec{Trainer: round.TrainerLogistic, Inputs: tumour.Inputs, Classes: 2},
		Rounds: d.Rounds, Quorum: 5, DeadlineSeconds: 60, LocalEpochs: 1, LearningRate: 6, Seed: 1,
		Features: []string{Feature}, Bounds: bounds,
		Secure:  v1.Secure{Mode: round.SecureOn, MaxExamples: 256},
		Privacy: v1.Privacy{Mechanism: round.PrivacyDiscrete, Unit: round.UnitExample, NoiseMultiplier: 5, ClipNorm: 0.5, Delta: delta},
	}
}

func (d *Demo) train(ctx context.Context) error {
	accepted, err := v1.Fetch[v1.RunAccepted](d.lead.StartRun(ctx, &v1.StartRunParams{}, v1.RunRequest{ModelID: Model, Tenants: hospitals(), Params: d.params()}))
	if err != nil {
		return err
	}
	d.say("run %s, workflow %s, trace %s", accepted.ID, accepted.WorkflowID, accepted.TraceID)
	told := 0
	began := time.Now()
	for d.run.Status != "completed" {
		if d.run, err = v1.Fetch[v1.Run](d.lead.GetRun(ctx, accepted.ID, &v1.GetRunParams{})); err != nil {
			return err
		}
		for ; told < len(d.run.Rounds) && d.run.Rounds[told].Status != "open"; told++ {
			d.round(d.run.Rounds[told])
		}
		if d.run.Status == "failed" || d.run.Status == "stopped" {
			return holds(false, "run %s %s: %s", d.run.ID, d.run.Status, d.run.Cause)
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
	d.Accuracy = share(d.run.Metrics)
	d.say("%d rounds in %.1f s; version %d, weights %s; accuracy %.2f %% on the %d rows that the sites held out", d.Rounds, time.Since(began).Seconds(),
		d.run.Version, short(d.run.Weights), 100*d.Accuracy, d.run.Metrics.Evaluated)
	if err := d.spent(ctx); err != nil {
		return err
	}
	return holds(d.Accuracy >= 0.85, "accuracy %.2f %% is below 85 %%", 100*d.Accuracy)
}

// spent shows the first hospital's ledger.
func (d *Demo) spent(ctx context.Context) error {
	first := tumour.Split()[0]
	steward, err := d.as(first.Tenant, "steward", "operator", "admin")
	if err != nil {
		return err
	}
	list, err := v1.Fetch[v1.PrivacyBudgetPage](steward.ListPrivacyBudgets(ctx, &v1.ListPrivacyBudgetsParams{}))
	if err != nil {
		return err
	}
	for _, b := range list.Items {
		if b.Feature == Feature {
			d.say("no single update was seen; every row of %s is (%.2f, %g)-private after all runs so far, %.2f of %.0f is left", first.Tenant, b.Spent, b.Delta, b.Left, b.EpsilonLimit)
			return holds(b.Spent > 0 && b.Reserved == 0, "%d entries, %.2f spent, %.2f reserved", b.Entries, b.Spent, b.Reserved)
		}
	}
	return holds(false, "feature %s of %s has no budget", Feature, first.Tenant)
}

// round tells of one closed round. Its metrics are those of the weights that
// it started from.
func (d *Demo) round(r v1.Round) {
	sites := 0
	for _, region := range r.Regions {
		sites += region.Accepted
	}
	measured := "-"
	if r.Metrics.Evaluated > 0 {
		measured = fmt.Sprintf("%6.2f %%, loss %.4f", 100*share(r.Metrics), float64(r.Metrics.LossMicros)/1e6/float64(r.Metrics.Evaluated))
	}
	d.say("round %2d %-10s %d sites in %d regions, weights so far %s, %d ms", r.Number, r.Kind, sites, len(r.Regions), measured, r.EndedAt.Sub(r.StartedAt).Milliseconds())
}

func share(m v1.Metrics) float64 {
	if m.Evaluated == 0 {
		return 0
	}
	return float64(m.Correct) / float64(m.Evaluated)
}

func short(digest string) string { return artifact.Digest(digest).Short() }

// pause waits, unless ctx ends before.
func pause(ctx context.Context, wait time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(wait):
		return nil
	}
}
