package router

import (
	"net/http"

	"github.com/atom-fabric/fabric/domain/artifact"
)

// activeReport is what a router runs.
type activeReport struct {
	Region      string          `json:"region"`
	Snapshot    int64           `json:"snapshot"`
	AgeSeconds  int64           `json:"age_seconds"`
	Stale       bool            `json:"stale"`
	Policy      int64           `json:"policy"`
	PolicyBytes artifact.Digest `json:"policy_digest,omitempty"`
	Models      []activeModel   `json:"models"`
}

type activeModel struct {
	Tenant      string         `json:"tenant"`
	Model       string         `json:"model"`
	Environment string         `json:"environment"`
	Simulated   bool           `json:"simulated"`
	Regions     []activeRegion `json:"regions"`
}

type activeRegion struct {
	Region    string           `json:"region"`
	Version   int              `json:"version"`
	Lineage   string           `json:"lineage,omitempty"`             // of the canary that this is
	Share     *int             `json:"share_basis_points,omitempty"`  // of it
	Mirror    int              `json:"mirror_basis_points,omitempty"` // of the requests, in its shadow
	Manifest  artifact.Digest  `json:"manifest"`
	Endpoints []activeEndpoint `json:"endpoints"`
}

type activeEndpoint struct {
	Endpoint  string  `json:"endpoint"`
	Kind      string  `json:"kind"`
	Ready     bool    `json:"ready"`     // it answers and has the model
	SetAside  bool    `json:"set_aside"` // for its failures
	LatencyMS float64 `json:"latency_ms"`
	InFlight  int64   `json:"in_flight"`
	Simulated bool    `json:"simulated"`
}

// getActive answers what is routed where: the routes that the caller's tenant
// may use; with the role data-plane, or in simulation without a token and
// without ?tenant=, those of every owner.
func (r *Router) getActive(w http.ResponseWriter, req *http.Request) {
	who, p := r.viewer(req)
	if p != nil {
		r.refuse(w, req, *p)
		return
	}
	plan := r.plan.Load()
	if plan == nil {
		r.refuse(w, req, problem{code: "no_snapshot", status: http.StatusServiceUnavailable, title: "The router has no signed snapshot yet", retry: 1})
		return
	}
	s := plan.table.Snapshot
	age := r.snapshotAge()
	out := activeReport{Region: r.opts.Region, Snapshot: s.Version, AgeSeconds: int64(age.Seconds()), Stale: age > r.opts.MaxAge, Models: []activeModel{}}
	if region, doc, ok := s.PolicyOf(r.opts.Region); ok {
		out.Policy, out.PolicyBytes = doc.Revision, region.PolicyDigest
	}
	for _, t := range plan.table.Targets() {
		// The owner is a caller too: of every model there is one such target.
		if t.Caller == who.tenant || who.tenant == "" && t.Caller == t.Owner {
			out.Models = append(out.Models, r.report(plan.targets[t]))
		}
	}
	r.write(w, out)
}

// viewer is a caller of a GET. Its tenant is "" if it may see every tenant's.
func (r *Router) viewer(req *http.Request) (caller, *problem) {
	who, p := r.caller(req)
	if p != nil {
		return caller{}, p
	}
	named := req.URL.Query().Get("tenant")
	switch {
	case named != "" && !name.MatchString(named):
		return caller{}, badField("tenant", "must match %s", name)
	case who.simulated:
		who.tenant = named
	case who.claims.Has("data-plane"):
		who.tenant = named
	case named != "" && named != who.tenant:
		return caller{}, notFound()
	}
	return who, nil
}

func (r *Router) report(t *target) activeModel {
	out := activeModel{Tenant: t.Owner, Model: t.Model, Environment: t.Environment, Simulated: true, Regions: []activeRegion{}}
	for at := range t.Legs {
		leg := &t.Legs[at]
		out.Simulated = out.Simulated && leg.Route.Simulated
		for _, region := range leg.Route.Regions {
			in := activeRegion{Region: region, Version: leg.Package.Version, Manifest: leg.Package.Manifest, Endpoints: []activeEndpoint{}}
			if t.Trial != nil && t.Trial.Leg == at {
				in.Lineage, in.Share, in.Mirror = t.Trial.Lineage, &t.Trial.Share, t.Trial.Mirror
			}
			for i := range t.candidates {
				c := &t.candidates[i]
				if c.Region != region || t.legs[i] != leg {
					continue
				}
				in.Endpoints = append(in.Endpoints, activeEndpoint{Endpoint: c.Name, Kind: c.Kind, Ready: c.Live.Ready() && !c.Unloaded.Load(),
					SetAside: c.Live.Ejected(r.now()), LatencyMS: c.Live.Latency(r.now()), InFlight: c.Live.InFlight(), Simulated: t.nodes[i].Simulated})
			}
			out.Regions = append(out.Regions, in)
		}
	}
	return out
}

// keptDecision is a record with what its audit header is worth.
type keptDecision struct {
	Record
	Verified bool `json:"verified"` // the header was made by this router's key for this record
}

// getDecision answers with the record of a decision, to the tenant that asked
// for it or that owns the model.
func (r *Router) getDecision(w http.ResponseWriter, req *http.Request) {
	who, p := r.viewer(req)
	if p != nil {
		r.refuse(w, req, *p)
		return
	}
	record, found := r.records.find(req.Context(), req.PathValue("id"))
	if !found || who.tenant != "" && who.tenant != record.Tenant && who.tenant != record.Owner {
		r.refuse(w, req, *notFound())
		return
	}
	r.write(w, keptDecision{record, record.Header != "" && r.key.verify(record.Header, &record) == nil})
}

func (r *Router) write(w http.ResponseWriter, body any) {
	text, err := compact(body)
	if err != nil {
		r.opts.Log.Error("answer", "err", err)
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(text)
}
