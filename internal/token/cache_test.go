package token_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/routing"
	"github.com/atom-fabric/fabric/internal/token"
)

// A mint issues tokens and serves its key set, which the test may change.
type mint struct {
	now  time.Time
	dev  *token.DevIssuer
	sets atomic.Pointer[[]byte]
	url  string
}

func newMint(t testing.TB) *mint {
	t.Helper()
	m := &mint{now: time.Unix(1_800_000_000, 0)}
	m.rotate(t)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(*m.sets.Load()) }))
	t.Cleanup(server.Close)
	m.url = server.URL
	return m
}

// rotate makes a new key; the old one leaves the set.
func (m *mint) rotate(t testing.TB) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	m.dev, err = token.NewDevIssuer(key, issuer)
	require.NoError(t, err)
	set, err := m.dev.KeySet()
	require.NoError(t, err)
	m.sets.Store(&set)
}

func (m *mint) issue(t testing.TB, c token.Claims) string {
	t.Helper()
	raw, err := m.dev.Issue(audience, c.Lifetime(m.now, time.Hour))
	require.NoError(t, err)
	return raw
}

func (m *mint) verifier(t testing.TB) *token.Verifier {
	t.Helper()
	keys, err := token.NewKeyFile(m.url, "", http.DefaultClient, func() time.Time { return m.now })
	require.NoError(t, err)
	return token.NewVerifier(keys, issuer, audience, func() time.Time { return m.now })
}

func TestKeysRotate(t *testing.T) {
	m := newMint(t)
	v := m.verifier(t)
	old := m.issue(t, token.Claims{Subject: "ann", Tenant: "t1"})
	_, err := v.Verify(t.Context(), old)
	require.NoError(t, err)

	m.rotate(t)
	fresh := m.issue(t, token.Claims{Subject: "ann", Tenant: "t1"})
	m.now = m.now.Add(6 * time.Second)
	_, err = v.Verify(t.Context(), fresh)
	require.NoError(t, err, "a key that nobody knows is looked for")
	_, err = v.Verify(t.Context(), old)
	require.ErrorIs(t, err, token.ErrKey, "the same look found that the old one is gone, also for who is remembered")
}

func TestAKeyThatIsWithdrawnIsDroppedWithinAMinute(t *testing.T) {
	m := newMint(t)
	v := m.verifier(t)
	old := m.issue(t, token.Claims{Subject: "ann", Tenant: "t1"})
	_, err := v.Verify(t.Context(), old)
	require.NoError(t, err)
	m.rotate(t)
	m.now = m.now.Add(61 * time.Second)
	_, err = v.Verify(t.Context(), "a.b.c") // anybody's call; here of one that reads nothing
	require.Error(t, err)
	other := m.issue(t, token.Claims{Subject: "bob", Tenant: "t1"})
	_, err = v.Verify(t.Context(), other)
	require.NoError(t, err)
	_, err = v.Verify(t.Context(), old)
	require.ErrorIs(t, err, token.ErrKey)
}

func TestRevocationIsSeenByWhoIsRemembered(t *testing.T) {
	m := newMint(t)
	v := m.verifier(t)
	ann := m.issue(t, token.Claims{Subject: "ann", Tenant: "t1", ID: "j1"})
	bob := m.issue(t, token.Claims{Subject: "bob", Tenant: "t1", ID: "j2"})
	eve := m.issue(t, token.Claims{Subject: "ann", Tenant: "t2", ID: "j1"})
	verify := func(raw string) error {
		_, err := v.Verify(t.Context(), raw)
		_, again := v.Verify(t.Context(), raw)
		require.Equal(t, err, again, "from memory as from the start")
		return err
	}
	for _, raw := range []string{ann, bob, eve} {
		require.NoError(t, verify(raw))
	}
	v.Revoke([]routing.Revocation{{Tenant: "t1", Token: "j1", Before: m.now.Unix()}})
	require.ErrorIs(t, verify(ann), token.ErrRevoked)
	require.NoError(t, verify(bob))
	require.NoError(t, verify(eve), "another tenant's token of the same id")
	v.Revoke([]routing.Revocation{{Tenant: "t1", Before: m.now.Unix()}})
	require.ErrorIs(t, verify(bob), token.ErrRevoked)
	m.now = m.now.Add(time.Second)
	require.NoError(t, verify(m.issue(t, token.Claims{Subject: "bob", Tenant: "t1"})), "issued after the revocation")
	unseen := m.verifier(t)
	unseen.Revoke([]routing.Revocation{{Tenant: "t1", Subject: "ann", Before: m.now.Unix()}})
	_, err := unseen.Verify(t.Context(), ann)
	require.ErrorIs(t, err, token.ErrRevoked, "also at first sight")
}

// A flood of tokens, good and bad, takes no more memory than there are places,
// and who is remembered is answered all the while.
func TestAFloodOfTokens(t *testing.T) {
	m := newMint(t)
	v := m.verifier(t)
	mine := m.issue(t, token.Claims{Subject: "ann", Tenant: "t1"})
	_, err := v.Verify(t.Context(), mine)
	require.NoError(t, err)
	head, _, _ := strings.Cut(mine, ".")
	stop := make(chan struct{})
	var group sync.WaitGroup
	for i := range 16 {
		group.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				bad := head + "." + b64.EncodeToString(fmt.Appendf(nil, `{"n":"%d-%d"}`, i, n)) + "." + b64.EncodeToString(make([]byte, 64))
				_, err := v.Verify(t.Context(), bad)
				if err == nil {
					t.Error("accepted")
				}
			}
		})
	}
	for range 2000 {
		_, err := v.Verify(t.Context(), mine)
		require.NoError(t, err)
	}
	close(stop)
	group.Wait()
	for n := range 40_000 { // five times the places
		v.Remember(fmt.Sprint("token ", n))
	}
	require.LessOrEqual(t, v.Remembered(), 8192+2048)
	require.Greater(t, v.Remembered(), 7000)
}

func BenchmarkVerifyRemembered(b *testing.B) {
	m := newMint(b)
	v := m.verifier(b)
	raw := m.issue(b, token.Claims{Subject: "ann", Tenant: "t1", ID: "0123456789abcdef", Roles: []string{"data-scientist"}})
	b.Logf("%d bytes", len(raw))
	b.Run("hash and look-up", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := v.Verify(b.Context(), raw); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("look-up", func(b *testing.B) { v.BenchmarkRecall(b, raw) })
	b.Run("look-up, parallel", func(b *testing.B) { v.BenchmarkRecallParallel(b, raw) })
}
