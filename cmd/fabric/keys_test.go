package main

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/trust"
	"github.com/atom-fabric/fabric/internal/cosign"
)

func (d *desk) keyID(public string) string {
	d.t.Helper()
	key, err := readPublicKey(public)
	require.NoError(d.t, err)
	return string(artifact.KeyID(key))
}

func TestKeysGenerate(t *testing.T) {
	d := newDesk(t)
	out := d.ok("keys", "generate", "one", "--dir", d.dir)
	require.Contains(t, out, d.path("one.key"))
	info, err := os.Stat(d.path("one.key"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	key, err := cosign.LoadPrivateKey(d.path("one.key"), []byte(password))
	require.NoError(t, err)
	public, err := readPublicKey(d.path("one.pub"))
	require.NoError(t, err)
	require.True(t, public.Equal(&key.PublicKey))

	before := d.read("one.key")
	d.fails(exitConflict, "one.key", "keys", "generate", "one", "--dir", d.dir)
	require.Equal(t, before, d.read("one.key"), "a private key is never replaced")

	d.fails(exitUsage, "transit: options", "keys", "generate", "two", "--dir", d.dir, "--in", "transit")
	d.with("VAULT_ADDR=http://127.0.0.1:1").fails(exitUsage, "no token", "keys", "generate", "two", "--dir", d.dir, "--in", "transit")
	d.fails(exitUsage, "FABRIC_PKCS11_URI", "keys", "generate", "two", "--dir", d.dir, "--in", "token")
	_, err = os.Stat(d.path("two.pub"))
	require.ErrorIs(t, err, os.ErrNotExist)
}

// people are key pairs by their file's name, made once: their passwords are
// slow to turn into keys, and should be.
var people = sync.OnceValues(func() (map[string]string, error) {
	dir, err := os.MkdirTemp("", "fabric-people-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	files := map[string]string{}
	for _, name := range []string{"fabric", "ann", "bob", "cyd", "stranger", "second"} {
		if err := cosign.GenerateKeyPair(dir, name, []byte(password)); err != nil {
			return nil, err
		}
		for _, file := range []string{name + ".key", name + ".pub"} {
			text, err := os.ReadFile(filepath.Join(dir, file))
			if err != nil {
				return nil, err
			}
			files[file] = string(text)
		}
	}
	return files, nil
})

// council makes three root keys and a signing key, and returns a desk whose
// policy is to be signed by two of the three.
func council(t *testing.T) *desk {
	t.Helper()
	d := newDesk(t)
	pairs, err := people()
	require.NoError(t, err)
	for name, text := range pairs {
		d.write(name, text)
	}
	return d.with("FABRIC_TRUST_POLICY="+d.path("policy.jsonl"), "COSIGN_KEY_PATH="+d.path("fabric.key"))
}

func (d *desk) found(args ...string) []string {
	return append([]string{"keys", "policy", "init", "--key", d.path("fabric.pub"), "--threshold", "2", "--environment", "simulation",
		"--root", d.path("ann.pub") + "," + d.path("bob.pub") + "," + d.path("cyd.pub")}, args...)
}

// root names private root keys.
func (d *desk) root(names ...string) string {
	for i := range names {
		names[i] = d.path(names[i] + ".key")
	}
	return "--root-key=" + strings.Join(names, ",")
}

// inForce has the first policy in force, and the pin in its settings.
func inForce(t *testing.T) *desk {
	t.Helper()
	d := council(t)
	out := d.ok(d.found(d.root("ann", "bob"))...)
	_, pin, ok := strings.Cut(out, "FABRIC_TRUST_ROOT=")
	require.True(t, ok, out)
	return d.with("FABRIC_TRUST_ROOT=" + strings.TrimSpace(pin))
}

func TestAPolicyIsMadeByTwoOfThreeRoots(t *testing.T) {
	d := council(t)
	draft := d.path("draft.json")
	d.fails(exitFailure, trust.ErrThreshold.Error(), d.found(d.root("ann"))...)
	d.fails(exitFailure, trust.ErrThreshold.Error(), d.found(d.root("ann", "ann"))...)
	d.fails(exitFailure, trust.ErrThreshold.Error(), d.found(d.root("ann", "stranger"))...)
	_, err := os.Stat(d.path("policy.jsonl"))
	require.ErrorIs(t, err, os.ErrNotExist, "nothing is in force")

	require.Contains(t, d.ok(d.found(d.root("ann"), "--draft", draft)...), "more root keys must sign")
	require.Contains(t, d.ok("keys", "policy", "sign", draft, d.root("ann"), "--draft", draft), "more root keys must sign", "the same one again is not a second one")
	require.Contains(t, d.ok("keys", "policy", "sign", draft, d.root("stranger"), "--draft", draft), "more root keys must sign", "nor is a stranger")
	_, err = os.Stat(d.path("policy.jsonl"))
	require.ErrorIs(t, err, os.ErrNotExist)
	require.Contains(t, d.ok("keys", "policy", "sign", draft, d.root("cyd")), "version 1 is in force")

	shown := d.ok("keys", "policy")
	require.Contains(t, shown, "2 of 3 keys")
	require.Contains(t, shown, trust.ControlPlane)
	require.Contains(t, shown, strings.TrimSpace(d.read("root")), "the pin lies beside the policy")
	d.fails(exitConflict, "policy.jsonl", d.found(d.root("ann", "bob"))...)
	d.fails(exitUsage, "unknown key", "keys", "policy", "sign", d.write("junk", `{"policy":{},"Policy":{}}`), d.root("ann"))
	d.with("FABRIC_TRUST_ROOT="+string(artifact.DigestOf(nil))).fails(exitFailure, trust.ErrPin.Error(), "keys", "list")
	d.with("FABRIC_TRUST_ROOT=x").fails(exitUsage, "FABRIC_TRUST_ROOT", "keys", "list")
}

func TestWhatNoPolicyIsMadeOf(t *testing.T) {
	d := council(t)
	good := d.root("ann", "bob")
	tests := []struct {
		name, says string
		desk       *desk
		args       []string
	}{
		{"no signing key", "no such file", d, []string{"--key", d.path("none.pub")}},
		{"a private key to sign with", `not exactly one PEM block "PUBLIC KEY"`, d, []string{"--key", d.path("fabric.key")}},
		{"more signatures than keys", "threshold", d, []string{"--threshold", "4"}},
		{"an environment that nobody knows", "environment", d, []string{"--environment", "staging"}},
		{"a private root key as a public one", "not an ECDSA", d, []string{"--root", d.path("ann.key")}},
		{"a root key that is not there", "root key", d, []string{d.root("none")}},
		{"a wrong password", "wrong password", d.with("COSIGN_PASSWORD=battery"), nil},
		{"a root key that signs packages too", "", d, []string{"--key", d.path("ann.pub")}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.desk.fails(exitUsage, tt.says, tt.desk.found(append([]string{good}, tt.args...)...)...)
			_, err := os.Stat(d.path("policy.jsonl"))
			require.ErrorIs(t, err, os.ErrNotExist)
		})
	}
}

func (d *desk) rows() map[string]keyRow {
	d.t.Helper()
	var list []keyRow
	require.NoError(d.t, json.Unmarshal([]byte(d.ok("keys", "list", "-o", "json")), &list))
	rows := map[string]keyRow{}
	for _, r := range list {
		rows[string(r.Key)] = r
	}
	return rows
}

func TestKeysAreAddedAndRevoked(t *testing.T) {
	d := inForce(t)
	second := d.path("second.pub")
	rows := d.rows()
	require.Len(t, rows, 4)
	require.Equal(t, []string{"root"}, rows[d.keyID(d.path("ann.pub"))].Rules)
	require.Equal(t, []string{trust.ControlPlane}, rows[d.keyID(d.path("fabric.pub"))].Rules)

	before := d.read("policy.jsonl")
	d.fails(exitFailure, trust.ErrThreshold.Error(), "keys", "add", second, d.root("ann"))
	d.fails(exitUsage, "no rule", "keys", "add", second, d.root("ann", "bob"), "--rule", "nobody")
	d.fails(exitUsage, "PUBLIC KEY", "keys", "add", d.path("second.key"), d.root("ann", "bob"))
	d.fails(exitNotFound, trust.ErrUnknownKey.Error(), "keys", "revoke", second, d.root("ann", "bob"), "--reason", "stolen")
	d.fails(exitUsage, "--since", "keys", "revoke", d.path("fabric.pub"), d.root("ann", "bob"), "--reason", "stolen", "--since", "yesterday")
	require.Equal(t, before, d.read("policy.jsonl"), "what was refused changed nothing")

	require.Contains(t, d.ok("keys", "add", second, d.root("ann", "cyd"), "--owner", "north"), "version 2 is in force")
	require.Equal(t, "active", d.rows()[d.keyID(second)].State)
	require.Contains(t, d.ok("keys", "list"), "north")
	d.fails(exitUsage, "", "keys", "add", second, d.root("ann", "cyd")) // it is there

	since := time.Now().Add(-time.Hour).UTC().Format(time.RFC3339)
	d.ok("keys", "revoke", d.keyID(second), d.root("bob", "cyd"), "--reason", "stolen laptop", "--since", since)
	row := d.rows()[d.keyID(second)]
	require.Equal(t, "revoked", row.State)
	require.Equal(t, "stolen laptop", row.Reason)
	require.Equal(t, since, row.RevokedAt.Format(time.RFC3339))
	require.Contains(t, d.ok("keys", "list"), "stolen laptop")
}

func TestAKeyFileIsRotated(t *testing.T) {
	d := inForce(t)
	old, oldPair := d.keyID(d.path("fabric.pub")), d.read("fabric.key")
	before := d.read("policy.jsonl")
	d.fails(exitUsage, "--draft needs --new", "keys", "rotate", d.root("ann"), "--draft", d.path("draft"))
	d.fails(exitUsage, "sha256:x", "keys", "rotate", d.root("ann", "bob"), "--old", "sha256:x")
	d.fails(exitFailure, trust.ErrThreshold.Error(), "keys", "rotate", d.root("ann"))
	require.Equal(t, oldPair, d.read("fabric.key"), "a key is put in place only when the policy is in force")
	require.Equal(t, before, d.read("policy.jsonl"))
	d.with("VAULT_ADDR=http://127.0.0.1:1", "VAULT_TOKEN=hvs.hush").fails(exitUsage, "VAULT_ADDR", "keys", "rotate", d.root("ann", "bob"))
	at := d.without("COSIGN_KEY_PATH")
	at.with("FABRIC_PKCS11_URI=pkcs11:token=t;object=o?module-path=/x").fails(exitUsage, "--new", "keys", "rotate", d.root("ann", "bob"))

	out := d.ok("keys", "rotate", d.root("ann", "bob"), "--overlap", "2h")
	fresh := d.keyID(d.path("fabric.pub"))
	require.NotEqual(t, old, fresh)
	require.Contains(t, out, fresh+" takes over from "+old)
	rows := d.rows()
	require.Equal(t, "retiring", rows[old].State)
	require.Equal(t, "active", rows[fresh].State)
	require.WithinDuration(t, time.Now().Add(2*time.Hour), rows[old].NotAfter, time.Minute)
	kept := d.path("fabric-" + strings.TrimPrefix(old, "sha256:")[:12])
	require.Equal(t, old, d.keyID(kept+".pub"))
	_, err := cosign.LoadPrivateKey(kept+".key", []byte(password))
	require.NoError(t, err)
	_, err = cosign.LoadPrivateKey(d.path("fabric.key"), []byte(password))
	require.NoError(t, err, "under the same password")

	t.Run("and a draft of the next, with the key given", func(t *testing.T) {
		third, draft := d.path("second.pub"), d.path("draft.json")
		require.Contains(t, d.ok("keys", "rotate", "--new", third, d.root("cyd"), "--draft", draft), "more root keys")
		require.NotContains(t, d.rows(), d.keyID(third))
		require.Contains(t, d.ok("keys", "policy", "sign", draft, d.root("bob")), "version 3 is in force")
		require.Equal(t, "active", d.rows()[d.keyID(third)].State)
	})
}

// without returns the desk without a setting.
func (d *desk) without(name string) *desk {
	out := *d
	out.env = nil
	for _, setting := range d.env {
		if !strings.HasPrefix(setting, name+"=") {
			out.env = append(out.env, setting)
		}
	}
	return &out
}

func TestAPolicyIsExportedForStockTools(t *testing.T) {
	d := inForce(t)
	out := d.ok("keys", "policy", "export", d.path("export"))
	require.Equal(t, 2, strings.Count(out, "cosign verify-blob-attestation"))
	policy := artifact.DigestOf([]byte(d.read("export/policy.json")))
	signers := map[string]bool{}
	for i := 1; i <= 2; i++ {
		public, err := readPublicKey(d.path(fmt.Sprintf("export/root-%d.pub", i)))
		require.NoError(t, err)
		_, err = artifact.VerifyBundle([]*ecdsa.PublicKey{public}, []byte(d.read(fmt.Sprintf("export/bundle-%d.json", i))), artifact.PredicateTrustPolicy, policy)
		require.NoError(t, err)
		signers[string(artifact.KeyID(public))] = true
	}
	require.Equal(t, map[string]bool{d.keyID(d.path("ann.pub")): true, d.keyID(d.path("bob.pub")): true}, signers)
	require.Equal(t, cosign.TrustedRoot, d.read("export/trusted-root.json"))
}

func TestABlobOfStockCosign(t *testing.T) {
	d := council(t)
	public := d.path("fabric.pub")
	key, err := cosign.LoadPrivateKey(d.path("fabric.key"), []byte(password))
	require.NoError(t, err)
	sum := sha256.Sum256([]byte("content"))
	signature, err := ecdsa.SignASN1(rand.Reader, key, sum[:])
	require.NoError(t, err)
	text := base64.StdEncoding.EncodeToString
	bundle := fmt.Sprintf(`{"mediaType":%q,"verificationMaterial":{"publicKey":{"hint":"x"}},"messageSignature":{"messageDigest":{"algorithm":"SHA2_256","digest":%q},"signature":%q}}`,
		artifact.MediaTypeBundle, text(sum[:]), text(signature))
	file, at := d.write("content", "content"), d.write("bundle.json", bundle)

	out := d.ok("keys", "verify-blob", file, "--bundle", at, "--key", public)
	require.Contains(t, out, d.keyID(public))
	require.Contains(t, out, string(artifact.DigestOf([]byte("content"))))
	d.fails(exitFailure, artifact.ErrUntrusted.Error(), "keys", "verify-blob", file, "--bundle", at, "--key", d.path("stranger.pub"))
	d.fails(exitFailure, artifact.ErrDigestClaim.Error(), "keys", "verify-blob", d.write("other", "contents"), "--bundle", at, "--key", public)
	d.fails(exitFailure, artifact.ErrTooLarge.Error(), "keys", "verify-blob", file, "--bundle", d.write("large", bundle+strings.Repeat(" ", artifact.MaxBundle)), "--key", public)
	for _, args := range [][]string{{file, "--bundle", at}, {file, "--key", public}, {d.path("none"), "--bundle", at, "--key", public},
		{file, "--bundle", d.path("none"), "--key", public}, {file, "--bundle", at, "--key", d.path("fabric.key")}} {
		d.fails(exitUsage, "", append([]string{"keys", "verify-blob"}, args...)...)
	}
}
