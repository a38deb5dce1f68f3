package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/api/apitest"
	v1 "github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/catalog"
	"github.com/atom-fabric/fabric/internal/issuer"
	"github.com/atom-fabric/fabric/internal/logkey"
	"github.com/atom-fabric/fabric/internal/pgserver/pgtest"
	"github.com/atom-fabric/fabric/internal/postgres"
)

func TestTheLogsKey(t *testing.T) {
	d := newDesk(t)
	key := strings.TrimSpace(d.ok("audit", "keygen", "fabric.example/log", "--out", d.path("log.key")))
	require.True(t, strings.HasPrefix(key, "fabric.example/log+"), key)
	require.Equal(t, key, strings.TrimSpace(d.read("log.pub")))
	require.NotContains(t, d.read("log.key"), strings.Split(key, "+")[2])
	before := d.read("log.key")
	d.fails(exitConflict, "log.key", "audit", "keygen", "fabric.example/log", "--out", d.path("log.key"))
	require.Equal(t, before, d.read("log.key"))
	for _, bad := range []string{"", "a b", "a+b"} {
		d.fails(exitUsage, "origin", "audit", "keygen", bad, "--out", d.path("other.key"))
	}
	d.fails(exitUsage, errNoVerifier.Error(), "audit", "key")
	require.Equal(t, key+"\n", d.with("FABRIC_LOG_VERIFIER="+d.path("log.pub")).ok("audit", "key"))
	require.Equal(t, key+"\n", d.with("FABRIC_LOG_KEY_PATH="+d.path("log.key")).ok("audit", "key"), "the key beside it")
	d.with("FABRIC_LOG_VERIFIER="+d.path("log.key")).fails(exitUsage, "FABRIC_LOG_VERIFIER", "audit", "key")
	d.with("FABRIC_LOG_VERIFIER="+d.path("none.pub")).fails(exitUsage, "FABRIC_LOG_VERIFIER", "audit", "key")
}

// running serves a gateway over a log in a real database, and returns the desk
// of tenant t1's auditor, and the database.
func running(t *testing.T) (*desk, *postgres.DB) {
	t.Helper()
	d := newDesk(t)
	key, err := logkey.Generate(d.path("log.key"), "fabric.example/log")
	require.NoError(t, err)
	db, err := postgres.Open(t.Context(), postgres.Options{DSN: pgtest.New(t, postgres.Migrate), Origin: key.Origin(), LogKey: key})
	require.NoError(t, err)
	t.Cleanup(db.Close)
	for i, tenant := range []string{"t1", "t2", "t1", "t2", "t1"} {
		_, err := db.Catalog().Register(t.Context(), api.Command{Caller: api.Caller{Tenant: tenant, Subject: "ann"}, Operation: "test", Fingerprint: artifact.DigestOf([]byte{byte(i)})},
			catalog.Feature{ID: fmt.Sprint("f", i), Schema: json.RawMessage(`{}`)}, func(catalog.Feature) (api.Answer, error) { return api.Answer{Status: 200}, nil })
		require.NoError(t, err)
	}
	by, err := issuer.Open(t.TempDir(), "https://dev.invalid/fabric")
	require.NoError(t, err)
	enrolment, err := api.NewEnrolment("federation-token-of-32-bytes-or-more")
	require.NoError(t, err)
	ports := apitest.New().Ports()
	ports.AuditLog, ports.SiteTokens = db.AuditLog(), by
	server, err := api.NewGateway(api.Options{
		Version: "test", Simulation: true, Tokens: by.Verifier("fabric", time.Now), SiteTokens: by.Verifier("fabric-site", time.Now),
		Enrolment: enrolment, TrustedKeys: []string{"-----BEGIN PUBLIC KEY-----"}, Regions: []string{"eu"}, Log: slog.New(slog.DiscardHandler),
		Now: time.Now, NewID: uuid.NewString, Limits: api.Limits{TenantPerSecond: 100_000, AddrPerSecond: 100_000},
	}, ports)
	require.NoError(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ctx, listener) }()
	t.Cleanup(func() { cancel(); require.NoError(t, <-ended) })
	token, err := by.Mint("t1", "ann", []string{"auditor"}, time.Hour)
	require.NoError(t, err)
	return d.with("FABRIC_API_URL=http://"+listener.Addr().String(), "FABRIC_TOKEN="+token, "FABRIC_LOG_VERIFIER="+d.path("log.pub")), db
}

