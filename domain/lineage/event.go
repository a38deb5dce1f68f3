// Package lineage says in the words of OpenLineage what rounds read and made.
//
// Invariant: an event is a function of facts that no longer change: the same
// round gives the same events, with the same run id, whoever asks and whenever.
//
// Source: OpenLineage specification 2-0-2, https://openlineage.io/spec/2-0-2/OpenLineage.json:
// a RunEvent has eventTime, producer, schemaURL, eventType, run{runId, facets},
// job{namespace, name}, inputs and outputs; every facet has _producer and
// _schemaURL; a run that began has a START and one of COMPLETE, ABORT or FAIL.
package lineage

import (
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/atom-fabric/fabric/domain/artifact"
)

// Where the words are from, and who says them.
const (
	SchemaURL   = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
	Producer    = "https://github.com/atom-fabric/fabric"
	ParentURL   = "https://openlineage.io/spec/facets/1-0-1/ParentRunFacet.json#/$defs/ParentRunFacet"
	ErrorURL    = "https://openlineage.io/spec/facets/1-0-1/ErrorMessageRunFacet.json#/$defs/ErrorMessageRunFacet"
	ConsentURL  = "https://github.com/atom-fabric/fabric/blob/main/docs/protocol/lineage/fabric-consent-1-0-0.schema.json#/$defs/FabricConsentRunFacet"
	WeightsURL  = "https://github.com/atom-fabric/fabric/blob/main/docs/protocol/lineage/fabric-consent-1-0-0.schema.json#/$defs/FabricWeightsDatasetFacet"
	EventStart  = "START"
	EventDone   = "COMPLETE"
	EventAbort  = "ABORT"
	EventFailed = "FAIL"
)

// A Round is what is known of one round.
type Round struct {
	Tenant, Model, Run string
	Number             int
	Kind               string
	Status             string // open, closed or failed
	Cause              string
	Canceled           bool // it failed because its run was ended
	Base, Weights      artifact.Digest
	Manifest           artifact.Digest
	StartedAt          time.Time
	EndedAt            time.Time // zero while it is open
	Grants             []Grant
	Withdrawn          []Withdrawn // tenants that were left out of it
}

// A Grant is what a round was allowed by.
type Grant struct {
	Tenant      string          `json:"tenant"`
	Feature     string          `json:"feature"`
	Version     int             `json:"-"`
	Fingerprint artifact.Digest `json:"-"`
	ID          string          `json:"grantId"`
	Digest      artifact.Digest `json:"grantDigest"`
	Epoch       int64           `json:"epoch"`
	Purposes    []string        `json:"purposes,omitempty"`
	Actions     []string        `json:"actions"`
}

// A Withdrawn tenant took consent back while the round ran, or after it.
type Withdrawn struct {
	Tenant  string `json:"tenant"`
	Epoch   int64  `json:"epoch"`
	Effect  string `json:"effect"` // as in a propagation report
	Tainted bool   `json:"tainted"`
}

// An Event is a RunEvent.
type Event struct {
	EventTime time.Time `json:"eventTime"`
	Producer  string    `json:"producer"`
	SchemaURL string    `json:"schemaURL"`
	EventType string    `json:"eventType"`
	Run       Run       `json:"run"`
	Job       Job       `json:"job"`
	Inputs    []Dataset `json:"inputs"`
	Outputs   []Dataset `json:"outputs"`
}

// A Run is one execution of a job.
type Run struct {
	ID     string    `json:"runId"` // UUID
	Facets RunFacets `json:"facets"`
}

// RunFacets are what is said of a run.
type RunFacets struct {
	Parent  *Parent  `json:"parent,omitempty"`
	Error   *Error   `json:"errorMessage,omitempty"`
	Consent *Consent `json:"fabric_consent,omitempty"`
}

// A Facet is what every facet begins with.
type Facet struct {
	Producer  string `json:"_producer"`
	SchemaURL string `json:"_schemaURL"`
}

