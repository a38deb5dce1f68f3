package token

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jwk"
	"github.com/lestrrat-go/jwx/v3/jws"
)

// A DevIssuer signs tokens with a key of this machine. It is for development:
// production has an identity provider, and never accepts this issuer's name.
type DevIssuer struct {
	key    *ecdsa.PrivateKey
	id     string
	issuer string
}

// NewDevIssuer returns an issuer with an ECDSA P-256 key. The key id is made
// from the key, so that a new key is never mistaken for an old one.
func NewDevIssuer(key *ecdsa.PrivateKey, issuer string) (*DevIssuer, error) {
	if key.Curve != elliptic.P256() {
		return nil, fmt.Errorf("development issuer: the key is not on P-256")
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return nil, fmt.Errorf("development issuer: %w", err)
	}
	sum := sha256.Sum256(der)
	return &DevIssuer{key: key, id: base64.RawURLEncoding.EncodeToString(sum[:12]), issuer: issuer}, nil
}

// Issue signs a token for the audience; the times of the claims are used as
// they are, in whole seconds.
func (d *DevIssuer) Issue(audience string, claims Claims) (string, error) {
	payload := map[string]any{
		"iss": d.issuer, "aud": audience, "sub": claims.Subject, "tenant": claims.Tenant,
		"iat": claims.IssuedAt.Unix(), "exp": claims.Expires.Unix(),
	}
	if claims.ID != "" {
		payload["jti"] = claims.ID
	}
	if len(claims.Roles) > 0 {
		payload["roles"] = claims.Roles
	}
	if claims.Site != "" {
		payload["site"], payload["region"] = claims.Site, claims.Region
	}
	if lifetime := claims.Expires.Sub(claims.IssuedAt); lifetime <= 0 || lifetime > maxLifetime {
		return "", fmt.Errorf("a token lives up to %s: %w", maxLifetime, ErrClaims)
	}
	return d.sign("at+jwt", payload)
}

// Identify signs the ID token that goes with an access token (OpenID Connect
// Core 1.0, 3.1.3.6). Its type says that it is none itself.
func (d *DevIssuer) Identify(provider, client, nonce, access string, claims Claims) (string, error) {
	sum := sha256.Sum256([]byte(access))
	return d.sign("JWT", map[string]any{
		"iss": provider, "aud": client, "sub": claims.Subject, "nonce": nonce, "at_hash": base64.RawURLEncoding.EncodeToString(sum[:len(sum)/2]),
		"iat": claims.IssuedAt.Unix(), "exp": claims.Expires.Unix(),
	})
}

func (d *DevIssuer) sign(kind string, payload map[string]any) (string, error) {
	text, err := json.Marshal(payload)
	if err != nil {
		return "", fmt.Errorf("development issuer: %w", err)
	}
	head := jws.NewHeaders()
	for field, value := range map[string]string{jws.KeyIDKey: d.id, jws.TypeKey: kind} {
		if err := head.Set(field, value); err != nil {
			return "", fmt.Errorf("development issuer: %w", err)
		}
	}
	signed, err := jws.Sign(text, jws.WithKey(jwa.ES256(), d.key, jws.WithProtectedHeaders(head)))
	if err != nil {
		return "", fmt.Errorf("development issuer: %w", err)
	}
	return string(signed), nil
}

// KeySet returns the JWKS with the public key.
func (d *DevIssuer) KeySet() ([]byte, error) {
	key, err := jwk.Import(&d.key.PublicKey)
	if err != nil {
		return nil, fmt.Errorf("development issuer: %w", err)
	}
	for field, value := range map[string]any{jwk.KeyIDKey: d.id, jwk.AlgorithmKey: jwa.ES256(), jwk.KeyUsageKey: "sig"} {
		if err := key.Set(field, value); err != nil {
			return nil, fmt.Errorf("development issuer: %w", err)
		}
	}
	return json.Marshal(map[string]any{"keys": []jwk.Key{key}})
}

// Lifetime returns claims that hold from now for ttl.
func (c Claims) Lifetime(now time.Time, ttl time.Duration) Claims {
	c.IssuedAt, c.Expires = now.Truncate(time.Second), now.Truncate(time.Second).Add(ttl)
	return c
}
