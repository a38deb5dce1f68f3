package trust_test

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/trust"
)

func TestJudge(t *testing.T) {
	w := newWorld(t)
	stranger, people, narrow := newKey(t), newKey(t), newKey(t)
	w.change(t, day.Add(time.Hour), func(p trust.Policy) (trust.Policy, error) {
		e := entry(t, people, "people", day.Add(time.Hour))
		e.NotAfter = day.Add(10 * time.Hour)
		n := entry(t, narrow, "narrow", day)
		p.Keys = append(p.Keys, e, n)
		p.Rules = append(p.Rules,
			trust.Rule{Name: "people", Predicates: []string{artifact.PredicateApproval}, Environments: []string{trust.Simulation, trust.Production}, Repositories: []string{"**"}, Keys: []artifact.Digest{e.ID}},
			trust.Rule{Name: "narrow", Predicates: []string{artifact.PredicateModelPackage}, Environments: []string{trust.Simulation}, Repositories: []string{"models/north/*", "mirrors/*/north/**"}, Keys: []artifact.Digest{n.ID}})
		return p, nil
	})
	w.change(t, day.Add(2*time.Hour), func(p trust.Policy) (trust.Policy, error) {
		return p.Revoke(artifact.KeyID(&narrow.PublicKey), day.Add(5*time.Hour), "stolen laptop")
	})
	j := w.judge(t)
	pkg, vote := artifact.PredicateModelPackage, artifact.PredicateApproval

	tests := []struct {
		name   string
		bundle []byte
		edit   func(*trust.Question)
		want   error
	}{
		{"accepts the control plane's package", bundle(t, w.key, pkg, subject), nil, nil},
		{"refuses a stranger's", bundle(t, stranger, pkg, subject), nil, artifact.ErrUntrusted},
		{"refuses one of the root: it signs policies alone", bundle(t, w.root, pkg, subject), nil, artifact.ErrUntrusted},
		{"refuses a key whose type this is not", bundle(t, people, pkg, subject), nil, trust.ErrNotAllowed},
		{"refuses the control plane's vote", bundle(t, w.key, vote, subject), func(q *trust.Question) { q.PredicateType = vote }, trust.ErrNotAllowed},
		{"refuses a vote as a package", bundle(t, people, vote, subject), nil, artifact.ErrPredicateType},
		{"refuses other content", bundle(t, w.key, pkg, artifact.DigestOf(nil)), nil, artifact.ErrSubject},
		{"refuses the simulation's key in production", bundle(t, w.key, pkg, subject), func(q *trust.Question) { q.Environment = trust.Production }, trust.ErrEnvironment},
		{"refuses an environment that nobody knows", bundle(t, w.key, pkg, subject), func(q *trust.Question) { q.Environment = "" }, trust.ErrEnvironment},
		{"accepts a key in its repository", bundle(t, narrow, pkg, subject), nil, nil},
		{"accepts a key below its repository", bundle(t, narrow, pkg, subject), func(q *trust.Question) { q.Repository = "mirrors/eu/north/a/b" }, nil},
		{"refuses it in another", bundle(t, narrow, pkg, subject), func(q *trust.Question) { q.Repository = "models/south/tumour" }, trust.ErrRepository},
		{"refuses it deeper than a pattern goes", bundle(t, narrow, pkg, subject), func(q *trust.Question) { q.Repository = "models/north/tumour/x" }, trust.ErrRepository},
		{"refuses it where there is no repository", bundle(t, narrow, pkg, subject), func(q *trust.Question) { q.Repository = "" }, trust.ErrRepository},
		{"accepts a revoked key's until it was revoked", bundle(t, narrow, pkg, subject), func(q *trust.Question) { q.At = day.Add(5*time.Hour - time.Second) }, nil},
		{"refuses a revoked key from that moment", bundle(t, narrow, pkg, subject), func(q *trust.Question) { q.At = day.Add(5 * time.Hour) }, trust.ErrRevoked},
		{"refuses a key before its time", bundle(t, people, vote, subject), func(q *trust.Question) { q.PredicateType, q.At = vote, day.Add(time.Hour-time.Second) }, trust.ErrNotYet},
		{"accepts it in its time", bundle(t, people, vote, subject), func(q *trust.Question) { q.PredicateType, q.At = vote, day.Add(time.Hour) }, nil},
		{"refuses it when that is over", bundle(t, people, vote, subject), func(q *trust.Question) { q.PredicateType, q.At = vote, day.Add(10*time.Hour) }, trust.ErrRetired},
		{"accepts what it accepted, later", bundle(t, people, vote, subject), func(q *trust.Question) { q.PredicateType, q.Now = vote, day.Add(20*time.Hour) }, nil},
		{"refuses all when the policy has expired", bundle(t, w.key, pkg, subject), func(q *trust.Question) { q.Now = day.Add(2*time.Hour + year) }, trust.ErrExpired},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			q := about(day.Add(3 * time.Hour))
			if tt.edit != nil {
				tt.edit(&q)
			}
			verified, err := j.Verify(tt.bundle, q)
			require.ErrorIs(t, err, tt.want)
			if tt.want != nil {
				require.Equal(t, artifact.Verified{}, verified, "nothing of what is refused comes back")
				var why *artifact.VerifyError
				require.ErrorAs(t, err, &why)
			}
		})
	}

	t.Run("names the revoked key, its owner and the reason", func(t *testing.T) {
		_, err := j.Verify(bundle(t, narrow, pkg, subject), about(day.Add(6*time.Hour)))
		var who *trust.RefusalError
		require.ErrorAs(t, err, &who)
		require.Equal(t, artifact.KeyID(&narrow.PublicKey), who.Key)
		require.ErrorContains(t, err, "of narrow")
		require.ErrorContains(t, err, "stolen laptop")
	})
	t.Run("lists who may sign now", func(t *testing.T) {
		at := day.Add(6 * time.Hour)
		require.Len(t, j.Signers(pkg, trust.Simulation, at), 1)
		require.Empty(t, j.Signers(pkg, trust.Production, at))
		require.Len(t, j.Signers(vote, trust.Production, at), 1)
	})
	t.Run("what runs must not rest on a revoked key", func(t *testing.T) {
		id := artifact.KeyID(&narrow.PublicKey)
		require.NoError(t, j.Revoked(id, day.Add(5*time.Hour-time.Second)))
		require.ErrorIs(t, j.Revoked(id, day.Add(5*time.Hour)), trust.ErrRevoked)
		require.NoError(t, j.Revoked(artifact.KeyID(&w.key.PublicKey), day.Add(5*time.Hour)))
	})
}

