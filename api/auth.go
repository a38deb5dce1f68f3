package api

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/atom-fabric/fabric/internal/token"
)

// Audiences of tokens.
const (
	AudienceAPI  = "fabric"
	AudienceSite = "fabric-site"
)

// simulatedSubject is who a simulated caller is in rows and leaves.
const simulatedSubject = "simulated"

// Tokens verifies the tokens of one issuer for one audience.
type Tokens interface {
	Verify(ctx context.Context, raw string) (token.Claims, error)
}

// Issuers accepts a token that one of them accepts.
type Issuers []Tokens

// Verify implements [Tokens]. The error is that of the issuer that came
// farthest: one whose own token has expired, say, not another's.
func (all Issuers) Verify(ctx context.Context, raw string) (token.Claims, error) {
	refused := token.ErrIssuer
	for _, one := range all {
		claims, err := one.Verify(ctx, raw)
		if err == nil {
			return claims, nil
		}
		if !errors.Is(err, token.ErrKey) && !errors.Is(err, token.ErrIssuer) {
			refused = err
		}
	}
	return token.Claims{}, refused
}

// ErrFederationToken says that the FEDERATION_TOKEN cannot be used.
var ErrFederationToken = errors.New("one or two values of at least 32 bytes, separated by a comma")

// An Enrolment recognises the FEDERATION_TOKEN. It knows hashes only; two are
// active while one replaces the other.
type Enrolment struct{ hashes [][sha256.Size]byte }

// NewEnrolment returns the enrolment for a FEDERATION_TOKEN.
// Errors: [ErrFederationToken].
func NewEnrolment(values string) (Enrolment, error) {
	var e Enrolment
	for _, value := range strings.Split(values, ",") {
		value = strings.TrimSpace(value)
		if len(value) < 32 || len(e.hashes) == 2 {
			return Enrolment{}, ErrFederationToken
		}
		e.hashes = append(e.hashes, sha256.Sum256([]byte(value)))
	}
	return e, nil
}

// accepts compares in constant time, and with every active value.
func (e Enrolment) accepts(raw string) bool {
	hash, found := sha256.Sum256([]byte(raw)), 0
	for _, active := range e.hashes {
		found |= subtle.ConstantTimeCompare(hash[:], active[:])
	}
	return found == 1
}

// loopbackKey marks the context of connections to a loopback listener.
type loopbackKey struct{}

// withListener notes on the context of a listener whether only this machine
// can reach it.
func withListener(ctx context.Context, addr net.Addr) context.Context {
	host, err := netip.ParseAddrPort(addr.String())
	return context.WithValue(ctx, loopbackKey{}, err == nil && host.Addr().Unmap().IsLoopback())
}

// admit returns who asks for an operation, or the problem that they are
// answered with. The tenant of a simulated caller is not known yet.
func (b *Border) admit(r *http.Request, o *operation) (Caller, *token.Claims, error) {
	ctx := r.Context()
	caller := Caller{TraceID: traceID(ctx), Traceparent: traceparent(ctx)}
	switch o.access {
	case accessNone, accessRouter:
		return caller, nil, nil
	}
	headers := r.Header.Values("Authorization")
	if len(headers) == 0 {
		if o.access == accessToken && b.simulates(r) {
			if !o.simulated {
				return caller, nil, simulationRefused.because("it needs a person's token, also in simulation mode; see fabric token")
			}
			caller.Subject, caller.Simulated, caller.Roles = simulatedSubject, true, o.roles
			return caller, nil, nil
		}
		return caller, nil, tokenMissing.because("send Authorization: Bearer <token>")
	}
	raw, err := token.Bearer(headers[0])
	if err != nil || len(headers) > 1 {
		return caller, nil, &Problem{Kind: tokenInvalid, Detail: token.ErrMalformed.Error(), Err: err}
	}
	if o.access == accessEnrolment {
		if !b.opts.Enrolment.accepts(raw) {
			return caller, nil, tokenInvalid.because("it is not the FEDERATION_TOKEN")
		}
		caller.Subject = "enrolment"
		return caller, nil, nil
	}
	tokens := b.opts.Tokens
	if o.access == accessSite {
		tokens = b.opts.SiteTokens
	}
	claims, err := tokens.Verify(ctx, raw)
	if err != nil {
		return caller, nil, &Problem{Kind: tokenInvalid, Detail: refusal(err), Err: err}
	}
	caller.Tenant, caller.Subject, caller.Roles = claims.Tenant, claims.Subject, claims.Roles
	if o.access == accessSite {
		if claims.Site == "" {
			return caller, nil, tokenInvalid.because("it is not a site's token")
		}
		caller.Subject = claims.Site
		return caller, &claims, nil
	}
	if claims.Site != "" {
		return caller, nil, tokenInvalid.because("a site's token is for a site's work only")
	}
	if !slices.ContainsFunc(o.roles, func(role string) bool { return claims.Has(role) }) {
		return caller, nil, roleMissing.because(fmt.Sprintf("it needs one of the roles %s", strings.Join(o.roles, ", ")))
	}
	return caller, &claims, nil
}

// refusal names which of the token's faults it is, without a word of it.
func refusal(err error) string {
	for _, why := range []error{
		token.ErrMalformed, token.ErrSignature, token.ErrKey, token.ErrIssuer,
		token.ErrAudience, token.ErrExpired, token.ErrEarly, token.ErrClaims, token.ErrRevoked,
	} {
		if errors.Is(err, why) {
			return why.Error()
		}
	}
	return "the token could not be checked"
}

// simulates says whether a request without a token may act as a simulated
// caller: in simulation mode, to a listener that only this machine reaches, and
// neither sent on by a proxy nor by a page of another origin in a browser.
func (b *Border) simulates(r *http.Request) bool {
	loopback, _ := r.Context().Value(loopbackKey{}).(bool)
	if !b.opts.Simulation || !loopback {
		return false
	}
	for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-Ip"} {
		if r.Header.Get(name) != "" {
			return false
		}
	}
	// A name that an attacker's DNS points here is not this machine's name.
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
	if host != "localhost" && (err != nil || !addr.IsLoopback()) {
		return false
	}
	return http.NewCrossOriginProtection().Check(r) == nil && r.Header.Get("Sec-Fetch-Site") != "cross-site"
}

// settle fixes the caller's tenant. A token's tenant must be the one that the
// request names, wherever it names one: another one is not found. A simulated
// caller acts for the tenant that is named.
func settle(caller *Caller, o *operation, named []string) error {
	for _, name := range named {
		switch {
		case name == "":
		case caller.Tenant == "" && caller.Simulated:
			caller.Tenant = name
		case name != caller.Tenant:
			return notFound
		}
	}
	if caller.Tenant == "" && !o.tenantless {
		return tenantMissing.because("a simulated caller names its tenant in the body, in the path or as ?tenant=")
	}
	return nil
}
