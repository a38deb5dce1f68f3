package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/trust"
	"github.com/atom-fabric/fabric/internal/config"
	"github.com/atom-fabric/fabric/internal/cosign"
	"github.com/atom-fabric/fabric/internal/durable"
	"github.com/atom-fabric/fabric/internal/local"
)

// Files of a state directory's own trust policy. Its root key signs policies
// and nothing else.
const (
	policyFile = "policy.jsonl" // in trust/
	pinFile    = "root"         // in trust/, the digest of the first policy
)

// policyLasts is how long a version of the policy holds; one is made anew when
// less than policySpare is left.
const (
	policyLasts = 365 * 24 * time.Hour
	policySpare = 30 * 24 * time.Hour
)

// localTrust gives a simulated system its trust policy: the first version with
// today's signing key, and another one whenever the key is a new one, when the
// fabric signs more kinds of statement than the policy knows, or when it would
// expire soon. Outside simulation people make the policy, see fabric keys.
func (a *app) localTrust(ctx context.Context, c config.Config, layout local.Layout, p *local.Plan) error {
	public, err := a.localPublic(ctx, c, layout)
	if err != nil || !c.Simulation() || c.TrustPolicy != "" || c.TrustKey != "" {
		return err
	}
	keeper := &keeper{path: layout.Path("trust", policyFile), roots: []string{layout.Path("keys", "root.key")}, password: layout.Path("secrets", "root.password"), now: time.Now()}
	if err := keeper.ensure(layout, public); err != nil {
		return fmt.Errorf("trust policy of %s: %w", layout.State, err)
	}
	p.Policy, p.PolicyPin = keeper.path, string(keeper.chain.Pin())
	return nil
}

// localPublic returns the public key of whoever signs, and keeps it in a file
// for those who verify with stock tools. The key file's own stays beside it.
func (a *app) localPublic(ctx context.Context, c config.Config, layout local.Layout) (*ecdsa.PublicKey, error) {
	if sources := c.KeySources(); len(sources) == 0 || slices.Equal(sources, []string{"COSIGN_KEY_PATH"}) {
		path := layout.Path("keys", "fabric.pub")
		if c.CosignKeyPath != "" {
			path = local.PublicKey(c.CosignKeyPath)
		}
		return readPublicKey(path)
	}
	key, err := a.keySource(ctx, c)
	if err != nil {
		return nil, err
	}
	text, err := artifact.MarshalPublicKey(key.Public())
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(layout.Path("keys"), 0o700); err != nil {
		return nil, err
	}
	return key.Public(), durable.Write(layout.Path("keys", "fabric.pub"), text, 0o644)
}

func readPublicKey(path string) (*ecdsa.PublicKey, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, usage(err)
	}
	key, err := artifact.ParsePublicKey(text)
	if err != nil {
		return nil, usage(fmt.Errorf("%s: %w", path, err))
	}
	return key, nil
}

// A keeper changes a policy file with the root keys that are at hand.
type keeper struct {
	path     string
	roots    []string // private key files
	password string   // file with their password; empty: COSIGN_PASSWORD
	secret   []byte   // the password itself, when there is no file
	now      time.Time
	chain    trust.Chain
}

// load reads the chain. The pin is that of the settings, or the file beside
// the policy in a state directory of ours.
func (k *keeper) load(pin string) error {
	if pin == "" {
		text, err := os.ReadFile(filepath.Join(filepath.Dir(k.path), pinFile))
		if err != nil {
			return usage(fmt.Errorf("set FABRIC_TRUST_ROOT to the digest of the first policy: %w", err))
		}
		pin = strings.TrimSpace(string(text))
	}
	digest, err := artifact.ParseDigest(pin)
	if err != nil {
		return usage(fmt.Errorf("FABRIC_TRUST_ROOT: %w", err))
	}
	text, err := os.ReadFile(k.path)
	if err != nil {
		return usage(err)
	}
	k.chain, err = trust.Open(text, digest, trust.Mark{})
	return err
}

