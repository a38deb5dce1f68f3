package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/internal/blob"
	"github.com/atom-fabric/fabric/internal/config"
	"github.com/atom-fabric/fabric/internal/doctor"
	"github.com/atom-fabric/fabric/internal/oci"
	"github.com/atom-fabric/fabric/internal/opa"
	"github.com/atom-fabric/fabric/internal/postgres"
	"github.com/atom-fabric/fabric/worker"
)

// get asks once, within the patience of a check.
func get(ctx context.Context, url string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	resp.Body = io.NopCloser(bytes.NewReader(text))
	return resp, err
}

// healthy is nil when a health document says pass. Its checks that fail are
// named.
func (p *patient) healthy(ctx context.Context, url string) error {
	resp, err := get(ctx, url)
	if err != nil {
		return err
	}
	var health struct {
		Checks map[string]struct{ Status, Output string }
	}
	if err := json.NewDecoder(resp.Body).Decode(&health); err != nil {
		return fmt.Errorf("it answers %s, and not as a fabric does", resp.Status)
	}
	var failing []string
	for _, name := range slices.Sorted(maps.Keys(health.Checks)) {
		if c := health.Checks[name]; c.Status != "pass" {
			failing = append(failing, strings.TrimSuffix(name+" "+c.Status+": "+c.Output, ": "))
		}
	}
	if len(failing) > 0 || resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%w: %s", errUnhealthy, strings.Join(failing, ", "))
	}
	return nil
}

var errUnhealthy = errors.New("it answers, and is not well")

// oldest is the first release of PostgreSQL that is supported.
const oldest = 15

func (p *patient) postgresServer(ctx context.Context) doctor.Finding {
	if p.dsn == "" {
		return doctor.Skipped(notUp)
	}
	db, err := postgres.Inspect(ctx, p.dsn)
	if err != nil {
		return doctor.Failed("see that the server runs and that POSTGRES_DSN names it: psql \"$POSTGRES_DSN\" -c 'select 1'", "%s", away(err))
	}
	release := fmt.Sprintf("PostgreSQL %d.%d", db.Server/10_000, db.Server%10_000)
	switch {
	case db.Server/10_000 < oldest:
		return doctor.Failed(fmt.Sprintf("use PostgreSQL %d or later", oldest), "%s is too old", release)
	case db.Standby:
		return doctor.Failed("set POSTGRES_DSN to the primary, and name this one in POSTGRES_REPLICA_DSNS", "%s is a standby and cannot be written", release)
	}
	for _, role := range db.Roles {
		switch {
		case !role.Exists:
			return doctor.Failed("fabric migrate", "%s answers; the role %s is missing", release, role.Name)
		case role.Super || role.Bypass:
			return doctor.Failed(fmt.Sprintf("as a superuser: alter role %s nosuperuser nobypassrls", role.Name), "%s answers; the role %s may see every tenant's rows", release, role.Name)
		}
	}
	if (db.Super || db.Bypass) && p.c.Env == "prod" {
		return doctor.Warned("let POSTGRES_DSN name a login that is only a member of fabric_app and fabric_system (docs/howto/own-postgresql.md)", "%s answers; the login is more powerful than it needs to be", release)
	}
	return doctor.Well("%s answers; the roles are bound to their tenant", release)
}

func (p *patient) migrations(ctx context.Context) doctor.Finding {
	if p.dsn == "" {
		return doctor.Skipped(notUp)
	}
	db, err := postgres.Inspect(ctx, p.dsn)
	switch {
	case err != nil:
		return doctor.Failed("mend the check postgres first", "%s", away(err))
	case db.Schema < db.Latest:
		return doctor.Failed("fabric migrate", "the schema is at %d of %d", db.Schema, db.Latest)
	case db.Schema > db.Latest:
		return doctor.Warned("upgrade this program: a newer one has migrated the database", "the schema is at %d, and this program knows %d", db.Schema, db.Latest)
	}
	return doctor.Well("the schema is at %d, the newest", db.Schema)
}

