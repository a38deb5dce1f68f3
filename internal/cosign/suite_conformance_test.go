//go:build conformance

package cosign_test

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/trust"
	"github.com/atom-fabric/fabric/internal/cosign"
	"github.com/atom-fabric/fabric/internal/cosign/cosigntest"
	"github.com/atom-fabric/fabric/internal/hsm"
	"github.com/atom-fabric/fabric/internal/transit"
)

// token is the one that the transit server of a test takes.
const token = "hvs.test-token"

// A source is a place for keys: the first one in it, and what adds another
// after a rotation.
type source struct {
	name   string
	key    cosign.Key
	rotate func(t *testing.T) cosign.Key
}

// sources are a file, Vault's transit engine and a SoftHSM token. Those that a
// run leaves out are named by their variable as "none".
func sources(t *testing.T) []source {
	t.Helper()
	dir := t.TempDir()
	file := func(name string) cosign.Key {
		require.NoError(t, cosign.GenerateKeyPair(dir, name, []byte(cosigntest.Password)))
		key, err := cosign.LoadPrivateKey(filepath.Join(dir, name+".key"), []byte(cosigntest.Password))
		require.NoError(t, err)
		return cosign.LocalKey(key)
	}
	all := []source{{"file", file("one"), func(*testing.T) cosign.Key { return file("two") }}}
	if os.Getenv("TRANSIT_BIN") != "none" {
		o := startTransit(t)
		engine, err := transit.Connect(o)
		require.NoError(t, err)
		require.NoError(t, engine.Create(t.Context()))
		key, err := transit.Open(t.Context(), o)
		require.NoError(t, err)
		all = append(all, source{"transit", key, func(t *testing.T) cosign.Key {
			require.NoError(t, engine.Rotate(t.Context()))
			next, err := transit.Open(t.Context(), o)
			require.NoError(t, err)
			return next
		}})
	}
	if os.Getenv("SOFTHSM_MODULE") != "none" {
		pin := startToken(t)
		uri := func(label string) string {
			return "pkcs11:token=fl;object=" + label + "?module-path=" + os.Getenv("SOFTHSM_MODULE")
		}
		generate := func(label string) cosign.Key {
			key, err := hsm.Generate(uri(label), pin)
			require.NoError(t, err)
			t.Cleanup(func() { key.Close() })
			return key
		}
		all = append(all, source{"token", generate("one"), func(*testing.T) cosign.Key { return generate("two") }})
	}
	return all
}

// startTransit runs the real transit engine, and returns a key's name in it.
func startTransit(t *testing.T) transit.Options {
	t.Helper()
	binary := os.Getenv("TRANSIT_BIN")
	require.FileExists(t, binary, "TRANSIT_BIN must name the server of tools/transit")
	ctx, cancel := context.WithCancel(context.Background())
	command := exec.CommandContext(ctx, binary, "127.0.0.1:0", "transit")
	command.Env = []string{"TRANSIT_TOKEN=" + token}
	command.Stderr = os.Stderr
	out, err := command.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, command.Start())
	t.Cleanup(func() { cancel(); _ = command.Wait() }) // killed
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	return transit.Options{Address: strings.TrimSpace(line), Token: token, Name: "fabric"}
}

// startToken makes a SoftHSM token of its own, and returns its PIN.
func startToken(t *testing.T) string {
	t.Helper()
	module := os.Getenv("SOFTHSM_MODULE")
	require.FileExists(t, module, "SOFTHSM_MODULE must name SoftHSM's library (Debian: softhsm2)")
	dir := t.TempDir()
	config := filepath.Join(dir, "softhsm2.conf")
	require.NoError(t, os.WriteFile(config, []byte("directories.tokendir = "+dir+"\nobjectstore.backend = file\nlog.level = ERROR\n"), 0o600))
	t.Setenv("SOFTHSM2_CONF", config)
	out, err := exec.Command("softhsm2-util", "--init-token", "--free", "--label", "fl", "--so-pin", "1234", "--pin", "5678").CombinedOutput()
	require.NoError(t, err, "%s", out)
	return "5678"
}

// Keys in a file, in transit and in a token are one to whoever signs, verifies
// or judges: ours, and the stock command lines. After a rotation the old
// artefact verifies as one that was accepted before it, the new one as one that
// comes in, and what the old key makes afterwards does not.
func TestConformanceEveryKeySourceSignsAndRotates(t *testing.T) {
	for _, from := range sources(t) {
		t.Run(from.name, func(t *testing.T) {
			root := cosign.LocalKey(newPrivate(t))
			day := time.Date(2026, 3, 3, 9, 0, 0, 0, time.UTC)
			old := sealed(t, from.key)
			next := from.rotate(t)
			require.False(t, next.Public().Equal(from.key.Public()), "a rotation makes another key")
			require.NotEqual(t, from.key.Version(), next.Version())
			young, late := sealed(t, next), sealed(t, from.key)

			chain := rotated(t, root, from.key, next, day)
			clock, accepted := day.Add(30*24*time.Hour), map[artifact.Digest]time.Time{artifact.DigestOf(old): day.Add(time.Hour)}
			judge, err := chain.Judge()
			require.NoError(t, err)
			verifier := cosign.NewPolicyVerifier(cosign.Options{
				Trust: judge, Environment: trust.Simulation, Now: func() time.Time { return clock },
				Accepted: func(_ context.Context, bundle artifact.Digest) (time.Time, error) { return accepted[bundle], nil },
			})
			verify := func(bundle []byte) error {
				_, err := verifier.Verify(t.Context(), bundle, artifact.PredicateModelPackage, artifact.DigestOf(manifest))
				return err
			}
			require.NoError(t, verify(old), "accepted before the rotation")
			require.NoError(t, verify(young))
			require.ErrorIs(t, verify(late), trust.ErrRetired, "the old key, after its time")

			cosigntest.Each(t, func(t *testing.T, s cosigntest.Stock) {
				for name, made := range map[string]struct {
					key    cosign.Key
					bundle []byte
				}{"old": {from.key, old}, "new": {next, young}} {
					pem, err := artifact.MarshalPublicKey(made.key.Public())
					require.NoError(t, err)
					s.Write(t, "signer.pub", pem)
					s.Write(t, "bundle.json", made.bundle)
					s.Write(t, "manifest.json", manifest)
					files := cosign.Files{Key: "signer.pub", Bundle: "bundle.json", TrustedRoot: cosigntest.TrustedRoot, Content: "manifest.json"}
					_, err = s.Shell(t, cosign.VerifyAttestationCommand(files, artifact.PredicateModelPackage))
					require.NoError(t, err, name)
				}
			})
		})
	}
}

