package trust_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/trust"
)

const year = 365 * 24 * time.Hour

var (
	day     = time.Date(2026, 3, 3, 9, 0, 0, 0, time.UTC)
	subject = artifact.DigestOf([]byte("a package's manifest"))
)

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return key
}

func entry(t testing.TB, key *ecdsa.PrivateKey, owner string, from time.Time) trust.Key {
	t.Helper()
	k, err := trust.NewKey(&key.PublicKey, owner, from)
	require.NoError(t, err)
	return k
}

// root is an entry of a root key.
func root(t testing.TB, key *ecdsa.PrivateKey) trust.Key { return entry(t, key, "root", time.Time{}) }

func bundle(t testing.TB, key *ecdsa.PrivateKey, predicateType string, about artifact.Digest) []byte {
	t.Helper()
	statement, err := artifact.NewStatement("x", about, predicateType, struct{}{})
	require.NoError(t, err)
	signed, err := artifact.SignStatement(rand.Reader, key, statement)
	require.NoError(t, err)
	return signed
}

// sign signs a policy with root keys.
func sign(t testing.TB, p trust.Policy, roots ...*ecdsa.PrivateKey) trust.Signed {
	t.Helper()
	text, err := p.Encode()
	require.NoError(t, err)
	s := trust.Signed{Policy: text}
	statement, err := trust.Statement(p)
	require.NoError(t, err)
	for _, key := range roots {
		signed, err := artifact.SignStatement(rand.Reader, key, statement)
		require.NoError(t, err)
		s.Bundles = append(s.Bundles, signed)
	}
	return s
}

// text is a chain file.
func text(t testing.TB, policies ...trust.Signed) []byte {
	t.Helper()
	var out []byte
	for _, s := range policies {
		line, err := json.Marshal(s)
		require.NoError(t, err)
		out = append(append(out, line...), '\n')
	}
	return out
}

// A world is a fabric with one root key and one signing key, on its first day.
type world struct {
	root, key *ecdsa.PrivateKey
	chain     trust.Chain
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{root: newKey(t), key: newKey(t)}
	first := trust.First(root(t, w.root), entry(t, w.key, "fabric", day), []string{trust.Simulation}, day, year)
	var err error
	w.chain, err = trust.Chain{}.Append(sign(t, first, w.root))
	require.NoError(t, err)
	return w
}

// change appends what edit makes of the newest policy.
func (w *world) change(t testing.TB, at time.Time, edit func(trust.Policy) (trust.Policy, error)) {
	t.Helper()
	next, err := edit(w.chain.Next(at, year))
	require.NoError(t, err)
	w.chain, err = w.chain.Append(sign(t, next, w.root))
	require.NoError(t, err)
}

func (w *world) judge(t testing.TB) *trust.Judge {
	t.Helper()
	j, err := w.chain.Judge()
	require.NoError(t, err)
	return j
}

// about is a question about the subject as a package, asked at a time.
func about(at time.Time) trust.Question {
	return trust.Question{
		PredicateType: artifact.PredicateModelPackage, Subject: subject, Environment: trust.Simulation,
		Repository: "models/north/tumour", At: at, Now: at,
	}
}
