package main

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/atom-fabric/fabric/domain/audit"
	"github.com/atom-fabric/fabric/internal/config"
	"github.com/atom-fabric/fabric/internal/logkey"
	"github.com/atom-fabric/fabric/internal/postgres"
	"github.com/atom-fabric/fabric/internal/telemetry"
	"github.com/atom-fabric/fabric/internal/witness"
)

// developmentOrigin names the log of a system that was given no log key.
const developmentOrigin = "fabric.invalid/development"

// developmentLogKey makes or loads the key of a system that was given none.
func developmentLogKey(path string) (*logkey.Key, error) {
	key, err := logkey.Generate(path, developmentOrigin)
	if errors.Is(err, logkey.ErrExists) {
		return logkey.Load(path)
	}
	return key, err
}

// signLog gives a process of the control plane the key of the audit log. A
// region's worker has none: what it appends is signed when it is shown.
func (a *app) signLog(c config.Config, opts *postgres.Options) error {
	if c.Region != "" {
		return nil
	}
	var key *logkey.Key
	var err error
	switch {
	case c.LogKeyPath != "":
		key, err = logkey.Load(c.LogKeyPath)
	case c.Env == "prod":
		return usage(errors.New("FABRIC_ENV=prod needs FABRIC_LOG_KEY_PATH, made with: fabric audit keygen"))
	default:
		key, err = developmentLogKey(absolute(c.StateDir, "keys", "log.key"))
	}
	if err != nil {
		return usage(fmt.Errorf("FABRIC_LOG_KEY_PATH: %w", err))
	}
	opts.Origin, opts.LogKey = key.Origin(), key
	return nil
}

// logVerifier is the log's key that this process pins: the configured one, or
// that of a development system in the same state directory. nil: there is none.
func logVerifier(c config.Config) (*audit.Verifier, error) {
	path := c.LogVerifier
	switch {
	case path != "":
	case c.LogKeyPath != "":
		path = logkey.PublicPath(c.LogKeyPath)
	default:
		path = absolute(c.StateDir, "keys", "log.pub")
		if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
			return nil, nil
		}
	}
	v, err := logkey.LoadVerifier(path)
	if err != nil {
		return nil, usage(fmt.Errorf("FABRIC_LOG_VERIFIER: %w", err))
	}
	return &v, nil
}

// witnessEvery is how often a region looks at the log and at the others.
const witnessEvery = 15 * time.Second

// watchLog makes the witness of a region's worker; nil elsewhere.
func (a *app) watchLog(c config.Config, t *telemetry.Telemetry) (*witness.Witness, error) {
	if c.Region == "" {
		return nil, nil
	}
	verifier, err := logVerifier(c)
	if err != nil {
		return nil, err
	}
	if verifier == nil {
		return nil, usage(errors.New("FABRIC_LOG_VERIFIER: a region pins the audit log's key; fabric audit key prints it"))
	}
	bases, err := regionURLs("FABRIC_WITNESS_URL", c.WitnessURL)
	if err != nil {
		return nil, err
	}
	client := &http.Client{Timeout: 10 * time.Second}
	peers := map[string]witness.Peer{}
	for region, base := range bases {
		if region != c.Region {
			peers[region] = witness.Remote{Region: region, URL: base, Client: client}
		}
	}
	from := c.SnapshotURL
	if from == "" {
		from = c.APIURL
	}
	return witness.New(witness.Options{
		Region: c.Region, Verifier: *verifier, Log: witness.Gateway{URL: from, Token: c.SnapshotToken, Client: client},
		Peers: peers, Dir: absolute(c.StateDir, "witness-"+c.Region), Every: witnessEvery, Journal: t.Log, Registry: t.Registry, Now: time.Now,
	})
}
