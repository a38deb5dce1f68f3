package token

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwa"

	"github.com/atom-fabric/fabric/internal/strictjson"
)

// name is the form of tenants, sites and regions in the whole fabric.
var name = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)

// fits reports whether the key is of the algorithm's kind. Nothing is inferred
// from the token: a public RSA key never becomes an HMAC secret.
func fits(key any, alg jwa.SignatureAlgorithm) bool {
	switch k := key.(type) {
	case *ecdsa.PublicKey:
		return alg == jwa.ES256() && k.Curve == elliptic.P256()
	case *rsa.PublicKey:
		return alg == jwa.RS256() && k.N.BitLen() >= 2048
	}
	return false
}

// claims reads a verified payload. Claims that it does not know are left
// alone; a claim that it knows has exactly one form.
func (v *Verifier) claims(payload []byte, now time.Time) (Claims, error) {
	members, err := strictjson.Object(payload)
	if err != nil {
		return Claims{}, fmt.Errorf("payload: %w", ErrClaims)
	}
	set := make(claimSet, len(members))
	for _, m := range members {
		set[m.Name] = m.Value
	}

	issuer, okIssuer := set.text("iss")
	subject, okSubject := set.text("sub")
	tenant, okTenant := set.text("tenant")
	issued, okIssued := set.instant("iat")
	expires, okExpires := set.instant("exp")
	audience, okAudience := set.texts("aud")
	for _, c := range []struct {
		claim string
		ok    bool
	}{
		{"iss", okIssuer}, {"sub", okSubject && subject != "" && len(subject) <= 255},
		{"tenant", okTenant && name.MatchString(tenant)}, {"iat", okIssued}, {"exp", okExpires}, {"aud", okAudience},
	} {
		if !c.ok {
			return Claims{}, fmt.Errorf("%s: %w", c.claim, ErrClaims)
		}
	}
	switch {
	case issuer != v.issuer:
		return Claims{}, ErrIssuer
	case !slices.Contains(audience, v.audience):
		return Claims{}, ErrAudience
	case now.After(expires.Add(skew)):
		return Claims{}, ErrExpired
	case now.Before(issued.Add(-skew)):
		return Claims{}, fmt.Errorf("iat: %w", ErrEarly)
	case expires.Sub(issued) > maxLifetime || !expires.After(issued):
		return Claims{}, fmt.Errorf("lifetime: %w", ErrClaims)
	}
	if _, present := set["nbf"]; present {
		start, ok := set.instant("nbf")
		if !ok {
			return Claims{}, fmt.Errorf("nbf: %w", ErrClaims)
		}
		if now.Before(start.Add(-skew)) {
			return Claims{}, fmt.Errorf("nbf: %w", ErrEarly)
		}
	}

	out := Claims{Subject: subject, Tenant: tenant, IssuedAt: issued, Expires: expires}
	if _, present := set["jti"]; present {
		id, ok := set.text("jti")
		if !ok || id == "" || len(id) > 255 {
			return Claims{}, fmt.Errorf("jti: %w", ErrClaims)
		}
		out.ID = id
	}
	if _, present := set["roles"]; present {
		roles, ok := set.texts("roles")
		if !ok || len(roles) > 32 {
			return Claims{}, fmt.Errorf("roles: %w", ErrClaims)
		}
		out.Roles = roles
	}
	for claim, into := range map[string]*string{"site": &out.Site, "region": &out.Region} {
		if _, present := set[claim]; !present {
			continue
		}
		text, ok := set.text(claim)
		if !ok || !name.MatchString(text) {
			return Claims{}, fmt.Errorf("%s: %w", claim, ErrClaims)
		}
		*into = text
	}
	return out, nil
}

// A claimSet holds claims as they were written, each name once.
type claimSet map[string]json.RawMessage

func (s claimSet) text(claim string) (string, bool) {
	raw := s[claim]
	if len(raw) == 0 || raw[0] != '"' {
		return "", false
	}
	var text string
	err := json.Unmarshal(raw, &text)
	return text, err == nil
}

// texts reads a list of texts; "aud" may also be a single one.
func (s claimSet) texts(claim string) ([]string, bool) {
	if text, ok := s.text(claim); ok && claim == "aud" {
		return []string{text}, true
	}
	raw := s[claim]
	if len(raw) == 0 || raw[0] != '[' {
		return nil, false
	}
	var texts []*string // null is not a text
	if err := json.Unmarshal(raw, &texts); err != nil {
		return nil, false
	}
	out := make([]string, len(texts))
	for i, text := range texts {
		if text == nil {
			return nil, false
		}
		out[i] = *text
	}
	return out, true
}

// instant reads whole seconds since 1970 up to the year 9999, written as
// digits: a text, a fraction or an exponent is another reader's other time.
func (s claimSet) instant(claim string) (time.Time, bool) {
	seconds, err := strconv.ParseInt(string(s[claim]), 10, 64)
	if err != nil || seconds <= 0 || seconds > 253402300799 {
		return time.Time{}, false
	}
	return time.Unix(seconds, 0), true
}
