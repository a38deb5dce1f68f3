package router

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/atom-fabric/fabric/internal/upstream"
)

const (
	watchEvery   = time.Second
	watchTimeout = time.Second
	watchAtOnce  = 16
)

// watch asks every endpoint and every package on it whether they are ready,
// once a second and after a snapshot that names a new one, until ctx ends. A tenth of the second
// is chance, so that many routers do not ask at the same moment.
func (r *Router) watch(ctx context.Context) {
	for {
		timer := time.NewTimer(watchEvery*19/20 + rand.N(watchEvery/10))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-r.kick:
			timer.Stop()
		case <-timer.C:
		}
		if p := r.plan.Load(); p != nil {
			r.check(ctx, p)
		}
	}
}

// check asks once.
func (r *Router) check(ctx context.Context, p *plan) {
	byNode := map[*node][]probe{}
	for _, b := range p.probes {
		byNode[b.node] = append(byNode[b.node], b)
	}
	slots := make(chan struct{}, watchAtOnce)
	var group sync.WaitGroup
	for _, n := range p.nodes {
		group.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			ready := r.probe(ctx, n, "/v2/health/ready", "")
			if ctx.Err() != nil {
				return
			}
			was := n.live.Ready()
			if was != ready {
				r.opts.Log.Info("endpoint", "endpoint", n.Name, "ready", ready)
			}
			n.live.SetReady(ready)
			if ready && !was {
				n.live.Warm(r.now())
			}
			if !ready {
				return
			}
			for _, b := range byNode[n] {
				loaded := r.probe(ctx, n, b.path, b.manifest)
				if ctx.Err() == nil {
					b.unloaded.Store(!loaded)
				}
			}
		})
	}
	group.Wait()
}

// probe asks whether an endpoint, or a package on it, is ready.
func (r *Router) probe(ctx context.Context, n *node, path, manifest string) bool {
	ctx, cancel := context.WithTimeout(ctx, watchTimeout)
	defer cancel()
	req := upstream.Request{Method: http.MethodGet, Path: path, Whole: 64 << 10, Limit: 64 << 10}
	if manifest != "" {
		req.Header = []upstream.Field{{Name: "X-Fabric-Manifest", Value: manifest}}
	}
	a, err := n.up.Do(ctx, &req)
	if err != nil {
		return false
	}
	defer a.Close()
	return a.Status == http.StatusOK
}

// endpoints counts those that can answer, and all.
func (r *Router) endpoints() (ready, all int) {
	p := r.plan.Load()
	if p == nil {
		return 0, 0
	}
	for _, n := range p.nodes {
		if n.canary {
			continue
		}
		all++
		if n.live.Ready() && !n.live.Ejected(r.now()) {
			ready++
		}
	}
	return ready, all
}

type health struct {
	Status     string           `json:"status"` // pass: it can decide
	Service    string           `json:"service"`
	Version    string           `json:"version"`
	Simulation bool             `json:"simulation"`
	Checks     map[string]check `json:"checks"`
}

type check struct {
	Status string `json:"status"`
	Output string `json:"output,omitempty"`
}

func verdict(ok bool) string {
	if ok {
		return "pass"
	}
	return "fail"
}

// getHealth fails as a whole only without a snapshot: with a stale one, or with
// endpoints away, the router still decides, and another could do no better.
func (r *Router) getHealth(w http.ResponseWriter, _ *http.Request) {
	p := r.plan.Load()
	out := health{Status: verdict(p != nil), Service: "router", Version: r.opts.Version, Simulation: r.opts.Simulation, Checks: map[string]check{
		"snapshot":  {Status: "fail", Output: "none yet"},
		"endpoints": {Status: "fail", Output: "none known"},
	}}
	status := http.StatusServiceUnavailable
	if p != nil {
		status = http.StatusOK
		age := r.snapshotAge()
		out.Checks["snapshot"] = check{verdict(age <= r.opts.MaxAge), fmt.Sprintf("version %d, confirmed %.0f s ago", p.table.Snapshot.Version, age.Seconds())}
		ready, all := r.endpoints()
		out.Checks["endpoints"] = check{verdict(ready > 0 || all == 0), fmt.Sprintf("%d of %d can answer", ready, all)}
	}
	text, err := compact(out)
	if err != nil {
		status = http.StatusInternalServerError
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(text)
}
