package policy

import (
	"encoding/json"
	"time"

	"github.com/atom-fabric/fabric/domain/artifact"
)

// Questions that the rules answer. Each is a package of infra/opa.
const (
	AskAdmission = "admission" // may this run start? [Admission]
	AskFeature   = "feature"   // may this consumer use this feature for this purpose? [FeatureUse]
	AskBudget    = "budget"    // may this run spend so much? [Spending]
	AskRouting   = "routing"   // may this call be answered there? [Call]
	AskRisk      = "risk"      // may this change go on by itself? [Stake]
	AskApprover  = "approver"  // may this person vote on it? [Candidacy]
)

// Questions returns every question, in the order of their names.
func Questions() []string {
	return []string{AskAdmission, AskApprover, AskBudget, AskFeature, AskRisk, AskRouting}
}

// A FeatureUse asks for one feature. Consent is what is known of it; absent,
// nothing is.
type FeatureUse struct {
	Consumer string   `json:"consumer"` // tenant that would use it
	Purpose  string   `json:"purpose"`
	Consent  *Consent `json:"consent,omitempty"`
}

// A Spending asks to spend privacy budget, in thousandths of epsilon.
type Spending struct {
	EpsilonMilli   int64 `json:"epsilonMilli"`
	RemainingMilli int64 `json:"remainingMilli"`
}

// A Call asks to be answered in a region by a kind of runtime.
type Call struct {
	Tenant string `json:"tenant"`
	Model  string `json:"model"`
	Region string `json:"region"`
	Kind   string `json:"kind"`
}

// A Stake is what the rules are told of a change at its risk.
type Stake struct {
	Kind        string `json:"kind"`
	Environment string `json:"environment"`
	Risk        int    `json:"risk"` // 0..100
	Loosens     bool   `json:"loosens"`
	Rollback    bool   `json:"rollback"`
}

// A Candidacy asks whether a person may vote on a change.
type Candidacy struct {
	Stake
	Name      string   `json:"name"`
	Role      string   `json:"role"`
	Requester string   `json:"requester"`
	Trainers  []string `json:"trainers"`
}

// A Decision is one answer of the rules, as it is logged: enough to decide
// again. What names people or third parties is masked, see [Mask]; Masked says
// where.
type Decision struct {
	ID        string          `json:"id"`
	At        time.Time       `json:"at"`
	TraceID   string          `json:"traceId"`
	Tenant    string          `json:"tenant"` // who asked
	Region    string          `json:"region,omitempty"`
	Purpose   string          `json:"purpose,omitempty"`
	Question  string          `json:"question"`
	Revision  int64           `json:"revision"`         // of the policy in force; 0 when a remote engine does not say
	Bundle    artifact.Digest `json:"bundle,omitempty"` // of the content that decided, see [Document.Content]
	Input     json.RawMessage `json:"input"`            // masked
	Masked    []string        `json:"masked,omitempty"` // JSON pointers into the input
	Allowed   bool            `json:"allowed"`
	Reasons   []string        `json:"reasons,omitempty"` // why not
	Simulated bool            `json:"simulated,omitempty"`
}
