package witness_test

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/atom-fabric/fabric/domain/audit"
	"github.com/atom-fabric/fabric/internal/logkey"
	"github.com/atom-fabric/fabric/internal/witness"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const origin = "fabric.example/log"

func newKey(t *testing.T) *logkey.Key {
	t.Helper()
	key, err := logkey.Generate(filepath.Join(t.TempDir(), "log.key"), origin)
	require.NoError(t, err)
	return key
}

// A ledger is a log behind HTTP. It can be forked, and it can lie.
type ledger struct {
	t   *testing.T
	key *logkey.Key
	url string

	mu     sync.Mutex
	trees  []audit.Tree
	nodes  map[audit.Place]audit.Hash
	status int         // other than 0: what it answers, to everything
	shown  int         // other than 0: the size that it shows
	noStep bool        // it answers with a step that proves nothing
	signer *logkey.Key // other than nil: signs in the place of key
}

func newLedger(t *testing.T, key *logkey.Key) *ledger {
	l := &ledger{t: t, key: key, trees: []audit.Tree{{}}, nodes: map[audit.Place]audit.Hash{}}
	server := httptest.NewServer(l)
	t.Cleanup(server.Close)
	l.url = server.URL
	return l
}

func (l *ledger) grow(text string, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range n {
		tree, done := l.trees[len(l.trees)-1].Append(audit.LeafHash(fmt.Append(nil, text, i)))
		l.trees = append(l.trees, tree)
		for _, node := range done {
			l.nodes[node.Place] = node.Hash
		}
	}
}

// fork is another log with the same past.
func (l *ledger) fork() *ledger {
	other := newLedger(l.t, l.key)
	other.trees = append([]audit.Tree(nil), l.trees...)
	for at, h := range l.nodes {
		other.nodes[at] = h
	}
	return other
}

func (l *ledger) set(fn func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fn()
}

