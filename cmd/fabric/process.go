package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/privacy"
	"github.com/atom-fabric/fabric/internal/blob"
	"github.com/atom-fabric/fabric/internal/config"
	"github.com/atom-fabric/fabric/internal/oci"
	"github.com/atom-fabric/fabric/internal/postgres"
	"github.com/atom-fabric/fabric/internal/registry"
	"github.com/atom-fabric/fabric/internal/telemetry"
)

// logger returns the redacting log of a process that measures nothing.
func (a *app) logger(ctx context.Context, c config.Config) (*slog.Logger, error) {
	t, err := a.observe(ctx, c, "fabric")
	if err != nil {
		return nil, err
	}
	return t.Log, nil
}

func level(c config.Config) slog.Level {
	var l slog.Level
	if err := l.UnmarshalText([]byte(c.LogLevel)); err != nil {
		return slog.LevelInfo
	}
	return l
}

// observe makes the telemetry of a long-running process.
func (a *app) observe(ctx context.Context, c config.Config, service string) (*telemetry.Telemetry, error) {
	return telemetry.New(ctx, service, telemetry.Options{Out: a.Err, Level: level(c)})
}

// database opens the stores. fabric api migrates them first where that is
// allowed; every other process only checks.
func (a *app) database(ctx context.Context, c config.Config, t *telemetry.Telemetry) (*postgres.DB, error) {
	if c.PostgresDSN == "" {
		return nil, usage(fmt.Errorf("set POSTGRES_DSN to the primary database, or try: fabric up"))
	}
	if err := (privacy.Budget{EpsilonLimit: c.PrivacyEpsilon, Delta: privacy.DefaultDelta}).Validate(); err != nil {
		return nil, usage(fmt.Errorf("FABRIC_PRIVACY_EPSILON: %w", err))
	}
	opts := postgres.Options{
		DSN:            c.PostgresDSN.Reveal(),
		ReplicaDSNs:    config.List(c.ReplicaDSNs.Reveal()),
		ReplicaWindow:  time.Duration(c.ReplicaWindow) * time.Millisecond,
		PrivacyEpsilon: c.PrivacyEpsilon,
		Regions:        c.RegionNames(),
		Tracer:         t.Tracers,
		Log:            t.Log,
	}
	if err := a.signLog(c, &opts); err != nil {
		return nil, err
	}
	db, err := postgres.Open(ctx, opts)
	if err != nil {
		return nil, err
	}
	if err := replicaGauges(t.Registry, db); err != nil {
		db.Close()
		return nil, err
	}
	return db, nil
}

// openBlobs opens the store of content: a bucket, or a directory.
func (a *app) openBlobs(ctx context.Context, c config.Config) (activities.Blobs, error) {
	switch {
	case strings.HasPrefix(c.ModelStoreURL, "file://"):
		return blob.NewDir(strings.TrimPrefix(c.ModelStoreURL, "file://"))
	case c.S3Endpoint == "":
		return blob.NewDir(absolute(c.StateDir, "blobs"))
	}
	u, err := url.Parse(c.S3Endpoint)
	if err != nil {
		return nil, usage(fmt.Errorf("GLOBAL_S3_ENDPOINT: not a URL"))
	}
	bucket, prefix, _ := strings.Cut(strings.Trim(u.Path, "/"), "/")
	if weights, ok := strings.CutPrefix(c.ModelStoreURL, "s3://"); ok {
		bucket, prefix, _ = strings.Cut(weights, "/")
	}
	if bucket == "" {
		return nil, usage(fmt.Errorf("GLOBAL_S3_ENDPOINT: name the bucket, as http(s)://host:port/bucket"))
	}
	u.Path = ""
	return blob.NewS3(ctx, blob.S3Config{Endpoint: u.String(), Bucket: bucket, Prefix: prefix,
		AccessKey: c.S3AccessKey.Reveal(), SecretKey: c.S3SecretKey.Reveal()})
}

// openHeads returns the store of heads, which is that of the blobs.
func (a *app) openHeads(blobs activities.Blobs) (activities.Heads, error) {
	heads, ok := blobs.(activities.Heads)
	if !ok {
		return nil, fmt.Errorf("%T keeps no heads", blobs)
	}
	return heads, nil
}

// registryFolder is that of the embedded registry, in the state directory.
const registryFolder = "registry"

// openRegistry returns the registry. Where the embedded one keeps its blobs on
// the disk of the store, a blob of the store is given a second name there
// instead of being sent and written again.
func (a *app) openRegistry(c config.Config, blobs activities.Blobs) (*oci.Registry, error) {
	r, err := oci.New(c.RegistryURL, oci.Login{})
	store, ok := blobs.(*blob.Dir)
	if err != nil || !ok {
		return r, err
	}
	beside := registry.Blobs(absolute(c.StateDir, registryFolder))
	return r.Placing(func(d artifact.Digest) error { return store.Link(d, beside) }), nil
}

// openUploads opens the store of uploads that come in pieces: beside the blobs
// of a directory, or in the state directory on their way into a bucket.
func (a *app) openUploads(c config.Config, blobs activities.Blobs) (api.Uploads, error) {
	switch store := blobs.(type) {
	case *blob.Dir:
		return store.Uploads(blob.Limits{})
	case *blob.S3:
		return store.Uploads(absolute(c.StateDir, "uploads"), blob.Limits{})
	}
	return nil, fmt.Errorf("%T takes no uploads in pieces", blobs)
}

// regionURLs reads a setting of the form region=URL,region=URL.
func regionURLs(name, text string) (map[string]string, error) {
	out := map[string]string{}
	for _, item := range config.List(text) {
		region, base, ok := strings.Cut(item, "=")
		if u, err := url.Parse(base); !ok || err != nil || u.Host == "" {
			return nil, usage(fmt.Errorf("%s: want region=URL separated by commas", name))
		}
		out[region] = base
	}
	return out, nil
}

// serve answers on an address until ctx ends.
func serve(ctx context.Context, address string, handler http.Handler) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return &exitError{exitUnavailable, err}
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		return server.Shutdown(stop)
	}
}
