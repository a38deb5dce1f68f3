package artifact

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// ErrUntrusted says that no trusted key made a signature.
var ErrUntrusted = errors.New("not signed by a trusted key")

// PAE returns the pre-authentication encoding, the bytes that a DSSE signature
// covers. It binds the type to the payload, so that a payload cannot be passed
// off as one of another type.
// Source: DSSE v1.0, "Signature Definition".
func PAE(payloadType string, payload []byte) []byte {
	out := make([]byte, 0, len(payload)+len(payloadType)+32)
	out = append(out, "DSSEv1 "...)
	out = strconv.AppendInt(out, int64(len(payloadType)), 10)
	out = append(append(append(out, ' '), payloadType...), ' ')
	out = strconv.AppendInt(out, int64(len(payload)), 10)
	return append(append(out, ' '), payload...)
}

// StatementID is the identity of a signed statement: of what was said, however
// it is encoded around and whoever signed. A signature or a bundle is none,
// because anybody can make a second valid one from the first.
func StatementID(payloadType string, payload []byte) Digest {
	return DigestOf(append([]byte(payloadType), payload...))
}

// signPayload returns an ECDSA signature over SHA-256 of the PAE, in DER.
func signPayload(random io.Reader, key crypto.Signer, payload []byte) ([]byte, error) {
	hash := sha256.Sum256(PAE(PayloadType, payload))
	der, err := key.Sign(random, hash[:], crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	return der, nil
}

// trustedBy returns the first of keys that made the signature.
func trustedBy(keys []*ecdsa.PublicKey, payload, der []byte) (*ecdsa.PublicKey, error) {
	hash := sha256.Sum256(PAE(PayloadType, payload))
	for _, key := range keys {
		if CheckPublicKey(key) == nil && ecdsa.VerifyASN1(key, hash[:], der) {
			return key, nil
		}
	}
	return nil, ErrUntrusted
}
