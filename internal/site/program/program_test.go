package program_test

import (
	"context"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/aggregate"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/model"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/examples/tumour"
	"github.com/atom-fabric/fabric/internal/site/program"
	"github.com/atom-fabric/fabric/internal/site/trainer"
)

// job is one round at the first hospital; batch is one full batch an epoch.
func job(t testing.TB) (program.Job, artifact.Tensors) {
	train, held := tumour.Split()[0].Rows.Split()
	params := round.Params{
		Model:       round.ModelSpec{Trainer: round.TrainerExec, Inputs: tumour.Inputs, Classes: 2},
		LocalEpochs: 1, BatchSize: 1 << 16, LearningRate: 0.1,
	}
	moments, err := trainer.Moments(train)
	require.NoError(t, err)
	base, err := aggregate.Apply(params.Model, round.Statistics, model.Initial(params.Model, 1), moments)
	require.NoError(t, err)
	weight, _ := base.Get("linear.weight")
	for i := range weight.F32 {
		weight.F32[i] = float32(i%7-3) / 50
	}
	content, err := base.Encode()
	require.NoError(t, err)
	return program.Job{Run: "run-1", Round: 3, Tenant: "hosp-north", Site: "north", Params: params, Seed: 42,
		Weights: func(path string) error { return os.WriteFile(path, content, 0o600) }, Train: train, Held: held}, base
}

// left reads the update of a result.
func left(t testing.TB, result program.Result) artifact.Tensors {
	content, err := io.ReadAll(io.NewSectionReader(result.Update, 0, result.Written.SizeBytes))
	require.NoError(t, err)
	require.Equal(t, result.Written, artifact.Describe(artifact.MediaTypeWeights, content))
	require.NoError(t, result.Update.Close())
	tensors, err := artifact.ParseTensors(content)
	require.NoError(t, err)
	return tensors
}

func run(t testing.TB, command string) program.Program {
	return program.Program{Command: command, Dir: filepath.Join(t.TempDir(), "exec"), Limit: time.Minute}
}

// The numpy trainer does what ours does: one epoch of one full batch, where no
// shuffle matters. A machine without numpy fails here; `make setup` installs it.
func TestNumpyTrainerAgreesWithOurs(t *testing.T) {
	script, err := filepath.Abs("../../../examples/python-trainer/train.py")
	require.NoError(t, err)
	out, err := exec.Command("/usr/bin/python3", "-c", "import numpy").CombinedOutput()
	require.NoError(t, err, "python3-numpy is missing, run `make setup`: %s", out)

	for _, mu := range []float64{0, 0.3} { // plain averaging, and FedProx
		j, base := job(t)
		j.Params.LocalEpochs = 3
		j.Params.Strategy.ProximalMu = mu
		got, err := run(t, "/usr/bin/python3 "+script).Train(t.Context(), j)
		require.NoError(t, err)

		want, err := trainer.Train(t.Context(), j.Params.Model, base, j.Train,
			trainer.Settings{Epochs: 3, Batch: 1 << 16, LearningRate: 0.1, ProximalMu: mu}, trainer.NewSeed(0, 1, "", "").Rand())
		require.NoError(t, err)
		moved, update := 0.0, left(t, got)
		for i := range want {
			require.Equal(t, want[i].Name, update[i].Name)
			for k, v := range want[i].F32 {
				require.InDelta(t, v, update[i].F32[k], 1e-5)
				moved = max(moved, float64(v))
			}
		}
		require.Greater(t, moved, 1e-3, "there was something to agree on")
		metrics, err := trainer.Evaluate(j.Params.Model, base, j.Held)
		require.NoError(t, err)
		metrics.Examples = int64(j.Train.Len())
		require.InDelta(t, metrics.LossMicros, got.Metrics.LossMicros, 1)
		metrics.LossMicros = got.Metrics.LossMicros
		require.Equal(t, metrics, got.Metrics)
	}
}

