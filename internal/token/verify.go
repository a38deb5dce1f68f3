// Package token decides whose request a bearer token makes: the same rule for
// the API and for the router, which share no other code of the HTTP border.
//
// Invariant: claims exist only of a token whose signature verified under a key
// that was named by the verifier's own key set, for this issuer and audience,
// within its time. No text of a token is ever in an error or a log line.
package token

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jws"

	"github.com/atom-fabric/fabric/domain/routing"
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
	ErrRevoked   = errors.New("the token has been revoked")
	// ErrBusy says nothing about the token: more unknown ones came than signatures
	// can be checked.
	ErrBusy = errors.New("too many tokens are being checked")
)

const (
	maxToken    = 8 << 10
	maxLifetime = 24 * time.Hour
	skew        = 30 * time.Second
	patience    = time.Second // that a token waits for its turn to be checked
	forgetBad   = 10 * time.Second
	memory      = 5 * time.Minute // of a token whose keys' source does not say when they change
)

// MaxAge is the longest that a token can be accepted after it was issued.
const MaxAge = maxLifetime + skew

// Claims are what a verified token says.
type Claims struct {
	Subject  string
	Tenant   string
	Roles    []string
	Site     string // of a site's token, else empty
	Region   string // of a site's token, else empty
	IssuedAt time.Time
	Expires  time.Time
	ID       string // claim jti, by which it can be revoked; may be empty
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
// router does, and for a moment those that did not. Safe for concurrent use; a
// token that is remembered waits for nobody.
type Verifier struct {
	keys     KeySource
	issuer   string
	audience string
	now      func() time.Time
	revoked  atomic.Pointer[routing.Revoked]
	front    *front
	good     *cache
	bad      *cache
	turns    chan struct{} // signatures are checked by so many at once
}

// NewVerifier returns a verifier; now is the clock.
func NewVerifier(keys KeySource, issuer, audience string, now func() time.Time) *Verifier {
	v := &Verifier{keys: keys, issuer: issuer, audience: audience, now: now, front: newFront(), good: newCache(goodSets), bad: newCache(badSets),
		turns: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2))}
	v.revoked.Store(routing.NewRevoked(nil))
	return v
}

// Revoke replaces what is revoked. The next look at a token is by the new list.
func (v *Verifier) Revoke(list []routing.Revocation) { v.revoked.Store(routing.NewRevoked(list)) }

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
	id := v.front.id(raw)
	if claims, err, known := v.recall(ctx, id); known {
		return claims, err
	}
	// Whoever floods us with tokens that nobody knows waits for its own kind.
	wait, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	select {
	case v.turns <- struct{}{}:
		defer func() { <-v.turns }()
	case <-wait.Done():
		return Claims{}, ErrBusy
	}
	if claims, err, known := v.recall(ctx, id); known { // while we waited
		return claims, err
	}
	return v.check(ctx, id, raw)
}

// recall answers from memory.
func (v *Verifier) recall(ctx context.Context, id cacheKey) (Claims, error, bool) {
	now, revoked, keys := v.now().UnixNano(), v.revoked.Load(), generation(v.keys)
	e := v.good.get(id)
	if e != nil && now > e.claims.Expires.Add(skew).UnixNano() {
		return Claims{}, ErrExpired, true
	}
	if e != nil && now < e.until {
		if e.keys != keys {
			// The set has changed; what matters is whether this key is in it still.
			key, err := v.keys.Key(ctx, e.kid)
			if err != nil || !sameKey(key, e.key) {
				return Claims{}, nil, false
			}
		}
		if e.keys != keys || e.set != revoked {
			again := *e
			again.keys, again.set = keys, revoked
			again.revoked = revoked.Has(e.claims.Tenant, e.claims.ID, e.claims.Subject, e.claims.IssuedAt)
			e = &again
			v.good.put(e, now)
		}
		if e.revoked {
			return Claims{}, ErrRevoked, true
		}
		return e.claims, nil, true
	}
	if e = v.bad.get(id); e != nil && now < e.until && e.keys == keys {
		return Claims{}, e.err, true
	}
	return Claims{}, nil, false
}

// check verifies, and remembers what came of it.
func (v *Verifier) check(ctx context.Context, id cacheKey, raw string) (Claims, error) {
	now := v.now()
	e := entry{id: id, keys: generation(v.keys), set: v.revoked.Load()}
	payload, err := v.open(ctx, raw, &e)
	if err == nil {
		e.claims, err = v.claims(payload, now)
	}
	if err != nil {
		if lasting(err) {
			e.err, e.until = err, now.Add(forgetBad).UnixNano()
			v.bad.put(&e, now.UnixNano())
		}
		return Claims{}, err
	}
	until := e.claims.Expires.Add(skew)
	if _, counts := v.keys.(generations); !counts && until.After(now.Add(memory)) {
		until = now.Add(memory) // nobody will tell that the key is gone
	}
	e.until = until.UnixNano()
	e.revoked = e.set.Has(e.claims.Tenant, e.claims.ID, e.claims.Subject, e.claims.IssuedAt)
	v.good.put(&e, now.UnixNano())
	v.front.keep(raw, id)
	if e.revoked {
		return Claims{}, ErrRevoked
	}
	return e.claims, nil
}

// lasting reports whether a token that was refused so will be refused so in a
// moment too. A key that is not known yet may be.
func lasting(err error) bool {
	for _, why := range []error{ErrMalformed, ErrSignature, ErrIssuer, ErrAudience, ErrExpired, ErrClaims} {
		if errors.Is(err, why) {
			return true
		}
	}
	return false
}

// open returns the payload of a token whose signature verified.
func (v *Verifier) open(ctx context.Context, raw string, e *entry) ([]byte, error) {
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
	e.kid, e.key = kid, key
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
