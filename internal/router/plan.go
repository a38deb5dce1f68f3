package router

import (
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/atom-fabric/fabric/domain/endpoint"
	"github.com/atom-fabric/fabric/domain/routing"
)

// A plan is a snapshot ready to be asked: its table, and beside it what is
// known of the endpoints. It is replaced whole, so a request sees one version.
type plan struct {
	table    *routing.Table
	targets  map[*routing.Target]*target
	nodes    map[string]*node        // by endpoint
	unloaded map[string]*atomic.Bool // by endpoint and package
	probes   []probe
}

// A node is an endpoint with what is known of it.
type node struct {
	routing.Endpoint
	base string // URL without a slash at the end
	live *endpoint.Live
}

// A target is a routing target with its candidates; all slices have one entry
// for each permitted endpoint.
type target struct {
	*routing.Target
	candidates []endpoint.Candidate
	nodes      []*node
	legs       []*routing.Leg
	paths      []string // of the inference
}

// A probe asks an endpoint whether it has a package loaded.
type probe struct {
	node     *node
	path     string
	manifest string
	unloaded *atomic.Bool
}

// newPlan compiles the candidates. What the plan before knows of an endpoint
// with the same name and URL is carried on.
func newPlan(table *routing.Table, before *plan) *plan {
	p := &plan{table: table, targets: map[*routing.Target]*target{}, nodes: map[string]*node{}, unloaded: map[string]*atomic.Bool{}}
	for _, e := range table.Snapshot.Endpoints {
		n := &node{Endpoint: e, base: strings.TrimRight(e.URL, "/"), live: &endpoint.Live{}}
		if before != nil && before.nodes[e.Name] != nil && before.nodes[e.Name].URL == e.URL {
			n.live = before.nodes[e.Name].live
		}
		p.nodes[e.Name] = n
	}
	for _, t := range table.Targets() {
		p.targets[t] = p.target(t, before)
	}
	return p
}

func (p *plan) target(t *routing.Target, before *plan) *target {
	out := &target{Target: t}
	dearest := int64(0)
	for _, permit := range t.Permitted {
		dearest = max(dearest, p.table.Snapshot.Endpoints[permit.Endpoint].CostMicros)
	}
	for _, permit := range t.Permitted {
		n := p.nodes[p.table.Snapshot.Endpoints[permit.Endpoint].Name]
		leg := &t.Legs[permit.Leg]
		model := fmt.Sprintf("/v2/models/%s/versions/%d", t.Wire, leg.Package.Version)
		out.nodes = append(out.nodes, n)
		out.legs = append(out.legs, leg)
		out.paths = append(out.paths, n.base+model+"/infer")
		out.candidates = append(out.candidates, endpoint.Candidate{
			Name: n.Name, Region: n.Region, Kind: n.Kind, CostMicros: n.CostMicros,
			Cost:   endpoint.CostScore(n.CostMicros, dearest),
			Fabric: float64(min(max(n.FabricScore, 0), 100)) / 100,
			Hash:   endpoint.Hash(n.Name), Live: n.live,
			Unloaded: p.watched(n, n.base+model+"/ready", string(leg.Package.Manifest), before),
		})
	}
	return out
}

// watched returns the flag of a package on an endpoint. What nobody asked yet
// counts as loaded: the control plane routes to what a region said it loaded.
func (p *plan) watched(n *node, path, manifest string, before *plan) *atomic.Bool {
	id := path + " " + manifest
	if flag := p.unloaded[id]; flag != nil {
		return flag
	}
	flag := &atomic.Bool{}
	if before != nil && before.unloaded[id] != nil {
		flag = before.unloaded[id]
	}
	p.unloaded[id] = flag
	p.probes = append(p.probes, probe{n, path, manifest, flag})
	return flag
}
