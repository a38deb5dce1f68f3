// Package routing is what the data plane runs, as one immutable document that
// the control plane compiles and signs, and who may be answered where by it.
//
// Invariant: a snapshot is used only after its signature verified, and only if
// its version is higher than the one in use.
package routing

import (
	"encoding/json"
	"time"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/policy"
)

// A Snapshot is the state of routes, packages, endpoints and policies.
type Snapshot struct {
	Version   int64             `json:"version"`
	IssuedAt  time.Time         `json:"issuedAt"`
	Regions   []Region          `json:"regions"`
	Endpoints []Endpoint        `json:"endpoints"`
	Packages  []Package         `json:"packages"`
	Routes    []Route           `json:"routes"`
	Canaries  []Canary          `json:"canaries,omitempty"` // by tenant, model and environment, one each
	Policies  []policy.Document `json:"policies"`           // those that a region names
	// Revocations are what routers do not accept any more, see [Revoked].
	Revocations []Revocation `json:"revocations,omitempty"`
}

// A Region runs one policy revision.
type Region struct {
	Name         string          `json:"name"`
	Policy       int64           `json:"policy"`
	PolicyDigest artifact.Digest `json:"policyDigest"` // of the signed document's bytes
}

// An Endpoint is a runtime that answers the Open Inference Protocol V2.
type Endpoint struct {
	Name        string `json:"name"`
	Region      string `json:"region"`
	Kind        string `json:"kind"` // "neural" or "quantum"
	URL         string `json:"url"`
	CostMicros  int64  `json:"costMicros"`  // per request, millionths of a currency unit
	FabricScore int    `json:"fabricScore"` // 0..100, from the scorecard of the region's runtime
	Simulated   bool   `json:"simulated"`
}

// A Package is a model version that runtimes of Regions load.
type Package struct {
	Tenant     string          `json:"tenant"`
	Model      string          `json:"model"`
	Version    int             `json:"version"`
	Registry   string          `json:"registry"`          // base URL
	Mirrors    []Mirror        `json:"mirrors,omitempty"` // of the regions that pull from elsewhere
	Repository string          `json:"repository"`
	Manifest   artifact.Digest `json:"manifest"`
	Bundle     json.RawMessage `json:"bundle"` // Sigstore bundle over the manifest
	Regions    []string        `json:"regions"`
	// AcceptedAt is when the bundle was accepted, by the audit log: it stays good
	// after its key has retired.
	AcceptedAt time.Time `json:"acceptedAt,omitzero"`
}

// A Route sends a tenant's calls for a model to one version.
type Route struct {
	Tenant      string   `json:"tenant"`
	Model       string   `json:"model"`
	Environment string   `json:"environment"`
	Version     int      `json:"version"`
	Regions     []string `json:"regions"`
	Callers     []string `json:"callers"` // tenants that may call, the owner always
	Simulated   bool     `json:"simulated"`
}

// A Signed is a snapshot as it travels and as it is kept on disk: the exact
// bytes, and the bundle whose statement names their digest.
type Signed struct {
	Snapshot json.RawMessage `json:"snapshot"`
	Bundle   json.RawMessage `json:"bundle"`
}
