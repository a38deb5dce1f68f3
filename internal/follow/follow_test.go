package follow_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/routing"
	"github.com/atom-fabric/fabric/domain/trust"
	"github.com/atom-fabric/fabric/internal/follow"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return key
}

func sign(t *testing.T, key *ecdsa.PrivateKey, predicate string, version int64) routing.Signed {
	t.Helper()
	text, err := json.Marshal(routing.Snapshot{Version: version})
	require.NoError(t, err)
	statement, err := artifact.NewStatement("snapshot", artifact.DigestOf(text), predicate, struct{}{})
	require.NoError(t, err)
	bundle, err := artifact.SignStatement(rand.Reader, key, statement)
	require.NoError(t, err)
	return routing.Signed{Snapshot: text, Bundle: bundle}
}

// A plane is a control plane that serves one document.
type plane struct {
	mu     sync.Mutex
	status int
	body   []byte
	asked  []string
	*httptest.Server
}

func newPlane(t *testing.T) *plane {
	p := &plane{status: http.StatusNoContent}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.asked = append(p.asked, r.URL.RawQuery)
		w.WriteHeader(p.status)
		if p.status == http.StatusOK {
			_, _ = w.Write(p.body)
		}
	}))
	t.Cleanup(p.Close)
	return p
}

func (p *plane) serve(t *testing.T, signed routing.Signed) {
	t.Helper()
	body, err := json.Marshal(signed)
	require.NoError(t, err)
	p.raw(http.StatusOK, body)
}

func (p *plane) raw(status int, body []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.status, p.body = status, body
}

type use struct{ versions []int64 }

func (u *use) take(s routing.Snapshot) error {
	if s.Version == 13 {
		return fmt.Errorf("unlucky")
	}
	u.versions = append(u.versions, s.Version)
	return nil
}

func options(t *testing.T, p *plane, dir string, u *use, keys ...*ecdsa.PrivateKey) follow.Options {
	t.Helper()
	opts := follow.Options{URL: p.URL + "/snapshot", Dir: dir, Wait: time.Second, Client: p.Client(),
		Log: slog.New(slog.DiscardHandler), Registry: prometheus.NewRegistry(), Now: time.Now, Use: u.take}
	var publics []*ecdsa.PublicKey
	for _, key := range keys {
		publics = append(publics, &key.PublicKey)
	}
	if len(publics) > 0 {
		judge, err := trust.Pin(publics...)
		require.NoError(t, err)
		opts.Trust = judge
	}
	return opts
}

func TestTakesOnlyWhatIsSignedAndNewer(t *testing.T) {
	key, other := newKey(t), newKey(t)
	good := sign(t, key, artifact.PredicateSnapshot, 5)
	altered := good
	altered.Snapshot = json.RawMessage(`{"version":6}`)
	tests := []struct {
		name   string
		status int
		signed routing.Signed
		raw    string
		want   error
	}{
		{"a higher version", 200, sign(t, key, artifact.PredicateSnapshot, 6), "", nil},
		{"the same again", 200, good, "", nil},
		{"nothing new", 204, routing.Signed{}, "", nil},
		{"not modified", 304, routing.Signed{}, "", nil},
		{"a lower version", 200, sign(t, key, artifact.PredicateSnapshot, 4), "", follow.ErrOlder},
		{"another key", 200, sign(t, other, artifact.PredicateSnapshot, 6), "", follow.ErrSignature},
		{"another predicate", 200, sign(t, key, artifact.PredicatePolicy, 6), "", follow.ErrSignature},
		{"altered bytes", 200, altered, "", follow.ErrSignature},
		{"content that is refused", 200, sign(t, key, artifact.PredicateSnapshot, 13), "", follow.ErrRefused},
		{"no bundle", 200, routing.Signed{Snapshot: good.Snapshot, Bundle: json.RawMessage(`null`)}, "", nil},
		{"no JSON", 200, routing.Signed{}, "<html>", follow.ErrAnswer},
		{"an error", 503, routing.Signed{}, "", follow.ErrUnreachable},
		{"no permission", 401, routing.Signed{}, "", follow.ErrUnreachable},
		{"a redirect loop's end", 302, routing.Signed{}, "", follow.ErrUnreachable},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, u, dir := newPlane(t), &use{}, t.TempDir()
			f, err := follow.New(options(t, p, dir, u, key))
			require.NoError(t, err)
			p.serve(t, good)
			require.NoError(t, f.Poll(t.Context()))
			require.EqualValues(t, 5, f.State().Version)

			body := []byte(tt.raw)
			if tt.raw == "" {
				body, err = json.Marshal(tt.signed)
				require.NoError(t, err)
			}
			p.raw(tt.status, body)
			err = f.Poll(t.Context())
			files, globErr := filepath.Glob(filepath.Join(dir, "*"))
			require.NoError(t, globErr)
			if tt.want != nil {
				require.ErrorIs(t, err, tt.want)
				require.Equal(t, []int64{5}, u.versions)
				require.EqualValues(t, 5, f.State().Version)
				require.Len(t, files, 1, "nothing that was refused is kept")
				return
			}
			require.NoError(t, err)
			require.Equal(t, "after=5&wait_seconds=1", p.asked[len(p.asked)-1])
		})
	}
}

