package main

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/feedback"
	"github.com/atom-fabric/fabric/domain/routing"
	"github.com/atom-fabric/fabric/internal/config"
	"github.com/atom-fabric/fabric/internal/cosign"
	"github.com/atom-fabric/fabric/internal/mirror"
	"github.com/atom-fabric/fabric/internal/notify"
	"github.com/atom-fabric/fabric/internal/opa"
	"github.com/atom-fabric/fabric/internal/postgres"
	"github.com/atom-fabric/fabric/internal/prom"
	"github.com/atom-fabric/fabric/internal/regional"
	"github.com/atom-fabric/fabric/internal/surrogate"
	"github.com/atom-fabric/fabric/internal/telemetry"
	"github.com/atom-fabric/fabric/internal/witness"
	"github.com/atom-fabric/fabric/worker"
)

func newWorker(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "worker",
		Short: "Work for the control and signing queues, or for the queue of FABRIC_REGION",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return a.work(cmd.Context()) },
	}
}

func (a *app) work(ctx context.Context) (err error) {
	c, err := a.config()
	if err != nil {
		return err
	}
	service := "fabric-worker"
	if c.Region != "" {
		service += "-" + c.Region
	}
	t, err := a.observe(ctx, c, service)
	if err != nil {
		return err
	}
	db, err := a.database(ctx, c, t)
	if err != nil {
		return err
	}
	defer db.Close()
	blobs, err := a.openBlobs(ctx, c)
	if err != nil {
		return err
	}
	client, err := worker.Dial(ctx, worker.Options{Address: c.TemporalAddress, Namespace: c.TemporalNamespace, Telemetry: t})
	if err != nil {
		return &exitError{exitUnavailable, err}
	}
	defer client.Close()

	// Ending one of these ends the process: its supervisor starts a whole one.
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	run := func(do func(context.Context) error) {
		go func() {
			if err := do(ctx); err != nil && ctx.Err() == nil {
				cancel(err)
			}
		}()
	}
	seen, err := a.watchLog(c, t)
	if err != nil {
		return err
	}
	if seen != nil {
		run(seen.Run)
	}
	if c.MetricsListen != "" {
		run(func(ctx context.Context) error { return serve(ctx, c.MetricsListen, workerHealth(db, seen, t)) })
	}
	var queues []worker.Queue
	if c.Region != "" {
		q, err := a.regionQueue(ctx, c, db, blobs)
		if err != nil {
			return err
		}
		queues = append(queues, q)
	} else {
		var publisher *activities.Snapshot
		queues, publisher, err = a.controlQueues(ctx, c, db, blobs, t)
		if err != nil {
			return err
		}
		run(func(ctx context.Context) error {
			db.Revocations().Follow(ctx, t.Log, publisher.Revoke)
			return nil
		})
		relay, err := worker.NewRelay(db.Outbox(), client, t)
		if err != nil {
			return err
		}
		run(relay.Run)
		watch, err := worker.NewWatch(db.Censor(), client, queueNames(c), t)
		if err != nil {
			return err
		}
		run(watch.Run)
		if c.LoopTenant != "" {
			err := worker.ScheduleFeedback(ctx, client, contract.FeedbackInput{
				Subject: contract.Subject{Tenant: c.LoopTenant}, Environment: c.LoopEnv, Seconds: c.LoopWindow, Baseline: c.LoopBaseline, Requester: feedback.Requester,
			})
			if err != nil {
				return err
			}
		}
		run(func(ctx context.Context) error { return reap(ctx, db) })
	}
	if err := worker.Run(ctx, client, queues...); err != nil {
		return err
	}
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

// regionQueue is what a region's worker does: it verifies with the public key.
func (a *app) regionQueue(ctx context.Context, c config.Config, db *postgres.DB, blobs activities.Blobs) (worker.Queue, error) {
	if !slices.Contains(c.RegionNames(), c.Region) {
		return worker.Queue{}, usage(fmt.Errorf("FABRIC_REGION %q is none of FABRIC_REGIONS %v", c.Region, c.RegionNames()))
	}
	by, err := a.trust(ctx, c)
	if err != nil {
		return worker.Queue{}, err
	}
	verifier := policyVerifier(c, by, db)
	bases, err := regionURLs("NEURAL_FABRIC_URL", c.NeuralURL)
	if err != nil {
		return worker.Queue{}, err
	}
	spool := absolute(c.StateDir, "spool")
	if err := os.MkdirAll(spool, 0o700); err != nil {
		return worker.Queue{}, err
	}
	return worker.Region{
		Name: c.Region, Blobs: blobs, Rounds: db.Rounds(), Verifier: verifier,
		Runtime: regional.New(bases, http.DefaultTransport), Spool: spool,
	}.Queue(), nil
}

// controlQueues is what the control plane's worker does. It publishes the
// topology before it works, so that the data plane has something to run.
func (a *app) controlQueues(ctx context.Context, c config.Config, db *postgres.DB, blobs activities.Blobs, t *telemetry.Telemetry) ([]worker.Queue, *activities.Snapshot, error) {
	signer, err := a.signer(ctx, c)
	if err != nil {
		return nil, nil, err
	}
	by, err := a.signerTrust(ctx, c, signer)
	if err != nil {
		return nil, nil, err
	}
	if err := trustGauges(t.Registry, by, artifact.KeyID(signer.PublicKey())); err != nil {
		return nil, nil, err
	}
	verifier := policyVerifier(c, by, db)
	registry, err := a.openRegistry(c, blobs)
	if err != nil {
		return nil, nil, err
	}
	inbox, err := notify.New(notify.Options{
		Path: absolute(c.StateDir, "inbox.jsonl"), Webhook: c.NotifyURL, Secret: []byte(c.NotifySecret.Reveal()), Base: cmp.Or(c.NotifyLink, c.APIURL),
	})
	if err != nil {
		return nil, nil, err
	}
	bases, err := regionURLs("FABRIC_MIRRORS", c.Mirrors)
	if err != nil {
		return nil, nil, err
	}
	mirrors, err := mirror.New(registry, c.RegionNames(), bases)
	if err != nil {
		return nil, nil, usage(fmt.Errorf("FABRIC_MIRRORS: %w", err))
	}
	heads, err := a.openHeads(blobs)
	if err != nil {
		return nil, nil, err
	}
	telemetry, err := loopTelemetry(c, db)
	if err != nil {
		return nil, nil, err
	}
	admission, err := a.admission(ctx, c, db, verifier, t)
	if err != nil {
		return nil, nil, err
	}
	control := worker.Control{
		Studies: db.Studies(), Admission: admission,
		Mirrors: mirrors, Replicas: db.ModelReplicas(), Points: db.RecoveryPoints(), Heads: heads,
		Telemetry: telemetry, Verdicts: db.Verdicts(), Proposals: db.Proposals(), Replayer: opa.Replayer{}, Engine: surrogate.Suggest,
		Grants: db.Rollouts(), Canaries: db.Rollouts(), Traffic: db.Decisions(), Cards: db.Rollouts(), Scored: db.Rollouts(),
		Blobs: blobs, Rounds: db.Rounds(), Consents: db.Consents(), Stats: db.Statistics(), Versions: db.Versions(), Snapshots: db.Snapshots(), Actions: db.Actions(), Dossiers: db.Dossiers(),
		Registry: registry, Signer: signer, Verifier: verifier, Notifier: inbox, Simulation: c.Simulation(), Accepted: db.Versions().AcceptedAt,
	}
	endpoints, err := topology(c)
	if err != nil {
		return nil, nil, err
	}
	if _, err := control.Publisher().Bootstrap(ctx, c.RegionNames(), endpoints); err != nil {
		return nil, nil, err
	}
	if err := renew(ctx, db.Snapshots(), signer, control.Publisher()); err != nil {
		return nil, nil, err
	}
	var queues []worker.Queue
	for _, name := range config.List(c.Queues) {
		switch name {
		case "control":
			queues = append(queues, control.Queue())
		case "signing":
			queues = append(queues, worker.Signing{Blobs: blobs, Signer: signer}.Queue())
		default:
			return nil, nil, usage(fmt.Errorf("FABRIC_QUEUES: no queue %q; choose control, signing or both", name))
		}
	}
	return queues, control.Publisher(), nil
}

// admission asks for the trials of studies what the API asks for a caller's run,
// under the same rules and the policy in force.
func (a *app) admission(ctx context.Context, c config.Config, db *postgres.DB, verifier api.Verifier, t *telemetry.Telemetry) (*api.Admission, error) {
	rules, err := opa.New(ctx, opa.Options{URL: c.RulesURL})
	if err != nil {
		return nil, usage(fmt.Errorf("RULES_ENGINE_URL: %w", err))
	}
	go followPolicy(ctx, db.Snapshots(), verifier, rules, t.Log)
	return api.NewAdmission(api.Options{
		SigningKey: len(c.KeySources()) > 0 && !c.Simulation(), MaxUpload: c.MaxUpload, Now: time.Now, NewID: func() string { return uuid.Must(uuid.NewV7()).String() },
	}, api.Ports{
		Catalog: db.Catalog(), Sites: db.Sites(), Rules: rules, Verdicts: db.Verdicts(), Snapshots: db.Snapshots(), Budgets: db.Budgets(),
	}), nil
}

// queueNames are the task queues that somebody must work for.
func queueNames(c config.Config) []string {
	names := []string{contract.QueueControl, contract.QueueSigning}
	for _, region := range c.RegionNames() {
		names = append(names, contract.QueueRegion(region))
	}
	return names
}

// renew has the newest snapshot signed by today's key when another one signed
// it: after a rotation the data plane would refuse it as soon as the retired
// key's time is over, and a process that starts has no other.
func renew(ctx context.Context, snapshots postgres.Snapshots, signer *cosign.Signer, publisher *activities.Snapshot) error {
	signed, _, ok, err := snapshots.SignedAfter(ctx, 0, 0)
	if err != nil || !ok {
		return err
	}
	_, err = artifact.VerifyBundle([]*ecdsa.PublicKey{signer.PublicKey()}, signed.Bundle, artifact.PredicateSnapshot, artifact.DigestOf(signed.Snapshot))
	if !errors.Is(err, artifact.ErrUntrusted) {
		return err
	}
	return publisher.Renew(ctx)
}

// loopTelemetry is what the policy loop reads: PROM_URL, and what is in our own
// tables where Prometheus is not asked.
func loopTelemetry(c config.Config, db *postgres.DB) (activities.Telemetry, error) {
	if c.PromURL == "" {
		return db.Proposals(), nil
	}
	reader, err := prom.New(c.PromURL, nil, nil)
	if err != nil {
		return nil, usage(fmt.Errorf("PROM_URL: %w", err))
	}
	return reader.Else(db.Proposals()), nil
}

// topology lists the runtimes as endpoints of the data plane.
func topology(c config.Config) ([]routing.Endpoint, error) {
	var endpoints []routing.Endpoint
	for _, kind := range []struct{ kind, name, text string }{
		{"neural", "NEURAL_FABRIC_URL", c.NeuralURL},
		{"quantum", "QUANTUM_COORD_URL", c.QuantumURL},
	} {
		bases, err := regionURLs(kind.name, kind.text)
		if err != nil {
			return nil, err
		}
		for _, region := range c.RegionNames() {
			if base, ok := bases[region]; ok {
				endpoints = append(endpoints, routing.Endpoint{Name: kind.kind + "-" + region, Region: region, Kind: kind.kind, URL: base, CostMicros: 10, FabricScore: 80})
			}
		}
	}
	return endpoints, nil
}

// reap forgets remembered answers after a week, longer than Temporal keeps
// closed workflows.
func reap(ctx context.Context, db *postgres.DB) error {
	tick := time.NewTicker(time.Hour)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := db.Reap(ctx, 7*24*time.Hour); err != nil {
				return err
			}
		}
	}
}

// workerHealth answers for a process that serves nothing else but, in a region,
// what it has witnessed of the audit log; seen is nil elsewhere.
func workerHealth(db *postgres.DB, seen *witness.Witness, t *telemetry.Telemetry) http.Handler {
	checks := map[string]api.Check{"postgres": db.Health}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", t.Handler())
	if seen != nil {
		checks["audit"] = seen.Check
		mux.Handle("GET "+witness.Path, seen)
	}
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, r *http.Request) {
		type result struct {
			Status string `json:"status"`
		}
		answer := struct {
			result
			Checks map[string]result `json:"checks"`
		}{result{"pass"}, map[string]result{}}
		code := http.StatusOK
		ctx, cancel := context.WithTimeout(r.Context(), time.Second)
		defer cancel()
		for name, check := range checks {
			answer.Checks[name] = result{"pass"}
			if err := check(ctx); err != nil {
				answer.Checks[name], answer.Status, code = result{"fail"}, "fail", http.StatusServiceUnavailable
			}
		}
		w.Header().Set("Content-Type", "application/health+json")
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(answer) // a probe that hung up needs no answer
	})
	return mux
}
