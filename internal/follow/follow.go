// Package follow keeps a process of the data plane on the newest signed
// snapshot, and on the last good one when the control plane is away.
//
// Invariant: a snapshot is in use only if a pinned key signed exactly its bytes
// and its version is higher than that of the one before. What cannot be used
// changes nothing, in memory or on disk.
package follow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/routing"
	"github.com/atom-fabric/fabric/domain/trust"
	"github.com/atom-fabric/fabric/internal/config"
)

// Why a snapshot was not taken.
var (
	ErrUnreachable = errors.New("the control plane does not answer")
	ErrAnswer      = errors.New("the answer is not a signed snapshot")
	ErrSignature   = errors.New("not signed by a trusted key")
	ErrOlder       = errors.New("its version is not higher than the one in use")
	ErrRefused     = errors.New("its content cannot be used")
	ErrKeep        = errors.New("it cannot be kept on disk")
)

const (
	maxSnapshot  = 32 << 20
	shortestWait = 250 * time.Millisecond
	longestWait  = 10 * time.Second
)

// Options are what a follower needs; all fields but Token are required.
type Options struct {
	URL      string        // of GET /snapshot
	Token    config.Secret // with the role data-plane; empty on loopback in simulation
	Trust    trust.Source
	Dir      string        // where the last snapshots are kept
	Wait     time.Duration // of a long poll
	Client   *http.Client
	Log      *slog.Logger
	Registry prometheus.Registerer
	Now      func() time.Time
	// Environment is the one whose rules of trust apply.
	Environment string
	// Use takes a verified snapshot into service or refuses it with an error.
	// It is called by one goroutine at a time, with rising versions.
	Use func(routing.Snapshot) error
	// Received, where it is set, is told the version that a snapshot claims, before
	// its signature is verified: it is for reports and decides nothing.
	Received func(version int64)
}

// A State is what a follower runs on.
type State struct {
	Version   int64
	Digest    artifact.Digest
	Confirmed time.Time // when the control plane last said that it is the newest
}

// Age returns how long the state has not been confirmed.
func (s State) Age(now time.Time) time.Duration { return max(0, now.Sub(s.Confirmed)) }

// A Follower follows one control plane.
type Follower struct {
	opts     Options
	shelf    shelf
	state    atomic.Pointer[State] // nil: no snapshot yet
	etag     string
	refusals *prometheus.CounterVec
}

// New returns a follower with nothing in use; call [Follower.Load], then
// [Follower.Run].
func New(opts Options) (*Follower, error) {
	at, err := url.Parse(opts.URL)
	if err != nil || at.Host == "" || at.Scheme != "http" && at.Scheme != "https" {
		return nil, errors.New("snapshot URL: not an http or https URL")
	}
	if opts.Trust == nil {
		return nil, errors.New("snapshots: no trusted key")
	}
	shelf, err := openShelf(opts.Dir)
	if err != nil {
		return nil, err
	}
	f := &Follower{opts: opts, shelf: shelf, refusals: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "fabric_snapshot_refusals_total", Help: "Attempts to get a newer snapshot that failed, by reason.",
	}, []string{"reason"})}
	for _, m := range []prometheus.Collector{f.refusals,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "fabric_snapshot_version", Help: "Version of the snapshot in use, 0 for none."},
			func() float64 { return float64(f.State().Version) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "fabric_snapshot_age_seconds", Help: "Seconds since the control plane last confirmed the snapshot in use."},
			func() float64 {
				if s := f.State(); s.Version > 0 {
					return s.Age(f.opts.Now()).Seconds()
				}
				return 0
			}),
	} {
		if err := opts.Registry.Register(m); err != nil {
			return nil, fmt.Errorf("snapshots: %w", err)
		}
	}
	return f, nil
}

// State returns what is in use; Version 0 is nothing.
func (f *Follower) State() State {
	if s := f.state.Load(); s != nil {
		return *s
	}
	return State{}
}

// Load takes the newest snapshot on disk that verifies today, with the keys
// that are trusted today, and reports whether there was one.
func (f *Follower) Load() bool {
	for _, kept := range f.shelf.newestFirst() {
		signed, at, err := f.shelf.read(kept)
		if err == nil {
			_, err = f.take(signed, at)
		}
		if err == nil {
			return true
		}
		f.opts.Log.Warn("kept snapshot left out", "file", kept, "err", err)
	}
	return false
}

// Run asks for newer snapshots until ctx ends, with growing pauses while it
// fails.
func (f *Follower) Run(ctx context.Context) {
	pause := shortestWait
	failing := false
	for ctx.Err() == nil {
		err := f.Poll(ctx)
		if err == nil {
			if failing {
				f.opts.Log.Info("following snapshots again", "version", f.State().Version)
			}
			pause, failing = shortestWait, false
			continue
		}
		if ctx.Err() != nil {
			return
		}
		f.refusals.WithLabelValues(reason(err)).Inc()
		if !failing { // once, not at every attempt of a long night
			f.opts.Log.Warn("no newer snapshot; the one in use stays", "version", f.State().Version, "err", err)
		}
		failing = true
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause/2 + rand.N(pause)):
		}
		pause = min(2*pause, longestWait)
	}
}

