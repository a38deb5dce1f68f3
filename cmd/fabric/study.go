package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/tuning"
	"github.com/atom-fabric/fabric/internal/durable"
	"github.com/atom-fabric/fabric/internal/simulate"
	"github.com/atom-fabric/fabric/internal/surrogate"
)

// errOtherStudy says that a folder holds the trials of another study.
var errOtherStudy = errors.New("holds the trials of another study or of other settings: name a new folder, or the study that they are of")

// A studyResult is what a study came to.
type studyResult struct {
	Simulated bool           `json:"simulated"` // always
	Note      string         `json:"note"`
	Study     tuning.Study   `json:"study"`
	Trials    []tuning.Trial `json:"trials"`
	Best      int            `json:"best"` // number of the best trial, 0 for none
}

// readStudy reads the file of a study, for simulations and for runs alike.
func readStudy(file string) (tuning.Study, error) {
	study := tuning.Study{Parallel: 1, Repeats: 1}
	text, err := os.ReadFile(file)
	if err != nil {
		return study, usage(err)
	}
	if err := artifact.DecodeStrict(text, &study); err != nil {
		return study, usage(fmt.Errorf("%s: %w", file, err))
	}
	return study, nil
}

// study runs the study of a file over simulations and shows it. With a folder
// to write to, each trial is kept as it ends, and a study that was cut off goes
// on after the last of them.
func (a *app) study(ctx context.Context, file, out string, set simulate.Settings) error {
	study, err := readStudy(file)
	if err != nil {
		return err
	}
	log, done, err := openTrials(out, study, set)
	if err != nil {
		return err
	}
	if log != nil {
		defer log.Close()
	}
	trials, err := simulate.Tune(ctx, set, study, done, surrogate.Suggest, func(t tuning.Trial) error {
		if _, err := fmt.Fprintf(a.notes(), "trial %d of %d: %s: %s\n", t.Number, study.Trials, t.State, choices(study.Space, t.Point)); err != nil {
			return err
		}
		return keepTrial(log, t)
	})
	var space *tuning.SpaceError
	switch {
	case errors.As(err, &space), errors.Is(err, tuning.ErrMetric), study.Validate() != nil:
		return usage(fmt.Errorf("%s: %w", file, err))
	case errors.Is(err, surrogate.ErrExhausted) && len(trials) > 0: // all were tried: that is an answer
	case err != nil:
		return err
	}
	result := studyResult{Simulated: true, Note: simulate.Note, Study: study, Trials: trials}
	if best, found := study.Best(trials); found {
		result.Best = best.Number
	}
	return a.print(result, result.table)
}

func (r studyResult) table(w *tabwriter.Writer) {
	fmt.Fprintf(w, "SIMULATED\tTRIAL\tSTATE\t%s\tPOINT\n", strings.ToUpper(r.Study.Metric))
	for _, t := range r.Trials {
		value := "-"
		if cost, measured := r.Study.Cost(t); measured {
			if r.Study.Goal == tuning.Maximize {
				cost = -cost
			}
			value = strconv.FormatFloat(cost, 'g', 5, 64)
		}
		mark := ""
		if t.Number == r.Best {
			mark = "best"
		}
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\n", mark, t.Number, t.State, value, choices(r.Study.Space, t.Point))
	}
}

// choices spells a point: learningRate=0.05 strategy=fedadam.
func choices(space tuning.Space, p tuning.Point) string {
	words := make([]string, len(space))
	for i, d := range space {
		value := strconv.FormatFloat(p[i], 'g', 4, 64)
		if d.Kind == tuning.Categorical {
			value = d.Values[int(p[i])]
		}
		words[i] = d.Name + "=" + value
	}
	return strings.Join(words, " ")
}

// openTrials returns the log of trials in a folder, open at its end, and the
// trials in it. A last line that a crash cut short is dropped. Without a folder
// there is no log.
func openTrials(dir string, study tuning.Study, set simulate.Settings) (*os.File, []tuning.Trial, error) {
	if dir == "" {
		return nil, nil, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, nil, err
	}
	head, err := json.Marshal(struct {
		Study    tuning.Study      `json:"study"`
		Settings simulate.Settings `json:"settings"`
		Data     string            `json:"data"`
	}{study, set, set.Data.Name})
	if err != nil {
		return nil, nil, err
	}
	path := filepath.Join(dir, "trials.jsonl")
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, err
	}
	whole := text[:strings.LastIndexByte(string(text), '\n')+1]
	var trials []tuning.Trial
	lines := bufio.NewScanner(strings.NewReader(string(whole)))
	lines.Buffer(nil, 1<<20)
	for n := 0; lines.Scan(); n++ {
		if n == 0 {
			if !slices.Equal(lines.Bytes(), head) {
				return nil, nil, usage(fmt.Errorf("%s %w", path, errOtherStudy))
			}
			continue
		}
		var t tuning.Trial
		if err := artifact.DecodeStrict(lines.Bytes(), &t); err != nil {
			return nil, nil, fmt.Errorf("%s, line %d: %w", path, n+1, err)
		}
		trials = append(trials, t)
	}
	if err := lines.Err(); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	if len(whole) == 0 {
		whole = append(head, '\n')
	}
	if err := durable.Write(path, whole, 0o644); err != nil {
		return nil, nil, err
	}
	log, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	return log, trials, err
}

// keepTrial appends a trial to the log, if there is one, down to the disk.
func keepTrial(log *os.File, t tuning.Trial) error {
	if log == nil {
		return nil
	}
	line, err := json.Marshal(t)
	if err != nil {
		return err
	}
	if _, err := log.Write(append(line, '\n')); err != nil {
		return err
	}
	return log.Sync()
}