func TestARunningLogIsReadProvenAndKept(t *testing.T) {
	d, _ := running(t)
	out := d.ok("audit", "list")
	require.Equal(t, 3, strings.Count(out, "feature.registered"), out)
	require.Equal(t, 2, strings.Count(out, "(another tenant's)"), "a leaf is its tenant's")
	require.NotContains(t, out, "0001-01-01")
	require.Equal(t, 1, strings.Count(d.ok("audit", "list", "--from", "4"), "feature.registered"))

	for flags, want := range map[string][]int64{
		"--own": {0, 2, 4}, "--own --from 3": {4}, "--newest": {4, 2, 0}, "--before 4": {2, 0}, "--before 4 --from 1": {2}, "--newest --from 5": {},
	} {
		var page v1.LeafPage
		require.NoError(t, json.Unmarshal([]byte(d.ok(append([]string{"audit", "list", "-o", "json"}, strings.Fields(flags)...)...)), &page), flags)
		got := []int64{}
		for _, l := range page.Items {
			got = append(got, l.Index)
			require.NotEmpty(t, l.Leaf, flags)
		}
		require.Equal(t, want, got, flags)
		require.Zero(t, page.Next, flags)
	}
	d.fails(exitFailure, "must be at least 1", "audit", "list", "--before", "-1")

	var check auditCheck
	require.NoError(t, json.Unmarshal([]byte(d.ok("audit", "verify", "-o", "json")), &check))
	require.Equal(t, [2]int64{5, 3}, [2]int64{check.Size, check.Shown})
	require.True(t, check.Signed)
	kept := d.path("kept")
	d.ok("audit", "verify", "--kept", kept)
	require.Contains(t, d.ok("audit", "verify", "--kept", kept), "extends the 5 leaves that you kept")
	d.fails(exitUsage, "--kept", "audit", "verify", "--kept", d.write("junk", "junk"))
	_, err := logkey.Generate(d.path("other.key"), "fabric.example/log")
	require.NoError(t, err)
	d.fails(exitFailure, ErrChain.Error(), "audit", "verify", "--verifier", d.path("other.pub"))
	d.with("FABRIC_API_URL=http://127.0.0.1:1").fails(exitUnavailable, "is the fabric running", "audit", "verify")
	d.without("FABRIC_TOKEN").with("FABRIC_TOKEN=not.a.token").fails(exitUnallowed, "", "audit", "list")
	d.fails(exitUsage, "POSTGRES_DSN", "audit", "verify", "--database")
	d.fails(exitNotFound, "none", "audit", "verify", d.path("none"))

	t.Run("a proof", func(t *testing.T) {
		name := d.path("leaf2")
		d.ok("audit", "prove", "2", "--out", name)
		require.Contains(t, d.ok("audit", "verify", name+".tlog-proof", "--leaf", name+".leaf"), "leaf 2 of 5")
		d.fails(exitUsage, "--leaf", "audit", "verify", name+".tlog-proof")
		d.fails(exitFailure, ErrChain.Error(), "audit", "verify", name+".tlog-proof", "--leaf", d.write("changed", strings.Replace(d.read("leaf2.leaf"), "ann", "bob", 1)))
		d.fails(exitFailure, ErrChain.Error(), "audit", "verify", name+".tlog-proof", "--leaf", name+".leaf", "--verifier", d.path("other.pub"))
		d.fails(exitFailure, ErrChain.Error(), "audit", "verify", name+".leaf", "--leaf", name+".leaf")
		d.without("FABRIC_LOG_VERIFIER").fails(exitUsage, errNoVerifier.Error(), "audit", "verify", name+".tlog-proof", "--leaf", name+".leaf")
		d.fails(exitNotFound, "leaf 5 of 5", "audit", "prove", "5")
		d.fails(exitUnallowed, "another tenant's", "audit", "prove", "1")
		for _, bad := range []string{"x", "2.0"} {
			d.fails(exitUsage, "INDEX", "audit", "prove", bad)
		}
		d.without("FABRIC_LOG_VERIFIER").fails(exitUsage, errNoVerifier.Error(), "audit", "prove", "2")
	})
	t.Run("an export", func(t *testing.T) {
		dir := d.path("export")
		require.Contains(t, d.ok("audit", "export", "--out", dir), "5 leaves")
		d.fails(exitConflict, "export", "audit", "export", "--out", dir)
		offline := d.with("FABRIC_API_URL=http://127.0.0.1:1")
		require.Contains(t, offline.ok("audit", "verify", dir), "5 leaves")
		name := d.path("offline")
		offline.ok("audit", "prove", "4", "--from", dir, "--out", name)
		require.Contains(t, offline.ok("audit", "verify", name+".tlog-proof", "--leaf", name+".leaf"), "leaf 4 of 5")
		offline.fails(exitNotFound, "", "audit", "prove", "5", "--from", dir)
		_, _, log := d.without("FABRIC_LOG_VERIFIER").run("audit", "verify", dir)
		require.Contains(t, log, "no verifier key is pinned")
		offline.fails(exitFailure, ErrChain.Error(), "audit", "verify", dir, "--verifier", d.path("other.pub"))
		require.NoError(t, os.Truncate(dir+"/checkpoint", 10))
		offline.fails(exitFailure, ErrChain.Error(), "audit", "verify", dir)
	})
}
