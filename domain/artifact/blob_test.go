package artifact_test

import (
	"bytes"
	"crypto/ecdsa"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/artifact"
)

// blobVectors are written by tests/vectors/bundle/generate.py.
type blobVectors struct {
	Trusted struct {
		PEM string
		ID  artifact.Digest
	}
	Blob struct {
		Content string
		Cases   []struct{ Name, Why, Bundle string }
	}
}

func readBlobs(t *testing.T) (blobVectors, []*ecdsa.PublicKey, artifact.Digest) {
	t.Helper()
	text, err := os.ReadFile("../../tests/vectors/bundle/vectors.json")
	require.NoError(t, err)
	var v blobVectors
	require.NoError(t, json.Unmarshal(text, &v))
	require.NotEmpty(t, v.Blob.Cases)
	key, err := artifact.ParsePublicKey([]byte(v.Trusted.PEM))
	require.NoError(t, err)
	return v, []*ecdsa.PublicKey{key}, artifact.DigestOf([]byte(v.Blob.Content))
}

func TestVerifyBlob(t *testing.T) {
	v, keys, content := readBlobs(t)
	reasons := map[string]error{"form": artifact.ErrBundle, "untrusted": artifact.ErrUntrusted, "digest": artifact.ErrDigestClaim}
	for _, c := range v.Blob.Cases {
		t.Run(c.Name, func(t *testing.T) {
			got, err := artifact.VerifyBlob(keys, []byte(c.Bundle), content)
			_, asStatement := artifact.ParseBundle([]byte(c.Bundle))
			require.Equal(t, c.Name == "a statement instead", asStatement == nil, "a bare signature is no statement")
			if c.Why == "" {
				require.NoError(t, err)
				require.Equal(t, v.Trusted.ID, got)
				return
			}
			require.Contains(t, reasons, c.Why)
			require.ErrorIs(t, err, reasons[c.Why])
			require.Empty(t, got)
			var who *artifact.VerifyError
			require.ErrorAs(t, err, &who)
			require.Equal(t, content, who.Subject)
		})
	}
}

func TestVerifyBlobAsksForBytesOfADigest(t *testing.T) {
	v, keys, content := readBlobs(t)
	good := v.Blob.Cases[0].Bundle
	_, err := artifact.VerifyBlob(keys, []byte(good), artifact.DigestOf([]byte("another blob")))
	require.ErrorIs(t, err, artifact.ErrDigestClaim)
	_, err = artifact.VerifyBlob(keys, []byte(good), "")
	require.ErrorIs(t, err, artifact.ErrDigest)
	_, err = artifact.VerifyBlob(nil, []byte(good), content)
	require.ErrorIs(t, err, artifact.ErrUntrusted)
	_, err = artifact.VerifyBlob([]*ecdsa.PublicKey{nil}, []byte(good), content)
	require.ErrorIs(t, err, artifact.ErrUntrusted)
	_, err = artifact.VerifyBlob(keys, []byte(good+strings.Repeat(" ", artifact.MaxBundle)), content)
	require.ErrorIs(t, err, artifact.ErrTooLarge)
	require.NotContains(t, err.Error(), "()", "there is no type to be named")
}

// Every bit of a bundle over bare bytes matters, but for the hint.
func TestEveryChangedByteOfABlobsBundle(t *testing.T) {
	v, keys, content := readBlobs(t)
	good := []byte(v.Blob.Cases[0].Bundle)
	idle := 0
	for at := range good {
		for bit := range 8 {
			changed := bytes.Clone(good)
			changed[at] ^= 1 << bit
			if _, err := artifact.VerifyBlob(keys, changed, content); err == nil {
				require.NotEmpty(t, excused(good, at), "byte %d bit %d (%q)", at, bit, good[at])
				idle++
			}
		}
	}
	require.Positive(t, idle, "the exception is still needed")
}
