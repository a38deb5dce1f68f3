package main

import (
	"context"
	"crypto/ecdsa"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/domain/privacy"
	"github.com/atom-fabric/fabric/internal/blob"
	"github.com/atom-fabric/fabric/internal/config"
	"github.com/atom-fabric/fabric/internal/cosign"
	"github.com/atom-fabric/fabric/internal/local"
	"github.com/atom-fabric/fabric/internal/postgres"
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
	return postgres.Open(ctx, postgres.Options{
		DSN:            c.PostgresDSN.Reveal(),
		ReplicaDSNs:    config.List(c.ReplicaDSNs.Reveal()),
		ReplicaWindow:  time.Duration(c.ReplicaWindow) * time.Millisecond,
		PrivacyEpsilon: c.PrivacyEpsilon,
		Tracer:         t.Tracers,
		Log:            t.Log,
	})
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

// signer loads the signing key. Vault's transit engine is not served yet, and
// saying so is better than signing with another key than was asked for.
func (a *app) signer(c config.Config) (*cosign.Signer, error) {
	if c.VaultAddr != "" {
		return nil, usage(fmt.Errorf("VAULT_ADDR: keys in transit are not supported by this release; unset it and set COSIGN_KEY_PATH"))
	}
	if c.CosignKeyPath == "" {
		return nil, usage(fmt.Errorf("set COSIGN_KEY_PATH to the key that signs, made with: fabric keys generate NAME"))
	}
	return cosign.LoadSigner(c.CosignKeyPath, func() ([]byte, error) { return []byte(c.CosignPassword.Reveal()), nil })
}

// pinned is the fabric's own public key: configured, or beside the private one.
func (a *app) pinned(c config.Config) (*ecdsa.PublicKey, []byte, error) {
	path := c.TrustKey
	if path == "" {
		path = local.PublicKey(c.CosignKeyPath)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, usage(fmt.Errorf("FABRIC_TRUST_KEY: %w", err))
	}
	key, err := parsePublic(text)
	return key, text, err
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