// ensure makes the first policy, or what today asks for.
func (k *keeper) ensure(layout local.Layout, public *ecdsa.PublicKey) error {
	if _, err := os.Stat(k.path); errors.Is(err, fs.ErrNotExist) {
		return k.found(layout, public)
	}
	if err := k.load(""); err != nil {
		return err
	}
	head, _ := k.chain.Head()
	next, changed := k.chain.Next(k.now, policyLasts), k.now.Add(policySpare).After(head.ExpiresAt)
	rule := slices.IndexFunc(next.Rules, func(r trust.Rule) bool { return r.Name == trust.ControlPlane })
	if rule < 0 {
		return fmt.Errorf("%w: no rule %q", trust.ErrPolicy, trust.ControlPlane)
	}
	for _, predicateType := range trust.ControlPlanePredicates() {
		if !slices.Contains(next.Rules[rule].Predicates, predicateType) {
			next.Rules = slices.Clone(next.Rules)
			next.Rules[rule].Predicates = append(slices.Clone(next.Rules[rule].Predicates), predicateType)
			changed = true
		}
	}
	id := artifact.KeyID(public)
	if !slices.ContainsFunc(next.Keys, func(e trust.Key) bool { return e.ID == id }) {
		key, err := trust.NewKey(public, "fabric", k.now)
		if err != nil {
			return err
		}
		if next, err = next.Allow(key, trust.ControlPlane); err != nil {
			return err
		}
		changed = true
	}
	if !changed {
		return nil
	}
	return k.publish(next)
}

// found makes the root key and the first policy. If we crash before the last
// line, the next start makes them again, but for the key, which is there.
func (k *keeper) found(layout local.Layout, public *ecdsa.PublicKey) error {
	if _, err := layout.Generated("root.password"); err != nil {
		return err
	}
	if err := os.MkdirAll(layout.Path("keys"), 0o700); err != nil {
		return err
	}
	if _, err := os.Stat(k.roots[0]); errors.Is(err, fs.ErrNotExist) {
		secret, err := readSecret(k.password)
		if err != nil {
			return err
		}
		if err := cosign.GenerateKeyPair(filepath.Dir(k.roots[0]), strings.TrimSuffix(filepath.Base(k.roots[0]), ".key"), []byte(secret)); err != nil {
			return err
		}
	}
	rootPublic, err := readPublicKey(local.PublicKey(k.roots[0]))
	if err != nil {
		return err
	}
	root, err := trust.NewKey(rootPublic, "root of "+filepath.Base(layout.State), time.Time{})
	if err != nil {
		return err
	}
	signing, err := trust.NewKey(public, "fabric", k.now)
	if err != nil {
		return err
	}
	return k.publish(trust.First(root, signing, []string{trust.Simulation}, k.now, policyLasts))
}

// sign adds the bundles of the root keys at hand.
func (k *keeper) sign(p trust.Policy, bundles ...[]byte) (trust.Signed, error) {
	text, err := p.Encode()
	if err != nil {
		return trust.Signed{}, err
	}
	signed := trust.Signed{Policy: text}
	for _, b := range bundles {
		signed.Bundles = append(signed.Bundles, b)
	}
	statement, err := trust.Statement(p)
	if err != nil {
		return trust.Signed{}, err
	}
	for _, path := range k.roots {
		key, err := k.rootKey(path)
		if err != nil {
			return trust.Signed{}, err
		}
		bundle, err := artifact.SignStatement(rand.Reader, key, statement)
		if err != nil {
			return trust.Signed{}, err
		}
		signed.Bundles = append(signed.Bundles, bundle)
	}
	return signed, nil
}

func (k *keeper) rootKey(path string) (*ecdsa.PrivateKey, error) {
	secret := k.secret
	if k.password != "" {
		text, err := readSecret(k.password)
		if err != nil {
			return nil, err
		}
		secret = []byte(text)
	}
	key, err := cosign.LoadPrivateKey(path, secret)
	if err != nil {
		return nil, usage(fmt.Errorf("root key: %w", err))
	}
	return key, nil
}

// publish signs the policy and puts it into force.
func (k *keeper) publish(p trust.Policy) error {
	signed, err := k.sign(p)
	if err != nil {
		return err
	}
	return k.append(signed)
}

// append writes the longer chain. Readers see the whole of one or the other.
func (k *keeper) append(signed trust.Signed) error {
	chain, err := k.chain.Append(signed)
	if err != nil {
		return err
	}
	text, err := chain.Text()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(k.path), 0o700); err != nil {
		return err
	}
	if chain.Mark().Version == 1 {
		// Before the policy: a pin without one is made again.
		if err := durable.Write(filepath.Join(filepath.Dir(k.path), pinFile), []byte(chain.Pin()+"\n"), 0o644); err != nil {
			return err
		}
	}
	if err := durable.Write(k.path, text, 0o644); err != nil {
		return err
	}
	k.chain = chain
	return nil
}