func sealed(t *testing.T, key cosign.Key) []byte {
	t.Helper()
	signer, err := cosign.NewKeySigner(key)
	require.NoError(t, err)
	bundle, err := signer.Sign(t.Context(), statementAbout(t, manifest))
	require.NoError(t, err)
	return bundle
}

// rotated is a policy that trusted one key, and a day later the next.
func rotated(t *testing.T, root, old, next cosign.Key, day time.Time) trust.Chain {
	t.Helper()
	entry := func(key cosign.Key, from time.Time) trust.Key {
		k, err := trust.NewKey(key.Public(), "fabric", from)
		require.NoError(t, err)
		return k
	}
	var chain trust.Chain
	add := func(p trust.Policy) {
		statement, err := trust.Statement(p)
		require.NoError(t, err)
		payload, err := statement.Encode()
		require.NoError(t, err)
		signer, err := cosign.NewKeySigner(root)
		require.NoError(t, err)
		bundle, err := signer.Sign(t.Context(), payload)
		require.NoError(t, err)
		text, err := p.Encode()
		require.NoError(t, err)
		signed := trust.Signed{Policy: text}
		signed.Bundles = append(signed.Bundles, bundle)
		chain, err = chain.Append(signed)
		require.NoError(t, err)
	}
	add(trust.First(entry(root, time.Time{}), entry(old, day), []string{trust.Simulation}, day, 365*24*time.Hour))
	at := day.Add(24 * time.Hour)
	p, err := chain.Next(at, 365*24*time.Hour).Rotate(artifact.KeyID(old.Public()), entry(next, at), at, time.Hour)
	require.NoError(t, err)
	add(p)
	return chain
}

// The stock command lines sign through the same engine, by its address alone.
func TestConformanceStockCosignSignsInTransit(t *testing.T) {
	if os.Getenv("TRANSIT_BIN") == "none" {
		t.Log("transit is left out of this run")
		return
	}
	o := startTransit(t)
	engine, err := transit.Connect(o)
	require.NoError(t, err)
	require.NoError(t, engine.Create(t.Context()))
	cosigntest.Each(t, func(t *testing.T, s cosigntest.Stock) {
		s.Env = append(s.Env, "VAULT_ADDR="+o.Address, "VAULT_TOKEN="+o.Token, "TRANSIT_SECRET_ENGINE_PATH=transit")
		bundle := attest(t, s, "hashivault://"+o.Name, artifact.PredicateModelPackage, `{"model":"tumour"}`)
		versions, err := engine.Versions(t.Context())
		require.NoError(t, err)
		verifier, err := cosign.NewVerifier(versions[len(versions)-1].Key)
		require.NoError(t, err)
		_, err = verifier.Verify(t.Context(), bundle, artifact.PredicateModelPackage, artifact.DigestOf(manifest))
		require.NoError(t, err)
	})
}

// A version is pinned when it is opened: a rotation behind the signer's back
// changes nothing, and what the server will not sign with is refused.
func TestConformanceTransitPinsTheVersion(t *testing.T) {
	if os.Getenv("TRANSIT_BIN") == "none" {
		t.Log("transit is left out of this run")
		return
	}
	o := startTransit(t)
	engine, err := transit.Connect(o)
	require.NoError(t, err)
	_, err = engine.Versions(t.Context())
	require.ErrorIs(t, err, transit.ErrMissing)
	require.NoError(t, engine.Create(t.Context()))
	key, err := transit.Open(t.Context(), o)
	require.NoError(t, err)
	require.Equal(t, "fabric:v1", key.Version())
	require.NoError(t, engine.Rotate(t.Context()))
	verifier, err := cosign.NewVerifier(key.Public())
	require.NoError(t, err)
	_, err = verifier.Verify(t.Context(), sealed(t, key), artifact.PredicateModelPackage, artifact.DigestOf(manifest))
	require.NoError(t, err)

	o.Version = 1
	first, err := transit.Open(t.Context(), o)
	require.NoError(t, err)
	require.True(t, first.Public().Equal(key.Public()))
	o.Version = 3
	_, err = transit.Open(t.Context(), o)
	require.ErrorIs(t, err, transit.ErrMissing)

	o.Version, o.Token = 0, "hvs.another-token"
	_, err = transit.Open(t.Context(), o)
	require.ErrorIs(t, err, transit.ErrServer)
	require.NotContains(t, err.Error(), o.Token)
}