func (p *patient) replicaServers(ctx context.Context) doctor.Finding {
	dsns := config.List(p.c.ReplicaDSNs.Reveal())
	if len(dsns) == 0 || p.dsn == "" {
		return doctor.Skipped("there are none: the primary answers every read")
	}
	window := time.Duration(p.c.ReplicaWindow) * time.Millisecond
	var slowest time.Duration
	for i, dsn := range dsns {
		lag, err := postgres.Lag(ctx, p.dsn, dsn)
		switch {
		case errors.Is(err, postgres.ErrPrimary):
			return doctor.Failed("take it out of POSTGRES_REPLICA_DSNS: it has rows of its own", "replica %d of %d is no replica: %v", i+1, len(dsns), err)
		case errors.Is(err, context.DeadlineExceeded):
			return doctor.Failed("docs/operations/replica-lag.md", "replica %d of %d is more than %s behind; the primary answers for it", i+1, len(dsns), lag.Round(time.Millisecond))
		case err != nil:
			return doctor.Failed("see that it runs and that POSTGRES_REPLICA_DSNS names it; the primary answers for it meanwhile", "replica %d of %d: %s", i+1, len(dsns), away(err))
		}
		slowest = max(slowest, lag)
	}
	if slowest > window {
		return doctor.Warned("docs/operations/replica-lag.md, or a larger REPL_WINDOW_MS", "a replica is %s behind, more than REPL_WINDOW_MS; the primary answers for it", slowest.Round(time.Millisecond))
	}
	return doctor.Well("%d follow, the slowest %s behind", len(dsns), slowest.Round(time.Millisecond))
}

// remembered is how long an answer is kept for a repeated request: what Temporal
// keeps shorter than that could be started twice.
const remembered = 24 * time.Hour

func (p *patient) temporalServer(ctx context.Context) doctor.Finding {
	if p.temporal == "" {
		return doctor.Skipped(notUp)
	}
	found, err := worker.Inspect(ctx, worker.Options{Address: p.temporal, Namespace: p.c.TemporalNamespace, Telemetry: p.telemetry})
	switch {
	case err != nil && strings.Contains(err.Error(), "namespace"):
		return doctor.Failed("temporal operator namespace create --retention 72h "+p.c.TemporalNamespace+"; or start a worker, which makes it where it may", "%s: %s", p.temporal, away(err))
	case err != nil:
		return doctor.Failed("see that the server runs and that TEMPORAL_ADDRESS names it", "%s: %s", p.temporal, away(err))
	case len(found.Missing) > 0:
		return doctor.Failed("temporal operator search-attribute create --namespace "+p.c.TemporalNamespace+" --type Keyword --name "+strings.Join(found.Missing, " --name "), "the namespace lacks the search attributes %s", strings.Join(found.Missing, ", "))
	case found.Retention > 0 && found.Retention < remembered:
		return doctor.Warned("temporal operator namespace update --retention 72h "+p.c.TemporalNamespace, "finished workflows are kept for %s, shorter than answers to repeated requests", found.Retention)
	}
	return doctor.Well("the namespace %s is as it should be; finished workflows are kept for %s", p.c.TemporalNamespace, found.Retention)
}

func (p *patient) queues(ctx context.Context) doctor.Finding {
	if p.temporal == "" {
		return doctor.Skipped(notUp)
	}
	names := queueNames(p.c)
	found, err := worker.Inspect(ctx, worker.Options{Address: p.temporal, Namespace: p.c.TemporalNamespace, Telemetry: p.telemetry}, names...)
	switch {
	case err != nil:
		return doctor.Failed("mend the check temporal first", "%s", away(err))
	case len(found.Idle) > 0:
		return doctor.Failed("start a worker for each: fabric worker (FABRIC_REGION for a region's); docs/operations/queue-unserved.md", "nobody asked for work within a minute: %s", strings.Join(found.Idle, ", "))
	}
	return doctor.Well("somebody works for each of %d queues", len(names))
}

func (p *patient) registryServer(ctx context.Context) doctor.Finding {
	if p.registry == "" {
		return doctor.Skipped(notUp)
	}
	r, err := oci.New(p.registry, oci.Login{})
	if err == nil {
		err = r.Ping(ctx)
	}
	if err != nil {
		return doctor.Failed("see that it runs and that GLOBAL_REGISTRY_URL names it: curl "+p.registry+"/v2/", "%s: %s", p.registry, away(err))
	}
	return doctor.Well("%s answers", p.registry)
}

