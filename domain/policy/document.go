// Package policy is what the data plane must obey: which tenant's requests may
// be answered where, by which kind of runtime, and how to choose among the
// permitted.
//
// Invariant: what a document does not permit is refused. Revisions only grow;
// going back is a higher revision with the earlier content.
package policy

import "github.com/atom-fabric/fabric/domain/approval"

// A Document is one revision of the routing policy.
type Document struct {
	Revision  int64   `json:"revision"`
	Rules     []Rule  `json:"rules"`     // the first that matches decides; none: refused
	Weights   Weights `json:"weights"`   // how permitted endpoints are scored
	Threshold int     `json:"threshold"` // risk from which an action needs approvers, 0..100

	Approvals *approval.Rules `json:"approvals,omitempty"` // of ballots; absent: approval.DefaultRules

	Limits     *Limits   `json:"limits,omitempty"`     // of training runs; absent: none
	Shares     []Share   `json:"shares,omitempty"`     // of regions, in their order; absent: every region has all of its weight
	Leeway     int       `json:"leeway,omitempty"`     // thousandths of the weights that a caller may give as it likes; they only order what is permitted
	Quotas     []Quota   `json:"quotas,omitempty"`     // of tenants' calls; absent: none
	RollbackOf *Rollback `json:"rollbackOf,omitempty"` // of a document that brings an earlier one back
}

// Balloting returns the rules of ballots under the document.
func (d Document) Balloting() approval.Rules {
	if d.Approvals == nil {
		return approval.DefaultRules()
	}
	return *d.Approvals
}

// A Rule permits regions and kinds to a tenant. "*" matches any.
type Rule struct {
	Name    string   `json:"name"`
	Tenant  string   `json:"tenant"`
	Model   string   `json:"model"`
	Regions []string `json:"regions"` // permitted; empty: none
	Kinds   []string `json:"kinds"`   // "neural", "quantum"

	Purposes []string `json:"purposes,omitempty"` // for which; absent: any, and calls that name none
}

// Weights are relative, in thousandths; each is 0..1000 and one is above 0.
type Weights struct {
	Latency  int `json:"latency"`
	Cost     int `json:"cost"`
	Fabric   int `json:"fabric"`
	Locality int `json:"locality"`
}
