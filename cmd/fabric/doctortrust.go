package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	v1 "github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/trust"
	"github.com/atom-fabric/fabric/internal/anchor"
	"github.com/atom-fabric/fabric/internal/config"
	"github.com/atom-fabric/fabric/internal/cosign"
	"github.com/atom-fabric/fabric/internal/doctor"
	"github.com/atom-fabric/fabric/internal/local"
	"github.com/atom-fabric/fabric/internal/logkey"
	"github.com/atom-fabric/fabric/internal/postgres"
	"github.com/atom-fabric/fabric/internal/token"
	"github.com/atom-fabric/fabric/internal/transit"
)

// issuer asks whoever signs the callers' tokens for keys, and the provider of
// the console for its document.
func (p *patient) issuer(ctx context.Context) doctor.Finding {
	if at := strings.TrimRight(p.c.OIDCIssuer, "/"); at != "" {
		resp, err := get(ctx, at+"/.well-known/openid-configuration")
		const fix = "see that FABRIC_OIDC_ISSUER is the provider's issuer, as its discovery document says it (docs/howto/own-oidc.md)"
		if err != nil {
			return doctor.Failed(fix, "%s: %s", at, away(err))
		}
		var said struct{ Issuer string }
		if err := json.NewDecoder(resp.Body).Decode(&said); err != nil || resp.StatusCode != http.StatusOK || strings.TrimRight(said.Issuer, "/") != at {
			return doctor.Failed(fix, "%s answers %s, and not as this issuer", at, resp.Status)
		}
	}
	if p.c.JWKS == "" {
		return doctor.Well("the development issuer of the state directory signs tokens: fabric token")
	}
	const fix = "see that FABRIC_JWKS is the issuer's key set: a file, or its https URL (docs/howto/own-oidc.md)"
	keys, err := token.NewKeyFile(p.c.JWKS, "", nil, time.Now)
	if err != nil {
		return doctor.Failed(fix, "%v", err)
	}
	if _, err := keys.Key(ctx, "\x00"); errors.Is(err, token.ErrKeySet) || !errors.Is(err, token.ErrKey) || keys.Generation() == 0 {
		return doctor.Failed(fix, "no keys can be had: %s", away(err))
	}
	return doctor.Well("the issuer's keys can be had")
}

// token reads the command's own token. It believes nothing of it: the API does
// that.
func (p *patient) token(context.Context) doctor.Finding {
	renew := "export FABRIC_TOKEN=$(fabric token --tenant TENANT --role data-scientist,operator)"
	if p.c.JWKS != "" {
		renew = "get a token from " + p.c.Issuer
	}
	text := p.c.Token.Reveal()
	if text == "" {
		return doctor.Skipped("commands present no token (FABRIC_TOKEN)")
	}
	var claims struct {
		Tenant string  `json:"tenant"`
		Exp    float64 `json:"exp"`
	}
	if err := claimsOf(text, &claims); err != nil || claims.Tenant == "" {
		return doctor.Failed(renew, "FABRIC_TOKEN is no token of a tenant")
	}
	left := time.Until(time.Unix(int64(claims.Exp), 0))
	switch {
	case left <= 0:
		return doctor.Failed(renew, "FABRIC_TOKEN expired %s ago", -left.Round(time.Second))
	case left < soonEnough:
		return doctor.Warned(renew, "FABRIC_TOKEN expires in %s", left.Round(time.Second))
	}
	return doctor.Well("FABRIC_TOKEN acts for %s and holds for %s", claims.Tenant, left.Round(time.Minute))
}

// errNoSigner says that nothing signs here, or that another process does.
var errNoSigner = errors.New("no signing key was given; fabric up makes one for development")

// signs opens what signs: the one that is named, or that of fabric up.
func (p *patient) signs(ctx context.Context) (cosign.Key, error) {
	if len(p.c.KeySources()) > 0 {
		return p.keySource(ctx, p.c)
	}
	path := p.layout.Path("keys", "fabric.key")
	if missing(path) {
		return nil, errNoSigner
	}
	secret, err := readSecret(p.layout.Path("secrets", "cosign.password"))
	if err != nil {
		return nil, err
	}
	key, err := cosign.LoadPrivateKey(path, []byte(secret))
	if err != nil {
		return nil, err
	}
	return cosign.LocalKey(key), nil
}

// public is the public half of what signs. A file's lies beside it: opening the
// private one takes a second.
func (p *patient) public(ctx context.Context) (*ecdsa.PublicKey, error) {
	path := p.layout.Path("keys", "fabric.key")
	if sources := p.c.KeySources(); len(sources) == 1 && p.c.CosignKeyPath != "" {
		path = p.c.CosignKeyPath
	} else if len(sources) > 0 {
		key, err := p.keySource(ctx, p.c)
		if err != nil {
			return nil, err
		}
		if held, ok := key.(io.Closer); ok {
			defer held.Close()
		}
		return key.Public(), nil
	}
	return readPublicKey(local.PublicKey(path))
}

