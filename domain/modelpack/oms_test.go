package modelpack_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/modelpack"
)

// The digests are of "abc" (FIPS 180-4, B.1) and of the empty text; the root was
// computed with coreutils:
//
//	printf ba7816…15ade3b0c4…b855 | xxd -r -p | sha256sum
func TestTheRootIsOverTheRawDigestsByName(t *testing.T) {
	abc := modelpack.File{Path: "a", Descriptor: artifact.Descriptor{Digest: "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}}
	none := modelpack.File{Path: "b", Descriptor: artifact.Descriptor{Digest: "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}}
	const want = "sha256:6f1290896ee81a0349174d19f4473d267a10289c40480861d5c42affffbd79f9"
	require.EqualValues(t, want, modelpack.Root([]modelpack.File{abc, none}))
	require.EqualValues(t, want, modelpack.Root([]modelpack.File{none, abc}), "whatever the order of the manifest")
	require.Empty(t, modelpack.Root([]modelpack.File{{Path: "a", Descriptor: artifact.Descriptor{Digest: "sha256:zz"}}}))
}

// Malformed predicates are in tests/oms, where another checker judges them too.
func TestAStatementIsAboutExactlyItsFiles(t *testing.T) {
	files := []modelpack.File{
		{Path: "weights.safetensors", Descriptor: artifact.Describe("", []byte("w"))},
		{Path: "card.json", Descriptor: artifact.Describe("", []byte("c"))},
	}
	s, err := modelpack.FilesStatement("m", files)
	require.NoError(t, err)
	require.Equal(t, modelpack.Root(files), s.Subject)
	require.NoError(t, modelpack.CheckFiles(s.Predicate, files))
	require.ErrorIs(t, modelpack.CheckFiles(s.Predicate, files[:1]), modelpack.ErrFiles)
	files[1].Digest = artifact.DigestOf([]byte("d"))
	require.ErrorIs(t, modelpack.CheckFiles(s.Predicate, files), modelpack.ErrFiles)
	_, err = modelpack.FilesStatement("m", nil)
	require.ErrorIs(t, err, modelpack.ErrOMS, "an empty model is none")
}
