package router

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

const (
	watchEvery   = time.Second
	watchTimeout = time.Second
	watchAtOnce  = 16
)

// watch asks every endpoint and every package on it whether they are ready,
// once a second and after a new snapshot, until ctx ends.
func (r *Router) watch(ctx context.Context) {
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.kick:
		case <-ticker.C:
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
			ready := r.probe(ctx, n.base+"/v2/health/ready", "")
			if ctx.Err() != nil {
				return
			}
			if was := n.live.Ready(); was != ready {
				r.opts.Log.Info("endpoint", "endpoint", n.Name, "ready", ready)
			}
			n.live.SetReady(ready)
			if !ready {
				return
			}
			for _, b := range byNode[n] {
				loaded := r.probe(ctx, b.path, b.manifest)
				if ctx.Err() == nil {
					b.unloaded.Store(!loaded)
				}
			}
		})
	}
	group.Wait()
}

// probe asks one readiness URL; a failure to connect is asked once more, since
// an idle connection may just have been closed.
func (r *Router) probe(ctx context.Context, at, manifest string) bool {
	for range 2 {
		ok, err := r.ready(ctx, at, manifest)
		if err == nil {
			return ok
		}
	}
	return false
}

func (r *Router) ready(ctx context.Context, at, manifest string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, watchTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return false, err
	}
	if manifest != "" {
		req.Header.Set("X-Fabric-Manifest", manifest)
	}
	resp, err := r.opts.Client.Do(req)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) // so that the connection can be used again
	return resp.StatusCode == http.StatusOK, nil
}

// endpoints counts those that can answer, and all.
func (r *Router) endpoints() (ready, all int) {
	p := r.plan.Load()
	if p == nil {
		return 0, 0
	}
	for _, n := range p.nodes {
		if n.live.Ready() && !n.live.Ejected(r.now()) {
			ready++
		}
	}
	return ready, len(p.nodes)
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