// key opens the signing key, and has it sign.
func (p *patient) key(ctx context.Context) doctor.Finding {
	key, err := p.signs(ctx)
	if errors.Is(err, errNoSigner) {
		return doctor.Skipped(err.Error())
	}
	if err != nil {
		return doctor.Failed(keyFix(err), "%s", away(err))
	}
	if held, ok := key.(io.Closer); ok {
		defer held.Close() // a session with the token: what is wrong with its end harms nobody
	}
	digest := sha256.Sum256([]byte(probe))
	if _, err := key.Sign(ctx, digest[:]); err != nil {
		return doctor.Failed("see that the policy of the key's server lets it sign (docs/howto/own-vault.md)", "it opens, and does not sign: %s", away(err))
	}
	if path := p.c.CosignKeyPath; path != "" {
		if public, err := readPublicKey(local.PublicKey(path)); err != nil || !public.Equal(key.Public()) {
			return doctor.Failed("write the public key beside the private one: cosign public-key --key "+path+" > "+local.PublicKey(path), "%s is missing, or is another key's", local.PublicKey(path))
		}
	}
	if p.c.VaultAddr != "" || p.c.BaoAddr != "" {
		return p.transitToken(ctx)
	}
	return doctor.Well("%s opens and signs", artifact.KeyID(key.Public()).Short())
}

func keyFix(err error) string {
	switch {
	case errors.Is(err, cosign.ErrExposed):
		return "chmod 600 the key file"
	case errors.Is(err, cosign.ErrPassword):
		return "set COSIGN_PASSWORD_FILE to the password that the key was made with"
	case errors.Is(err, os.ErrNotExist):
		return "fabric keys generate NAME makes one; COSIGN_KEY_PATH names it"
	case errors.Is(err, errTwoKeys):
		return "unset all but one"
	}
	return "see that the key's server or token is there, and that it is named right (docs/howto/own-vault.md, docs/operations/keys.md)"
}

func (p *patient) transitToken(ctx context.Context) doctor.Finding {
	engine, err := transit.Connect(transitOptions(p.c))
	if err != nil {
		return doctor.Failed("docs/howto/own-vault.md", "%s", away(err))
	}
	state, err := engine.Token(ctx)
	switch {
	case err != nil:
		return doctor.Well("the transit key signs; its token may not look itself up")
	case state.Left > 0 && state.Left < time.Hour:
		return doctor.Warned("renew it: vault token renew; or let an agent keep VAULT_TOKEN_FILE fresh", "the transit key signs; its token expires in %s", state.Left)
	case state.Left == 0 && strings.Contains(strings.Join(state.Policies, " "), "root"):
		return doctor.Warned("use a token of a policy that may read and sign with this key alone (docs/howto/own-vault.md)", "the transit key signs with a root token")
	}
	return doctor.Well("the transit key signs; its policies are %s", strings.Join(state.Policies, ", "))
}

func (p *patient) logKey(context.Context) doctor.Finding {
	path := p.c.LogKeyPath
	if path == "" {
		path = p.layout.Path("keys", "log.key")
		if missing(path) {
			return doctor.Skipped("no key of the audit log was given; fabric up makes one for development")
		}
	}
	key, err := logkey.Load(path)
	switch {
	case errors.Is(err, logkey.ErrMode):
		return doctor.Failed("chmod 600 "+path, "%v", err)
	case errors.Is(err, os.ErrNotExist):
		return doctor.Failed("fabric audit keygen ORIGIN makes one; FABRIC_LOG_KEY_PATH names it", "%v", err)
	case err != nil:
		return doctor.Failed("docs/operations/keys.md", "%v", err)
	}
	if pinned, err := logVerifier(p.c); err == nil && pinned != nil && pinned.Origin != key.Origin() {
		return doctor.Failed("set FABRIC_LOG_VERIFIER to "+logkey.PublicPath(path), "it signs for %s, and FABRIC_LOG_VERIFIER pins %s", key.Origin(), pinned.Origin)
	}
	return doctor.Well("it signs for %s", key.Origin())
}

// trusted looks at the policy and at whether it lets today's key sign.
func (p *patient) trusted(ctx context.Context) doctor.Finding {
	c := p.c
	if c.TrustPolicy == "" && c.TrustKey == "" && c.CosignKeyPath == "" {
		path := p.layout.Path("trust", policyFile)
		if missing(path) {
			return doctor.Skipped("no trust was given; fabric up makes a policy for development")
		}
		pin, err := readSecret(p.layout.Path("trust", pinFile))
		if err != nil {
			return doctor.Failed("docs/protocol/trust-policy.md", "%v", err)
		}
		c.TrustPolicy, c.TrustRoot = path, pin
	}
	if c.TrustPolicy == "" {
		if _, err := anchor.Pinned(c); err != nil {
			return doctor.Failed("set FABRIC_TRUST_POLICY and FABRIC_TRUST_ROOT, or FABRIC_TRUST_KEY to a public key file", "%s", unwrapped(err))
		}
		return doctor.Warned("make a policy, so that keys can be rotated and revoked: fabric keys policy init", "keys are pinned by hand, and may sign everything for ever")
	}
	return p.policy(ctx, c)
}

