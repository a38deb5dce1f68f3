package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/recovery"
)

// A tape answers as the API would and remembers what it was asked.
type tape struct {
	t       *testing.T
	key     *ecdsa.PrivateKey
	points  []v1.RecoveryPoint // by ascending sequence
	answers map[string]any     // by "METHOD path"
	asked   []string           // "METHOD path body"
	url     string
	trust   string // file with the public key
}

func newTape(t *testing.T, points int) *tape {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	s := &tape{t: t, key: key, answers: map[string]any{}, trust: filepath.Join(t.TempDir(), "fabric.pub")}
	public, err := artifact.MarshalPublicKey(&key.PublicKey)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(s.trust, public, 0o600))
	var before artifact.Digest
	for n := range points {
		p := s.signed(recovery.Point{Sequence: int64(n + 1), Previous: before})
		s.points, before = append(s.points, p), artifact.Digest(p.Digest)
	}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

// signed returns a point of clinic as the API shows it.
func (s *tape) signed(p recovery.Point) v1.RecoveryPoint {
	s.t.Helper()
	p.Tenant, p.At, p.Snapshot = "clinic", time.Date(2026, 3, 3, 9, 0, 0, 0, time.UTC), 7
	p.Models, p.Aliases, p.Routes, p.Policies = []recovery.Model{}, []recovery.Alias{}, []recovery.Route{}, []recovery.Policy{}
	text, digest, err := p.Encode()
	require.NoError(s.t, err)
	statement, err := artifact.NewStatement("recovery", digest, artifact.PredicateRecoveryPoint, p.Statement())
	require.NoError(s.t, err)
	bundle, err := artifact.SignStatement(rand.Reader, s.key, statement)
	require.NoError(s.t, err)
	return v1.RecoveryPoint{Sequence: p.Sequence, Digest: string(digest), Previous: string(p.Previous), Action: fmt.Sprintf("snap-%d", p.Sequence), Actor: "ann",
		At: p.At, Snapshot: 7, Point: v1.JSON(text), Bundle: string(bundle)}
}

func (s *tape) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body bytes.Buffer
	_, _ = body.ReadFrom(r.Body)
	key := r.Method + " " + r.URL.Path
	s.asked = append(s.asked, strings.TrimSpace(key+" "+body.String()))
	answer, ok := s.answers[key]
	var sequence int
	switch n, _ := fmt.Sscanf(key, "GET /recovery-points/%d", &sequence); {
	case ok:
	case n == 1 && sequence <= len(s.points):
		answer, ok = s.points[sequence-1], true
	case key == "GET /recovery-points":
		page := v1.RecoveryPointPage{Items: []v1.RecoveryPoint{}}
		for i := len(s.points) - 1; i >= 0; i-- {
			page.Items = append(page.Items, s.points[i])
		}
		answer, ok = page, true
	}
	status := http.StatusOK
	if !ok {
		status, answer = http.StatusNotFound, v1.Problem{Code: "not_found", Status: 404, Title: "There is no such thing"}
		w.Header().Set("Content-Type", "application/problem+json")
	} else {
		w.Header().Set("Content-Type", "application/json")
	}
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(answer)
}

// fabric runs a command and returns what it printed and its status.
func (s *tape) fabric(args ...string) (string, int) {
	s.t.Helper()
	var out bytes.Buffer
	status := run(s.t.Context(), args, streams{In: strings.NewReader(""), Out: &out, Err: &out},
		[]string{"FABRIC_API_URL=" + s.url, "FABRIC_TRUST_KEY=" + s.trust, "FABRIC_TOKEN=x", "FABRIC_STATE_DIR=" + filepath.Dir(s.trust)})
	return out.String(), status
}

func TestAChainOfPointsIsVerifiedByThePinnedKey(t *testing.T) {
	s := newTape(t, 3)
	out, status := s.fabric("snapshot", "verify", "1", "--seen", "3")
	require.Zero(t, status, out)
	require.Contains(t, out, "recovery point 1, "+s.points[0].Digest)
	require.Contains(t, out, "3 points in a chain")
	out, status = s.fabric("snapshot", "verify")
	require.Zero(t, status, out)
	require.Contains(t, out, "recovery point 3")
	out, status = s.fabric("snapshot", "list")
	require.Zero(t, status, out)
	require.Less(t, strings.Index(out, "\n3 "), strings.Index(out, "\n1 "), "the newest first")

	foreign := newTape(t, 0)
	second := s.points[1]
	for _, tt := range []struct {
		name   string
		change func()
		args   []string
		says   string
	}{
		{"was set back", func() { s.points = s.points[:2] }, []string{"--seen", "3"}, recovery.ErrOlder.Error()},
		{"is signed by somebody else", func() {
			s.points[1] = foreign.signed(recovery.Point{Sequence: 2, Previous: artifact.Digest(s.points[0].Digest)})
		}, []string{"2"}, "recovery point 2"},
		{"leaves one out", func() { s.points[1] = s.signed(recovery.Point{Sequence: 2, Previous: artifact.DigestOf([]byte("x"))}) }, []string{"1"}, recovery.ErrChain.Error()},
		{"is another one under its number", func() { s.points[1] = s.points[0] }, []string{"2"}, errPoint.Error()},
		{"was changed", func() {
			s.points[1].Point = v1.JSON(strings.Replace(string(second.Point), `"snapshot":7`, `"snapshot":8`, 1))
		}, []string{"2"}, "recovery point 2"},
		{"has the signature of another", func() { s.points[1].Bundle = s.points[0].Bundle }, []string{"2"}, "recovery point 2"},
		{"has no number", func() {}, []string{"two"}, "is no number"},
		{"is not there", func() {}, []string{"9"}, "no such thing"},
		{"was never taken", func() { s.points = nil }, nil, "no recovery point yet"},
	} {
		t.Run("one that "+tt.name, func(t *testing.T) {
			kept := append([]v1.RecoveryPoint{}, s.points...)
			defer func() { s.points = kept }()
			tt.change()
			out, status := s.fabric(append([]string{"snapshot", "verify"}, tt.args...)...)
			require.NotZero(t, status, out)
			require.Contains(t, out, tt.says)
			require.NotContains(t, out, "OK")
		})
	}
}