// A Parent names the training run of a round.
type Parent struct {
	Facet
	Run struct {
		ID string `json:"runId"`
	} `json:"run"`
	Job Job `json:"job"`
}

// An Error says why a round failed.
type Error struct {
	Facet
	Message  string `json:"message"`
	Language string `json:"programmingLanguage"`
}

// Consent says under which grants a round read what it read.
type Consent struct {
	Facet
	Manifest  artifact.Digest `json:"manifest"`
	Grants    []Grant         `json:"grants"`
	Withdrawn []Withdrawn     `json:"withdrawn,omitempty"`
}

// A Job is what runs.
type Job struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
}

// A Dataset is what a round reads or makes.
type Dataset struct {
	Namespace string        `json:"namespace"`
	Name      string        `json:"name"`
	Facets    DatasetFacets `json:"facets,omitzero"`
}

// DatasetFacets are what is said of a dataset.
type DatasetFacets struct {
	Content *Content `json:"fabric_content,omitempty"`
}

// Content identifies a dataset by what is in it.
type Content struct {
	Facet
	Digest artifact.Digest `json:"digest"`
}

// Of returns the events of a round: its START, and when it is over its end.
func Of(r Round) []Event {
	began := Event{
		EventTime: r.StartedAt.UTC(), Producer: Producer, SchemaURL: SchemaURL, EventType: EventStart,
		Run:    Run{ID: UUID("round", r.Tenant, r.Run, fmt.Sprint(r.Number)), Facets: RunFacets{Parent: parent(r), Consent: consent(r)}},
		Job:    Job{Namespace: space(r.Tenant), Name: r.Model + "." + r.Kind},
		Inputs: []Dataset{}, Outputs: []Dataset{},
	}
	for _, g := range r.Grants {
		began.Inputs = append(began.Inputs, dataset(g.Tenant, fmt.Sprintf("feature/%s", g.Feature), g.Fingerprint))
	}
	if r.Base != "" {
		began.Inputs = append(began.Inputs, dataset(r.Tenant, "weights/"+string(r.Base), r.Base))
	}
	if r.EndedAt.IsZero() {
		return []Event{began}
	}
	ended := began
	ended.EventTime = r.EndedAt.UTC()
	switch {
	case r.Status == "closed":
		ended.EventType = EventDone
		if r.Weights != "" && r.Weights != r.Base {
			ended.Outputs = []Dataset{dataset(r.Tenant, "weights/"+string(r.Weights), r.Weights)}
		}
	case r.Canceled:
		ended.EventType = EventAbort
	default:
		ended.EventType = EventFailed
		ended.Run.Facets.Error = &Error{Facet: Facet{Producer, ErrorURL}, Message: r.Cause, Language: "Go"}
	}
	return []Event{began, ended}
}

func parent(r Round) *Parent {
	p := &Parent{Facet: Facet{Producer, ParentURL}, Job: Job{Namespace: space(r.Tenant), Name: r.Model}}
	p.Run.ID = UUID("run", r.Tenant, r.Run)
	return p
}

func consent(r Round) *Consent {
	grants := r.Grants
	if grants == nil {
		grants = []Grant{}
	}
	return &Consent{Facet: Facet{Producer, ConsentURL}, Manifest: r.Manifest, Grants: grants, Withdrawn: r.Withdrawn}
}

func dataset(tenant, name string, content artifact.Digest) Dataset {
	d := Dataset{Namespace: space(tenant), Name: name}
	if content != "" {
		d.Facets.Content = &Content{Facet{Producer, WeightsURL}, content}
	}
	return d
}

func space(tenant string) string { return "fabric://" + tenant }

// UUID returns the one identifier of what the words name: the first half of
// their SHA-256 as an RFC 9562 UUID of version 8.
func UUID(words ...string) string {
	h := sha256.New()
	for _, w := range words {
		fmt.Fprintf(h, "%d:%s", len(w), w)
	}
	b := h.Sum(nil)[:16]
	b[6], b[8] = b[6]&0x0f|0x80, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
