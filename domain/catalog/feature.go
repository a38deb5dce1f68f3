// Package catalog decides what a feature is and whether it may be used.
//
// Invariant: a fingerprint is a SHA-256 and nothing else about the rows is
// kept. A feature without consent for a purpose and a grantee is not usable.
package catalog

import (
	"encoding/json"
	"time"

	"github.com/atom-fabric/fabric/domain/artifact"
)

// A Feature is one registered version of a tenant's feature.
type Feature struct {
	Tenant      string          `json:"tenant"`
	ID          string          `json:"featureId"`
	Version     int             `json:"version"` // counts from 1 as the schema changes
	Schema      json.RawMessage `json:"schema"`
	Fingerprint artifact.Digest `json:"fingerprint"`
	Consent     Consent         `json:"consent"`
	Registered  time.Time       `json:"registeredAt"`

	Semantics   json.RawMessage `json:"semantics,omitempty"` // canonical; see [Semantics]
	Content     artifact.Digest `json:"content,omitempty"`   // of schema and semantics: what the version is
	Description string          `json:"description,omitempty"`
	Tags        []string        `json:"tags,omitempty"`
	Mode        Mode            `json:"compatibility,omitempty"` // what the next version must keep
	Staged      bool            `json:"staged,omitempty"`        // not the version in use
}

// Semantics is what a schema cannot say of a column. The document of a
// registration holds one under "columns" for each name.
type Semantics struct {
	Unit     string `json:"unit,omitempty"` // UCUM, for example mm or kg/m2
	Nullable bool   `json:"nullable,omitempty"`
	Meaning  string `json:"meaning,omitempty"`
	Range    []any  `json:"range,omitempty"` // public bounds, low and high
}

// Consent is what the tenant allows, to whom and since when. The tenant itself
// is always among the grantees of a feature that is consented.
type Consent struct {
	Granted     bool       `json:"granted"`
	Purposes    []string   `json:"purposes"` // "train", "evaluate", "stats"
	Grantees    []string   `json:"grantees"`
	RecordedAt  time.Time  `json:"recordedAt"`
	WithdrawnAt *time.Time `json:"withdrawnAt,omitempty"`
}
