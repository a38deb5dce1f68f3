package simulate

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/atom-fabric/fabric/domain/chart"
	"github.com/atom-fabric/fabric/domain/round"
)

// Files that are written.
const (
	RoundsFile  = "rounds.csv"
	SummaryFile = "summary.json"
	TableFile   = "rounds.md"
)

// Write writes the result into a folder: a row a round as CSV and as a table,
// the whole as JSON, and the plots. What is there under these names is
// replaced. Equal results are equal bytes: no time of day is among them.
func (r Result) Write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	rows, err := r.CSV()
	if err != nil {
		return err
	}
	summary, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	files := map[string][]byte{RoundsFile: rows, SummaryFile: append(summary, '\n'), TableFile: r.Markdown()}
	for name, c := range r.charts() {
		files[name] = chart.File(c)
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// CSV returns a row a round. The first column says that it was simulated.
func (r Result) CSV() ([]byte, error) {
	var out bytes.Buffer
	w := csv.NewWriter(&out)
	records := [][]string{{"simulated", "round", "kind", "secured", "groups", "lost_groups", "asked", "answered", "dropped", "spare",
		"seconds", "clock_seconds", "uploaded_bytes", "downloaded_bytes", "accuracy", "loss", "epsilon", "clip", "cause"}}
	for _, n := range r.Rounds {
		ints := func(v ...int) (out []string) {
			for _, i := range v {
				out = append(out, strconv.Itoa(i))
			}
			return out
		}
		record := []string{"true", strconv.Itoa(n.Number), string(n.Kind), strconv.FormatBool(n.Secured)}
		record = append(record, ints(n.Groups, n.Lost, n.Asked, n.Answered, n.Dropped, n.Spare)...)
		record = append(record, fmt.Sprintf("%.3f", n.Seconds), fmt.Sprintf("%.3f", n.Clock),
			strconv.FormatInt(n.Uploaded, 10), strconv.FormatInt(n.Downloaded, 10),
			fmt.Sprintf("%.6f", n.Accuracy()), fmt.Sprintf("%.6f", n.Loss()), fmt.Sprintf("%.6f", n.Epsilon), fmt.Sprintf("%g", n.Clip), n.Cause)
		records = append(records, record)
	}
	err := w.WriteAll(records)
	return out.Bytes(), err
}

// Loss is the mean cross-entropy on the test rows, in nats.
func (r Round) Loss() float64 {
	if r.Evaluated == 0 {
		return 0
	}
	return float64(r.LossMicros) / 1e6 / float64(r.Evaluated)
}

// Markdown returns the result as a page to read.
func (r Result) Markdown() []byte {
	var b strings.Builder
	s, p := r.Settings, r.Settings.Params
	fmt.Fprintf(&b, "# Simulation: %s, %d sites, seed %d\n\n**%s**\n\n", r.Data, s.Sites, p.Seed, r.Note)
	fmt.Fprintf(&b, "- rows: %d to train, %d to test; %s\n", r.TrainRows, r.TestRows, r.Source)
	fmt.Fprintf(&b, "- strategy %s, rule %s, secure aggregation %s, privacy %s\n", p.Strategy.Name, p.Strategy.Rule, p.Secure.Mode, mechanism(p.Privacy))
	if c := p.Compression; c != (round.Compression{}) {
		fmt.Fprintf(&b, "- compression %s, %d basis points of the coordinates, %d bits behind masks (0: all)\n", orNone(c.Codec), c.ShareBP, c.Bits)
	}
	fmt.Fprintf(&b, "- %d local epochs, batches of %d, rate %g\n", p.LocalEpochs, p.BatchSize, p.LearningRate)
	fmt.Fprintf(&b, "- chance of a dropout %g, of a straggler %g; %d liars (%s, strength %g)\n", s.Dropout, s.Stragglers, r.Liars, orNone(s.Attack), s.Strength)
	fmt.Fprintf(&b, "- %s after %d rounds; best accuracy %.2f %%; weights `%s` %s\n\n", r.Status, len(r.Rounds), 100*r.Best, r.Weights, r.Cause)
	b.WriteString("| round | kind | asked | answered | dropped | lost groups | s | uploaded | downloaded | accuracy | loss | epsilon |\n|---|---|---|---|---|---|---|---|---|---|---|---|\n")
	for _, n := range r.Rounds {
		fmt.Fprintf(&b, "| %d | %s | %d | %d | %d | %d of %d | %.1f | %d | %d | %.2f %% | %.4f | %.3f |\n", n.Number, n.Kind, n.Asked, n.Answered, n.Dropped,
			n.Lost, n.Groups, n.Seconds, n.Uploaded, n.Downloaded, 100*n.Accuracy(), n.Loss(), n.Epsilon)
	}
	b.WriteString("\nTimes are of the virtual clock. Bytes are of messages, without transport; uploads are what came in time.\n")
	return []byte(b.String())
}

func mechanism(p round.Privacy) string {
	if !p.On() {
		return "none"
	}
	return fmt.Sprintf("%s of a %s, noise multiplier %g, clip %g, delta %g", p.Mechanism, p.Unit, p.NoiseMultiplier, p.ClipNorm, p.Delta)
}

func orNone(text string) string {
	if text == "" {
		return "none"
	}
	return text
}

// charts returns the plots by file name.
func (r Result) charts() map[string]chart.Lines {
	over := func(name string, value func(Round) float64) chart.Series {
		s := chart.Series{Name: name}
		for _, n := range r.Rounds {
			s.Points = append(s.Points, chart.Point{X: float64(n.Number), Y: value(n)})
		}
		return s
	}
	plot := func(what, unit string, series ...chart.Series) chart.Lines {
		return chart.Lines{
			Title: fmt.Sprintf("%s: %s, %d sites", what, r.Data, r.Settings.Sites), Note: "simulated", Source: Note,
			X: "round", Y: unit, Series: series, Wide: 720, High: 400,
		}
	}
	var up, down int64
	return map[string]chart.Lines{
		"accuracy.svg": plot("accuracy on the test rows", "%", over("accuracy", func(n Round) float64 { return 100 * n.Accuracy() })),
		"bytes.svg": plot("bytes so far", "bytes",
			over("uploaded", func(n Round) float64 { up += n.Uploaded; return float64(up) }),
			over("downloaded", func(n Round) float64 { down += n.Downloaded; return float64(down) })),
		"epsilon.svg": plot("privacy spent, "+mechanism(r.Settings.Params.Privacy), "epsilon", over("epsilon", func(n Round) float64 { return n.Epsilon })),
		"rounds.svg": plot("sites in a round", "sites",
			over("asked", func(n Round) float64 { return float64(n.Asked) }),
			over("answered", func(n Round) float64 { return float64(n.Answered) }),
			over("dropped", func(n Round) float64 { return float64(n.Dropped) })),
		"clock.svg": plot("virtual time of a round", "seconds", over("seconds", func(n Round) float64 { return n.Seconds })),
	}
}
