package trust_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/trust"
)

// A council is a chain of three versions whose root changes from two of a, b, c
// to one of d with the third.
type council struct {
	a, b, c, d, key        *ecdsa.PrivateKey
	first, second, third   trust.Policy
	signed1, signed2, sig3 trust.Signed
}

func newCouncil(t testing.TB) council {
	var k council
	k.a, k.b, k.c, k.d, k.key = newKey(t), newKey(t), newKey(t), newKey(t), newKey(t)
	k.first = trust.First(root(t, k.a), entry(t, k.key, "fabric", day), []string{trust.Production}, day, year)
	k.first.Root = trust.Root{Threshold: 2, Keys: []trust.Key{root(t, k.a), root(t, k.b), root(t, k.c)}}
	k.signed1 = sign(t, k.first, k.a, k.c)
	chain, err := trust.Chain{}.Append(k.signed1)
	require.NoError(t, err)
	k.second = chain.Next(day.Add(time.Hour), year)
	k.signed2 = sign(t, k.second, k.b, k.c)
	chain, err = chain.Append(k.signed2)
	require.NoError(t, err)
	k.third = chain.Next(day.Add(2*time.Hour), year)
	k.third.Root = trust.Root{Threshold: 1, Keys: []trust.Key{root(t, k.d)}}
	k.sig3 = sign(t, k.third, k.a, k.b, k.d)
	return k
}

func TestChain(t *testing.T) {
	k := newCouncil(t)
	whole := text(t, k.signed1, k.signed2, k.sig3)
	pin := artifact.DigestOf(k.signed1.Policy)
	chain, err := trust.Open(whole, pin, trust.Mark{})
	require.NoError(t, err)
	require.Equal(t, int64(3), chain.Mark().Version)
	require.Equal(t, pin, chain.Pin())
	again, err := chain.Text()
	require.NoError(t, err)
	require.Equal(t, string(whole), string(again))
	head, _ := chain.Head()
	require.Equal(t, k.third.Root, head.Root)

	edited := func(edit func(*trust.Policy)) trust.Policy {
		p := k.second
		edit(&p)
		return p
	}
	tests := []struct {
		name string
		text []byte
		seen trust.Mark
		want error
	}{
		{"the same again", whole, chain.Mark(), nil},
		{"a longer one", whole, trust.Mark{Version: 1, Digest: pin}, nil},
		{"nothing", nil, trust.Mark{}, trust.ErrPolicy},
		{"an older one than was seen", text(t, k.signed1, k.signed2), chain.Mark(), trust.ErrRollback},
		{"another one than was seen", whole, trust.Mark{Version: 2, Digest: pin}, trust.ErrFork},
		{"one root key of the two", text(t, sign(t, k.first, k.a)), trust.Mark{}, trust.ErrThreshold},
		{"one root key twice", text(t, sign(t, k.first, k.a, k.a)), trust.Mark{}, trust.ErrThreshold},
		{"no signature", text(t, sign(t, k.first)), trust.Mark{}, trust.ErrThreshold},
		{"a signing key instead of a root key", text(t, sign(t, k.first, k.a, k.key)), trust.Mark{}, trust.ErrThreshold},
		{"the signatures of another version", text(t, k.signed1, trust.Signed{Policy: k.signed2.Policy, Bundles: k.signed1.Bundles}), trust.Mark{}, trust.ErrThreshold},
		{"another first version", text(t, sign(t, edited(func(p *trust.Policy) { p.Version, p.Previous = 1, "" }), k.a, k.b)), trust.Mark{}, trust.ErrPin},
		{"a version left out", text(t, k.signed1, k.sig3), trust.Mark{}, trust.ErrChain},
		{"the versions in another order", text(t, k.signed2, k.signed1), trust.Mark{}, trust.ErrChain},
		{"a version twice", text(t, k.signed1, k.signed1), trust.Mark{}, trust.ErrChain},
		{"another predecessor", text(t, k.signed1, sign(t, edited(func(p *trust.Policy) { p.Previous = subject }), k.a, k.b)), trust.Mark{}, trust.ErrChain},
		{"one issued before its predecessor", text(t, k.signed1, sign(t, edited(func(p *trust.Policy) { p.IssuedAt = day.Add(-time.Hour) }), k.a, k.b)), trust.Mark{}, trust.ErrChain},
		{"a new root that the old one did not sign", text(t, k.signed1, k.signed2, sign(t, k.third, k.d)), trust.Mark{}, trust.ErrThreshold},
		{"a new root that one of the old one signed", text(t, k.signed1, k.signed2, sign(t, k.third, k.a, k.d)), trust.Mark{}, trust.ErrThreshold},
		{"a new root that did not sign itself", text(t, k.signed1, k.signed2, sign(t, k.third, k.a, k.b)), trust.Mark{}, trust.ErrThreshold},
		{"bytes that are not canonical", bytes.Replace(whole, []byte(`"version":2}`), []byte(`"version": 2}`), 1), trust.Mark{}, trust.ErrPolicy},
		{"a key that nobody knows", bytes.Replace(whole, []byte(`{"policy":{`), []byte(`{"policy":{"admin":true,`), 1), trust.Mark{}, trust.ErrPolicy},
		{"a key in other case", bytes.Replace(whole, []byte(`"rules":`), []byte(`"Rules":`), 1), trust.Mark{}, trust.ErrPolicy},
		{"a key twice", bytes.Replace(whole, []byte(`"version":1}`), []byte(`"version":1,"version":1}`), 1), trust.Mark{}, trust.ErrPolicy},
		{"text after the end", append(bytes.Clone(whole), "{}"...), trust.Mark{}, trust.ErrPolicy},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := trust.Open(tt.text, pin, tt.seen)
			require.ErrorIs(t, err, tt.want)
			if tt.want == nil {
				require.Equal(t, chain.Mark(), got.Mark())
			}
		})
	}
	t.Run("a chain is not changed by what is appended to it", func(t *testing.T) {
		two, err := trust.Open(text(t, k.signed1, k.signed2), pin, trust.Mark{})
		require.NoError(t, err)
		_, err = two.Append(k.sig3)
		require.NoError(t, err)
		require.Equal(t, int64(2), two.Mark().Version)
	})
}

