// Package runtime serves the fabric's models in one region: it follows the
// signed snapshot, pulls the packages that are meant for its region, and
// answers the Open Inference Protocol V2.
//
// Invariant: a model answers only if a pinned key signed its package, every
// byte has the digest that was signed, and the region's policy permits it. A
// package that fails any of this is neither kept nor loaded.
package runtime

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/policy"
	"github.com/atom-fabric/fabric/domain/routing"
	"github.com/atom-fabric/fabric/domain/trust"
)

// ErrPolicy says that the region's policy permits nobody to be answered by a
// model here.
var ErrPolicy = errors.New("the region's policy does not permit this model here")

const (
	shortestRetry = 500 * time.Millisecond
	longestRetry  = 30 * time.Second
)

// Options are what a runtime needs; all fields are required.
type Options struct {
	Region      string
	Kind        string       // policy.Neural
	Version     string       // of the software
	Trust       trust.Source // whose signature counts for packages
	Environment string       // whose rules of trust apply
	Dir         string       // where packages are kept
	MaxWeights  int64        // bytes of one package's weights
	Client      *http.Client // to the registry
	Log         *slog.Logger
	Registry    *prometheus.Registry
	Simulation  bool
	// Confirmed returns when the snapshot was last confirmed by the control
	// plane, for /health.
	Confirmed func() time.Time
	Now       func() time.Time
}

// A Runtime serves one region.
type Runtime struct {
	opts    Options
	store   store
	served  atomic.Pointer[served] // never nil
	wanted  atomic.Pointer[routing.Snapshot]
	seen    atomic.Int64  // newest version that it was sent, verified or not
	changed chan struct{} // capacity 1: something is wanted that is not served
	metrics metrics
}

// served is what the runtime answers with. It is replaced whole: a request
// goes on with the one it began with, so a change drops none.
type served struct {
	snapshot routing.Snapshot
	policy   policy.Document
	digest   artifact.Digest // of the policy
	models   map[string]map[int][]*loaded
	failed   map[string]string // reasons, by [packageID], of packages that are not loaded
}

// New returns a runtime that serves nothing yet.
func New(opts Options) (*Runtime, error) {
	store, err := openStore(opts.Dir)
	if err != nil {
		return nil, err
	}
	r := &Runtime{opts: opts, store: store, changed: make(chan struct{}, 1)}
	r.served.Store(&served{})
	if r.metrics, err = newMetrics(opts.Registry, r); err != nil {
		return nil, err
	}
	return r, nil
}

// Received notes the version of a snapshot that arrived, before it is verified.
func (r *Runtime) Received(version int64) {
	for now := r.seen.Load(); version > now && !r.seen.CompareAndSwap(now, version); now = r.seen.Load() {
	}
}

// Use takes a verified snapshot: it is the Use of a follower. Packages are
// loaded by [Runtime.Run]; until then what is served stays, but the new policy
// holds from the next request on.
func (r *Runtime) Use(s routing.Snapshot) error {
	if _, err := routing.Compile(s, r.opts.Region); err != nil {
		return err
	}
	if _, _, ok := s.PolicyOf(r.opts.Region); !ok && len(s.Regions) > 0 {
		return fmt.Errorf("region %s: %w", r.opts.Region, routing.ErrRegion)
	}
	r.wanted.Store(&s)
	select {
	case r.changed <- struct{}{}:
	default:
	}
	return nil
}

// Run loads what snapshots want until ctx ends. What cannot be loaded is tried
// again, with growing pauses.
func (r *Runtime) Run(ctx context.Context) {
	retry := shortestRetry
	var again <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.changed:
			retry = shortestRetry
		case <-again:
			retry = min(2*retry, longestRetry)
		}
		again = nil
		if !r.load(ctx) && ctx.Err() == nil {
			again = time.After(retry)
		}
	}
}

