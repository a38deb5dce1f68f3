package router

import (
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/atom-fabric/fabric/domain/endpoint"
	"github.com/atom-fabric/fabric/domain/policy"
	"github.com/atom-fabric/fabric/domain/routing"
	"github.com/atom-fabric/fabric/internal/upstream"
)

// A plan is a snapshot ready to be asked: its table, and beside it what is
// known of the endpoints. It is replaced whole, so a request sees one version.
type plan struct {
	table    *routing.Table
	targets  map[*routing.Target]*target
	models   map[modelKey][]*target        // by who calls what, in the order of owner and environment
	nodes    map[string]*node              // by endpoint, and by endpoint and package for canaries
	unloaded map[string]*atomic.Bool       // by endpoint and package
	paces    map[string]*endpoint.Pace     // by endpoint and package
	ups      map[string]*upstream.Endpoint // by URL
	bounds   map[string]*bound             // by who calls
	probes   []probe
	unasked  bool // the plan before did not know one of the endpoints or packages
	said     atomic.Pointer[agedText]
}

// A node is an endpoint with what is known of it.
type node struct {
	routing.Endpoint
	base   string // URL without a slash at the end
	canary bool   // it stands beside the endpoint's own, for another version
	fresh  bool   // the plan before did not know it
	up     *upstream.Endpoint
	live   *endpoint.Live
	queue  *queue // for room there
}

type modelKey struct{ caller, model string }