func (l *ledger) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	size := len(l.trees) - 1
	if l.shown != 0 {
		size = l.shown
	}
	key := l.key
	if l.signer != nil {
		key = l.signer
	}
	switch {
	case l.status != 0:
		w.WriteHeader(l.status)
	case r.URL.Path == "/audit/checkpoint" && r.Header.Get("Accept") == "text/plain":
		note, err := key.Sign(audit.Checkpoint{Origin: origin, Size: int64(size), Root: l.trees[size].Root()})
		if err != nil {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		_, _ = w.Write([]byte(note))
	case r.URL.Path == "/audit/consistency":
		from, _ := strconv.Atoi(r.URL.Query().Get("from"))
		to, _ := strconv.Atoi(r.URL.Query().Get("to"))
		if to >= len(l.trees) {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		proof, err := audit.ProveConsistency(int64(from), int64(to), func(places []audit.Place) ([]audit.Hash, error) {
			var out []audit.Hash
			for _, at := range places {
				out = append(out, l.nodes[at])
			}
			return out, nil
		})
		if err != nil {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		hashes := []string{}
		for _, h := range proof {
			hashes = append(hashes, text(h))
		}
		if l.noStep {
			hashes = append(hashes, text(audit.EmptyRoot()))
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"from": from, "to": to, "from_root": text(l.trees[from].Root()), "hashes": hashes})
	default:
		w.WriteHeader(http.StatusTeapot)
	}
}

func text(h audit.Hash) string { return "sha256:" + hex.EncodeToString(h[:]) }

type place struct {
	*witness.Witness
	url      string
	dir      string
	registry *prometheus.Registry
}

// peers is filled in after the servers know their addresses.
type peers map[string]witness.Peer

// region starts the witness of a region that sees the log l.
func region(t *testing.T, name, dir string, l *ledger, others peers) place {
	t.Helper()
	registry := prometheus.NewRegistry()
	w, err := witness.New(witness.Options{Region: name, Verifier: l.key.Verifier(), Log: witness.Gateway{URL: l.url, Client: http.DefaultClient},
		Peers: others, Dir: dir, Every: time.Minute, Journal: slog.New(slog.DiscardHandler), Registry: registry, Now: time.Now})
	require.NoError(t, err)
	server := httptest.NewServer(w)
	t.Cleanup(func() { server.Close(); http.DefaultClient.CloseIdleConnections() })
	return place{w, server.URL, dir, registry}
}

func remote(p place, name string) witness.Peer {
	return witness.Remote{Region: name, URL: p.url, Client: http.DefaultClient}
}

func TestAWitnessKeepsWhatFollows(t *testing.T) {
	l, dir := newLedger(t, newKey(t)), t.TempDir()
	w := region(t, "eu", dir, l, nil)
	for _, more := range []int{0, 1, 6, 0, 100} {
		l.grow("leaf", more)
		require.NoError(t, w.Look(t.Context()))
		point, err := l.key.Open(w.Report().Note)
		require.NoError(t, err)
		require.EqualValues(t, len(l.trees)-1, point.Size)
	}
	l.set(func() { l.shown = 40 })
	require.NoError(t, w.Look(t.Context()), "an earlier checkpoint of the same log is no lie; the later one stays")
	again := region(t, "eu", dir, l, nil)
	require.Equal(t, w.Report().Note, again.Report().Note, "what was kept survives a restart")
	require.EqualValues(t, 107, gauge(t, again.registry, "fabric_audit_witness_size"))
}

func TestAWitnessRefuses(t *testing.T) {
	key, other := newKey(t), newKey(t)
	tests := []struct {
		name   string
		change func(l *ledger)
		want   error
		well   bool // the region's health does not suffer
	}{
		{"a log that does not answer", func(l *ledger) { l.status = 503 }, witness.ErrUnreachable, true},
		{"a log that is not signed", func(l *ledger) { l.status = 404 }, witness.ErrUnsigned, false},
		{"a checkpoint that another key signed", func(l *ledger) { l.signer = other }, audit.ErrSignature, false},
		{"a step that proves nothing", func(l *ledger) { l.noStep = true }, audit.ErrProof, false},
		{"a log that lost its end", func(l *ledger) { l.trees = l.trees[:5] }, witness.ErrBehind, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := newLedger(t, key)
			l.grow("leaf", 9)
			w := region(t, "eu", t.TempDir(), l, nil)
			require.NoError(t, w.Look(t.Context()))
			kept := w.Report().Note
			l.grow("more", 3)
			l.set(func() { tt.change(l) })
			require.ErrorIs(t, w.Look(t.Context()), tt.want)
			require.Equal(t, kept, w.Report().Note, "what is kept stays")
			require.NotEmpty(t, w.Report().Reason)
			require.Nil(t, w.Report().Split)
			if tt.well {
				require.NoError(t, w.Check(t.Context()))
			} else {
				require.ErrorIs(t, w.Check(t.Context()), tt.want)
			}
		})
	}
}

