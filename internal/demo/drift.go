package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	v1 "github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/scorecard"
	"github.com/atom-fabric/fabric/examples/tumour"
	"github.com/atom-fabric/fabric/internal/site/table"
)

// How the simulated inputs are made.
const (
	resampled = 4    // rows of a hospital for each that it has, so that a region has enough to be judged
	jitter    = 0.01 // of a value, one standard deviation
	scale     = 1.35 // what a drifted instrument shows for 1
	columns   = 5    // that are watched, and that drift: the first ones
	bins      = 8    // of a watched column
)

// watched are the columns whose distribution is counted, in bins that are
// public: their ends are the columns' published ranges.
func watched() []v1.MeasuredFeature {
	var out []v1.MeasuredFeature
	for j, b := range tumour.Bounds()[:columns] {
		out = append(out, v1.MeasuredFeature{Column: tumour.Columns()[j], Low: b[0], High: b[1], Bins: bins})
	}
	return out
}

// register writes each hospital's rows and has it consent to their use.
func (g *Governance) register(ctx context.Context) error {
	for _, h := range tumour.Split() {
		file, n, err := g.rows(h, false)
		if err != nil {
			return err
		}
		steward, err := g.as(h.Tenant, "steward", "operator", "admin")
		if err != nil {
			return err
		}
		f, err := v1.Fetch[v1.Feature](steward.RegisterFeature(ctx, &v1.RegisterFeatureParams{}, v1.FeatureRegistration{
			Tenant: h.Tenant, FeatureID: Feature, Schema: schema(), Consented: true,
			Fingerprint: string(artifact.DigestOf(file)), Grantees: []string{Consortium}, Purposes: []v1.Purpose{"train", "evaluate", "stats"},
		}))
		if err != nil {
			return err
		}
		g.say("%-14s %-5s %3d rows (SIMULATED: %d resampled) stay; registered %s version %d for %s", h.Tenant, h.Region, n, h.Rows.Len(), f.FeatureID, f.Version, Consortium)
	}
	return nil
}

// rows writes the rows of a hospital where its site reads them: drawn again from
// those of the example, with a little noise; and all of an instrument that
// drifted, if it has.
func (g *Governance) rows(h tumour.Hospital, drifted bool) (file []byte, n int, err error) {
	out := table.Table{Columns: h.Rows.Columns}
	for range resampled * h.Rows.Len() {
		i := g.random.IntN(h.Rows.Len())
		row := slices.Clone(h.Rows.Rows[i])
		for j := range row {
			row[j] *= 1 + jitter*g.random.NormFloat64()
		}
		if drifted {
			shift(row)
		}
		out.Rows, out.Labels = append(out.Rows, row), append(out.Labels, h.Rows.Labels[i])
	}
	var text bytes.Buffer
	if err := out.Write(&text); err != nil {
		return nil, 0, err
	}
	path := g.Rows(h.Site)
	if err := os.WriteFile(path+".new", text.Bytes(), 0o600); err != nil {
		return nil, 0, err
	}
	return text.Bytes(), out.Len(), os.Rename(path+".new", path)
}

// shift is what a drifted instrument does to a row.
func shift(row []float64) {
	for j := range columns {
		row[j] *= scale
	}
}

// ask starts the callers, and looks on until there is something to compare with.
func (g *Governance) ask(ctx context.Context) error {
	calls, err := g.newCallers()
	if err != nil {
		return err
	}
	g.calls = calls
	calls.start(ctx)
	if err := pause(ctx, baseline*window); err != nil {
		return err
	}
	for _, region := range calls.regions() {
		t := calls.tally(region)
		g.say("SIMULATED callers in %-5s %3d asked, %3d answered by version %d; distance of their inputs from the training rows: PSI %.3f", region, t.asked, t.answered, t.version, t.psi())
		if err := holds(t.asked > 0 && 10*t.answered >= 9*t.asked && t.version == g.first.Version, "%s: %d of %d answered, by version %d", region, t.answered, t.asked, t.version); err != nil {
			return err
		}
	}
	return nil
}

