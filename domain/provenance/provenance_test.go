package provenance

import (
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/round"
)

func answer(site string, n int) Answer {
	return Answer{Site: site, Bundle: artifact.DigestOf([]byte(strconv.Itoa(n)))}
}

// The roots were computed with Python's hashlib after RFC 6962, section 2.1.
func TestCommit(t *testing.T) {
	require.Equal(t, "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=", Commit(nil))
	want := "3o+upxTLQ2sCgehSICHU285dISpTg19jiXfstMk3ovU="
	require.Equal(t, want, Commit([]Answer{answer("clinic/s1", 1), answer("clinic/s2", 2), answer("owner/s1", 3)}))
	require.Equal(t, want, Commit([]Answer{answer("owner/s1", 3), answer("clinic/s2", 2), answer("clinic/s1", 1)}), "in any order")
	require.NotEqual(t, want, Commit([]Answer{answer("clinic/s1", 1), answer("clinic/s2", 2), answer("owner/s1", 4)}), "another answer")
	require.NotEqual(t, want, Commit([]Answer{answer("clinic/s1", 1), answer("clinic/s3", 2), answer("owner/s1", 3)}), "another site")
}

func manifest(t *testing.T, change func(*round.Params)) round.Manifest {
	t.Helper()
	p := round.Params{
		Model: round.ModelSpec{Trainer: round.TrainerLogistic, Inputs: 4, Classes: 2}, Rounds: 3, Quorum: 3, QuorumRegions: 1,
		DeadlineSeconds: 60, LocalEpochs: 1, BatchSize: 16, LearningRate: 0.1, Features: []string{"f"},
	}
	change(&p)
	p, err := p.Validate()
	require.NoError(t, err)
	return round.Manifest{
		Run: "run-1", Number: 2, Kind: round.Train, Tenant: "owner", ModelID: "m", Params: p, Secured: p.Secure.Mode != round.SecureOff,
		Base:     artifact.Descriptor{Digest: artifact.DigestOf([]byte("base"))},
		Features: []round.FeatureRef{{Tenant: "owner", Feature: "f", Fingerprint: artifact.DigestOf([]byte("f"))}},
		Cohort:   []round.Cohort{{Region: "eu", Sites: 4}}, Enrolled: 5,
	}
}

func TestOf(t *testing.T) {
	in := Input{
		Manifest: manifest(t, func(*round.Params) {}), Digest: artifact.DigestOf([]byte("manifest")), Previous: artifact.DigestOf([]byte("before")),
		Weights: artifact.Descriptor{Digest: artifact.DigestOf([]byte("after")), SizeBytes: 128}, Groups: 1,
		Counts: round.Counts{Selected: 4, Accepted: 3, Rejected: 1}, Answers: []Answer{answer("owner/s1", 1)},
		StartedAt: time.Date(2026, 11, 23, 3, 0, 0, 123456789, time.FixedZone("east", 3600)),
	}
	got, err := Of(in)
	require.NoError(t, err)
	require.Equal(t, in.Previous, got.Previous)
	require.Equal(t, in.Digest, got.Manifest)
	require.Equal(t, in.Manifest.Base.Digest, got.Base)
	require.EqualValues(t, 128, got.SizeBytes)
	require.Equal(t, Participants{Enrolled: 5, Selected: 4, Accepted: 3, Rejected: 1, Answers: 1, Commitment: Commit(in.Answers)}, got.Participants)
	require.True(t, got.Aggregation.Secured)
	require.Equal(t, 32, got.Aggregation.Ring)
	require.Nil(t, got.Privacy, "no mechanism, no promise")
	require.Equal(t, "2026-11-23T02:00:00.123456Z", got.StartedAt.Format(time.RFC3339Nano))
	_, err = artifact.Canonical(got)
	require.NoError(t, err, "it can be signed")
}

// ε of one Gaussian release with noise multiplier 5 at δ = 1e-5, by the exact
// formula of Balle and Wang (ICML 2018, theorem 8), solved by bisection with
// Python's math.erf: 0.72552; sampling and
// weights can only raise the sensitivity (μ = 0.4: 1.55498). Accountants charge at
// least the first and at most a tenth over the second.
func TestOfSaysWhatARoundHasTold(t *testing.T) {
	in := Input{Digest: artifact.DigestOf([]byte("manifest")), Manifest: manifest(t, func(p *round.Params) {
		p.Privacy = round.Privacy{Mechanism: round.PrivacyCentral, Unit: round.UnitSite, NoiseMultiplier: 5, ClipNorm: 0.5, Delta: 1e-5}
		p.Bounds = [][2]float64{{0, 1}, {0, 1}, {0, 1}, {0, 1}}
	})}
	got, err := Of(in)
	require.NoError(t, err)
	require.NotNil(t, got.Privacy)
	require.Equal(t, "0.5", got.Privacy.ClipNorm)
	require.Equal(t, "5", got.Privacy.NoiseMultiplier)
	require.Equal(t, "1e-05", got.Privacy.Delta)
	epsilon, err := strconv.ParseFloat(got.Privacy.Epsilon, 64)
	require.NoError(t, err)
	require.GreaterOrEqual(t, epsilon, 0.7255)
	require.Less(t, epsilon, 1.72)

	in.Manifest.Kind = round.Evaluate
	got, err = Of(in)
	require.NoError(t, err)
	require.Nil(t, got.Privacy, "an evaluation reads held-out rows")
}
