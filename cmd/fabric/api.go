package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"
	"go.temporal.io/sdk/client"

	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/routing"
	"github.com/atom-fabric/fabric/domain/trust"
	"github.com/atom-fabric/fabric/internal/anchor"
	"github.com/atom-fabric/fabric/internal/config"
	"github.com/atom-fabric/fabric/internal/issuer"
	"github.com/atom-fabric/fabric/internal/opa"
	"github.com/atom-fabric/fabric/internal/postgres"
	"github.com/atom-fabric/fabric/internal/precheck"
	"github.com/atom-fabric/fabric/internal/telemetry"
	"github.com/atom-fabric/fabric/internal/token"
	"github.com/atom-fabric/fabric/worker"
)

func newAPI(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "api",
		Short: "Serve the gateway and the services I.1.1 to I.1.6 (I.1.4 is fabric-router)",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return a.serveAPI(cmd.Context()) },
	}
}

// ports of the services, relative to the gateway's.
var ports = []struct {
	off  int
	name string
}{
	{0, api.ServiceGateway}, {1, api.ServiceFeatures}, {2, api.ServiceTraining}, {3, api.ServiceModels},
	{5, api.ServicePolicies}, {6, api.ServiceScorecards},
}

func (a *app) serveAPI(ctx context.Context) error {
	c, err := a.config()
	if err != nil {
		return err
	}
	checked := precheck.Decide(c)
	if checked.Decision == precheck.Block {
		return fmt.Errorf("%w: %v; fabric precheck explains", precheck.ErrBlocked, checked.Why)
	}
	t, err := a.observe(ctx, c, "fabric-api")
	if err != nil {
		return err
	}
	if err := checked.Register(t.Registry); err != nil {
		return err
	}
	if c.Env != "prod" {
		if err := postgres.Migrate(ctx, c.PostgresDSN.Reveal()); err != nil {
			return fmt.Errorf("migrations: %w", err)
		}
	}
	db, err := a.database(ctx, c, t)
	if err != nil {
		return err
	}
	defer db.Close()
	temporal, err := worker.Lazy(worker.Options{Address: c.TemporalAddress, Namespace: c.TemporalNamespace, Telemetry: t})
	if err != nil {
		return err
	}
	defer temporal.Close()
	own, err := issuer.Open(absolute(c.StateDir, "issuer"), issuerName(c))
	if err != nil {
		return err
	}
	options, wired, err := a.wireAPI(ctx, c, db, temporal, own, t)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if engine, ok := wired.Rules.(*opa.Engine); ok {
		go followPolicy(ctx, db.Snapshots(), wired.Verifier, engine, t.Log)
	}
	go refuseRevoked(ctx, db, t.Log, options.Tokens, options.SiteTokens)
	// Nobody is served before every port is open: who sees one of them answer may ask the others.
	ended, opened := make(chan error, len(ports)), make([]func(), 0, len(ports))
	for _, p := range ports {
		server, err := api.NewService(p.name, options, wired)
		if err != nil {
			return err
		}
		if p.name == api.ServiceGateway {
			if err := a.mountConsole(c, server, own, t); err != nil {
				return err
			}
		}
		address := net.JoinHostPort(c.Host, strconv.Itoa(c.PortBase+p.off))
		listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
		if err != nil {
			return &exitError{exitUnavailable, fmt.Errorf("service %s: %w; stop what uses the port, or choose another FABRIC_PORT_BASE", p.name, err)}
		}
		opened = append(opened, func() { ended <- server.Serve(ctx, listener) })
	}
	for _, begin := range opened {
		go begin()
	}
	t.Log.Info("serving", "gateway", net.JoinHostPort(c.Host, strconv.Itoa(c.PortBase)), "simulation", c.Simulation())
	var first error
	for range ports {
		if err := <-ended; err != nil && first == nil {
			first = err
			cancel(err)
		}
	}
	return first
}