// drift lets the instruments of a region drift, and measures it: a run counts
// again, and the card of each region says what it sees.
func (g *Governance) drift(ctx context.Context) error {
	g.calls.drift(drifting)
	g.began = time.Now()
	for _, h := range tumour.Split() {
		if h.Region == drifting {
			if _, _, err := g.rows(h, true); err != nil {
				return err
			}
		}
	}
	g.say("SIMULATED: from now on the instruments in %s show %s at %g of what they are", drifting, strings.Join(tumour.Columns()[:columns], ", "), scale)
	run, err := g.learn(ctx, g.params())
	if err != nil {
		return err
	}
	for _, region := range g.calls.regions() {
		card, err := g.card(ctx, run.Version, region)
		if err != nil {
			return err
		}
		d := dimension(card, scorecard.Drift)
		g.say("scorecard of version %d in %-5s drift %s: %s", run.Version, region, d.Status, figures(d))
		if len(d.Figures) == 0 {
			g.say("  %s", strings.Join(d.Notes, "; "))
		}
		if err := holds((d.Status == scorecard.Fail) == (region == drifting), "drift in %s is %s", region, d.Status); err != nil {
			return err
		}
	}
	_, err = v1.Fetch[v1.Planned](g.lead.PromoteModel(ctx, Model, &v1.PromoteModelParams{}, v1.PromotionRequest{Version: run.Version, Environment: "production"}))
	var problem *v1.ProblemError
	if !errors.As(err, &problem) {
		return holds(false, "version %d may be promoted: %v", run.Version, err)
	}
	g.say("promotion of version %d is refused: %d %s, %s", run.Version, problem.Status, problem.Code, why(problem))
	if err := holds(problem.Status == http.StatusUnprocessableEntity && strings.Contains(problem.Error(), "drift"), "status %d", problem.Status); err != nil {
		return err
	}
	// Three windows of it, as the loop wants them.
	if err := pause(ctx, time.Until(g.began.Add(windows*window+window/10))); err != nil {
		return err
	}
	g.pace = math.Inf(1)
	for _, region := range g.calls.regions() {
		t := g.calls.tally(region)
		g.pace = min(g.pace, t.pace())
		g.say("SIMULATED callers in %-5s distance of their inputs now: PSI %.3f", region, t.psi())
	}
	return nil
}

// why are the reasons of a refusal, in one line.
func why(p *v1.ProblemError) string {
	var words []string
	for _, e := range p.Errors {
		words = append(words, e.Detail)
	}
	if len(words) == 0 {
		return p.Detail
	}
	return strings.Join(words, "; ")
}

// card returns a scorecard.
func (g *Governance) card(ctx context.Context, version int, region string) (scorecard.Card, error) {
	var card scorecard.Card
	answer, err := v1.Fetch[v1.Scorecard](g.lead.GetScorecard(ctx, Model, &v1.GetScorecardParams{Version: version, Region: region}))
	if err != nil {
		return card, err
	}
	return card, json.Unmarshal(answer.Card, &card)
}

func dimension(c scorecard.Card, name string) scorecard.Dimension {
	for _, d := range c.Dimensions {
		if d.Name == name {
			return d
		}
	}
	return scorecard.Dimension{Name: name, Status: scorecard.NoData}
}

// noteOf is what a first card says of drift.
func noteOf(c scorecard.Card) string {
	return "drift: " + strings.Join(dimension(c, scorecard.Drift).Notes, "; ")
}

// figures are those of a dimension that decide, for the screen.
func figures(d scorecard.Dimension) string {
	var words []string
	for _, f := range d.Figures {
		if f.Limit != nil {
			words = append(words, fmt.Sprintf("%s %.3f (limit %g, %s) %s", f.Name, f.Value, *f.Limit, f.Status, f.Detail))
		}
	}
	return strings.Join(words, "; ")
}
