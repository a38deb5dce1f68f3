package activities

import (
	"bytes"
	"context"
	"encoding/json"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
)

// A Sign makes statements in the fabric's name. It runs on a queue of its own,
// so that the key is in one kind of process.
type Sign struct {
	Blobs  Blobs
	Signer Signer
}

// SignStatement signs one statement and stores its bundle. Idempotent in what
// it says, not in its bytes: two runs make two signatures over one statement,
// each as good as the other, and the workflow goes on with one of them.
// Final: [contract.BadPlan] for a predicate that no statement can hold.
func (s *Sign) SignStatement(ctx context.Context, in contract.SignInput) (contract.Signed, error) {
	predicate := json.RawMessage("{}")
	if in.Predicate.Digest != "" {
		document, err := read(ctx, s.Blobs, in.Predicate.Digest)
		if err != nil {
			return contract.Signed{}, within(err, "sign %s", in.Name)
		}
		predicate = document
	}
	bundle, err := sign(ctx, s.Signer, artifact.Statement{
		Name:          in.Name,
		Subject:       in.Digest,
		PredicateType: in.PredicateType,
		Predicate:     predicate,
	})
	if err != nil {
		return contract.Signed{}, within(err, "sign %s", in.Name)
	}
	// A crash before this line loses a bundle that nobody has seen.
	kept, err := s.Blobs.Put(ctx, artifact.MediaTypeBundle, bytes.NewReader(bundle))
	if err != nil {
		return contract.Signed{}, within(err, "sign %s", in.Name)
	}
	return contract.Signed{Bundle: kept}, nil
}

// sign encodes the statement and has it signed. What does not encode never
// will; a key that is away comes back.
func sign(ctx context.Context, signer Signer, statement artifact.Statement) ([]byte, error) {
	payload, err := statement.Encode()
	if err != nil {
		return nil, permanent(contract.BadPlan, err)
	}
	return signer.Sign(ctx, payload)
}
