package api

import (
	"fmt"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/internal/token"
)

// Credentials takes callers' tokens back: part of I.1.5. What it writes holds
// here at once, and on the routers as soon as the next snapshot is signed.
type Credentials struct {
	b           *Border
	revocations Revocations
}

// NewCredentials returns the service.
func NewCredentials(b *Border, p Ports) *Credentials {
	return &Credentials{b: b, revocations: p.Revocations}
}

// Mount implements [Service].
func (s *Credentials) Mount(r gin.IRouter) {
	s.b.mount(r, "revokeTokens", s.revoke)
	s.b.mount(r, "listTokenRevocations", s.list)
	s.b.mount(r, "whoAmI", s.whoami)
}

// whoami says how a token is read here, for those who cannot read it.
func (s *Credentials) whoami(c *gin.Context, k call) error {
	who := v1.Identity{Subject: k.Subject, Tenant: k.Tenant, Roles: append([]string{}, k.Roles...), Simulated: k.Simulated}
	if k.site != nil {
		who.Token, who.ExpiresAt = k.site.ID, k.site.Expires
	}
	return s.b.send(c, http.StatusOK, who)
}

// revoke takes back tokens that were issued up to now, or up to a time before:
// what will be issued later is the issuer's to refuse.
func (s *Credentials) revoke(c *gin.Context, k call) error {
	var in v1.TokenRevocationRequest
	if err := decode(k.body, &in); err != nil {
		return err
	}
	now := s.b.now()
	before := now
	if !in.Before.IsZero() {
		before = in.Before
	}
	switch {
	case in.Token != "" && in.Subject != "":
		return invalidRequest.at("/subject", "name a token or a subject, not both")
	case before.After(now):
		return invalidRequest.at("/before", "is in the future")
	case before.Before(now.Add(-token.MaxAge)):
		return invalidRequest.at("/before", fmt.Sprintf("every token of then has expired: none holds for more than %s", token.MaxAge))
	}
	r := Revocation{ID: s.b.opts.NewID(), Tenant: k.Tenant, Token: in.Token, Subject: in.Subject, Reason: in.Reason,
		Before: before.UTC().Truncate(time.Second), Until: before.UTC().Truncate(time.Second).Add(token.MaxAge)}
	answer, err := s.revocations.Revoke(c.Request.Context(), k.command, r,
		replying(http.StatusCreated, func(r Revocation) any { return revocationView(r) }))
	return s.b.done(c, answer, err)
}

func (s *Credentials) list(c *gin.Context, k call) error {
	p, err := page(c)
	if err != nil {
		return err
	}
	found, err := s.revocations.Revocations(c.Request.Context(), k.Caller, p)
	if err != nil {
		return err
	}
	found, next := paged(p, found, func(r Revocation) string { return r.ID })
	return s.b.send(c, http.StatusOK, v1.TokenRevocationPage{Items: views(found, revocationView), Next: next, Simulated: k.Simulated})
}

func revocationView(r Revocation) v1.TokenRevocation {
	return v1.TokenRevocation{ID: r.ID, Token: r.Token, Subject: r.Subject, Before: r.Before.UTC(), Until: r.Until.UTC(),
		Actor: r.Actor, Reason: r.Reason, RevokedAt: r.RevokedAt.UTC()}
}
