package docs

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/examples/digits"
	"github.com/atom-fabric/fabric/internal/site/table"
	"github.com/atom-fabric/fabric/tests/harness"
)

// clinics deals the digits out to three sites, every third row to each.
func clinics(t *testing.T) []table.Table {
	all, err := digits.Table()
	require.NoError(t, err)
	dealt := make([]table.Table, 3)
	for i, row := range all.Rows {
		clinic := &dealt[i%3]
		clinic.Columns, clinic.Rows, clinic.Labels = all.Columns, append(clinic.Rows, row), append(clinic.Labels, all.Labels[i])
	}
	return dealt
}

// pythonTrainers enrols three sites whose trainer is
// examples/python-trainer/sgd.py, and lets the same sites learn the same digits
// twice: with that program and with the built-in trainer. Failure of the test
// is: accuracies more than a point apart, or a run that does not complete.
func pythonTrainers(t *testing.T, s *harness.System) {
	script, err := filepath.Abs(filepath.Join(root, "examples/python-trainer/sgd.py"))
	require.NoError(t, err)
	client, err := filepath.Abs(filepath.Join(root, "clients/python"))
	require.NoError(t, err)
	token, err := os.ReadFile(s.Path("secrets", "federation.token"))
	require.NoError(t, err)

	var tenants []string
	for i, rows := range clinics(t) {
		tenant, folder := fmt.Sprintf("clinic-%d", i), t.TempDir()
		tenants = append(tenants, tenant)
		var csv bytes.Buffer
		require.NoError(t, rows.Write(&csv))
		require.NoError(t, os.WriteFile(filepath.Join(folder, "rows.csv"), csv.Bytes(), 0o600))
		_, err = v1.Fetch[v1.Feature](s.Person(t, tenant, "steward", "operator").RegisterFeature(t.Context(), &v1.RegisterFeatureParams{}, v1.FeatureRegistration{
			Tenant: tenant, FeatureID: "digits", Schema: v1.JSON(`{"type":"object"}`), Consented: true,
			Fingerprint: string(artifact.DigestOf(csv.Bytes())), Grantees: []string{"clinics"}, Purposes: []v1.Purpose{"train", "evaluate", "stats"},
		}))
		require.NoError(t, err)
		harness.Run(t, filepath.Join(harness.Programs(t), "fabric-site"),
			[]string{"run", "--exec", "/usr/bin/env PYTHONPATH=" + client + " /usr/bin/python3 -B " + script},
			"FABRIC_API_URL="+s.Gateway(), "FABRIC_TENANT="+tenant, "FABRIC_SITE=s", "FABRIC_REGION=eu", "FABRIC_SITE_DATA="+filepath.Join(folder, "rows.csv"),
			"FABRIC_STATE_DIR="+filepath.Join(folder, "state"), "FEDERATION_TOKEN="+strings.TrimSpace(string(token)), "FABRIC_TRUST_KEY="+s.Path("keys", "fabric.pub"))
	}
	// A site enrols within a second or two of its start.
	require.Eventually(t, func() bool {
		return !slices.ContainsFunc(tenants, func(tenant string) bool {
			page, err := v1.Fetch[v1.SitePage](s.Person(t, tenant, "steward", "operator").ListSites(t.Context(), &v1.ListSitesParams{}))
			return err != nil || len(page.Items) == 0
		})
	}, time.Minute, 100*time.Millisecond, "the clinics did not enrol")

	var bounds [][]float64 // a run of trainer exec takes no statistics
	for range digits.Inputs {
		bounds = append(bounds, []float64{0, 16})
	}
	accuracy := map[string]int64{}
	lead := s.Person(t, "clinics", "mira", "data-scientist", "operator", "admin")
	for _, trainer := range []string{round.TrainerExec, round.TrainerLogistic} {
		run := harness.Watch(t, lead, s.Train(t, lead, v1.RunRequest{ModelID: "digits-" + trainer, Tenants: tenants, Params: v1.RunParams{
			Model: v1.ModelSpec{Trainer: v1.ModelSpecTrainer(trainer), Inputs: digits.Inputs, Classes: 10}, Rounds: 5, Quorum: len(tenants), DeadlineSeconds: 60,
			LocalEpochs: 2, BatchSize: 10, LearningRate: 0.2, Seed: 1, Features: []string{"digits"}, Bounds: bounds,
		}}), 2*time.Minute, harness.Completed)
		require.Positive(t, run.Version)
		require.NotNil(t, run.Metrics.AccuracyBp)
		accuracy[trainer] = *run.Metrics.AccuracyBp
	}
	t.Logf("accuracy in basis points: %v", accuracy)
	require.Greater(t, accuracy[round.TrainerExec], int64(9000))
	require.InDelta(t, accuracy[round.TrainerLogistic], accuracy[round.TrainerExec], 100)
}

// The Python client and the trainer's helper against their own tests, with the
// interpreter and the numpy that the system comes with.
func TestThePythonClientPassesItsTests(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "/usr/bin/python3", "-W", "error::ResourceWarning", "-m", "unittest", "discover", "-s", "tests", "-t", ".")
	cmd.Dir = filepath.Join(root, "clients/python")
	cmd.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Regexp(t, `Ran [2-9]\d tests`, string(out))
}
