package policy

import (
	"github.com/atom-fabric/fabric/domain/catalog"
	"github.com/atom-fabric/fabric/domain/round"
)

// An Admission is what the rules are told of a run that is asked for. They
// allow it or refuse it with reasons; what they are not told is refused.
type Admission struct {
	Tenant     string         `json:"tenant"`    // who asks: the owner of the model
	Tenants    []string       `json:"tenants"`   // whose sites would take part
	Model      string         `json:"model"`     // id
	Requested  []string       `json:"requested"` // feature ids, the same for every tenant
	Features   []Consent      `json:"features"`  // what is known of them
	Cohort     []round.Cohort `json:"cohort"`    // enrolled sites of each region
	Production bool           `json:"production"`
	Signing    bool           `json:"signing"`    // a signing key was given, not generated
	Simulation bool           `json:"simulation"` // the caller is a simulated one

	Demands Demands `json:"demands"` // what the limits of the policy bound
}

// Demands are what a run asks for that a policy may bound. A zero is unknown or
// none: a run without privacy has no epsilon and no norm.
type Demands struct {
	EpsilonMilli    int64 `json:"epsilonMilli"`
	ClipMilli       int64 `json:"clipMilli"`
	DeadlineSeconds int   `json:"deadlineSeconds"`
	Retries         int   `json:"retries"`
}

// A Consent is what a tenant allows with one of its features.
type Consent struct {
	Tenant    string   `json:"tenant"`
	Feature   string   `json:"feature"`
	Consented bool     `json:"consented"`
	Withdrawn bool     `json:"withdrawn"`
	Purposes  []string `json:"purposes"`
	Grantees  []string `json:"grantees"`
}

// Consents returns what the catalogue knows of features in the words of an
// [Admission].
func Consents(features []catalog.Feature) []Consent {
	consents := make([]Consent, len(features))
	for i, f := range features {
		consents[i] = Consent{
			Tenant:    f.Tenant,
			Feature:   f.ID,
			Consented: f.Consent.Granted,
			Withdrawn: f.Consent.WithdrawnAt != nil,
			Purposes:  f.Consent.Purposes,
			Grantees:  f.Consent.Grantees,
		}
	}
	return consents
}