// probe is what a bucket is asked to keep. Its name is its digest, so that it
// is there once.
const probe = "fabric doctor looks whether this can be read again\n"

func (p *patient) store(ctx context.Context) doctor.Finding {
	if path, ok := strings.CutPrefix(p.c.ModelStoreURL, "file://"); ok {
		return doctor.Folder(path, "MODEL_STORE_URL")
	}
	if p.c.S3Endpoint == "" {
		return doctor.Folder(p.layout.Path("blobs"), "FABRIC_STATE_DIR")
	}
	const fix = "see that GLOBAL_S3_ENDPOINT is http(s)://host:port/bucket and that AWS_ACCESS_KEY_ID may read and write there (docs/howto/own-s3.md)"
	blobs, err := p.openBlobs(ctx, p.c)
	if err != nil {
		return doctor.Failed(fix, "%s", away(err))
	}
	if _, ok := blobs.(*blob.S3); !ok {
		return doctor.Failed(fix, "it is no bucket")
	}
	kept, err := blobs.Put(ctx, "text/plain", strings.NewReader(probe))
	if err != nil {
		return doctor.Failed(fix, "nothing can be written: %s", away(err))
	}
	back, err := blobs.Open(ctx, kept.Digest)
	if err != nil {
		return doctor.Failed(fix, "what was written cannot be read: %s", away(err))
	}
	defer back.Close()
	text, err := io.ReadAll(io.LimitReader(back, 1<<10))
	if err != nil || artifact.DigestOf(text) != kept.Digest {
		return doctor.Failed(fix, "what was written comes back as something else")
	}
	return doctor.Well("the bucket can be written and read")
}

func (p *patient) rules(ctx context.Context) doctor.Finding {
	if p.c.RulesURL == "" {
		return doctor.Skipped("the embedded policy decides")
	}
	engine, err := opa.New(ctx, opa.Options{URL: p.c.RulesURL})
	if err == nil {
		err = engine.Check(ctx)
	}
	if err != nil {
		return doctor.Failed("see that OPA runs, that RULES_ENGINE_URL names it, and that it has the bundle (docs/howto/own-opa.md)", "%s", away(err))
	}
	return doctor.Well("it decides")
}

func (p *patient) prometheus(ctx context.Context) doctor.Finding {
	if p.c.PromURL == "" {
		return doctor.Skipped("the embedded counters serve")
	}
	resp, err := get(ctx, strings.TrimRight(p.c.PromURL, "/")+"/api/v1/query?query=1")
	if err != nil {
		return doctor.Failed("see that it runs and that PROM_URL names it (docs/howto/own-prometheus.md)", "%s", away(err))
	}
	if resp.StatusCode != http.StatusOK {
		return doctor.Failed("see that PROM_URL names a Prometheus, without a path (docs/howto/own-prometheus.md)", "it answers %s", resp.Status)
	}
	return doctor.Well("it answers queries")
}

func (p *patient) services(ctx context.Context) doctor.Finding {
	err := p.healthy(ctx, p.gateway+"/health")
	switch {
	case err == nil:
		return doctor.Well("%s answers, and is well", p.gateway)
	case errors.Is(err, errUnhealthy):
		return doctor.Failed("mend what it names; docs/operations/README.md", "%s: %v", p.gateway, err)
	case !p.c.Set("FABRIC_API_URL") && !p.up:
		return doctor.Warned("fabric up starts it; or set FABRIC_API_URL to one that runs", "%s: %s", p.gateway, away(err))
	}
	return doctor.Failed("see that it runs and that FABRIC_API_URL names it", "%s: %s", p.gateway, away(err))
}

func (p *patient) routing(ctx context.Context) doctor.Finding {
	err := p.healthy(ctx, p.router+"/health")
	switch {
	case err == nil:
		return doctor.Well("%s answers, and is well", p.router)
	case errors.Is(err, errUnhealthy):
		return doctor.Failed("docs/operations/README.md", "%s: %v", p.router, err)
	case !p.c.Set("FABRIC_ROUTER_URL") && !p.up:
		return doctor.Skipped("none was named, and fabric up does not run")
	}
	return doctor.Failed("see that it runs and that FABRIC_ROUTER_URL names it: fabric-router serve", "%s: %s", p.router, away(err))
}
