package issuer

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/atom-fabric/fabric/internal/token"
)

// ProviderPath is where the development provider is mounted.
const ProviderPath = "/dev-sign-in/"

// ErrReach says that a provider would be reached by others.
var ErrReach = errors.New("the development provider serves a loopback address only")

//go:embed provider.html
var providerPage string

const (
	// codeLasts is how long a code may be changed into tokens.
	codeLasts = time.Minute
	// maxCodes bounds how many codes wait.
	maxCodes = 1024
	// callerLasts is how long a token lasts that a person is given.
	callerLasts = 8 * time.Hour
)

// A Provider is an OpenID provider for development: it asks who somebody
// wants to be, and believes it. What it signs is marked as this issuer's, whom
// production never accepts.
type Provider struct {
	issuer   *Issuer
	base     string // scheme and host
	client   string
	redirect string
	style    string
	now      func() time.Time
	page     *template.Template

	mu    sync.Mutex
	codes map[string]grant
}

// A grant waits for whoever brings its code and the verifier.
type grant struct {
	subject, tenant, nonce, challenge string
	roles                             []string
	ends                              time.Time
}

// NewProvider returns the provider of one client. base is the address that
// serves it, style that of a stylesheet. Errors: [ErrReach].
func (i *Issuer) NewProvider(base, client, redirect, style string, now func() time.Time) (*Provider, error) {
	u, err := url.Parse(base)
	if err != nil || !isLoopback(u.Host) {
		return nil, ErrReach
	}
	page, err := template.New("provider").Parse(providerPage)
	if err != nil {
		return nil, fmt.Errorf("development provider: %w", err)
	}
	return &Provider{issuer: i, base: base, client: client, redirect: redirect, style: style, now: now, page: page, codes: map[string]grant{}}, nil
}

// Issuer returns the provider's name, under which it is discovered.
func (p *Provider) Issuer() string { return p.base + strings.TrimSuffix(ProviderPath, "/") }

