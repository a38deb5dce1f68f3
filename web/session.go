package web

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

const (
	// sessionLasts bounds a session, however long its token holds.
	sessionLasts = 8 * time.Hour
	// attemptLasts is how long somebody may take to sign in.
	attemptLasts = 10 * time.Minute
	// cookiePart is what browsers keep of one cookie, less its name; a session
	// with a long token is in several.
	cookiePart  = 3800
	cookieParts = 4
	// minSessionKey is how much secret a key must hold, in bytes.
	minSessionKey = 32
)

// errSealed says that a cookie is none of ours, or was changed.
var errSealed = errors.New("not sealed by this deployment")

// A session is who looks at the console. Everything but the token is for
// display: the API reads the token itself.
type session struct {
	Subject string    `json:"sub"`
	Tenant  string    `json:"tenant"`
	Roles   []string  `json:"roles"`
	Token   string    `json:"token"`
	Began   time.Time `json:"began"`
	Ends    time.Time `json:"ends"`
}

// Has says whether one of the roles is the visitor's. It decides what a page
// shows, never what may be done.
func (s session) Has(roles ...string) bool {
	for _, have := range s.Roles {
		for _, want := range roles {
			if have == want {
				return true
			}
		}
	}
	return false
}

// An attempt is a sign-in that is under way, in a cookie of its own.
type attempt struct {
	State    string    `json:"state"`
	Nonce    string    `json:"nonce"`
	Verifier string    `json:"verifier"` // of PKCE (RFC 7636)
	To       string    `json:"to"`       // page to go back to
	Ends     time.Time `json:"ends"`
}

// A sealer encrypts what is in cookies, and knows what it encrypted for which
// use.
type sealer struct{ aead cipher.AEAD }

func newSealer(secret []byte) (*sealer, error) {
	if len(secret) < minSessionKey {
		return nil, fmt.Errorf("%w: the session key has %d bytes or more", ErrOptions, minSessionKey)
	}
	key, err := hkdf.Key(sha256.New, secret, nil, "fabric console cookies v1", 32)
	if err != nil {
		return nil, fmt.Errorf("session key: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("session key: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("session key: %w", err)
	}
	return &sealer{aead}, nil
}

func (s *sealer) seal(use string, v any) (string, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(s.aead.Seal(nil, nil, text, []byte(use))), nil
}

func (s *sealer) open(use, sealed string, v any) error {
	raw, err := base64.RawURLEncoding.DecodeString(sealed)
	if err != nil {
		return errSealed
	}
	text, err := s.aead.Open(nil, nil, raw, []byte(use))
	if err != nil {
		return errSealed
	}
	return json.Unmarshal(text, v)
}

// Names of the cookies, each also the use that its content is sealed for.
const (
	sessionCookie = "fabric_session"
	attemptCookie = "fabric_signin"
)

// cookie returns one that scripts cannot read and other sites cannot send
// along with a form. Over https it is bound to this host.
func (c *Console) cookie(name, value string, ends time.Time) *http.Cookie {
	k := &http.Cookie{Name: c.cookieName(name), Value: value, Path: "/", HttpOnly: true, Secure: c.secure, SameSite: http.SameSiteLaxMode}
	if value == "" {
		k.MaxAge = -1
	} else {
		k.MaxAge = int(ends.Sub(c.opts.Now()) / time.Second)
	}
	return k
}

func (c *Console) cookieName(name string) string {
	if c.secure {
		return "__Host-" + name
	}
	return name
}

// keep puts a value into cookies, as many as it takes.
func (c *Console) keep(w http.ResponseWriter, r *http.Request, name string, v any, ends time.Time) error {
	text, err := c.seal.seal(name, v)
	if err != nil {
		return err
	}
	if len(text) > cookiePart*cookieParts {
		return fmt.Errorf("the session is too large for cookies: %d bytes", len(text))
	}
	i := 0
	for ; len(text) > 0; i++ {
		part := text[:min(len(text), cookiePart)]
		text = text[len(part):]
		http.SetCookie(w, c.cookie(partName(name, i), part, ends))
	}
	c.forget(w, r, name, i)
	return nil
}

// kept reads what keep wrote.
func (c *Console) kept(r *http.Request, name string, v any) error {
	var text strings.Builder
	for i := range cookieParts {
		k, err := r.Cookie(c.cookieName(partName(name, i)))
		if err != nil {
			break
		}
		text.WriteString(k.Value)
	}
	return c.seal.open(name, text.String(), v)
}

// forget removes the parts that the browser has of a value, from one on.
func (c *Console) forget(w http.ResponseWriter, r *http.Request, name string, from int) {
	for i := from; i < cookieParts; i++ {
		if _, err := r.Cookie(c.cookieName(partName(name, i))); err == nil {
			http.SetCookie(w, c.cookie(partName(name, i), "", time.Time{}))
		}
	}
}

func partName(name string, i int) string {
	if i == 0 {
		return name
	}
	return fmt.Sprintf("%s_%d", name, i)
}

// session returns who sent a request, if that is known and still holds.
func (c *Console) session(r *http.Request) (session, bool) {
	var s session
	if err := c.kept(r, sessionCookie, &s); err != nil || !c.opts.Now().Before(s.Ends) {
		return session{}, false
	}
	return s, true
}

// fresh returns a text that nobody can guess.
func fresh() string { return rand.Text() }
