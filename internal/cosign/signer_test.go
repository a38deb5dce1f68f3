package cosign_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/internal/cosign"
)

var (
	_ activities.Signer   = (*cosign.Signer)(nil)
	_ activities.Verifier = (*cosign.Verifier)(nil)
)

func newSigner(t testing.TB) *cosign.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	signer, err := cosign.NewSigner(key)
	require.NoError(t, err)
	return signer
}

func TestSignAndVerify(t *testing.T) {
	ctx := context.Background()
	signer, stranger := newSigner(t), newSigner(t)
	bundle, err := signer.Sign(ctx, statementAbout(t, manifest))
	require.NoError(t, err)
	subject := artifact.DigestOf(manifest)

	tests := []struct {
		name          string
		keys          []*ecdsa.PublicKey
		predicateType string
		subject       artifact.Digest
		want          error
	}{
		{"accepts the signer's key", []*ecdsa.PublicKey{signer.PublicKey()}, artifact.PredicateModelPackage, subject, nil},
		{"accepts it among others", []*ecdsa.PublicKey{stranger.PublicKey(), signer.PublicKey()}, artifact.PredicateModelPackage, subject, nil},
		{"refuses another key", []*ecdsa.PublicKey{stranger.PublicKey()}, artifact.PredicateModelPackage, subject, artifact.ErrUntrusted},
		{"refuses another predicate type", []*ecdsa.PublicKey{signer.PublicKey()}, artifact.PredicatePromotion, subject, artifact.ErrPredicateType},
		{"refuses another subject", []*ecdsa.PublicKey{signer.PublicKey()}, artifact.PredicateModelPackage, artifact.DigestOf(nil), artifact.ErrSubject},
		{"refuses a subject that is no digest", []*ecdsa.PublicKey{signer.PublicKey()}, artifact.PredicateModelPackage, "", artifact.ErrSubject},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			verifier, err := cosign.NewVerifier(tt.keys...)
			require.NoError(t, err)
			predicate, err := verifier.Verify(ctx, bundle, tt.predicateType, tt.subject)
			if tt.want == nil {
				require.NoError(t, err)
				require.JSONEq(t, `{"model":"tumour"}`, string(predicate))
				return
			}
			require.ErrorIs(t, err, tt.want)
			require.Nil(t, predicate)
		})
	}
}

// Both signers write the same bytes but for the signature.
func TestBothSignersWriteOneForm(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	signer, err := cosign.NewSigner(key)
	require.NoError(t, err)
	plane, err := signer.Sign(context.Background(), statementAbout(t, manifest))
	require.NoError(t, err)
	statement, err := artifact.ParseStatement(statementAbout(t, manifest))
	require.NoError(t, err)
	site, err := artifact.SignStatement(rand.Reader, key, statement)
	require.NoError(t, err)
	require.Equal(t, unsigned(t, site), unsigned(t, plane))
}

func unsigned(t *testing.T, bundle []byte) map[string]any {
	var fields map[string]any
	require.NoError(t, json.Unmarshal(bundle, &fields))
	signature := fields["dsseEnvelope"].(map[string]any)["signatures"].([]any)[0].(map[string]any)
	require.NotEmpty(t, signature["sig"])
	signature["sig"] = ""
	return fields
}

func TestSignRefuses(t *testing.T) {
	signer := newSigner(t)
	_, err := signer.Sign(context.Background(), []byte(`{"decision":"approve"}`))
	require.ErrorIs(t, err, artifact.ErrStatement)

	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = signer.Sign(ctx, statementAbout(t, manifest))
	require.ErrorIs(t, err, context.Canceled)
}

func TestNobodyIsTrustedByDefault(t *testing.T) {
	_, err := cosign.NewVerifier()
	require.ErrorIs(t, err, cosign.ErrNoKeys)
	_, err = cosign.NewVerifier(nil)
	require.ErrorIs(t, err, artifact.ErrKey)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	require.NoError(t, err)
	_, err = cosign.NewVerifier(&p384.PublicKey)
	require.ErrorIs(t, err, artifact.ErrKey)
	_, err = cosign.NewSigner(p384)
	require.ErrorIs(t, err, artifact.ErrKey)
}

func TestSignersAndVerifiersAreShared(t *testing.T) {
	signer := newSigner(t)
	verifier, err := cosign.NewVerifier(signer.PublicKey())
	require.NoError(t, err)
	statement := statementAbout(t, manifest)
	var workers sync.WaitGroup
	for range 8 {
		workers.Go(func() {
			bundle, err := signer.Sign(context.Background(), statement)
			if err == nil {
				_, err = verifier.Verify(context.Background(), bundle, artifact.PredicateModelPackage, artifact.DigestOf(manifest))
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	workers.Wait()
}

func BenchmarkVerify(b *testing.B) {
	signer := newSigner(b)
	statement, err := artifact.NewStatement("", artifact.DigestOf(manifest), artifact.PredicateModelPackage, map[string]string{"model": "tumour"})
	require.NoError(b, err)
	encoded, err := statement.Encode()
	require.NoError(b, err)
	bundle, err := signer.Sign(context.Background(), encoded)
	require.NoError(b, err)
	verifier, err := cosign.NewVerifier(signer.PublicKey())
	require.NoError(b, err)
	for b.Loop() {
		_, err := verifier.Verify(context.Background(), bundle, artifact.PredicateModelPackage, artifact.DigestOf(manifest))
		require.NoError(b, err)
	}
}

func newPrivate(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return key
}