// wireAPI gives the services their options and ports.
func (a *app) wireAPI(ctx context.Context, c config.Config, db *postgres.DB, temporal client.Client, own *issuer.Issuer, t *telemetry.Telemetry) (api.Options, api.Ports, error) {
	fail := func(err error) (api.Options, api.Ports, error) { return api.Options{}, api.Ports{}, err }
	blobs, err := a.openBlobs(ctx, c)
	if err != nil {
		return fail(err)
	}
	uploads, err := a.openUploads(c, blobs)
	if err != nil {
		return fail(err)
	}
	by, err := a.trust(ctx, c)
	if err != nil {
		return fail(err)
	}
	verifier := policyVerifier(c, by, db)
	trusted, err := orderKeys(c, by)
	if err != nil {
		return fail(err)
	}
	registry, err := a.openRegistry(c, blobs)
	if err != nil {
		return fail(err)
	}
	enrolment, err := api.NewEnrolment(c.FederationTok.Reveal())
	if err != nil {
		return fail(usage(err))
	}
	callers, err := a.callerTokens(ctx, c, own)
	if err != nil {
		return fail(err)
	}
	rules, err := opa.New(ctx, opa.Options{URL: c.RulesURL})
	if err != nil {
		return fail(usage(fmt.Errorf("RULES_ENGINE_URL: %w", err)))
	}
	options := api.Options{
		Version: version, Simulation: c.Simulation(), SigningKey: len(c.KeySources()) > 0 && !c.Simulation(),
		Tokens: callers, SiteTokens: own.Verifier("fabric-site", time.Now), Enrolment: enrolment, TrustedKeys: trusted,
		Regions: c.RegionNames(), RouterURL: c.RouterURL, MaxUpload: c.MaxUpload, LinkSecret: []byte(c.NotifySecret.Reveal()), Metrics: t.Registry, Log: t.Log, Now: time.Now,
		NewID: func() string { return uuid.Must(uuid.NewV7()).String() },
		Checks: map[string]api.Check{
			"postgres": db.Health,
			"temporal": func(ctx context.Context) error {
				_, err := temporal.CheckHealth(ctx, &client.CheckHealthRequest{})
				return err
			},
			"registry": registry.Ping,
			"rules":    rules.Check,
			"audit":    db.AuditLog().Check,
		},
	}
	wired := api.Ports{
		Idempotency: db.Idempotency(), Catalog: db.Catalog(), Consents: db.Catalog(), Statistics: db.Statistics(), Runs: db.Runs(), Sites: db.Sites(), Models: db.Models(), Actions: db.Actions(),
		Approvals: db.Approvals(), Workflows: api.NewTemporal(temporal), Snapshots: db.Snapshots(), AuditLog: db.AuditLog(), Scorecards: db.Scorecards(),
		Blobs: blobs, Uploads: uploads, Verifier: verifier, Packages: registry, SiteTokens: own, Rules: rules, Budgets: db.Budgets(),
		Replicas: db.ModelReplicas(), Recoveries: db.RecoveryPoints(), Decisions: db.Decisions(), Rollouts: db.RolloutViews(), Revocations: db.Revocations(),
		Verdicts: db.Verdicts(), Proposals: db.Proposals(), Replayer: opa.Replayer{}, Studies: db.StudyViews(),
	}
	return options, wired, nil
}

// orderKeys are the public keys that sites are told to check orders with.
func orderKeys(c config.Config, by trust.Source) ([]string, error) {
	judge, err := by.Judge()
	if err != nil {
		return nil, err
	}
	var texts []string
	for _, key := range judge.Signers(artifact.PredicateRoundManifest, anchor.Environment(c), time.Now()) {
		text, err := artifact.MarshalPublicKey(key)
		if err != nil {
			return nil, err
		}
		texts = append(texts, string(text))
	}
	if len(texts) == 0 {
		return nil, usage(errors.New("FABRIC_TRUST_POLICY lets no key sign round manifests here today; see: fabric keys list"))
	}
	return texts, nil
}

// issuerName is the development issuer's, which production never accepts.
func issuerName(c config.Config) string {
	if c.JWKS != "" {
		return "https://dev.invalid/fabric"
	}
	return c.Issuer
}

// callerTokens accepts the configured issuer, or the development issuer where
// there is none and production is not asked for.
func (a *app) callerTokens(ctx context.Context, c config.Config, own *issuer.Issuer) (*token.Verifier, error) {
	if c.JWKS == "" {
		if c.Env == "prod" {
			return nil, usage(errors.New("FABRIC_ENV=prod needs FABRIC_JWKS and FABRIC_ISSUER: the development issuer is refused"))
		}
		return own.Verifier("fabric", time.Now), nil
	}
	keys, err := token.NewKeyFile(c.JWKS, absolute(c.StateDir, "issuer", "callers.jwks.json"), nil, time.Now)
	if err != nil {
		return nil, usage(fmt.Errorf("FABRIC_JWKS: %w", err))
	}
	go keys.Run(ctx)
	return token.NewVerifier(keys, c.Issuer, "fabric", time.Now), nil
}

// refuseRevoked keeps the verifiers on what the database says is revoked.
func refuseRevoked(ctx context.Context, db *postgres.DB, log *slog.Logger, verifiers ...api.Tokens) {
	db.Revocations().Follow(ctx, log, func(_ context.Context, active []routing.Revocation) error {
		for _, v := range verifiers {
			if v, ok := v.(*token.Verifier); ok {
				v.Revoke(active)
			}
		}
		return nil
	})
}