// The folder as docs/protocol/site.md describes it, seen by a program.
func TestFolderAndEnvironment(t *testing.T) {
	t.Setenv("FEDERATION_TOKEN", "hush")
	t.Setenv("FABRIC_TOKEN", "hush")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "hush")
	t.Setenv("OMP_NUM_THREADS", "2")
	seen := t.TempDir()
	p := run(t, "env > "+seen+"/env; find . -type f | sort > "+seen+"/files; cp "+
		"input/config/hyperparameters.json input/data/training/training.csv input/model/weights.safetensors "+seen+"; pwd > "+seen+"/pwd")
	p.Pass = []string{"OMP_NUM_THREADS", "FABRIC_TOKEN"}
	j, base := job(t)
	_, err := p.Train(t.Context(), j)
	require.ErrorIs(t, err, program.ErrNoResult)

	read := func(name string) string {
		content, err := os.ReadFile(filepath.Join(seen, name))
		require.NoError(t, err)
		return strings.TrimSpace(string(content))
	}
	env := read("env")
	require.NotContains(t, env, "hush")
	require.Contains(t, env, "OMP_NUM_THREADS=2")
	folder := read("pwd")
	for _, line := range []string{
		"HOME=" + folder,
		"SM_CHANNEL_TRAINING=" + folder + "/input/data/training",
		"SM_CHANNEL_TEST=" + folder + "/input/data/test",
		"SM_CHANNEL_MODEL=" + folder + "/input/model",
		"SM_MODEL_DIR=" + folder + "/output/model",
		"SM_OUTPUT_DATA_DIR=" + folder + "/output/data",
		"SM_HP_LEARNING_RATE=0.1",
		"SM_HP_SEED=42",
	} {
		require.Contains(t, strings.Split(env, "\n"), line)
	}
	require.Equal(t, "./input/config/hyperparameters.json\n./input/data/test/test.csv\n./input/data/training/training.csv\n./input/model/weights.safetensors", read("files"))
	var hyper map[string]string
	require.NoError(t, json.Unmarshal([]byte(read("hyperparameters.json")), &hyper))
	require.Equal(t, map[string]string{"trainer": "exec", "inputs": "30", "hidden": "0", "classes": "2", "epochs": "1",
		"batch_size": "65536", "learning_rate": "0.1", "proximal_mu": "0", "seed": "42", "run": "run-1", "round": "3", "tenant": "hosp-north", "site": "north"}, hyper)
	weights, err := os.ReadFile(filepath.Join(seen, "weights.safetensors"))
	require.NoError(t, err)
	content, err := base.Encode()
	require.NoError(t, err)
	require.Equal(t, content, weights)
	require.Equal(t, j.Train.Len()+1, strings.Count(read("training.csv"), "\n")+1)
	require.NoDirExists(t, folder, "private rows are gone when the round is over")
}

