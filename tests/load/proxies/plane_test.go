//go:build bench

package proxies

import (
	"crypto/ecdsa"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/policy"
	"github.com/atom-fabric/fabric/domain/routing"
	"github.com/atom-fabric/fabric/internal/runtime/runtimetest"
	"github.com/atom-fabric/fabric/internal/token"
)

// A plane signs snapshots and tokens as the control plane does.
type plane struct {
	key         *ecdsa.PrivateKey
	trust, jwks string // files
	token       string
	published   map[string]*publisher // by address of the runtime
}

func newPlane(t *testing.T) *plane {
	t.Helper()
	p := &plane{key: runtimetest.NewKey(t), published: map[string]*publisher{}}
	dir := t.TempDir()
	pem, err := artifact.MarshalPublicKey(&p.key.PublicKey)
	require.NoError(t, err)
	p.trust = filepath.Join(dir, "fabric.pub")
	require.NoError(t, os.WriteFile(p.trust, pem, 0o600))
	key := runtimetest.NewKey(t)
	issuer, err := token.NewDevIssuer(key, benchIssuer)
	require.NoError(t, err)
	set, err := issuer.KeySet()
	require.NoError(t, err)
	p.jwks = filepath.Join(dir, "jwks.json")
	require.NoError(t, os.WriteFile(p.jwks, set, 0o600))
	p.token = bearer(t, key)
	return p
}

// A publisher gives the newest snapshot to whoever has an older one.
type publisher struct {
	*httptest.Server
	key     *ecdsa.PrivateKey
	runtime string

	mu      sync.Mutex
	version int64
	text    []byte
	newer   chan struct{} // closed when there is a newer one
}

// route publishes a snapshot with three endpoints, one runtime behind them.
func (p *plane) route(t *testing.T, runtime string) *publisher {
	t.Helper()
	out := &publisher{key: p.key, runtime: runtime, newer: make(chan struct{})}
	out.publish(t)
	out.Server = httptest.NewServer(out)
	t.Cleanup(func() { out.CloseClientConnections(); out.Close() })
	p.published[runtime] = out
	return out
}

func (p *publisher) publish(t *testing.T) {
	t.Helper()
	regions := []string{"apac", "eu", "us"}
	manifest := artifact.DigestOf([]byte("bench"))
	s := routing.Snapshot{Version: p.version + 1, IssuedAt: time.Now(), Policies: []policy.Document{policy.Default()},
		Packages: []routing.Package{{Tenant: "t1", Model: "m1", Version: 1, Manifest: manifest, Regions: regions}},
		Routes:   []routing.Route{{Tenant: "t1", Model: "m1", Environment: "production", Version: 1, Regions: regions}}}
	for i, region := range regions {
		s.Regions = append(s.Regions, routing.Region{Name: region, Policy: s.Policies[0].Revision})
		s.Endpoints = append(s.Endpoints, routing.Endpoint{Name: fmt.Sprintf("%s-%d", region, i), Region: region, Kind: policy.Neural, URL: "http://" + p.runtime, CostMicros: 100, FabricScore: 80})
	}
	text, err := json.Marshal(s)
	require.NoError(t, err)
	signed, err := json.Marshal(routing.Signed{Snapshot: text, Bundle: runtimetest.Sign(t, p.key, artifact.DigestOf(text), artifact.PredicateSnapshot, struct{}{})})
	require.NoError(t, err)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.version, p.text = s.Version, signed
	close(p.newer)
	p.newer = make(chan struct{})
}

func (p *publisher) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPost { // decision records: all are taken
		_, _ = io.Copy(io.Discard, r.Body)
		key := r.Header.Get("Idempotency-Key")
		last, _ := strconv.ParseInt(key[strings.LastIndexByte(key, '-')+1:], 10, 64)
		_, _ = fmt.Fprintf(w, `{"next":%d}`, last+1)
		return
	}
	after, _ := strconv.ParseInt(r.URL.Query().Get("after"), 10, 64)
	for {
		p.mu.Lock()
		version, text, newer := p.version, p.text, p.newer
		p.mu.Unlock()
		if version > after {
			_, _ = w.Write(text)
			return
		}
		select {
		case <-newer:
		case <-r.Context().Done():
			return
		case <-time.After(5 * time.Second):
			w.WriteHeader(http.StatusNoContent)
			return
		}
	}
}