// load brings what is served to what is wanted and reports whether it got
// there. Each package is served as soon as it is loaded.
func (r *Runtime) load(ctx context.Context) bool {
	wanted := r.wanted.Load()
	if wanted == nil {
		return true
	}
	before := r.served.Load()
	region, doc, _ := wanted.PolicyOf(r.opts.Region)
	next := &served{snapshot: *wanted, policy: doc, digest: region.PolicyDigest, failed: map[string]string{}}
	var missing []routing.Package
	for _, pkg := range wanted.Packages {
		if !slices.Contains(pkg.Regions, r.opts.Region) {
			continue
		}
		if !routing.Admits(doc, pkg.Model, r.opts.Region, r.opts.Kind) {
			next.failed[packageID(pkg)] = reason(ErrPolicy)
			continue
		}
		if have := before.find(pkg); have != nil {
			next.add(have)
		} else {
			missing = append(missing, pkg)
		}
	}
	for _, pkg := range missing {
		next.failed[packageID(pkg)] = "loading"
	}
	r.served.Store(next)

	complete := true
	for _, pkg := range missing {
		model, err := r.fetch(ctx, pkg)
		next = next.clone()
		if err != nil {
			complete = false
			next.failed[packageID(pkg)] = reason(err)
			r.metrics.failures.WithLabelValues(reason(err)).Inc()
			r.opts.Log.Error("package not loaded", "tenant", pkg.Tenant, "model", pkg.Model, "version", pkg.Version, "manifest", pkg.Manifest.Short(), "err", err)
		} else {
			delete(next.failed, packageID(pkg))
			next.add(model)
			r.opts.Log.Info("package loaded", "tenant", pkg.Tenant, "model", pkg.Model, "version", pkg.Version, "manifest", pkg.Manifest.Short())
		}
		r.served.Store(next)
	}
	if complete {
		r.store.prune(wanted.Packages)
	}
	return complete
}

// fetch returns a package from disk if it verifies there, else from its
// registry.
func (r *Runtime) fetch(ctx context.Context, pkg routing.Package) (*loaded, error) {
	statement, err := vouch(r.opts.Trust, r.opts.Environment, pkg, r.opts.Now())
	if err != nil {
		return nil, err
	}
	if weights, err := r.store.read(pkg.Manifest, statement.Weights, r.opts.MaxWeights); err == nil {
		return newLoaded(pkg, weights)
	}
	pkg.Registry = pkg.From(r.opts.Region)
	weights, err := pull(ctx, r.opts.Client, r.store, pkg, statement, r.opts.MaxWeights)
	if err != nil {
		return nil, err
	}
	return newLoaded(pkg, weights)
}

// packageID is how a report names a package.
func packageID(p routing.Package) string {
	return p.Tenant + "/" + p.Model + "/" + strconv.Itoa(p.Version)
}

func (s *served) add(m *loaded) {
	if s.models == nil {
		s.models = map[string]map[int][]*loaded{}
	}
	versions := s.models[m.wire]
	if versions == nil {
		versions = map[int][]*loaded{}
		s.models[m.wire] = versions
	}
	versions[m.pkg.Version] = append(versions[m.pkg.Version], m)
}

// clone copies the maps, which readers of the original go on reading.
func (s *served) clone() *served {
	next := *s
	next.failed = maps.Clone(s.failed)
	next.models = nil
	for m := range s.all() {
		next.add(m)
	}
	return &next
}

// all yields every loaded model.
func (s *served) all() func(yield func(*loaded) bool) {
	return func(yield func(*loaded) bool) {
		for _, versions := range s.models {
			for _, models := range versions {
				for _, m := range models {
					if !yield(m) {
						return
					}
				}
			}
		}
	}
}

// find returns the loaded package with this tenant, model, version and content.
func (s *served) find(pkg routing.Package) *loaded {
	for _, m := range s.models[routing.WireName(pkg.Tenant, pkg.Model)][pkg.Version] {
		if m.pkg.Tenant == pkg.Tenant && m.pkg.Model == pkg.Model && m.pkg.Manifest == pkg.Manifest {
			return m
		}
	}
	return nil
}

// lookup returns the version of a model that is named, or the highest.
// With a manifest only that package will do: two tenants' names may join to
// the same name on the wire ("a.b" + "c" and "a" + "b.c"), and without one
// such a name answers nobody.
func (s *served) lookup(wire, version string, manifest artifact.Digest) *loaded {
	versions := s.models[wire]
	number := 0
	if version == "" {
		for n := range versions {
			number = max(number, n)
		}
	} else {
		n, err := strconv.Atoi(version)
		if err != nil || strconv.Itoa(n) != version {
			return nil
		}
		number = n
	}
	models := versions[number]
	if manifest == "" {
		if len(models) != 1 {
			return nil
		}
		return models[0]
	}
	for _, m := range models {
		if m.pkg.Manifest == manifest {
			return m
		}
	}
	return nil
}
