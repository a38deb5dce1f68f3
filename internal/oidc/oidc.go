// Package oidc signs people in at an OpenID provider, by the authorization code
// flow with PKCE (RFC 6749, RFC 7636, OpenID Connect Core 1.0).
//
// Invariant: an access token is returned only with an ID token of the same
// answer whose signature, issuer, audience, time and nonce verified. What the
// provider says of a person is read by nobody here: the API reads the access
// token. No token and no code is in an error.
package oidc

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// Why nobody is signed in.
var (
	ErrProvider = errors.New("the identity provider does not answer as OpenID Connect says")
	ErrRefused  = errors.New("the identity provider refused the sign-in")
	ErrToken    = errors.New("the identity provider's tokens do not verify")
	ErrSettings = errors.New("an OpenID provider is an https address, or http on this machine")
)

// Options say which provider, and who the console is there.
type Options struct {
	Issuer    string
	ClientID  string
	Secret    string   // empty for a public client
	Redirect  string   // address that the provider sends browsers back to
	Scopes    []string // beside "openid"
	Audience  string   // of the access token, where the provider wants to be told
	Simulated bool     // anybody may be anyone there
	Client    *http.Client
}

// A Provider signs people in. Safe for concurrent use.
type Provider struct {
	opts  Options
	mu    sync.Mutex
	found *discovered
}

// discovered is what the provider says about itself.
type discovered struct {
	auth     oauth2.Config
	verifier *oidc.IDTokenVerifier
}

// patience bounds each step that asks the provider.
const patience = 10 * time.Second

// New returns a provider. It is asked when the first person signs in, so it
// may be away now. Errors: [ErrSettings].
func New(o Options) (*Provider, error) {
	u, err := url.Parse(o.Issuer)
	if err != nil || u.Host == "" || u.Scheme != "https" && !(u.Scheme == "http" && loopback(u.Hostname())) {
		return nil, ErrSettings
	}
	if o.Client == nil {
		o.Client = &http.Client{Timeout: patience, Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: 3 * time.Second}).DialContext,
			TLSHandshakeTimeout: 5 * time.Second, ResponseHeaderTimeout: patience, IdleConnTimeout: time.Minute, MaxResponseHeaderBytes: 64 << 10,
		}}
	}
	if !slices.Contains(o.Scopes, oidc.ScopeOpenID) {
		o.Scopes = append([]string{oidc.ScopeOpenID}, o.Scopes...)
	}
	return &Provider{opts: o}, nil
}

func loopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// Simulated says that anybody may be anyone there.
func (p *Provider) Simulated() bool { return p.opts.Simulated }

// discover asks the provider once, and again while it has not answered.
func (p *Provider) discover(ctx context.Context) (*discovered, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.found != nil {
		return p.found, nil
	}
	provider, err := oidc.NewProvider(ctx, p.opts.Issuer)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrProvider, err)
	}
	p.found = &discovered{
		auth: oauth2.Config{
			ClientID: p.opts.ClientID, ClientSecret: p.opts.Secret, Endpoint: provider.Endpoint(), RedirectURL: p.opts.Redirect, Scopes: p.opts.Scopes,
		},
		verifier: provider.Verifier(&oidc.Config{ClientID: p.opts.ClientID}),
	}
	if p.opts.Secret == "" {
		p.found.auth.Endpoint.AuthStyle = oauth2.AuthStyleInParams
	}
	return p.found, nil
}

// Begin returns the address that a browser is sent to.
// Errors: [ErrProvider].
func (p *Provider) Begin(ctx context.Context, state, nonce, verifier string) (string, error) {
	ctx, cancel := context.WithTimeout(oidc.ClientContext(ctx, p.opts.Client), patience)
	defer cancel()
	d, err := p.discover(ctx)
	if err != nil {
		return "", err
	}
	options := []oauth2.AuthCodeOption{oidc.Nonce(nonce), oauth2.S256ChallengeOption(verifier)}
	if p.opts.Audience != "" {
		options = append(options, oauth2.SetAuthURLParam("audience", p.opts.Audience), oauth2.SetAuthURLParam("resource", p.opts.Audience))
	}
	return d.auth.AuthCodeURL(state, options...), nil
}

// Finish changes the code that a browser brought back into the access token.
// Errors: [ErrProvider], [ErrRefused], [ErrToken].
func (p *Provider) Finish(ctx context.Context, code, nonce, verifier string) (string, error) {
	ctx, cancel := context.WithTimeout(oidc.ClientContext(ctx, p.opts.Client), patience)
	defer cancel()
	d, err := p.discover(ctx)
	if err != nil {
		return "", err
	}
	got, err := d.auth.Exchange(ctx, code, oauth2.VerifierOption(verifier))
	var refused *oauth2.RetrieveError
	switch {
	case errors.As(err, &refused):
		return "", fmt.Errorf("%w: %s", ErrRefused, refused.ErrorCode) // its text may quote what was sent
	case err != nil:
		return "", fmt.Errorf("%w: the token endpoint", ErrProvider)
	}
	raw, ok := got.Extra("id_token").(string)
	if !ok {
		return "", fmt.Errorf("%w: there is no ID token", ErrToken)
	}
	who, err := d.verifier.Verify(ctx, raw)
	if err != nil {
		return "", fmt.Errorf("%w: the ID token", ErrToken) // the library's text may quote it
	}
	if subtle.ConstantTimeCompare([]byte(who.Nonce), []byte(nonce)) != 1 {
		return "", fmt.Errorf("%w: the ID token is of another sign-in", ErrToken)
	}
	if who.AccessTokenHash != "" && who.VerifyAccessToken(got.AccessToken) != nil {
		return "", fmt.Errorf("%w: the access token is of another answer", ErrToken)
	}
	return got.AccessToken, nil
}
