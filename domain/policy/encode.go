package policy

import (
	"fmt"

	"github.com/atom-fabric/fabric/domain/artifact"
)

// Encode returns the canonical bytes of the document: those that are signed,
// and whose digest every region reports.
func (d Document) Encode() ([]byte, error) {
	encoded, err := artifact.Canonical(d)
	if err != nil {
		return nil, fmt.Errorf("policy %d: %w", d.Revision, err)
	}
	return encoded, nil
}

// Parse reads a document strictly and returns it if it is valid.
// Errors: [*artifact.JSONError], [*DocumentError].
func Parse(document []byte) (Document, error) {
	var d Document
	if err := artifact.DecodeStrict(document, &d); err != nil {
		return Document{}, fmt.Errorf("policy document: %w", err)
	}
	return d, d.Validate()
}
