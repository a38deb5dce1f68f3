package program

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/atom-fabric/fabric/internal/site/table"
)

// Files of the folder.
const (
	hyperparametersFile = "input/config/hyperparameters.json"
	trainingFile        = "input/data/training/training.csv"
	testFile            = "input/data/test/test.csv"
	weightsFile         = "input/model/weights.safetensors"
	updateFile          = "output/model/update.safetensors"
	metricsFile         = "output/data/metrics.json"
)

// layout fills the folder and returns the variables that say where things are.
func layout(folder string, job Job) ([]string, error) {
	for _, dir := range []string{"input/config", "input/data/training", "input/data/test", "input/model", "output/model", "output/data", "tmp"} {
		if err := os.MkdirAll(filepath.Join(folder, dir), 0o700); err != nil {
			return nil, err
		}
	}
	values := job.hyperparameters()
	text, err := json.Marshal(values)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(folder, hyperparametersFile), text, 0o600); err != nil {
		return nil, err
	}
	if err := job.Weights(filepath.Join(folder, weightsFile)); err != nil {
		return nil, err
	}
	for name, rows := range map[string]table.Table{trainingFile: job.Train, testFile: job.Held} {
		if err := write(filepath.Join(folder, name), rows); err != nil {
			return nil, err
		}
	}
	at := func(name string) string { return filepath.Join(folder, name) }
	out := []string{
		"HOME=" + folder,
		"TMPDIR=" + at("tmp"),
		"SM_INPUT_DIR=" + at("input"),
		"SM_INPUT_CONFIG_DIR=" + at("input/config"),
		`SM_CHANNELS=["model","test","training"]`,
		"SM_CHANNEL_TRAINING=" + at("input/data/training"),
		"SM_CHANNEL_TEST=" + at("input/data/test"),
		"SM_CHANNEL_MODEL=" + at("input/model"),
		"SM_OUTPUT_DIR=" + at("output"),
		"SM_MODEL_DIR=" + at("output/model"),
		"SM_OUTPUT_DATA_DIR=" + at("output/data"),
		"SM_CURRENT_HOST=" + job.Site,
		"SM_HPS=" + string(text),
	}
	for name, value := range values {
		out = append(out, "SM_HP_"+strings.ToUpper(name)+"="+value)
	}
	slices.Sort(out)
	return out, nil
}

// hyperparameters are texts, as the convention has it.
func (j Job) hyperparameters() map[string]string {
	p := j.Params
	return map[string]string{
		"trainer":       p.Model.Trainer,
		"inputs":        strconv.Itoa(p.Model.Inputs),
		"hidden":        strconv.Itoa(p.Model.Hidden),
		"classes":       strconv.Itoa(p.Model.Classes),
		"epochs":        strconv.Itoa(p.LocalEpochs),
		"batch_size":    strconv.Itoa(p.BatchSize),
		"proximal_mu":   strconv.FormatFloat(p.Strategy.ProximalMu, 'g', -1, 64),
		"learning_rate": strconv.FormatFloat(p.LearningRate, 'g', -1, 64),
		"seed":          strconv.FormatUint(j.Seed, 10),
		"run":           j.Run,
		"round":         strconv.Itoa(j.Round),
		"tenant":        j.Tenant,
		"site":          j.Site,
	}
}

func write(path string, rows table.Table) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if err := rows.Write(f); err != nil {
		f.Close()
		return fmt.Errorf("%s: %w", filepath.Base(path), err)
	}
	return f.Close()
}
