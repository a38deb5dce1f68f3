package cosign_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/secure-systems-lab/go-securesystemslib/encrypted"
	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/internal/cosign"
)

func password() ([]byte, error) { return []byte("correct horse"), nil }

// manifest stands for the OCI manifest of a promoted model's package: the
// subject of its statement is the digest of these bytes.
var manifest = []byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","layers":[]}`)

func statementAbout(t *testing.T, content []byte) []byte {
	t.Helper()
	s, err := artifact.NewStatement("models/north/tumour", artifact.DigestOf(content), artifact.PredicateModelPackage, map[string]string{"model": "tumour"})
	require.NoError(t, err)
	encoded, err := s.Encode()
	require.NoError(t, err)
	return encoded
}

func generate(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	require.NoError(t, cosign.GenerateKeyPair(dir, "fabric", []byte("correct horse")))
	return dir
}

func readPublic(t *testing.T, path string) *ecdsa.PublicKey {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	key, err := artifact.ParsePublicKey(text)
	require.NoError(t, err)
	return key
}

func TestKeyPair(t *testing.T) {
	dir := generate(t)
	path := filepath.Join(dir, "fabric.key")

	key, err := cosign.LoadPrivateKey(path, []byte("correct horse"))
	require.NoError(t, err)
	require.True(t, readPublic(t, filepath.Join(dir, "fabric.pub")).Equal(&key.PublicKey))

	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	names, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, names, 2, "nothing is left beside the two files")

	t.Run("is never replaced", func(t *testing.T) {
		before, err := os.ReadFile(path)
		require.NoError(t, err)
		require.ErrorIs(t, cosign.GenerateKeyPair(dir, "fabric", []byte("other")), os.ErrExist)
		after, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, before, after)
	})
}

func TestLoadPrivateKeyRefuses(t *testing.T) {
	dir := generate(t)
	good, err := os.ReadFile(filepath.Join(dir, "fabric.key"))
	require.NoError(t, err)
	block, _ := pem.Decode(good)
	var sealed map[string]any
	require.NoError(t, json.Unmarshal(block.Bytes, &sealed))
	encode := func(kind string, body []byte) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: body})
	}
	seal := func(key any) []byte {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		require.NoError(t, err)
		body, err := encrypted.Encrypt(der, []byte("correct horse"))
		require.NoError(t, err)
		return encode("ENCRYPTED SIGSTORE PRIVATE KEY", body)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	require.NoError(t, err)
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	factors, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	costly := func() []byte { // 2^31 rounds would take terabytes
		sealed["kdf"].(map[string]any)["params"].(map[string]any)["N"] = 1 << 31
		body, err := json.Marshal(sealed)
		require.NoError(t, err)
		return encode(block.Type, body)
	}
	wrong := func() ([]byte, error) { return []byte("correct horsf"), nil }
	away := errors.New("vault is sealed")

	tests := []struct {
		name     string
		content  []byte
		mode     os.FileMode
		password cosign.PasswordFunc
		want     error
	}{
		{"a file that its group can read", good, 0o640, password, cosign.ErrExposed},
		{"a file that others can read", good, 0o604, password, cosign.ErrExposed},
		{"a wrong password", good, 0o600, wrong, cosign.ErrPassword},
		{"a password that cannot be had", good, 0o600, func() ([]byte, error) { return nil, away }, away},
		{"an empty file", nil, 0o600, password, cosign.ErrKeyFile},
		{"a second key in the file", append(append([]byte{}, good...), good...), 0o600, password, cosign.ErrKeyFile},
		{"a key that is not encrypted", encode("PRIVATE KEY", block.Bytes), 0o600, password, cosign.ErrKeyFile},
		{"a file larger than a key file", append(append([]byte{}, good...), make([]byte, 64<<10)...), 0o600, password, cosign.ErrKeyFile},
		{"an altered file", encode(block.Type, []byte(`{"kdf":{}}`)), 0o600, password, cosign.ErrPassword},
		{"a password that would take years to check", costly(), 0o600, password, cosign.ErrPassword},
		{"a key on P-384", seal(p384), 0o600, password, artifact.ErrKey},
		{"an Ed25519 key", seal(edwards), 0o600, password, artifact.ErrKey},
		{"an RSA key", seal(factors), 0o600, password, artifact.ErrKey},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "fabric.key")
			require.NoError(t, os.WriteFile(path, tt.content, 0o600))
			require.NoError(t, os.Chmod(path, tt.mode))
			_, err := cosign.LoadSigner(path, tt.password)
			require.ErrorIs(t, err, tt.want)
			var who *cosign.KeyError
			require.ErrorAs(t, err, &who)
			require.Equal(t, path, who.Path)
			require.NotContains(t, err.Error(), "correct hors")
		})
	}
	t.Run("a file that is missing", func(t *testing.T) {
		_, err := cosign.LoadSigner(filepath.Join(dir, "none.key"), password)
		require.ErrorIs(t, err, os.ErrNotExist)
	})
	t.Run("a folder", func(t *testing.T) {
		_, err := cosign.LoadSigner(dir, password)
		require.ErrorIs(t, err, cosign.ErrKeyFile)
	})
}
