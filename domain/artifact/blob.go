package artifact

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
)

// ErrDigestClaim says that a bundle calls its content by another digest than
// the content has.
var ErrDigestClaim = errors.New("the bundle names another digest than the content has")

// algorithmSHA256 is how a bundle names the only digest that is read.
const algorithmSHA256 = "SHA2_256"

// wireBlob is the form of a bundle over bare bytes, as cosign sign-blob writes
// it. [ParseBundle] refuses it: it says nothing about what was signed, so it
// would pass as a statement of any type.
type wireBlob struct {
	MediaType            string       `json:"mediaType"`
	VerificationMaterial wireMaterial `json:"verificationMaterial"`
	Message              *wireMessage `json:"messageSignature"`
}

type wireMessage struct {
	Digest struct {
		Algorithm string `json:"algorithm"`
		Digest    string `json:"digest"`
	} `json:"messageDigest"`
	Signature string `json:"signature"`
}

// VerifyBlob accepts a bundle with a bare signature only if one of keys made it
// over exactly the content of this digest, and returns which. The digest is
// that of the bytes at hand: what the bundle claims must equal it and is
// never a fact.
//
// It proves that the key's holder signed these bytes, and not as what. So
// nothing in the fabric rests on it; it is for whoever checks what other tools
// signed.
// Errors: [*VerifyError] with [ErrTooLarge], [ErrBundle], [ErrDigestClaim] or
// [ErrUntrusted].
func VerifyBlob(keys []*ecdsa.PublicKey, bundle []byte, content Digest) (Digest, error) {
	key, err := verifyBlob(keys, bundle, content)
	if err != nil {
		return "", &VerifyError{Subject: content, Err: err}
	}
	return key, nil
}

func verifyBlob(keys []*ecdsa.PublicKey, bundle []byte, content Digest) (Digest, error) {
	if _, err := ParseDigest(string(content)); err != nil {
		return "", err
	}
	claimed, signature, err := parseBlob(bundle)
	if err != nil {
		return "", err
	}
	if claimed != content {
		return "", fmt.Errorf("%w: %s", ErrDigestClaim, claimed.Short())
	}
	for _, key := range keys {
		if CheckPublicKey(key) == nil && ecdsa.VerifyASN1(key, content.raw(), signature) {
			return KeyID(key), nil
		}
	}
	return "", ErrUntrusted
}

// parseBlob reads the form of a bundle over bare bytes and believes nothing in it.
func parseBlob(bundle []byte) (claimed Digest, signature []byte, err error) {
	if len(bundle) > MaxBundle {
		return "", nil, fmt.Errorf("%d bytes: %w", len(bundle), ErrTooLarge)
	}
	var wire wireBlob
	if err := DecodeStrict(bundle, &wire); err != nil {
		return "", nil, fmt.Errorf("%w: %w", ErrBundle, err)
	}
	switch {
	case wire.MediaType != MediaTypeBundle:
		return "", nil, fmt.Errorf("%w: media type %q", ErrBundle, clip(wire.MediaType))
	case wire.VerificationMaterial.PublicKey == nil:
		return "", nil, fmt.Errorf("%w: no public key", ErrBundle)
	case wire.Message == nil:
		return "", nil, fmt.Errorf("%w: no message signature", ErrBundle)
	case wire.Message.Digest.Algorithm != algorithmSHA256:
		return "", nil, fmt.Errorf("%w: digest algorithm %q", ErrBundle, clip(wire.Message.Digest.Algorithm))
	}
	raw, err := decodeBase64(wire.Message.Digest.Digest)
	if err != nil || len(raw) != sha256.Size {
		return "", nil, fmt.Errorf("%w: no sha256 digest", ErrBundle)
	}
	if signature, err = decodeBase64(wire.Message.Signature); err != nil {
		return "", nil, fmt.Errorf("%w: signature: %w", ErrBundle, err)
	}
	return Digest("sha256:" + hex.EncodeToString(raw)), signature, nil
}
