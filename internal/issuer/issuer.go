// Package issuer is this deployment's own issuer of tokens: those that sites
// work with, and, for development, those of callers. It keeps one ECDSA P-256
// key in the state directory.
//
// Invariant: the private key leaves the process only into a file that no other
// user can read, and is made once: whoever opens the same directory, at the
// same moment too, signs with the same key.
package issuer

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/atom-fabric/fabric/domain/catalog"
	"github.com/atom-fabric/fabric/internal/durable"
	"github.com/atom-fabric/fabric/internal/token"
)

// Files in the issuer's directory.
const (
	keyFile = "issuer.key"
	setFile = "jwks.json"
)

// Audiences.
const (
	audienceCallers = "fabric"
	audienceSites   = "fabric-site"
)

// Why a token is not minted, or the issuer does not open.
var (
	ErrRole = errors.New("a role is data-scientist, operator, approver, auditor, admin or data-plane")
	ErrName = errors.New("a tenant is a name of the fabric, a subject 1 to 255 bytes")
	ErrMode = errors.New("the key's file must be readable by its owner only (chmod 600)")
	ErrKey  = errors.New("the file holds no ECDSA P-256 private key")
)

// Roles returns the roles that a caller's token may name.
func Roles() []string {
	return []string{"data-scientist", "operator", "approver", "auditor", "admin", "data-plane"}
}

// An Issuer mints tokens. Safe for concurrent use.
type Issuer struct {
	dir    string
	name   string
	signer *token.DevIssuer
	set    []byte
	keys   token.StaticKeys
}

// Open returns the issuer of a directory under the given name ("iss"). The
// first time it makes the key, and writes the public half beside it as a JWKS.
func Open(dir, name string) (*Issuer, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("issuer: %w", err)
	}
	key, err := openKey(filepath.Join(dir, keyFile))
	if err != nil {
		return nil, fmt.Errorf("issuer: %w", err)
	}
	signer, err := token.NewDevIssuer(key, name)
	if err != nil {
		return nil, fmt.Errorf("issuer: %w", err)
	}
	set, err := signer.KeySet()
	if err != nil {
		return nil, fmt.Errorf("issuer: %w", err)
	}
	keys, err := token.ParseKeySet(set)
	if err != nil {
		return nil, fmt.Errorf("issuer: %w", err)
	}
	if err := durable.Write(filepath.Join(dir, setFile), set, 0o644); err != nil {
		return nil, fmt.Errorf("issuer: %w", err)
	}
	return &Issuer{dir: dir, name: name, signer: signer, set: set, keys: keys}, nil
}

// openKey reads the key, and makes it if there is none.
func openKey(path string) (*ecdsa.PrivateKey, error) {
	key, err := readKey(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	fresh, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(fresh)
	if err != nil {
		return nil, err
	}
	// A whole file is linked into place, and only if there is none: of two that
	// start at once one wins, and a crash leaves no half a key.
	temp, err := os.CreateTemp(filepath.Dir(path), "."+keyFile+"-*") // mode 0600
	if err != nil {
		return nil, err
	}
	defer os.Remove(temp.Name())
	err = errors.Join(pem.Encode(temp, &pem.Block{Type: "PRIVATE KEY", Bytes: der}), temp.Sync(), temp.Close())
	if err != nil {
		return nil, err
	}
	if err := os.Link(temp.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	return readKey(path)
}

// readKey never says what a file holds that is no key.
func readKey(path string) (*ecdsa.PrivateKey, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s: %w", path, ErrMode)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("%s: %w", path, ErrKey)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, ErrKey)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, fmt.Errorf("%s: %w", path, ErrKey)
	}
	return key, nil
}

// Mint returns a caller's token that holds from now for ttl, at most 24 h.
// Errors: [ErrRole], [ErrName], [token.ErrClaims].
func (i *Issuer) Mint(tenant, subject string, roles []string, ttl time.Duration) (string, error) {
	for _, role := range roles {
		if !slices.Contains(Roles(), role) {
			return "", ErrRole
		}
	}
	if !catalog.ValidName(tenant) || subject == "" || len(subject) > 255 {
		return "", ErrName
	}
	return i.signer.Issue(audienceCallers, token.Claims{Subject: subject, Tenant: tenant, Roles: roles, ID: rand.Text()}.Lifetime(time.Now(), ttl))
}

// MintSite returns the token of an enrolled site, and when it ends.
func (i *Issuer) MintSite(tenant, site, region string, ttl time.Duration) (string, time.Time, error) {
	claims := token.Claims{Subject: tenant + "/" + site, Tenant: tenant, Site: site, Region: region}.Lifetime(time.Now(), ttl)
	text, err := i.signer.Issue(audienceSites, claims)
	return text, claims.Expires, err
}

// Verifier accepts this issuer's tokens for an audience.
func (i *Issuer) Verifier(audience string, now func() time.Time) *token.Verifier {
	return token.NewVerifier(i.keys, i.name, audience, now)
}

// KeySetPath returns where the public key is, as a JWKS, for other processes
// of this machine.
func (i *Issuer) KeySetPath() string { return filepath.Join(i.dir, setFile) }

// Handler serves the JWKS.
func (i *Issuer) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/jwk-set+json")
		w.Header().Set("Cache-Control", "max-age=300")
		_, _ = w.Write(i.set) // a reader that left
	})
}
