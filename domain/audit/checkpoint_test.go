package audit

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func point() Checkpoint {
	return Checkpoint{Origin: "fabric.example/log", Size: 3, Root: sha256.Sum256([]byte("root"))}
}

func testKey(seed byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed([]byte(strings.Repeat(string(seed), ed25519.SeedSize)))
}

func TestCheckpointText(t *testing.T) {
	text := point().Text()
	// printf root | openssl dgst -sha256 -binary | base64
	require.Equal(t, "fabric.example/log\n3\nSBNJTRN+FjG7owHVrKtue7eqdM4RhdRWVl71HXN2d7I=\n", text)
	back, err := ParseCheckpoint(text)
	require.NoError(t, err)
	require.Equal(t, point(), back)
	for name, bad := range map[string]string{
		"no origin":           strings.TrimPrefix(text, "fabric.example/log"),
		"another form of 3":   strings.Replace(text, "\n3\n", "\n03\n", 1),
		"a negative size":     strings.Replace(text, "\n3\n", "\n-3\n", 1),
		"a size in words":     strings.Replace(text, "\n3\n", "\nthree\n", 1),
		"a short root":        "o\n3\nAAAA\n",
		"an extension":        text + "more\n",
		"no end of line":      strings.TrimSuffix(text, "\n"),
		"a sloppy last digit": strings.Replace(text, "=\n", "\n", 1),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseCheckpoint(bad)
			require.ErrorIs(t, err, ErrCheckpoint)
		})
	}
}

// The keys are those of the example in the documentation of golang.org/x/mod
// v0.42.0, sumdb/note: tools that read its verifier keys read ours.
func TestNoteAgainstSumdbNote(t *testing.T) {
	const origin = "PeterNeumann"
	seed, err := base64.StdEncoding.DecodeString("AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz") // skey PRIVATE+KEY+PeterNeumann+c74f20a3+...
	require.NoError(t, err)
	key := ed25519.NewKeyFromSeed(seed[1:])
	require.Equal(t, "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", VerifierKey(origin, key.Public().(ed25519.PublicKey)))
}

func TestSignedCheckpoint(t *testing.T) {
	key := testKey('a')
	public := key.Public().(ed25519.PublicKey)
	note, err := point().Sign(key)
	require.NoError(t, err)
	got, err := OpenCheckpoint(note, "fabric.example/log", public)
	require.NoError(t, err)
	require.Equal(t, point(), got)
	witnessed := note + "— witness.example/w " + base64.StdEncoding.EncodeToString(make([]byte, 68)) + "\n"
	_, err = OpenCheckpoint(witnessed, "fabric.example/log", public)
	require.NoError(t, err)

	other := testKey('b').Public().(ed25519.PublicKey)
	_, err = OpenCheckpoint(note, "fabric.example/log", other)
	require.ErrorIs(t, err, ErrSignature)
	_, err = OpenCheckpoint(note, "fabric.example/other", public)
	require.ErrorIs(t, err, ErrSignature)
	_, err = OpenCheckpoint(strings.Replace(note, "\n3\n", "\n4\n", 1), "fabric.example/log", public)
	require.ErrorIs(t, err, ErrSignature)
	_, err = OpenCheckpoint(point().Text()+"\n", "fabric.example/log", public)
	require.ErrorIs(t, err, ErrCheckpoint, "no signature at all")
	_, err = OpenCheckpoint(point().Text(), "fabric.example/log", public)
	require.ErrorIs(t, err, ErrCheckpoint)
	for _, origin := range []string{"", "a b", "a+b", "a\nb"} {
		p := point()
		p.Origin = origin
		_, err = p.Sign(key)
		require.ErrorIs(t, err, ErrCheckpoint, "origin %q", origin)
	}
}
