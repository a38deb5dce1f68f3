package router

import (
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/atom-fabric/fabric/internal/token"
)

// A caller is who asks.
type caller struct {
	tenant    string // "" for a simulated caller until it names one
	claims    token.Claims
	simulated bool
}

// caller returns who asks, by a token that verifies, or as a simulated caller
// where that is allowed. A token that is presented must be valid, also where
// none would be needed.
func (r *Router) caller(req *http.Request) (caller, *problem) {
	header := req.Header.Values("Authorization")
	if len(header) == 0 {
		if r.simulates(req) {
			return caller{simulated: true}, nil
		}
		return caller{}, &problem{code: "token_missing", status: http.StatusUnauthorized, title: "A token is needed",
			detail: "Send Authorization: Bearer <token>. Only in simulation mode, from this machine, may it be left out."}
	}
	invalid := &problem{code: "token_invalid", status: http.StatusUnauthorized, title: "The token is not accepted"}
	if len(header) > 1 {
		invalid.detail = token.ErrMalformed.Error()
		return caller{}, invalid
	}
	raw, err := token.Bearer(header[0])
	if err == nil && r.opts.Verifier == nil {
		err = token.ErrKey
	}
	var claims token.Claims
	if err == nil {
		claims, err = r.opts.Verifier.Verify(req.Context(), raw)
	}
	if errors.Is(err, token.ErrBusy) {
		return caller{}, &problem{code: "overloaded", status: http.StatusServiceUnavailable, title: "The router has more unknown tokens to check than it can", detail: err.Error(), retry: 1}
	}
	if err != nil {
		invalid.detail = why(err)
		return caller{}, invalid
	}
	return caller{tenant: claims.Tenant, claims: claims}, nil
}

// why returns the reason without what was wrapped around it.
func why(err error) string {
	for _, known := range []error{token.ErrMalformed, token.ErrSignature, token.ErrKey, token.ErrIssuer,
		token.ErrAudience, token.ErrExpired, token.ErrEarly, token.ErrClaims, token.ErrRevoked} {
		if errors.Is(err, known) {
			return known.Error()
		}
	}
	return "the token cannot be checked now"
}

// simulates reports whether a request without a token is served: in simulation
// mode, from this machine to a loopback listener under a loopback name, and not
// from a web page of somewhere else that a browser of this machine shows.
func (r *Router) simulates(req *http.Request) bool {
	if !r.opts.Simulation || !loopback(r.opts.Listener.String()) || !loopback(req.RemoteAddr) || !loopback(req.Host) {
		return false
	}
	// Behind a proxy of this machine the caller is whom the proxy speaks for.
	for _, list := range req.Header.Values("X-Forwarded-For") {
		for _, hop := range strings.Split(list, ",") {
			if !loopback(strings.TrimSpace(hop)) {
				return false
			}
		}
	}
	origin := req.Header.Get("Origin")
	if origin == "" {
		return true
	}
	at, err := url.Parse(origin)
	return err == nil && loopback(at.Host)
}

// loopback reports whether a host, with or without a port, is this machine.
func loopback(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = hostport
	}
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && addr.IsLoopback()
}
