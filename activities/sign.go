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

// SignStatement signs one statement, and the other claims about the same
// thing, and stores their bundles. Idempotent in what it says, not in its
// bytes: two runs make two signatures over one statement, each as good as the
// other, and the workflow goes on with one of them.
// Final: [contract.BadPlan] for a predicate that no statement can hold.
func (s *Sign) SignStatement(ctx context.Context, in contract.SignInput) (contract.Signed, error) {
	bundle, identity, err := s.claim(ctx, in.Name, contract.Claim{Digest: in.Digest, PredicateType: in.PredicateType, Predicate: in.Predicate})
	if err != nil {
		return contract.Signed{}, within(err, "sign %s", in.Name)
	}
	out := contract.Signed{Bundle: bundle, Statement: identity}
	for _, claim := range in.Also {
		bundle, _, err := s.claim(ctx, in.Name, claim)
		if err != nil {
			return contract.Signed{}, within(err, "sign %s (%s)", in.Name, claim.PredicateType)
		}
		out.Also = append(out.Also, bundle)
	}
	return out, nil
}

// claim signs one claim and stores its bundle, and returns it with the identity
// of what it says. A crash before the last line loses a bundle that nobody has
// seen.
func (s *Sign) claim(ctx context.Context, name string, claim contract.Claim) (artifact.Descriptor, artifact.Digest, error) {
	predicate := json.RawMessage("{}")
	if claim.Predicate.Digest != "" {
		document, err := read(ctx, s.Blobs, claim.Predicate.Digest)
		if err != nil {
			return artifact.Descriptor{}, "", err
		}
		predicate = document
	}
	bundle, identity, err := sign(ctx, s.Signer, artifact.Statement{
		Name:          name,
		Subject:       claim.Digest,
		PredicateType: claim.PredicateType,
		Predicate:     predicate,
	})
	if err != nil {
		return artifact.Descriptor{}, "", err
	}
	kept, err := s.Blobs.Put(ctx, artifact.MediaTypeBundle, bytes.NewReader(bundle))
	return kept, identity, err
}

// sign encodes the statement and has it signed. What does not encode never
// will; a key that is away comes back.
func sign(ctx context.Context, signer Signer, statement artifact.Statement) ([]byte, artifact.Digest, error) {
	payload, err := statement.Encode()
	if err != nil {
		return nil, "", permanent(contract.BadPlan, err)
	}
	bundle, err := signer.Sign(ctx, payload)
	return bundle, artifact.StatementID(artifact.PayloadType, payload), err
}