func (p *patient) policy(ctx context.Context, c config.Config) doctor.Finding {
	pin, err := artifact.ParseDigest(c.TrustRoot)
	if err != nil {
		return doctor.Failed("set FABRIC_TRUST_ROOT to the digest that `fabric keys policy` prints", "%v", anchor.ErrUnpinned)
	}
	store, err := anchor.Open(anchor.Options{Path: c.TrustPolicy, Pin: pin})
	if err != nil {
		return doctor.Failed("restore the file, or correct FABRIC_TRUST_ROOT (docs/protocol/trust-policy.md)", "%s: %v", c.TrustPolicy, err)
	}
	now := time.Now()
	head, _ := store.Chain().Head()
	const renew = "sign the next version with the root keys: fabric keys rotate, or fabric keys policy sign (docs/operations/key-rotation.md); fabric up renews its own at its start"
	if f := doctor.Expiry(fmt.Sprintf("version %d of the trust policy", head.Version), head.ExpiresAt, now, renew); f.Status != doctor.OK {
		return f
	}
	public, err := p.public(ctx)
	if err != nil { // what is wrong with it is the check key's to say
		return doctor.Expiry(fmt.Sprintf("version %d of the trust policy", head.Version), head.ExpiresAt, now, renew)
	}
	judge, err := store.Judge()
	if err != nil {
		return doctor.Failed("docs/protocol/trust-policy.md", "%v", err)
	}
	id := artifact.KeyID(public)
	if err := judge.Allows(id, trust.Question{PredicateType: artifact.PredicateSnapshot, Environment: anchor.Environment(c), At: now, Now: now}); err != nil {
		return doctor.Failed("fabric keys list shows every key; fabric keys rotate lets another one sign", "the signing key %s: %v", id.Short(), err)
	}
	for _, k := range head.Keys {
		if k.ID != id {
			continue
		}
		if f := doctor.Expiry("the signing key "+id.Short(), k.NotAfter, now, "fabric keys rotate (docs/operations/key-rotation.md)"); f.Status != doctor.OK {
			return f
		}
	}
	return doctor.Well("version %d holds until %s and lets %s sign", head.Version, head.ExpiresAt.UTC().Format(time.DateOnly), id.Short())
}

// audit holds the head of the log against its signature.
func (p *patient) audit(ctx context.Context) doctor.Finding {
	const fix = "stop changing things, keep the database as it is, and follow docs/operations/audit-log.md; fabric audit verify says more"
	pinned, err := logVerifier(p.c)
	if err != nil {
		return doctor.Failed("set FABRIC_LOG_VERIFIER to the log's verifier key: fabric audit key prints it", "%s", unwrapped(err))
	}
	var point v1.Checkpoint
	switch {
	case p.dsn != "":
		db, err := postgres.Open(ctx, postgres.Options{DSN: p.dsn})
		if err != nil {
			return doctor.Failed("mend the checks postgres and migrations first", "%s", away(err))
		}
		defer db.Close()
		head, err := db.AuditLog().Checkpoint(ctx)
		if err != nil {
			return doctor.Failed(fix, "%v", err)
		}
		point = v1.Checkpoint{Note: head.Note, Origin: head.Origin, Root: v1.Digest(head.Root), Size: head.Size}
	default:
		client, err := v1.New(p.gateway, "", http.DefaultClient)
		if err != nil {
			return doctor.Failed("set FABRIC_API_URL", "%v", err)
		}
		if point, err = v1.Fetch[v1.Checkpoint](client.AuditCheckpoint(ctx)); err != nil {
			return doctor.Skipped("neither the database nor a gateway can be asked")
		}
	}
	switch {
	case point.Note == "":
		return doctor.Warned("docs/operations/audit-checkpoint.md", "nobody has signed the head of %d leaves", point.Size)
	case pinned == nil:
		return doctor.Warned("pin the log's key: set FABRIC_LOG_VERIFIER (fabric audit key prints it)", "%d leaves; no key is pinned, so the signature is not checked", point.Size)
	}
	signed, err := pinned.Open(point.Note)
	if err != nil || signed.Size != point.Size || string(signed.Root.Digest()) != point.Root {
		return doctor.Failed(fix, "the head of %d leaves is not what the pinned key has signed", point.Size)
	}
	return doctor.Well("the head of %d leaves is signed, and is what was signed", point.Size)
}

// unwrapped leaves out the first sentinel of an error, which the check's name says.
func unwrapped(err error) string {
	return strings.TrimPrefix(err.Error(), config.ErrSetting.Error()+": ")
}
