package contract

import "github.com/atom-fabric/fabric/domain/artifact"

// ReplicaInput asks for a package in the mirror of one region.
type ReplicaInput struct {
	Subject
	Region     string              `json:"region"`
	Version    int                 `json:"version"`
	Attempt    int                 `json:"attempt"` // from 1; one runs at a time
	Repository string              `json:"repository"`
	Package    artifact.Descriptor `json:"package"` // the OCI manifest
	Weights    artifact.Digest     `json:"weights"`
}

// Copied is what a package's signatures and statements are: the digests of the
// manifests that refer to it, ascending.
type Copied struct {
	Referrers []artifact.Digest `json:"referrers"`
}

// InspectInput asks for a look at what a mirror holds, byte by byte. Referrers
// must all be attached there.
type InspectInput struct {
	ReplicaInput
	Referrers []artifact.Digest `json:"referrers"`
}

// Inspected is what was found at the far end.
type Inspected struct {
	Registry  string              `json:"registry"` // base URL
	Layers    int                 `json:"layers"`
	SizeBytes int64               `json:"sizeBytes"`
	Referrers int                 `json:"referrers"`
	Predicate artifact.Descriptor `json:"predicate"` // blob of what is to be signed about it
}

// AttachReplicaInput attaches the statement of a replication in the mirror.
type AttachReplicaInput struct {
	ReplicaInput
	Predicate artifact.Descriptor `json:"predicate"`
	Bundle    artifact.Descriptor `json:"bundle"`
}

// How a replication ends.
const (
	ReplicaHeld   = "held"
	ReplicaFailed = "failed"
)

// ReplicaOutcome records how a replication ended.
type ReplicaOutcome struct {
	ReplicaInput
	Outcome   string              `json:"outcome"`
	Cause     string              `json:"cause,omitempty"`
	Inspected Inspected           `json:"inspected"`
	Bundle    artifact.Descriptor `json:"bundle"`
}

// ReplicaResult is how a replication ended.
type ReplicaResult struct {
	Region  string `json:"region"`
	Outcome string `json:"outcome"`
	Cause   string `json:"cause,omitempty"`
}

// HeldInput asks whether regions hold a version now, every byte of it.
type HeldInput struct {
	Subject
	Region  string          `json:"region"`
	Version int             `json:"version"`
	Package artifact.Digest `json:"package"`
}
