package anchor_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/trust"
	"github.com/atom-fabric/fabric/internal/anchor"
	"github.com/atom-fabric/fabric/internal/config"
	"github.com/atom-fabric/fabric/internal/durable"
)

func newKey(t *testing.T) (*ecdsa.PrivateKey, trust.Key) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	entry, err := trust.NewKey(&key.PublicKey, "x", time.Time{})
	require.NoError(t, err)
	return key, entry
}

// extend appends a policy and returns the text of the chain.
func extend(t *testing.T, c trust.Chain, p trust.Policy, root *ecdsa.PrivateKey) (trust.Chain, []byte) {
	t.Helper()
	statement, err := trust.Statement(p)
	require.NoError(t, err)
	bundle, err := artifact.SignStatement(rand.Reader, root, statement)
	require.NoError(t, err)
	text, err := p.Encode()
	require.NoError(t, err)
	s := trust.Signed{Policy: text}
	s.Bundles = append(s.Bundles, bundle)
	c, err = c.Append(s)
	require.NoError(t, err)
	all, err := c.Text()
	require.NoError(t, err)
	return c, all
}

func TestAPolicyIsFollowedAndNeverGoesBack(t *testing.T) {
	root, rootEntry := newKey(t)
	_, entry := newKey(t)
	now := time.Now()
	one, first := extend(t, trust.Chain{}, trust.First(rootEntry, entry, []string{trust.Simulation}, now, time.Hour), root)
	revoked, err := one.Next(now.Add(time.Second), time.Hour).Revoke(entry.ID, now, "stolen")
	require.NoError(t, err)
	two, second := extend(t, one, revoked, root)

	dir, path := t.TempDir(), filepath.Join(t.TempDir(), "policy.jsonl")
	require.NoError(t, os.WriteFile(path, first, 0o600))
	o := anchor.Options{Path: path, Pin: one.Pin(), Dir: dir}
	store, err := anchor.Open(o)
	require.NoError(t, err)
	version := func() int64 {
		judge, err := store.Judge()
		require.NoError(t, err)
		p, _ := judge.Policy()
		return p.Version
	}
	require.Equal(t, int64(1), version())
	require.NoError(t, durable.Write(path, second, 0o600))
	require.Equal(t, int64(2), version(), "without a restart")
	require.NoError(t, durable.Write(path, []byte("{}\n"), 0o600))
	require.Equal(t, int64(2), version(), "what cannot be used changes nothing")
	require.NoError(t, durable.Write(path, first, 0o600))
	require.Equal(t, int64(2), version(), "nor does what is older")
	require.NoError(t, os.Remove(path))
	require.Equal(t, int64(2), version())

	require.NoError(t, os.WriteFile(path, first, 0o600))
	_, err = anchor.Open(o)
	require.ErrorIs(t, err, trust.ErrRollback, "after a restart either")
	require.NoError(t, durable.Write(path, second, 0o600))
	store, err = anchor.Open(o)
	require.NoError(t, err)
	require.Equal(t, two.Mark(), store.Chain().Mark())
	o.Pin = artifact.DigestOf(nil)
	_, err = anchor.Open(o)
	require.ErrorIs(t, err, trust.ErrPin)
}

func TestAPolicyNeedsItsPin(t *testing.T) {
	c, err := config.Load("", []string{"FABRIC_TRUST_POLICY=/x"})
	require.NoError(t, err)
	_, err = anchor.From(c, nil)
	require.ErrorIs(t, err, anchor.ErrUnpinned)
	require.ErrorIs(t, err, config.ErrSetting)
}