func TestResultsThatAreRefused(t *testing.T) {
	j, _ := job(t)
	store := t.TempDir()
	save := func(name string, content []byte) string {
		path := filepath.Join(store, name)
		require.NoError(t, os.WriteFile(path, content, 0o600))
		return path
	}
	delta := func(bias float32) []byte {
		content, err := artifact.Tensors{
			{Name: "linear.bias", DType: artifact.F32, Shape: []int{2}, F32: []float32{bias, 0}},
			{Name: "linear.weight", DType: artifact.F32, Shape: []int{30, 2}, F32: make([]float32, 60)},
		}.Encode()
		require.NoError(t, err)
		return content
	}
	zero := float32(0)
	good := "cp " + save("good", delta(1)) + " $SM_MODEL_DIR/update.safetensors; "
	metrics := func(text string) string {
		return "cat > $SM_OUTPUT_DATA_DIR/metrics.json <<'END'\n" + text + "\nEND\n"
	}
	fine := metrics(`{"examples":10,"evaluated":3,"correct":2,"lossMicros":7}`)
	tests := []struct {
		name    string
		command string
		want    error
	}{
		{"nothing is refused of a good one", good + fine, nil},
		{"exit status", "echo patient 17 is ill; exit 3", program.ErrFailed},
		{"no such program", "/nowhere/trainer", program.ErrFailed},
		{"no update", fine, program.ErrNoResult},
		{"no metrics", good, program.ErrNoResult},
		{"an update that is a link to elsewhere", "ln -s " + store + "/good $SM_MODEL_DIR/update.safetensors; " + fine, program.ErrNoResult},
		{"an update that is a pipe", "mkfifo $SM_MODEL_DIR/update.safetensors; " + fine, program.ErrNoResult},
		{"an update that is no model", "echo x > $SM_MODEL_DIR/update.safetensors; " + fine, artifact.ErrTruncated},
		{"weights in the place of the update", "cp input/model/weights.safetensors $SM_MODEL_DIR/update.safetensors; " + fine, round.ErrTensors},
		{"a NaN", "cp " + save("nan", delta(zero/zero)) + " $SM_MODEL_DIR/update.safetensors; " + fine, round.ErrNotFinite},
		{"more examples than rows", good + metrics(`{"examples":1000000,"evaluated":3,"correct":2,"lossMicros":7}`), program.ErrMetrics},
		{"no examples", good + metrics(`{"examples":0,"evaluated":3,"correct":2,"lossMicros":7}`), program.ErrMetrics},
		{"more right than measured", good + metrics(`{"examples":1,"evaluated":3,"correct":4,"lossMicros":7}`), program.ErrMetrics},
		{"more measured than held out", good + metrics(`{"examples":1,"evaluated":300,"correct":4,"lossMicros":7}`), program.ErrMetrics},
		{"a loss below zero", good + metrics(`{"examples":1,"evaluated":3,"correct":2,"lossMicros":-1}`), program.ErrMetrics},
		{"a key that nobody knows", good + metrics(`{"examples":1,"accuracy":1}`), program.ErrMetrics},
		{"an endless metrics file", good + "head -c 100000 /dev/zero > $SM_OUTPUT_DATA_DIR/metrics.json", artifact.ErrTooLarge},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := run(t, tt.command)
			result, err := p.Train(t.Context(), j)
			if tt.want == nil {
				require.NoError(t, err)
				require.Equal(t, round.Metrics{Examples: 10, Evaluated: 3, Correct: 2, LossMicros: 7}, result.Metrics)
				require.Equal(t, []float32{1, 0}, left(t, result)[0].F32)
				return
			}
			require.ErrorIs(t, err, tt.want)
			require.NotContains(t, err.Error(), "patient", "what a program prints is in no error")
			var at *program.Error
			require.ErrorAs(t, err, &at)
			require.FileExists(t, at.Log)
		})
	}
}

func TestProgramsAreStopped(t *testing.T) {
	j, _ := job(t)
	pid := filepath.Join(t.TempDir(), "pid")
	gone := func(t *testing.T) {
		text, err := os.ReadFile(pid)
		require.NoError(t, err)
		n, err := strconv.Atoi(strings.TrimSpace(string(text)))
		require.NoError(t, err)
		require.Eventually(t, func() bool {
			stat, err := os.ReadFile("/proc/" + strconv.Itoa(n) + "/stat")
			return err != nil || strings.Contains(string(stat), ") Z ")
		}, 5*time.Second, 10*time.Millisecond, "its children are gone too")
	}
	t.Run("at the limit", func(t *testing.T) {
		p := run(t, "sleep 60 & echo $! > "+pid+"; wait")
		p.Limit = 300 * time.Millisecond
		_, err := p.Train(t.Context(), j)
		require.ErrorIs(t, err, program.ErrTimeout)
		gone(t)
	})
	t.Run("when the agent stops", func(t *testing.T) {
		ctx, stop := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer stop()
		_, err := run(t, "sleep 60 & echo $! > "+pid+"; wait").Train(ctx, j)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		gone(t)
	})
	t.Run("what it leaves behind", func(t *testing.T) {
		_, err := run(t, "sleep 60 > /dev/null 2>&1 & echo $! > "+pid).Train(t.Context(), j)
		require.ErrorIs(t, err, program.ErrNoResult)
		gone(t)
	})
}

func TestOutputIsBoundedAndPrivate(t *testing.T) {
	j, _ := job(t)
	p := run(t, "head -c 3000000 /dev/zero; exit 1")
	_, err := p.Train(t.Context(), j)
	require.ErrorIs(t, err, program.ErrFailed)
	info, err := os.Stat(filepath.Join(p.Dir, "output.log"))
	require.NoError(t, err)
	require.EqualValues(t, 1<<20, info.Size())
	require.EqualValues(t, 0o600, info.Mode().Perm())
}

func TestFoldersOfKilledAgentsAreRemoved(t *testing.T) {
	p := run(t, "true")
	left := filepath.Join(p.Dir, "round-123", "input")
	require.NoError(t, os.MkdirAll(left, 0o700))
	require.NoError(t, p.Tidy())
	require.NoDirExists(t, filepath.Dir(left))
}