// One log until 20 leaves, two after: each region sees one of them, and each
// alone is in order. What they keep is not, whichever fork is longer.
func TestASplitViewIsFoundBetweenRegions(t *testing.T) {
	tests := []struct {
		name   string
		eu, us int
	}{{"of one size", 7, 7}, {"the first longer", 30, 7}, {"the second longer", 7, 30}, {"by a single leaf", 12, 13}}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := newLedger(t, newKey(t))
			l.grow("leaf", 20)
			fork := l.fork()
			euPeers, usPeers := peers{}, peers{}
			dir := t.TempDir()
			eu, us := region(t, "eu", t.TempDir(), l, euPeers), region(t, "us", dir, fork, usPeers)
			euPeers["us"], usPeers["eu"] = remote(us, "us"), remote(eu, "eu")
			for range 2 {
				require.NoError(t, eu.Look(t.Context()))
				require.NoError(t, us.Look(t.Context()), "until here they are one")
			}
			l.grow("of the one", tt.eu)
			fork.grow("of the other", tt.us)
			var found []error
			for range 3 { // each learns by itself or from the other, and checks
				found = append(found, eu.Look(t.Context()), us.Look(t.Context()))
			}
			require.ErrorIs(t, found[len(found)-2], audit.ErrSplit)
			require.ErrorIs(t, found[len(found)-1], audit.ErrSplit)
			for _, w := range []place{eu, us} {
				evidence := w.Report().Split
				require.NotNil(t, evidence)
				require.NoError(t, evidence.Check(l.key.Verifier()), "anybody can check it")
				require.ErrorIs(t, w.Check(t.Context()), audit.ErrSplit)
				require.EqualValues(t, 1, gauge(t, w.registry, "fabric_audit_split_view"))
			}
			again := region(t, "us", dir, fork, nil)
			require.ErrorIs(t, again.Check(t.Context()), audit.ErrSplit, "evidence survives a restart")
		})
	}
}

// A log that rewrites its past in front of one region.
func TestARewrittenLogIsFoundByOneRegion(t *testing.T) {
	l := newLedger(t, newKey(t))
	l.grow("leaf", 20)
	w := region(t, "eu", t.TempDir(), l, nil)
	require.NoError(t, w.Look(t.Context()))
	other := newLedger(t, l.key)
	other.grow("other", 23)
	l.set(func() { l.trees, l.nodes = other.trees, other.nodes })
	require.ErrorIs(t, w.Look(t.Context()), audit.ErrSplit)
	require.NoError(t, w.Report().Split.Check(l.key.Verifier()))
}

// A region cannot make the others see a split where there is none.
func TestEvidenceIsChecked(t *testing.T) {
	l := newLedger(t, newKey(t))
	l.grow("leaf", 20)
	liar := newLedger(t, newKey(t))
	liar.grow("lie", 21)
	lies := region(t, "us", t.TempDir(), liar, nil)
	require.NoError(t, lies.Look(t.Context()))
	forged := witness.Report{Region: "us", Split: &audit.Split{Smaller: lies.Report().Note, Larger: lies.Report().Note}}
	tests := map[string]witness.Peer{
		"a checkpoint of another key": remote(lies, "us"),
		"forged evidence":             says{forged},
		"another region's report":     remote(lies, "apac"),
		"a region that is away":       witness.Remote{Region: "us", URL: "http://127.0.0.1:1", Client: http.DefaultClient},
	}
	for name, peer := range tests {
		t.Run(name, func(t *testing.T) {
			w := region(t, "eu", t.TempDir(), l, peers{"us": peer})
			require.NoError(t, w.Look(t.Context()))
			require.NoError(t, w.Check(t.Context()))
			require.Nil(t, w.Report().Split)
			require.NotEqual(t, "agrees", w.Report().Peers["us"])
		})
	}
}

type says struct{ report witness.Report }

func (s says) Report(context.Context) (witness.Report, error) { return s.report, nil }

func TestAStateThatWasChangedIsRefused(t *testing.T) {
	l, dir := newLedger(t, newKey(t)), t.TempDir()
	l.grow("leaf", 3)
	require.NoError(t, region(t, "eu", dir, l, nil).Look(t.Context()))
	path := filepath.Join(dir, "witness.json")
	kept, err := os.ReadFile(path)
	require.NoError(t, err)
	for name, text := range map[string]string{
		"cut":             string(kept[:40]),
		"by another hand": `{"region":"eu","note":"` + origin + `\n9\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n\n— x y\n"}`,
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
			_, err := witness.New(witness.Options{Region: "eu", Verifier: l.key.Verifier(), Dir: dir, Registry: prometheus.NewRegistry()})
			require.Error(t, err)
		})
	}
}

func gauge(t *testing.T, registry *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := registry.Gather()
	require.NoError(t, err)
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}
