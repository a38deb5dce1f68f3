// Package token decides whose request a bearer token makes: the same rule for
// the API and for the router, which share no other code of the HTTP border.
//
// Invariant: claims exist only of a token whose signature verified under a key
// that was named by the verifier's own key set, for this issuer and audience,
// within its time. No text of a token is ever in an error or a log line.
package token

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jws"

	"github.com/atom-fabric/fabric/internal/strictjson"
)

// Why a token is refused.
var (
	ErrMalformed = errors.New("the token is not a signed JWT of the accepted form")
	ErrSignature = errors.New("the token's signature does not verify")
	ErrKey       = errors.New("the token names a key that is not known")
	ErrIssuer    = errors.New("the token is of another issuer")
	ErrAudience  = errors.New("the token is for another audience")
	ErrExpired   = errors.New("the token has expired")
	ErrEarly     = errors.New("the token is not valid yet")
	ErrClaims    = errors.New("the token lacks a claim or has one of the wrong form")
)

const (
	maxToken    = 8 << 10
	maxLifetime = 24 * time.Hour
	skew        = 30 * time.Second
	maxCached   = 4096
)

// Claims are what a verified token says.
type Claims struct {
	Subject  string
	Tenant   string
	Roles    []string
	Site     string // of a site's token, else empty
	Region   string // of a site's token, else empty
	IssuedAt time.Time
	Expires  time.Time
}

// Has reports whether the claims name one of the roles.
func (c Claims) Has(roles ...string) bool {
	for _, have := range c.Roles {
		for _, want := range roles {
			if have == want {
				return true
			}
		}
	}
	return false
}

// A KeySource returns the public key of a key id, a *ecdsa.PublicKey on P-256
// or a *rsa.PublicKey of 2048 bits or more, or [ErrKey].
type KeySource interface {
	Key(ctx context.Context, id string) (any, error)
}

// A Verifier accepts tokens of one issuer for one audience. It remembers those
// that verified, because a signature costs more than everything else that the
// router does. Safe for concurrent use.
type Verifier struct {
	keys     KeySource
	issuer   string
	audience string
	now      func() time.Time

	mu    sync.RWMutex
	known map[[sha256.Size]byte]verified
}

// verified is a token that was accepted, and until when no key is asked again:
// a key that its issuer withdrew must not live on in the memory.
type verified struct {
	claims Claims
	until  time.Time
}

// NewVerifier returns a verifier; now is the clock.
func NewVerifier(keys KeySource, issuer, audience string, now func() time.Time) *Verifier {
	return &Verifier{keys: keys, issuer: issuer, audience: audience, now: now, known: map[[sha256.Size]byte]verified{}}
}

// Bearer returns the token of an Authorization header, or [ErrMalformed].
func Bearer(header string) (string, error) {
	scheme, raw, found := strings.Cut(header, " ")
	if !found || !strings.EqualFold(scheme, "Bearer") || raw == "" || strings.ContainsAny(raw, " \t,") {
		return "", ErrMalformed
	}
	return raw, nil
}

// Verify returns the claims of a compact JWS (RFC 7515) that is an access
// token of RFC 9068, or one of the errors above.
func (v *Verifier) Verify(ctx context.Context, raw string) (Claims, error) {
	if len(raw) > maxToken {
		return Claims{}, fmt.Errorf("longer than %d bytes: %w", maxToken, ErrMalformed)
	}
	now := v.now()
	id := sha256.Sum256([]byte(raw))
	v.mu.RLock()
	seen, hit := v.known[id]
	v.mu.RUnlock()
	if hit && now.Before(seen.until) {
		if now.After(seen.claims.Expires.Add(skew)) {
			return Claims{}, ErrExpired
		}
		return seen.claims, nil
	}

	payload, err := v.open(ctx, raw)
	if err != nil {
		return Claims{}, err
	}
	claims, err := v.claims(payload, now)
	if err != nil {
		return Claims{}, err
	}
	v.remember(id, verified{claims: claims, until: now.Add(refreshEvery)})
	return claims, nil
}

// remember keeps what verified. A full memory is dropped whole: whoever floods it
// with valid tokens pays one signature each, and nobody else's is wrong.
func (v *Verifier) remember(id [sha256.Size]byte, seen verified) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.known) >= maxCached {
		clear(v.known)
	}
	v.known[id] = seen
}

// open returns the payload of a token whose signature verified.
func (v *Verifier) open(ctx context.Context, raw string) ([]byte, error) {
	parts := strings.Split(raw, ".")
	if len(parts) != 3 || strings.ContainsAny(raw, "\r\n") { // the base64 decoder skips line breaks
		return nil, ErrMalformed
	}
	for _, part := range parts {
		if _, err := base64.RawURLEncoding.Strict().DecodeString(part); err != nil || part == "" {
			return nil, ErrMalformed
		}
	}
	kid, alg, err := header(parts[0])
	if err != nil {
		return nil, err
	}
	key, err := v.keys.Key(ctx, kid)
	if err != nil {
		return nil, err
	}
	if !fits(key, alg) {
		return nil, fmt.Errorf("the key is not one for %s: %w", alg, ErrSignature)
	}
	payload, err := jws.Verify([]byte(raw), jws.WithKey(alg, key), jws.WithCompact())
	if err != nil {
		return nil, ErrSignature // the library's text may quote the token
	}
	return payload, nil
}

// header reads the protected header. It may hold alg, kid and typ, and nothing
// else: what names keys, extensions or encodings is the attacker's.
func header(part string) (kid string, alg jwa.SignatureAlgorithm, err error) {
	text, err := base64.RawURLEncoding.Strict().DecodeString(part)
	if err != nil {
		return "", alg, ErrMalformed
	}
	var name, typ string
	if err := strictjson.Decode(text, map[string]any{"alg": &name, "kid": &kid, "typ": &typ}); err != nil {
		return "", alg, fmt.Errorf("header: %w", ErrMalformed)
	}
	switch name {
	case "ES256":
		alg = jwa.ES256()
	case "RS256":
		alg = jwa.RS256()
	default:
		return "", alg, fmt.Errorf("alg: %w", ErrMalformed)
	}
	if kid == "" || len(kid) > 128 {
		return "", alg, fmt.Errorf("kid: %w", ErrMalformed)
	}
	if typ = strings.TrimPrefix(strings.ToLower(typ), "application/"); typ != "at+jwt" {
		return "", alg, fmt.Errorf("typ: %w", ErrMalformed)
	}
	return kid, alg, nil
}