// A package that was accepted in time verifies for as long as the policy lists
// its key; one that the same key makes after its time does not.
func TestRotationKeepsOldArtefactsVerifiable(t *testing.T) {
	w := newWorld(t)
	next := newKey(t)
	rotated, overlap := day.Add(100*time.Hour), 24*time.Hour
	w.change(t, rotated, func(p trust.Policy) (trust.Policy, error) {
		return p.Rotate(artifact.KeyID(&w.key.PublicKey), entry(t, next, "fabric", rotated), rotated, overlap)
	})
	j := w.judge(t)
	old, young := bundle(t, w.key, artifact.PredicateModelPackage, subject), bundle(t, next, artifact.PredicateModelPackage, subject)
	later := rotated.Add(1000 * time.Hour)
	ask := func(signed []byte, accepted time.Time) error {
		q := about(accepted)
		q.Now = later
		_, err := j.Verify(signed, q)
		return err
	}
	require.NoError(t, ask(old, day.Add(time.Hour)), "signed and accepted long before")
	require.NoError(t, ask(old, rotated.Add(overlap-time.Second)), "while processes change over")
	require.ErrorIs(t, ask(old, rotated.Add(overlap)), trust.ErrRetired)
	require.ErrorIs(t, ask(old, later), trust.ErrRetired, "a retired key makes nothing new")
	require.NoError(t, ask(young, rotated))
	require.NoError(t, ask(young, later))
	require.ErrorIs(t, ask(young, rotated.Add(-time.Second)), trust.ErrNotYet)

	t.Run("and a third key after it", func(t *testing.T) {
		third, again := newKey(t), rotated.Add(200*time.Hour)
		w.change(t, again, func(p trust.Policy) (trust.Policy, error) {
			return p.Rotate(artifact.KeyID(&next.PublicKey), entry(t, third, "fabric", again), again, 0)
		})
		j = w.judge(t)
		require.NoError(t, ask(old, day.Add(time.Hour)))
		require.NoError(t, ask(young, again.Add(-time.Second)))
		require.ErrorIs(t, ask(young, again), trust.ErrRetired)
	})
}

func TestPinnedKeysMaySignEverything(t *testing.T) {
	key, other := newKey(t), newKey(t)
	j, err := trust.Pin(&key.PublicKey)
	require.NoError(t, err)
	_, err = j.Verify(bundle(t, key, artifact.PredicateSnapshot, subject), trust.Question{PredicateType: artifact.PredicateSnapshot, Subject: subject})
	require.NoError(t, err)
	_, err = j.Verify(bundle(t, other, artifact.PredicateSnapshot, subject), trust.Question{PredicateType: artifact.PredicateSnapshot, Subject: subject})
	require.ErrorIs(t, err, artifact.ErrUntrusted)
	_, governed := j.Policy()
	require.False(t, governed)
	_, err = trust.Pin()
	require.ErrorIs(t, err, artifact.ErrKey)
	_, err = trust.Pin(nil)
	require.True(t, errors.Is(err, artifact.ErrKey))
}
