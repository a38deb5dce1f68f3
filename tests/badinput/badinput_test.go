// Package badinput is the index of what is refused: it names each kind of bad
// input to the exchange of models, and the test that shows its refusal, its
// problem type and that the stores are as they were.
//
// Invariant: an item without a test, or with one that is gone, fails here.
package badinput

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Where the tests are.
const (
	upload   = "api/badinput_test.go"
	models   = "api/models_test.go"
	aliases  = "api/alias_test.go"
	manifest = "domain/modelpack/manifest_test.go"
	liar     = "internal/oci/liar_test.go"
	registry = "internal/registry/registry_test.go"
)

const (
	weights   = "TestSignedWeightsThatAreNotCanonicalSafetensorsAreRefused"
	manifests = "TestSignedManifestsOfOtherThingsAreRefused"
	forms     = "TestFormsThatAreNotInOrderAreRefused"
)

var items = []struct{ item, file, test, text string }{
	// Tag, TOCTOU
	{"verify by tag then pull by tag", liar, "TestOtherBytesForADigest", ""}, // there is no call by tag: whatever is asked for is asked for by digest
	{"the registry returns other bytes for the digest", liar, "TestOtherBytesForADigest", ""},
	{"a lying Docker-Content-Digest", liar, "TestOtherBytesForADigest", "under a lying header"},
	{"an index instead of a manifest", upload, manifests, "an index instead of a manifest"},
	{"a foreign layer with urls", upload, manifests, "a foreign layer with urls"},
	{"a layer size that is not that of the bytes", upload, manifests, "a layer size that is not that of the bytes"},
	{"the media type of the manifest is not that of its body", registry, "TestRefusals", "a manifest that calls itself something else"},
	{"an endless manifest", liar, "TestEndlessManifest", ""},

	// Multipart
	{"too many parts", upload, forms, "a part too many"},
	{"100,000 parts", upload, forms, "a hundred thousand parts"},
	{"20,000 headers", upload, forms, "twenty thousand headers"},
	{"a header of 12 MB", upload, forms, "a header of 12 MB"},
	{"another order", upload, forms, "another order"},
	{"a name twice", upload, forms, "a name twice"},
	{"a file name that is no basename", upload, forms, "a file name that is a path"},
	{"no Content-Length", upload, forms, "a length that nobody says"},
	{"a document that is too large", upload, forms, "a manifest beyond 1 MiB"},
	{"a body that is cut off", models, "TestAPackageThatIsRefusedLeavesNothing", "cut off"},
	{"what another sender has sent ahead", upload, "TestAFileThatWasSentAheadIsItsSendersAlone", "who knows a digest"},

	// safetensors
	{"a file of fewer than 8 bytes", upload, weights, "a file of fewer than 8 bytes"},
	{"header length 0", upload, weights, "a header of length 0"},
	{"header beyond 16 MiB", upload, weights, "a header beyond 16 MiB"},
	{"header length 2^63", upload, weights, "a header of 2^63 bytes"},
	{"header length 2^64-1", upload, weights, "a header of 2^64-1 bytes"},
	{"header longer than the file", upload, weights, "a header longer than the file"},
	{"first byte", upload, weights, "a first byte that is no brace"},
	{"not UTF-8", upload, weights, "not UTF-8"},
	{"padding other than spaces", upload, weights, "padding with zeros"},
	{"a tensor twice", upload, weights, "a tensor twice"},
	{"a field twice", upload, weights, "a field twice"},
	{"an unknown field", upload, weights, "an unknown field"},
	{"an unknown dtype", upload, weights, "an unknown dtype"},
	{"a missing field", upload, weights, "a missing field"},
	{"a negative number", upload, weights, "a negative number"},
	{"a float", upload, weights, "a number with a point"},
	{"an exponent", upload, weights, "a number with an exponent"},
	{"begin after end", upload, weights, "a begin after its end"},
	{"overlap", upload, weights, "tensors that overlap"},
	{"hole", upload, weights, "a hole between tensors"},
	{"tail", upload, weights, "a tail that no tensor has"},
	{"truncated", upload, weights, "truncated"},
	{"shape and range differ", upload, weights, "a shape that is not its range"},
	{"product overflows", upload, weights, "a product that overflows"},
	{"more than 8 dimensions", upload, weights, "9 dimensions"},
	{"more than 100,000 tensors", upload, weights, "more than 100,000 tensors"},
	{"an empty name", upload, weights, "a name that is empty"},
	{"a name beyond 512 bytes", upload, weights, "a name of 513 bytes"},
	{"a name with control characters", upload, weights, "a name with a control character"},
	{"metadata that are no text", upload, weights, "metadata that are no text"},
	{"deep nesting", upload, weights, "deep nesting"},
	{"a tensor of size zero", upload, weights, "a tensor of size zero"},
	{"another schema than the round's, NaN, infinities", "activities/aggregate_test.go", "Test", "NaN"},

	// Formats
	{"pickle 2", upload, weights, "a pickle of protocol 2"},
	{"pickle 5", upload, weights, "a pickle of protocol 5"},
	{"zip with data.pkl", upload, weights, "a checkpoint of torch (zip, pickle)"},
	{"TorchScript", upload, weights, "TorchScript (zip, code)"},
	{"joblib", upload, weights, "joblib (zlib)"},
	{"Keras in HDF5", upload, weights, "Keras in HDF5"},
	{"GGUF", upload, weights, "GGUF"},
	{"ONNX by its bytes", upload, weights, "ONNX"},
	{"ONNX by its layer", upload, manifests, "an ONNX layer"},
	{"a pickle by its name", upload, manifests, "a pickle by its name"},
	{"a pickle that was sent ahead", upload, "TestWeightsThatWereSentAheadAreLookedAtToo", "x80"},

	// Archives: none is taken, so nothing in one matters.
	{"an archive as a layer", upload, manifests, "an archive of files"},
	{"a compressed layer", upload, manifests, "a compressed layer"},
	{"tar bytes as weights", upload, weights, "a tar archive"},
	{"gzip bytes as weights", upload, weights, "a gzip stream"},
	{"a path out of the folder", upload, manifests, "a path out of the folder"},
	{"any other file", manifest, "TestAManifestOfAnythingElseIsRefused", "code"},

	// Rollback: aliases
	{"an older head, replayed", aliases, "TestAnAliasMovesByASignedStatementAndNeverBack", "replayed"},
	{"a head for another model", aliases, "TestAnAliasThatMayNotMoveStays", "of another model"},
	{"two heads at once", "internal/postgres/alias_test.go", "TestOfMovesAtOnceOneIsMade", ""},
}

func TestEveryKindOfBadInputHasItsTest(t *testing.T) {
	sources := map[string]string{}
	for _, i := range items {
		if _, read := sources[i.file]; !read {
			text, err := os.ReadFile(filepath.Join("..", "..", i.file))
			require.NoError(t, err)
			sources[i.file] = string(text)
		}
		require.Contains(t, sources[i.file], "func "+i.test, i.item)
		require.True(t, strings.Contains(sources[i.file], i.text), "%s: %s has no case %q", i.item, i.file, i.text)
	}
}
