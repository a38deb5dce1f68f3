// Package round decides what a federated round is, when a stage may close and
// what happens next. Counting, storing and waiting are done elsewhere.
//
// Invariant: decisions are made on integers only, so that a replay on another
// machine decides the same.
package round

import "github.com/atom-fabric/fabric/domain/artifact"

// A Kind is what the sites are asked to do in a round.
type Kind string

// The kinds of round. Statistics come first: the example-weighted mean of each
// column and of its square are the moments of the pooled table, and become the
// normalisation of the model. Evaluate closes a run: it measures the last
// weights. A train round measures the weights that it starts from.
const (
	Statistics Kind = "statistics"
	Train      Kind = "train"
	Evaluate   Kind = "evaluate"
)

// Trainers that every site has. Any other program is named "exec".
const (
	TrainerLogistic = "logistic" // softmax regression
	TrainerMLP      = "mlp"      // one hidden layer of ReLU units
	TrainerExec     = "exec"     // the site operator's own program
)

// A ModelSpec fixes the shapes of a model's tensors.
type ModelSpec struct {
	Trainer string `json:"trainer"`
	Inputs  int    `json:"inputs"`           // columns of a row, 1..100000
	Hidden  int    `json:"hidden,omitempty"` // units of the hidden layer, mlp only
	Classes int    `json:"classes"`          // 2 or more
}

// Params are what the caller of a run chooses. A value that has passed
// [Params.Validate] is complete: defaults are filled in, nothing is zero that
// may not be.
type Params struct {
	Model           ModelSpec `json:"model"`
	Rounds          int       `json:"rounds"`          // train rounds, 1..10000
	Quorum          int       `json:"quorum"`          // sites that must answer in all, over every region
	QuorumRegions   int       `json:"quorumRegions"`   // regions that must deliver a sum
	DeadlineSeconds int       `json:"deadlineSeconds"` // of a stage; then quorum decides
	Extensions      int       `json:"extensions"`      // how often a stage below quorum is extended by another deadline
	LocalEpochs     int       `json:"localEpochs"`
	BatchSize       int       `json:"batchSize"`
	LearningRate    float64   `json:"learningRate"`
	Seed            uint64    `json:"seed,string"`
	Features        []string  `json:"features"` // feature ids, the same for every tenant
	Production      bool      `json:"production"`

	Strategy    Strategy     `json:"strategy,omitzero"`
	Secure      Secure       `json:"secure,omitzero"`
	Privacy     Privacy      `json:"privacy,omitzero"`
	Compression Compression  `json:"compression,omitzero"` // of updates in train rounds
	Bounds      [][2]float64 `json:"bounds,omitempty"`     // public [low, high] of every column: the normalisation, in the place of a statistics round
	SampleBP    int          `json:"sampleBP,omitempty"`   // share of the enrolled sites that a train round asks, in basis points; 0 asks all
	OverBP      int          `json:"overBP,omitempty"`     // how many more than that are asked, in basis points of it; the first that answer count
	TargetBP    int          `json:"targetBP,omitempty"`   // stop once the held-out accuracy reaches it, in basis points
	Patience    int          `json:"patience,omitempty"`   // stop after so many train rounds without a better loss; 0 never does
	Measurement Measurement  `json:"measurement,omitzero"` // what the closing evaluation counts for the scorecard
	Purpose     string       `json:"purpose,omitempty"`    // what the model is for, a term of the Data Use Ontology; grants may ask for it
	Meets       []string     `json:"meets,omitempty"`      // modifiers of that ontology that the owner declares to obey
}

// A Cohort is a group whose sites are summed together, and how many they are.
// Region is where the sum is made. Group is its name in stages and answers;
// empty for a region's only group, which is called like the region.
type Cohort struct {
	Region string `json:"region"`
	Sites  int    `json:"sites"`
	Group  string `json:"group,omitempty"`
}

// Name returns the group's name in stages and answers.
func (c Cohort) Name() string {
	if c.Group == "" {
		return c.Region
	}
	return c.Group
}

// A FeatureRef pins the version of a tenant's feature that a round may use.
type FeatureRef struct {
	Tenant      string          `json:"tenant"`
	Feature     string          `json:"feature"`
	Fingerprint artifact.Digest `json:"fingerprint"`
}

// ClipNorm returns the norm that updates are clipped to in this round, which is
// also the norm that the noise is scaled by.
func (m Manifest) ClipNorm() float64 {
	if m.Clip != 0 {
		return m.Clip
	}
	return m.Params.Privacy.ClipNorm
}

// A Manifest is the signed order that a site obeys. It names everything that
// determines the site's work, so that two sites with one manifest digest did
// the same work.
type Manifest struct {
	Run        string              `json:"run"`
	Number     int                 `json:"number"` // 0 is the statistics round
	Kind       Kind                `json:"kind"`
	Tenant     string              `json:"tenant"` // the owner of the model
	ModelID    string              `json:"modelId"`
	Base       artifact.Descriptor `json:"base"` // weights that the round starts from
	Params     Params              `json:"params"`
	Features   []FeatureRef        `json:"features"`
	Cohort     []Cohort            `json:"cohort"`
	CohortRoot artifact.Digest     `json:"cohortRoot"` // sha256 over the sorted "tenant/site" names, one a line
	Simulation bool                `json:"simulation"`
	TraceID    string              `json:"traceId"`
	Secured    bool                `json:"secured,omitempty"`           // sites send masked vectors, and only their sum is ever seen
	State      artifact.Descriptor `json:"state,omitzero"`              // server optimiser state that the round starts from
	SampleSeed uint64              `json:"sampleSeed,string,omitempty"` // of the draws of sites and buckets; see [SampleSeed]
	Enrolled   int                 `json:"enrolled,omitempty"`          // sites that the cohort was drawn from
	Clip       float64             `json:"clip,omitempty"`              // clipping norm of this round, where it adapts
	Starts     []Start             `json:"starts,omitempty"`            // older weights of the run that an update may have started from, the newest first
	Consents   []TenantConsent     `json:"consents,omitempty"`          // under which grants each tenant takes part, by tenant
}

// A TenantConsent names the grants of one tenant that a round is planned under.
// An answer to the round has its epoch; from a withdrawal on, the tenant's
// answers in the rounds that it reaches need a newer one.
type TenantConsent struct {
	Tenant string          `json:"tenant"`
	Epoch  int64           `json:"epoch"`  // of the tenant's consent when the round was planned
	Grants artifact.Digest `json:"grants"` // of the pack of signed grants, which the tenant's sites are given
}
