// Package site describes who may take part: a site of a tenant in a region,
// and the identity key that it enrolled with.
//
// Invariant: a site is known by its key. A second key under the same name is a
// different site and is refused.
package site

import "time"

// A Site is a place with private rows. ID is unique within its tenant.
type Site struct {
	Tenant     string    `json:"tenant"`
	ID         string    `json:"id"`
	Region     string    `json:"region"`
	PublicKey  string    `json:"publicKey"` // PEM, SPKI, ECDSA P-256
	EnrolledAt time.Time `json:"enrolledAt"`
	SeenAt     time.Time `json:"seenAt"`
}
