package artifact

import (
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"math/big"
)

// rawSignature is the length of r and s of P-256, each in 32 bytes.
const rawSignature = 64

// NormalizeBundle returns the bundle with its signature in DER. A browser's
// WebCrypto writes r and s side by side (IEEE P1363); every other tool that
// reads bundles wants DER. What is DER already, or neither, is returned as it
// is: verification judges it.
// Errors: those of [ParseBundle].
func NormalizeBundle(bundle []byte) ([]byte, error) {
	envelope, err := ParseBundle(bundle)
	if err != nil {
		return nil, err
	}
	raw := envelope.Signature
	var pair struct{ R, S *big.Int }
	if rest, err := asn1.Unmarshal(raw, &pair); len(raw) != rawSignature || err == nil && len(rest) == 0 {
		return bundle, nil
	}
	half := rawSignature / 2
	pair.R, pair.S = new(big.Int).SetBytes(raw[:half]), new(big.Int).SetBytes(raw[half:])
	der, err := asn1.Marshal(pair)
	if err != nil {
		return nil, err
	}
	var wire wireBundle
	if err := DecodeStrict(bundle, &wire); err != nil {
		return nil, err
	}
	wire.Envelope.Signatures[0].Sig = base64.StdEncoding.EncodeToString(der)
	return json.Marshal(wire)
}