// isLoopback says whether a host names this machine, and nothing that a name
// server could point here.
func isLoopback(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// ServeHTTP implements http.Handler.
func (p *Provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !isLoopback(r.Host) {
		http.Error(w, ErrReach.Error(), http.StatusForbidden)
		return
	}
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; frame-ancestors 'none'; base-uri 'none'")
	switch path := strings.TrimPrefix(r.URL.Path, ProviderPath); r.Method + " " + path {
	case "GET .well-known/openid-configuration":
		p.discovery(w)
	case "GET jwks":
		p.issuer.Handler().ServeHTTP(w, r)
	case "GET authorize":
		p.ask(w, r, "")
	case "POST authorize":
		if err := http.NewCrossOriginProtection().Check(r); err != nil {
			http.Error(w, "sent from another site", http.StatusForbidden)
			return
		}
		p.grant(w, r)
	case "POST token":
		p.exchange(w, r)
	default:
		http.NotFound(w, r)
	}
}

func (p *Provider) discovery(w http.ResponseWriter) {
	at := p.Issuer()
	reply(w, http.StatusOK, map[string]any{
		"issuer": at, "authorization_endpoint": at + "/authorize", "token_endpoint": at + "/token", "jwks_uri": at + "/jwks",
		"response_types_supported": []string{"code"}, "subject_types_supported": []string{"public"},
		"id_token_signing_alg_values_supported": []string{"ES256"}, "code_challenge_methods_supported": []string{"S256"},
		"token_endpoint_auth_methods_supported": []string{"none"}, "scopes_supported": []string{"openid", "profile"},
	})
}

// A request that does not name the one client and its one address is answered
// here and goes nowhere: a redirect to an address of its choice would be a gift.
func (p *Provider) known(q url.Values) string {
	switch {
	case q.Get("client_id") != p.client:
		return "client_id is of another client"
	case q.Get("redirect_uri") != p.redirect:
		return "redirect_uri is not the console's"
	case q.Get("response_type") != "code":
		return "response_type is not code"
	case q.Get("code_challenge_method") != "S256" || len(q.Get("code_challenge")) != 43:
		return "code_challenge is missing: PKCE with S256 is required"
	case q.Get("state") == "" || len(q.Get("state")) > 512 || len(q.Get("nonce")) > 512:
		return "state is missing"
	}
	return ""
}

// ask shows the form, with what was sent before and why it was not enough.
func (p *Provider) ask(w http.ResponseWriter, r *http.Request, why string) {
	q := r.Form
	if q == nil {
		q = r.URL.Query()
	}
	if bad := p.known(q); bad != "" {
		http.Error(w, bad, http.StatusBadRequest)
		return
	}
	type role struct {
		Name    string
		Checked bool
	}
	var roles []role
	for _, name := range Roles() {
		roles = append(roles, role{name, slices.Contains(q["role"], name)})
	}
	hidden := map[string]string{}
	for _, name := range []string{"client_id", "redirect_uri", "response_type", "state", "nonce", "code_challenge", "code_challenge_method", "scope"} {
		hidden[name] = q.Get(name)
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if why != "" {
		w.WriteHeader(http.StatusUnprocessableEntity)
	}
	_ = p.page.Execute(w, map[string]any{ // a reader that left
		"Style": p.style, "Action": ProviderPath + "authorize", "Hidden": hidden, "Roles": roles, "Why": why,
		"Subject": q.Get("subject"), "Tenant": q.Get("tenant"),
	})
}

// grant sends the browser back with a code.
func (p *Provider) grant(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
	if err := r.ParseForm(); err != nil {
		http.Error(w, "the form cannot be read", http.StatusBadRequest)
		return
	}
	q := r.PostForm
	if bad := p.known(q); bad != "" {
		http.Error(w, bad, http.StatusBadRequest)
		return
	}
	g := grant{
		subject: strings.TrimSpace(q.Get("subject")), tenant: strings.TrimSpace(q.Get("tenant")), roles: q["role"], nonce: q.Get("nonce"),
		challenge: q.Get("code_challenge"), ends: p.now().Add(codeLasts),
	}
	if _, err := p.issuer.Mint(g.tenant, g.subject, g.roles, callerLasts); err != nil || len(g.roles) == 0 {
		r.Form = q
		p.ask(w, r, "Choose a name, a tenant (small letters, digits, dots and dashes) and at least one role.")
		return
	}
	code := p.keep(g)
	http.Redirect(w, r, p.redirect+"?"+url.Values{"code": {code}, "state": {q.Get("state")}}.Encode(), http.StatusSeeOther)
}

func (p *Provider) keep(g grant) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	for code, old := range p.codes {
		if len(p.codes) >= maxCodes || p.now().After(old.ends) {
			delete(p.codes, code)
		}
	}
	code := rand.Text()
	p.codes[code] = g
	return code
}

// take returns what a code stands for, once.
func (p *Provider) take(code string) (grant, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	g, ok := p.codes[code]
	delete(p.codes, code)
	return g, ok && !p.now().After(g.ends)
}

func (p *Provider) exchange(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
	if err := r.ParseForm(); err != nil {
		refuse(w, "invalid_request")
		return
	}
	q := r.PostForm
	g, ok := p.take(q.Get("code"))
	sum := sha256.Sum256([]byte(q.Get("code_verifier")))
	proof := base64.RawURLEncoding.EncodeToString(sum[:])
	if !ok || q.Get("grant_type") != "authorization_code" || q.Get("client_id") != p.client || q.Get("redirect_uri") != p.redirect ||
		subtle.ConstantTimeCompare([]byte(proof), []byte(g.challenge)) != 1 {
		refuse(w, "invalid_grant")
		return
	}
	access, err := p.issuer.Mint(g.tenant, g.subject, g.roles, callerLasts)
	if err != nil {
		refuse(w, "invalid_request")
		return
	}
	claims := token.Claims{Subject: g.subject, Tenant: g.tenant}.Lifetime(p.now(), callerLasts)
	id, err := p.issuer.signer.Identify(p.Issuer(), p.client, g.nonce, access, claims)
	if err != nil {
		refuse(w, "server_error")
		return
	}
	reply(w, http.StatusOK, map[string]any{"access_token": access, "id_token": id, "token_type": "Bearer", "expires_in": int(callerLasts / time.Second)})
}

func refuse(w http.ResponseWriter, why string) {
	reply(w, http.StatusBadRequest, map[string]string{"error": why})
}

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // a reader that left
}