func TestRestartsWithoutTheControlPlane(t *testing.T) {
	key, dir := newKey(t), t.TempDir()
	p, u := newPlane(t), &use{}
	f, err := follow.New(options(t, p, dir, u, key))
	require.NoError(t, err)
	require.False(t, f.Load(), "nothing on disk yet")
	for version := range int64(20) {
		p.serve(t, sign(t, key, artifact.PredicateSnapshot, version+20))
		require.NoError(t, f.Poll(t.Context()))
	}
	p.Close()
	require.ErrorIs(t, f.Poll(t.Context()), follow.ErrUnreachable)
	files, err := filepath.Glob(filepath.Join(dir, "snapshot-*.json"))
	require.NoError(t, err)
	require.Len(t, files, 16)

	restart := func(keys ...*ecdsa.PrivateKey) (*follow.Follower, bool) {
		f, err := follow.New(options(t, p, dir, &use{}, keys...))
		require.NoError(t, err)
		return f, f.Load()
	}
	again, ok := restart(key)
	require.True(t, ok)
	require.EqualValues(t, 39, again.State().Version)

	// The newest is cut short, the next one altered: the third is used.
	text, err := os.ReadFile(files[15])
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(files[15], text[:len(text)/2], 0o600))
	text, err = os.ReadFile(files[14])
	require.NoError(t, err)
	text[len(`{"snapshot":{"version":3`)] ^= 1
	require.NoError(t, os.WriteFile(files[14], text, 0o600))
	again, ok = restart(key)
	require.True(t, ok)
	require.EqualValues(t, 37, again.State().Version)

	_, ok = restart(newKey(t))
	require.False(t, ok, "what was signed by a key that is no longer trusted is not used")
}

func TestAgeOutlivesARestart(t *testing.T) {
	key, dir := newKey(t), t.TempDir()
	p := newPlane(t)
	now := time.Now()
	opts := options(t, p, dir, &use{}, key)
	opts.Now = func() time.Time { return now }
	f, err := follow.New(opts)
	require.NoError(t, err)
	p.serve(t, sign(t, key, artifact.PredicateSnapshot, 1))
	require.NoError(t, f.Poll(t.Context()))
	p.raw(http.StatusNoContent, nil)
	now = now.Add(time.Hour)
	require.Equal(t, time.Hour, f.State().Age(now))
	require.NoError(t, f.Poll(t.Context()))
	require.Zero(t, f.State().Age(now))

	now = now.Add(time.Minute)
	opts.Registry = prometheus.NewRegistry()
	f, err = follow.New(opts)
	require.NoError(t, err)
	require.True(t, f.Load())
	require.InDelta(t, 60, f.State().Age(now).Seconds(), 1)
}

func TestRunFollowsAndStops(t *testing.T) {
	key := newKey(t)
	p, u := newPlane(t), &use{}
	f, err := follow.New(options(t, p, t.TempDir(), u, key))
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); f.Run(ctx) }()
	p.raw(http.StatusBadGateway, nil)
	p.serve(t, sign(t, key, artifact.PredicateSnapshot, 3))
	require.Eventually(t, func() bool { return f.State().Version == 3 }, 5*time.Second, 5*time.Millisecond)
	cancel()
	<-done
}

func TestNewRefuses(t *testing.T) {
	p := newPlane(t)
	opts := options(t, p, t.TempDir(), &use{})
	_, err := follow.New(opts)
	require.ErrorContains(t, err, "no trusted key")
	opts = options(t, p, filepath.Join(os.DevNull, "x"), &use{}, newKey(t))
	_, err = follow.New(opts)
	require.Error(t, err)
	opts.URL = "ftp://x/"
	_, err = follow.New(opts)
	require.Error(t, err)
}