// No byte of a signed chain can change without it being refused.
func TestChainRefusesEveryChangedByte(t *testing.T) {
	w := newWorld(t)
	whole, err := w.chain.Text()
	require.NoError(t, err)
	pin := w.chain.Pin()
	_, err = trust.Open(whole, pin, trust.Mark{})
	require.NoError(t, err)
	// Of a bundle these bytes say nothing: the hint names the key for other
	// tools, see TestEveryChangedByteOfABundle in domain/artifact.
	idle := func(at int) bool {
		for from := 0; ; {
			i := bytes.Index(whole[from:], []byte(`"hint":"`))
			if i < 0 {
				return false
			}
			begin := from + i + len(`"hint":"`)
			end := begin + bytes.IndexByte(whole[begin:], '"')
			if at >= begin && at < end {
				return true
			}
			from = end
		}
	}
	for i := range whole {
		changed := bytes.Clone(whole)
		changed[i] ^= 1
		if _, err := trust.Open(changed, pin, trust.Mark{}); err == nil {
			require.True(t, idle(i), "byte %d, %q, in %.60q", i, whole[i], whole[max(0, i-30):])
		}
	}
}

func TestPolicyRefuses(t *testing.T) {
	key, other, top := newKey(t), newKey(t), newKey(t)
	good := func() trust.Policy {
		return trust.First(root(t, top), entry(t, key, "fabric", day), []string{trust.Simulation}, day, year)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	require.NoError(t, err)
	_, err = trust.NewKey(&p384.PublicKey, "x", day)
	require.ErrorIs(t, err, artifact.ErrKey)

	tests := map[string]func(*trust.Policy){
		"version 0":                         func(p *trust.Policy) { p.Version = 0 },
		"a first version with predecessor":  func(p *trust.Policy) { p.Previous = subject },
		"a second version without":          func(p *trust.Policy) { p.Version = 2 },
		"an end before its beginning":       func(p *trust.Policy) { p.ExpiresAt = p.IssuedAt },
		"no root":                           func(p *trust.Policy) { p.Root.Keys = nil },
		"threshold 0":                       func(p *trust.Policy) { p.Root.Threshold = 0 },
		"a threshold that none can reach":   func(p *trust.Policy) { p.Root.Threshold = 2 },
		"a root key twice":                  func(p *trust.Policy) { p.Root.Keys, p.Root.Threshold = append(p.Root.Keys, p.Root.Keys[0]), 2 },
		"a root key that also signs":        func(p *trust.Policy) { p.Keys = append(p.Keys, p.Root.Keys[0]) },
		"a root key with a window":          func(p *trust.Policy) { p.Root.Keys[0].NotAfter = day.Add(time.Hour) },
		"a key twice":                       func(p *trust.Policy) { p.Keys = append(p.Keys, p.Keys[0]) },
		"a key under another's id":          func(p *trust.Policy) { p.Keys[0].ID = artifact.KeyID(&other.PublicKey) },
		"a key that is none":                func(p *trust.Policy) { p.Keys[0].PublicKey = base64.StdEncoding.EncodeToString([]byte("key")) },
		"a key that is not base64":          func(p *trust.Policy) { p.Keys[0].PublicKey = "?" },
		"a key without owner":               func(p *trust.Policy) { p.Keys[0].Owner = "" },
		"a window the wrong way round":      func(p *trust.Policy) { p.Keys[0].NotAfter = p.Keys[0].NotBefore },
		"a reason without revocation":       func(p *trust.Policy) { p.Keys[0].Reason = "x" },
		"two rules of one name":             func(p *trust.Policy) { p.Rules = append(p.Rules, p.Rules[0]) },
		"a rule for a key that is not here": func(p *trust.Policy) { p.Rules[0].Keys = []artifact.Digest{subject} },
		"a rule for a root key":             func(p *trust.Policy) { p.Rules[0].Keys = []artifact.Digest{p.Root.Keys[0].ID} },
		"a rule for no type":                func(p *trust.Policy) { p.Rules[0].Predicates = nil },
		"a rule for trust policies":         func(p *trust.Policy) { p.Rules[0].Predicates = []string{artifact.PredicateTrustPolicy} },
		"a rule for no environment":         func(p *trust.Policy) { p.Rules[0].Environments = nil },
		"a rule for an unknown environment": func(p *trust.Policy) { p.Rules[0].Environments = []string{"staging"} },
		"a rule for no repository":          func(p *trust.Policy) { p.Rules[0].Repositories = nil },
		"a pattern that is none":            func(p *trust.Policy) { p.Rules[0].Repositories = []string{"models/["} },
		"an empty pattern":                  func(p *trust.Policy) { p.Rules[0].Repositories = []string{""} },
		"a rule without name":               func(p *trust.Policy) { p.Rules[0].Name = strings.Repeat("x", 300) },
	}
	require.NoError(t, good().Validate())
	for name, spoil := range tests {
		t.Run(name, func(t *testing.T) {
			p := good()
			spoil(&p)
			_, err := p.Encode()
			require.ErrorIs(t, err, trust.ErrPolicy)
		})
	}
}

func TestChanges(t *testing.T) {
	w := newWorld(t)
	id := artifact.KeyID(&w.key.PublicKey)
	next := entry(t, newKey(t), "fabric", day)
	p, _ := w.chain.Head()

	_, err := p.Rotate(subject, next, day, 0)
	require.ErrorIs(t, err, trust.ErrUnknownKey)
	_, err = p.Rotate(id, p.Keys[0], day, 0)
	require.ErrorIs(t, err, trust.ErrPolicy, "to itself")
	_, err = p.Revoke(subject, day, "x")
	require.ErrorIs(t, err, trust.ErrUnknownKey)
	_, err = p.Revoke(id, day, "")
	require.ErrorIs(t, err, trust.ErrPolicy, "without a reason")
	_, err = p.Allow(next, "nobody")
	require.ErrorIs(t, err, trust.ErrPolicy)
	allowed, err := p.Allow(next, trust.ControlPlane)
	require.NoError(t, err)
	require.Contains(t, allowed.Rules[0].Keys, next.ID)
	require.NotContains(t, p.Rules[0].Keys, next.ID, "what is changed is a copy")

	at := day.Add(time.Hour)
	w.change(t, at, func(p trust.Policy) (trust.Policy, error) { return p.Revoke(id, at, "stolen") })
	head, _ := w.chain.Head()
	require.Equal(t, "revoked", head.Keys[0].State(at))
	_, err = head.Rotate(id, next, at, 0)
	require.ErrorIs(t, err, trust.ErrPolicy, "a revoked key hands nothing on")
	_, err = head.Revoke(id, at.Add(time.Hour), "later")
	require.ErrorIs(t, err, trust.ErrPolicy)

	for name, edit := range map[string]func(*trust.Policy){
		"taken back":    func(p *trust.Policy) { p.Keys[0].RevokedAt, p.Keys[0].Reason = time.Time{}, "" },
		"moved later":   func(p *trust.Policy) { p.Keys[0].RevokedAt = at.Add(time.Second) },
		"moved earlier": func(p *trust.Policy) { p.Keys[0].RevokedAt = at.Add(-time.Second) },
		"key let go":    func(p *trust.Policy) { p.Keys, p.Rules = nil, nil },
	} {
		t.Run("a revocation is "+name, func(t *testing.T) {
			p := w.chain.Next(at.Add(time.Hour), year)
			p.Keys = append([]trust.Key{}, p.Keys...)
			edit(&p)
			after, err := w.chain.Append(sign(t, p, w.root))
			if strings.HasPrefix(name, "taken") || strings.HasSuffix(name, "later") {
				require.ErrorIs(t, err, trust.ErrChain)
				return
			}
			require.NoError(t, err)
			if name == "key let go" { // and comes back as if nothing had been
				back := after.Next(at.Add(2*time.Hour), year)
				back.Keys = []trust.Key{entry(t, w.key, "fabric", day)}
				_, err = after.Append(sign(t, back, w.root))
				require.ErrorIs(t, err, trust.ErrChain)
			}
		})
	}
}

// The predicate types of this package's default rule, and those that others
// sign, are all there are: who adds one decides here whose it is.
func TestEveryPredicateTypeHasASigner(t *testing.T) {
	ours := trust.ControlPlanePredicates()
	others := []string{artifact.PredicateApproval, artifact.PredicateDelegation, artifact.PredicateSubmission, artifact.PredicateTrustPolicy, artifact.PredicateEnrolment, artifact.PredicateSummary}
	for _, predicateType := range declared(t) {
		require.NotEqual(t, contains(ours, predicateType), contains(others, predicateType), "%s: add it to ControlPlanePredicates if the control plane signs it, or here if it does not", predicateType)
	}
}

func contains(list []string, s string) bool {
	text, _ := json.Marshal(list)
	one, _ := json.Marshal(s)
	return bytes.Contains(text, one)
}