// Poll asks once, waiting up to Options.Wait for something newer.
func (f *Follower) Poll(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, f.opts.Wait+10*time.Second)
	defer cancel()
	at, err := url.Parse(f.opts.URL)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	query := at.Query()
	query.Set("after", strconv.FormatInt(f.State().Version, 10))
	query.Set("wait_seconds", strconv.Itoa(int(f.opts.Wait.Seconds())))
	at.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), nil)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	req.Header.Set("Accept", "application/json")
	if f.opts.Token != "" {
		req.Header.Set("Authorization", "Bearer "+f.opts.Token.Reveal())
	}
	if f.etag != "" {
		req.Header.Set("If-None-Match", f.etag)
	}
	started := time.Now()
	resp, err := f.opts.Client.Do(req)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusNotModified, http.StatusNoContent:
		f.confirm()
		return f.pace(ctx, started)
	case http.StatusOK:
	default:
		return fmt.Errorf("%w: status %d", ErrUnreachable, resp.StatusCode)
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxSnapshot+1))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	if len(text) > maxSnapshot {
		return fmt.Errorf("%w: longer than %d bytes", ErrAnswer, maxSnapshot)
	}
	var signed routing.Signed
	if err := json.Unmarshal(text, &signed); err != nil {
		return fmt.Errorf("%w: %w", ErrAnswer, err)
	}
	if s := f.State(); s.Version > 0 && artifact.DigestOf(signed.Snapshot) == s.Digest {
		f.confirm() // a server that knows neither after nor ETag
		return f.pace(ctx, started)
	}
	state, err := f.take(signed, f.opts.Now())
	if err != nil {
		return err
	}
	f.etag = resp.Header.Get("ETag")
	f.opts.Log.Info("snapshot in use", "version", state.Version, "digest", state.Digest.Short())
	// If we crash before this line, the next start asks for it again.
	if err := f.shelf.put(state.Version, text); err != nil {
		return fmt.Errorf("%w: %w", ErrKeep, err)
	}
	return nil
}

// pace keeps a server that does not wait from being asked in a tight loop.
func (f *Follower) pace(ctx context.Context, started time.Time) error {
	select {
	case <-ctx.Done():
	case <-time.After(shortestWait - time.Since(started)):
	}
	return nil
}

// confirm notes that the snapshot in use is still the newest.
func (f *Follower) confirm() {
	s := f.state.Load()
	if s == nil {
		return
	}
	next := *s
	next.Confirmed = f.opts.Now()
	f.state.Store(&next)
	f.shelf.touch(next.Version, next.Confirmed)
}

// take verifies a snapshot and puts it into use.
func (f *Follower) take(signed routing.Signed, confirmed time.Time) (State, error) {
	digest := artifact.DigestOf(signed.Snapshot)
	if f.opts.Received != nil {
		var claims struct {
			Version int64 `json:"version"`
		}
		if json.Unmarshal(signed.Snapshot, &claims) == nil {
			f.opts.Received(claims.Version)
		}
	}
	if err := f.verify(signed.Bundle, digest, confirmed); err != nil {
		return State{}, fmt.Errorf("%w: %w", ErrSignature, err)
	}
	var snapshot routing.Snapshot
	if err := json.Unmarshal(signed.Snapshot, &snapshot); err != nil {
		return State{}, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	if now := f.State(); snapshot.Version <= now.Version {
		return State{}, fmt.Errorf("%w: %d after %d", ErrOlder, snapshot.Version, now.Version)
	}
	if err := f.opts.Use(snapshot); err != nil {
		return State{}, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	state := State{Version: snapshot.Version, Digest: digest, Confirmed: confirmed}
	f.state.Store(&state)
	return state, nil
}

// verify judges a snapshot by when the control plane last said that it is the
// newest one: now, or before a restart without the control plane. A key that is
// revoked today is refused all the same: what it signed must not run on.
func (f *Follower) verify(bundle []byte, digest artifact.Digest, confirmed time.Time) error {
	judge, err := f.opts.Trust.Judge()
	if err != nil {
		return err
	}
	now := f.opts.Now()
	verified, err := judge.Verify(bundle, trust.Question{
		PredicateType: artifact.PredicateSnapshot, Subject: digest, Environment: f.opts.Environment, At: confirmed, Now: now,
	})
	if err != nil {
		return err
	}
	return judge.Revoked(verified.Key, now)
}

// reason is the bounded label of an error.
func reason(err error) string {
	for _, known := range []struct {
		err   error
		label string
	}{
		{ErrUnreachable, "unreachable"}, {ErrAnswer, "answer"}, {ErrSignature, "signature"},
		{ErrOlder, "older"}, {ErrRefused, "content"}, {ErrKeep, "disk"},
	} {
		if errors.Is(err, known.err) {
			return known.label
		}
	}
	return "other"
}
