// Package web is the console: pages for the people who decide, look after the
// system, or read what it did. It is a client of the API like any other. Every
// page shows what the API answers to the token of whoever looks, so roles and
// tenants are enforced in one place, and a button that is shown by mistake
// changes nothing.
//
// Invariant: a GET changes nothing; what a page changes, it changes through an
// operation of the API, with the visitor's own token. No text of a model, a
// site or a person reaches a page but through html/template. The server holds
// no private key of anybody and no session: a session is in its cookie, sealed.
package web

import (
	"context"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Path is where the console is mounted.
const Path = "/console/"

// ErrOptions says that the console cannot work as it is wired.
var ErrOptions = errors.New("the console is not wired completely")

// Options say what the console works with.
type Options struct {
	API        http.Handler // the gateway that every page asks; required
	URL        string       // the console's own address as browsers know it, without a path; required
	SessionKey []byte       // 32 bytes or more that sessions are sealed with, the same for every replica; required
	SignIn     SignIn       // who tells who a visitor is; nil: nobody can sign in
	Simulation bool
	Version    string
	TemporalUI string // address of Temporal's own pages; "" links to none
	Namespace  string // of Temporal, that the workflows are in
	Now        func() time.Time
	Log        *slog.Logger
}

// A SignIn is an identity provider. Both steps may ask it over the network.
type SignIn interface {
	// Simulated says that anybody may be anyone there.
	Simulated() bool
	// Begin returns the provider's address that a browser is sent to.
	Begin(ctx context.Context, state, nonce, verifier string) (string, error)
	// Finish returns the access token that the provider gives for a code.
	Finish(ctx context.Context, code, nonce, verifier string) (string, error)
}

// A Console serves the pages. Safe for concurrent use.
type Console struct {
	opts     Options
	seal     *sealer
	pages    map[string]*template.Template
	assets   assets
	handler  http.Handler
	secure   bool
	hub      *hub
	clientOf func(token, remote string) (*client, error)
}

// New returns the console. Errors: [ErrOptions], or a template's.
func New(o Options) (*Console, error) {
	at, err := url.Parse(o.URL)
	switch {
	case o.API == nil || o.Now == nil:
		return nil, fmt.Errorf("%w: no API or no clock", ErrOptions)
	case err != nil || at.Host == "" || at.Scheme != "http" && at.Scheme != "https" || strings.Trim(at.Path, "/") != "":
		return nil, fmt.Errorf("%w: its own address is scheme://host:port", ErrOptions)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.URL = at.Scheme + "://" + at.Host
	c := &Console{opts: o, secure: at.Scheme == "https", hub: newHub()}
	if c.seal, err = newSealer(o.SessionKey); err != nil {
		return nil, err
	}
	if c.assets, err = readAssets(); err != nil {
		return nil, err
	}
	if c.pages, err = c.parse(); err != nil {
		return nil, err
	}
	c.clientOf = inProcess(o.API)
	mux := http.NewServeMux()
	mux.Handle("GET "+Path+"assets/", c.assets)
	for _, r := range c.routes() {
		method, path, _ := strings.Cut(r.pattern, " ")
		mux.Handle(method+" "+strings.TrimSuffix(Path, "/")+path, c.serve(r))
	}
	mux.Handle(Path, c.serve(route{handle: func(*visit) error { return errNoPage }, open: true}))
	forged := c.serve(route{handle: func(*visit) error { return errForged }, open: true})
	c.handler = guarded(mux, forged)
	return c, nil
}

// ServeHTTP implements http.Handler.
func (c *Console) ServeHTTP(w http.ResponseWriter, r *http.Request) { c.handler.ServeHTTP(w, r) }

// policy is what a browser may do on a page of ours: nothing but what came
// from this address, and nothing that is written into the page itself.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
	"form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

// guarded refuses what another site makes a browser send, and says with every
// answer what a browser may do with it.
func guarded(next, forged http.Handler) http.Handler {
	cross := http.NewCrossOriginProtection()
	cross.SetDenyHandler(forged)
	inner := cross.Handler(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Permissions-Policy", "camera=(), microphone=(), geolocation=()")
		h.Set("Cache-Control", "no-store")
		inner.ServeHTTP(w, r)
	})
}