func TestAPointIsTakenAndVerifiedOffline(t *testing.T) {
	s := newTape(t, 2)
	s.answers["POST /recovery-points"] = v1.ActionAccepted{ID: "snap-2", WorkflowID: "recovery/snap-2"}
	file := filepath.Join(t.TempDir(), "point.json")
	out, status := s.fabric("snapshot", "create", "--reason", "before release", "--file", file)
	require.Zero(t, status, out)
	require.Contains(t, out, s.points[1].Digest)
	require.Contains(t, s.asked[0], `"reason":"before release"`)

	s.url = "http://127.0.0.1:1" // the network is off
	out, status = s.fabric("snapshot", "verify", "--file", file, "--seen", "2")
	require.Zero(t, status, out)
	require.Contains(t, out, "recovery point 2")
	out, status = s.fabric("snapshot", "verify", "--file", file, "--seen", "3")
	require.NotZero(t, status, out)
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, bytes.Replace(text, []byte(`"tenant": "clinic"`), []byte(`"tenant": "north"`), 1), 0o600))
	out, status = s.fabric("snapshot", "verify", "--file", file)
	require.NotZero(t, status, out)
}

func TestARestoreAppliesThePlanThatWasShown(t *testing.T) {
	s := newTape(t, 1)
	plan := "sha256:" + strings.Repeat("ab", 32)
	s.answers["POST /recovery-points/1/restores"] = v1.Planned{ID: "restore-1", PlanDigest: plan, Plan: v1.JSON(`{"diff":[{"what":"production of m","from":"version 2","to":"version 1"}]}`)}
	out, status := s.fabric("snapshot", "restore", "1")
	require.Zero(t, status, out)
	require.Contains(t, out, "fabric snapshot restore 1 --apply "+plan)
	require.NotContains(t, s.asked[0], "true", "nothing is applied")

	s.answers["POST /recovery-points/1/restores"] = v1.ActionAccepted{ID: "restore-1", WorkflowID: "restore/restore-1"}
	s.answers["GET /restores/restore-1"] = v1.Action{ID: "restore-1", Kind: "restore", State: "applied", Plan: v1.JSON(`{}`)}
	out, status = s.fabric("snapshot", "restore", "1", "--apply", plan, "--wait")
	require.Zero(t, status, out)
	require.Contains(t, out, "applied")
	require.Contains(t, s.asked[1], plan)
	for _, bad := range []string{"0", "-1", "one"} {
		_, status = s.fabric("snapshot", "restore", "--", bad)
		require.Equal(t, exitUsage, status)
	}
}

func TestARollbackAndReplicasOnTheCommandLine(t *testing.T) {
	s := newTape(t, 0)
	plan := "sha256:" + strings.Repeat("cd", 32)
	s.answers["POST /models/m/rollbacks"] = v1.Planned{ID: "promote-1", PlanDigest: plan, Plan: v1.JSON(`{}`)}
	out, status := s.fabric("rollback", "m", "--environment", "staging")
	require.Zero(t, status, out)
	require.Contains(t, out, "fabric rollback m --environment staging --apply "+plan)
	s.answers["POST /models/m/rollbacks"] = v1.ActionAccepted{ID: "promote-1", WorkflowID: "promotion/promote-1"}
	out, status = s.fabric("rollback", "m", "--environment", "staging", "--apply", plan)
	require.Zero(t, status, out)
	require.Contains(t, out, "promotion/promote-1")
	require.Contains(t, s.asked[1], plan)

	s.answers["POST /models/m/replicas"] = v1.ReplicationAccepted{Regions: []string{"eu"}}
	out, status = s.fabric("model", "replicate", "m", "--version", "3", "--region", "eu")
	require.Zero(t, status, out)
	require.Contains(t, out, "fabric model replicas m --version 3")
	require.Contains(t, s.asked[2], `"eu"`)
	s.answers["POST /models/m/replicas"] = v1.ReplicationAccepted{}
	out, _ = s.fabric("model", "replicate", "m", "--version", "3")
	require.Contains(t, out, "under way already")
	_, status = s.fabric("model", "replicate", "m")
	require.Equal(t, exitUsage, status, "a version is named")
	s.answers["GET /models/m/replicas"] = v1.ReplicaList{ModelID: "m", Version: 3, Items: []v1.Replica{{Region: "eu", State: "failed", Cause: "layer differs from its digest"}}}
	out, status = s.fabric("model", "replicas", "m")
	require.Zero(t, status, out)
	require.Contains(t, out, "layer differs from its digest")
}