// A target is a routing target with its candidates; all slices have one entry
// for each permitted endpoint, and then one for each that runs the canary.
type target struct {
	*routing.Target
	simulated  bool // every leg is
	pool       *endpoint.Pool
	sides      *sides
	purposes   map[string]*sides // nil: no rule names a purpose
	candidates []endpoint.Candidate
	nodes      []*node
	legs       []*routing.Leg
	paths      []string // of the inference, below the endpoint's URL
	paces      []*endpoint.Pace
	mirror     *mirror // nil: nothing is copied
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
func newPlan(table *routing.Table, before *plan, kept map[string]counts, client *upstream.Client, now int64) (*plan, error) {
	p := &plan{table: table, targets: map[*routing.Target]*target{}, models: map[modelKey][]*target{}, nodes: map[string]*node{}, unloaded: map[string]*atomic.Bool{}, paces: map[string]*endpoint.Pace{}, ups: map[string]*upstream.Endpoint{}}
	for _, e := range table.Snapshot.Endpoints {
		if err := p.connect(e, before, client); err != nil {
			return nil, err
		}
		if n := p.know(e.Name, e, before); n.fresh && before != nil {
			n.live.Warm(now) // it is new among others that carry the load
		}
	}
	for _, t := range table.Targets() {
		out := p.target(t, before)
		p.targets[t] = out
		key := modelKey{t.Caller, t.Model}
		p.models[key] = append(p.models[key], out)
	}
	p.bound(table.Governing, before, kept)
	return p, nil
}

// connect makes the connections to an endpoint, or carries them on.
func (p *plan) connect(e routing.Endpoint, before *plan, client *upstream.Client) (err error) {
	if before != nil && before.ups[e.URL] != nil {
		p.ups[e.URL] = before.ups[e.URL]
		return nil
	}
	if p.ups[e.URL], err = client.Endpoint(e.URL); err != nil {
		return fmt.Errorf("endpoint %s: %w", e.Name, err)
	}
	return nil
}

// know adds a node, with what the plan before knows of it.
func (p *plan) know(key string, e routing.Endpoint, before *plan) *node {
	n := &node{Endpoint: e, base: strings.TrimRight(e.URL, "/"), up: p.ups[e.URL]}
	if known := before.node(key); known != nil && known.URL == e.URL {
		n.live, n.queue = known.live, known.queue
	} else {
		n.live, n.fresh, p.unasked = &endpoint.Live{}, true, true
		n.queue = &queue{live: n.live}
	}
	p.nodes[key] = n
	return n
}

// beside returns the node of a canary's package at an endpoint. It is judged
// apart: a version that fails must not set the champion's endpoint aside.
func (p *plan) beside(e routing.Endpoint, leg *routing.Leg, before *plan) *node {
	key := e.Name + " " + string(leg.Package.Manifest)
	if n := p.nodes[key]; n != nil {
		return n
	}
	n := p.know(key, e, before) // its share is small: it needs no warming up
	n.canary = true
	return n
}

// node returns what is known of an endpoint, or nil.
func (p *plan) node(name string) *node {
	if p == nil {
		return nil
	}
	return p.nodes[name]
}

func (p *plan) target(t *routing.Target, before *plan) *target {
	out := &target{Target: t, simulated: true}
	dearest := int64(0)
	for _, permit := range t.Permitted {
		dearest = max(dearest, p.table.Snapshot.Endpoints[permit.Endpoint].CostMicros)
	}
	for _, leg := range t.Legs {
		out.simulated = out.simulated && leg.Route.Simulated
	}
	for _, permit := range t.Permitted {
		p.candidate(out, p.nodes[p.table.Snapshot.Endpoints[permit.Endpoint].Name], &t.Legs[permit.Leg], dearest, before)
	}
	if t.Trial != nil && t.Trial.Share > 0 {
		for _, permit := range t.Trial.Permitted {
			if leg := &t.Legs[permit.Leg]; permit.Leg == t.Trial.Leg {
				p.candidate(out, p.beside(p.table.Snapshot.Endpoints[permit.Endpoint], leg, before), leg, dearest, before)
			}
		}
	}
	out.mirror = p.mirror(out, before)
	out.pool = endpoint.NewPool(out.candidates)
	out.sides = newSides(out, nil)
	for purpose, barred := range t.Purposes {
		if out.purposes == nil {
			out.purposes = map[string]*sides{}
		}
		out.purposes[purpose] = newSides(out, barred)
	}
	return out
}

// candidate adds an endpoint that may answer with a leg's package.
func (p *plan) candidate(out *target, n *node, leg *routing.Leg, dearest int64, before *plan) {
	model := fmt.Sprintf("/v2/models/%s/versions/%d", out.Wire, leg.Package.Version)
	out.nodes = append(out.nodes, n)
	out.legs = append(out.legs, leg)
	out.paths = append(out.paths, model+"/infer")
	out.paces = append(out.paces, p.pace(n.base+model+" "+string(leg.Package.Manifest), before))
	out.candidates = append(out.candidates, endpoint.Candidate{
		Name: n.Name, Region: n.Region, Kind: n.Kind, CostMicros: n.CostMicros,
		Cost:   endpoint.CostScore(n.CostMicros, dearest),
		Fabric: float64(min(max(n.FabricScore, 0), 100)) / 100,
		Thin:   1 - float64(out.share(n.Region))/1000,
		Hash:   endpoint.Hash(n.Name), Live: n.live,
		Unloaded: p.watched(n, model+"/ready", string(leg.Package.Manifest), before),
	})
}

// share returns the weight of a region in thousandths.
func (t *target) share(region string) int { return policy.Document{Shares: t.Shares}.Share(region) }

// pace returns how long the answers of a package take at an endpoint.
func (p *plan) pace(id string, before *plan) *endpoint.Pace {
	if p.paces[id] == nil {
		p.paces[id] = &endpoint.Pace{}
		if before != nil && before.paces[id] != nil {
			p.paces[id] = before.paces[id]
		}
	}
	return p.paces[id]
}

// watched returns the flag of a package on an endpoint. What nobody asked yet
// counts as loaded: the control plane routes to what a region said it loaded.
func (p *plan) watched(n *node, path, manifest string, before *plan) *atomic.Bool {
	id := n.base + path + " " + manifest
	if flag := p.unloaded[id]; flag != nil {
		return flag
	}
	flag := &atomic.Bool{}
	if before != nil && before.unloaded[id] != nil {
		flag = before.unloaded[id]
	} else {
		p.unasked = true
	}
	p.unloaded[id] = flag
	p.probes = append(p.probes, probe{n, path, manifest, flag})
	return flag
}
