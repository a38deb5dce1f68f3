package policy

import (
	"fmt"

	"github.com/atom-fabric/fabric/domain/artifact"
)

// Content returns the digest of what the document says, whatever its revision
// and wherever it comes from.
func (d Document) Content() (artifact.Digest, error) {
	d.Revision, d.RollbackOf = 0, nil
	encoded, err := d.Encode()
	if err != nil {
		return "", err
	}
	return artifact.DigestOf(encoded), nil
}

// Again returns the document under a higher revision, which says what it brings
// back: the order of revisions and the old content are both kept.
// Errors: [ErrRollback] for a revision that is not higher.
func (d Document) Again(revision int64) (Document, error) {
	if revision <= d.Revision {
		return Document{}, fmt.Errorf("revision %d after %d: %w", revision, d.Revision, ErrRollback)
	}
	encoded, err := d.Encode()
	if err != nil {
		return Document{}, err
	}
	content, err := d.Content()
	if err != nil {
		return Document{}, err
	}
	next := d
	next.Revision = revision
	next.RollbackOf = &Rollback{Revision: d.Revision, Digest: string(artifact.DigestOf(encoded)), Content: string(content)}
	return next, nil
}

// validateRollback checks that a document which says that it brings another
// back has that one's content.
func (d Document) validateRollback() error {
	if d.RollbackOf == nil {
		return nil
	}
	content, err := d.Content()
	if err != nil {
		return err
	}
	if _, err := artifact.ParseDigest(d.RollbackOf.Digest); err != nil || d.RollbackOf.Revision < 1 || d.RollbackOf.Revision >= d.Revision || d.RollbackOf.Content != string(content) {
		return &DocumentError{"/rollbackOf", ErrRollback}
	}
	return nil
}
