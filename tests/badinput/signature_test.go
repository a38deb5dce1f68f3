package badinput

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Where the tests of signatures are. The corpus is of bundles, each with its
// reason; it is judged by our verifier and by stock cosign's library.
const (
	corpus   = "tests/vectors/bundle/vectors.json"
	refusals = "domain/artifact/bundle_test.go"
	blobs    = "domain/artifact/blob_test.go"
	strict   = "domain/artifact/strict_test.go"
	changed  = "domain/artifact/mutation_test.go"
	judge    = "domain/trust/judge_test.go"
	keyFile  = "internal/cosign/keys_test.go"
	both     = "internal/cosign/differential_test.go"
	arriving = "api/badsignature_test.go"
	promoted = "activities/trust_test.go"
	votes    = "activities/approval_test.go"
	listed   = "internal/oci/oci_test.go"
	accepted = "internal/postgres/accepted_test.go"
	stock    = "internal/cosign/conformance_test.go"
)

const (
	uploads   = "TestSignaturesThatDoNotCountAreRefusedAtUpload"
	anew      = "TestAPromotionLooksAtTheKeyOfThePackageAnew"
	ballots   = "TestAVoteCountsForWhatItSaysAndWhoSignedIt"
	confused  = "TestAStatementOfAnotherKindIsNoSignatureOfAPackage"
	falseOnes = "TestFalseReferrers"
	keyFiles  = "TestLoadPrivateKeyRefuses"
)

// An of is a case of the corpus: of its bundles, its keys or its blobs.
func of(item string, names ...string) signed { return signed{item: item, corpus: names} }

// in is a test, and a text that names the case in it.
func in(item, file, test, text string) signed {
	return signed{item: item, file: file, test: test, text: text}
}

type signed struct {
	item             string
	corpus           []string
	file, test, text string
}

var signatures = []signed{
	// Signature, bundle
	of("wrong key", "another key"),
	in("wrong key", arriving, uploads, "another key"),
	in("right key, artefact type not allowed", arriving, uploads, "a key that may not sign this type"),
	in("right key, artefact type not allowed", promoted, anew, "a key that may not sign packages"),
	in("right key, artefact type not allowed", judge, "TestJudge", "refuses the control plane's vote"),
	in("revoked key at upload", arriving, uploads, "a key that is revoked"),
	in("revoked key at promotion", promoted, anew, "a key that is revoked, of what came in since the theft"),
	in("expired key at upload", arriving, uploads, "a key whose time is over"),
	in("expired key at promotion", promoted, anew, "a key whose time is over, of what came in since"),
	in("expired key, of a second bundle that was never accepted", promoted, anew, "a key whose time is over, of what never came in"),
	in("expired policy", arriving, uploads, "a policy that has expired"),
	of("other digest", "another subject"),
	in("other digest", arriving, uploads, "the signature of another package"),
	in("legacy signature of A on B", arriving, uploads, "cosign's legacy signature, of another manifest"),
	in("legacy signature of A on A", arriving, uploads, "cosign's legacy signature, of this manifest"),
	in("attestation presented as signature, at upload", arriving, uploads, "an attestation as the signature"),
	in("signature presented as attestation, at upload", arriving, uploads, "the signature as the attestation"),
	in("attestation presented as signature, at promotion", promoted, confused, ""),
	in("reject presented as approval: it counts against", votes, ballots, `{"against"`),
	in("reject presented as approval: both words", votes, ballots, "with a key more"),
	of("reject presented as approval: both words", "duplicate key in the predicate"),
	in("reject presented as a package's attestation", promoted, confused, `"decision": "reject"`),
	of("false messageDigest or algorithm", "false messageDigest under a good signature", "other bytes, digest and signature alike",
		"SHA2_384 under a sha256 digest", "SHA2_512", "algorithm in another case", "no algorithm", "no messageDigest"),
	in("false messageDigest or algorithm", stock, "TestConformanceWeVerifyBlobsThatStockCosignSigns", "what a bundle claims is no fact"),
	of("0 or 2 and more DSSE signatures", "no signature", "the same signature twice", "a stranger's signature first"),
	of("payloadType swap", "another payload type", "signature for another payload type", "signature over the payload without its type"),
	of("unknown _type", "unknown _type", "no _type"),
	of("subjects empty, more than 1", "no subject", "two subjects", "the same subject twice"),
	of("sha1 or md5 only, upper-case hex, wrong length", "sha1 only", "md5 only", "sha1 beside sha256", "upper-case digest", "digest one digit short", "digest one digit long"),
	of("duplicate, case-variant, unknown payload keys", "duplicate predicate", "predicate type in another case", "unknown key in the statement"),
	of("trailing JSON", "data after the end", "data after the statement", "two bundles, one a line"),
	of("NaN, huge numbers", "NaN in the predicate", "number beyond a float64"),
	of("mediaType v0.1 or unknown", "media type v0.1", "media type v0.2", "media type v0.4", "no media type"),
	in("bundle beyond 1 MiB", refusals, "TestVerifyBundleRefusesBySize", ""),
	in("bundle beyond 1 MiB, of a registry", liar, falseOnes, "a layer over 1 MiB that says it is not"),
	in("more than 64 referrers", listed, "TestTooManyBundles", "ErrReferrers"),
	in("gzip bundle layer", liar, falseOnes, "a compressed layer"),
	in("referrer whose subject is not the digest asked for", liar, falseOnes, "another subject"),
	in("malleated signature making a second identity: of a statement", refusals, "TestStatementIdentity", ""),
	in("malleated signature making a second identity: of a version", arriving, "TestASecondSignatureIsNoSecondIdentity", ""),
	in("malleated signature making a second identity: of a leaf", accepted, "TestWhenABundleWasAccepted", "no second leaf"),
	in("malleated signature making a second identity: of a vote", votes, "Test", "with the other s"),
	of("P-384, RSA, Ed25519 signatures", "P-384", "Ed25519"),
	in("P-384 signatures, at upload", arriving, uploads, "a key on P-384"),
	in("RSA signatures, at upload", arriving, uploads, "an RSA key"),
	in("Ed25519 signatures, at upload", arriving, uploads, "an Ed25519 key"),
	of("P-384, RSA, Ed25519 keys", "KEY P-384", "KEY RSA", "KEY Ed25519"),
	in("P-384 private key", keyFile, keyFiles, "a key on P-384"),
	in("Ed25519 private key", keyFile, keyFiles, "an Ed25519 key"),
	in("RSA private key", keyFile, keyFiles, "an RSA key"),
	of("PEM with 2 keys, trailing data or a certificate", "KEY two keys", "KEY text after the key", "KEY bytes after the key in DER", "KEY a certificate"),
	in("PEM with 2 private keys", keyFile, keyFiles, "a second key in the file"),
	in("wrong password", keyFile, keyFiles, "a wrong password"),
	in("scrypt N=2^31", keyFile, keyFiles, "a password that would take years to check"),
	of("tlog material present: ignored", "empty list of log entries", "a log entry that is none"),
	in("tlog material present: ignored", arriving, "TestLogEntriesAreIgnored", ""),
	in("tlog material present: never trusted", arriving, uploads, "a log entry instead of a trusted key"),
	of("tlog material present: never trusted", "another key, with a log entry"),
	of("any certificate", "a certificate instead of a key", "a certificate beside the key", "a certificate chain"),
	in("any certificate, at upload", arriving, uploads, "a chain of certificates"),
	in("any changed byte or field", changed, "TestEveryChangedByteOfABundle", ""),

	// The traps of stock cosign
	in("trap 1: replay onto another digest", arriving, uploads, "cosign's legacy signature, of another manifest"),
	of("trap 2: predicate confusion", "another predicate type", "predicate type with a longer version", "cosign's own type for images"),
	in("trap 2: predicate confusion", both, "TestVerifiersAgreeOnTheCorpus", "cosign does not look at the predicate type"),
	in("trap 2: one key a type", judge, "TestJudge", "refuses a key whose type this is not"),
	in("trap 3: a bundle that inflates", liar, falseOnes, "a compressed layer"),
	in("trap 3: an endless manifest", liar, "TestEndlessManifest", ""),
	in("trap 3: endless referrers", listed, "TestTooManyBundles", ""),
	of("trap 4: false messageDigest", "false messageDigest under a good signature"),
	of("trap 5: malleability", "malleated signature (r, n-s)", "white space around"),
	of("trap 6: the key hint", "wrong hint", "empty hint", "another key under the trusted key's hint"),
	of("trap 7: the last of two keys, whatever its case", "duplicate key in the predicate", "key in another case", "duplicate envelope"),
	in("trap 7: the last of two keys, whatever its case", strict, "TestDecodeStrict", ""),
	in("trap 8: what the command line prints", "tests/badinput/signature_test.go", "TestNobodyReadsWhatACommandLinePrints", ""),
	in("a bare signature is no statement", blobs, "TestVerifyBlob", "a bare signature is no statement"),
}

func TestEveryBadSignatureHasItsCase(t *testing.T) {
	known := corpusNames(t)
	sources := map[string]string{}
	for _, i := range signatures {
		for _, name := range i.corpus {
			require.True(t, known[name], "%s: the corpus has no case %q", i.item, name)
		}
		if i.corpus != nil {
			continue
		}
		if _, read := sources[i.file]; !read {
			text, err := os.ReadFile(filepath.Join("..", "..", i.file))
			require.NoError(t, err)
			sources[i.file] = string(text)
		}
		at := strings.Index(sources[i.file], "func "+i.test)
		require.GreaterOrEqual(t, at, 0, "%s: %s has no %s", i.item, i.file, i.test)
		require.True(t, strings.Contains(sources[i.file], i.text), "%s: %s has no case %q", i.item, i.file, i.text)
	}
}

// corpusNames are the names of the corpus, those of keys with KEY before. Each
// is judged by the tests that read the file whole.
func corpusNames(t *testing.T) map[string]bool {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", corpus))
	require.NoError(t, err)
	type named []struct{ Name string }
	var v struct {
		Cases       named
		RefusedKeys named
		Blob        struct{ Cases named }
	}
	require.NoError(t, json.Unmarshal(text, &v))
	known := map[string]bool{}
	for _, c := range slices.Concat(v.Cases, v.Blob.Cases) {
		known[c.Name] = true
	}
	for _, c := range v.RefusedKeys {
		known["KEY "+c.Name] = true
	}
	for file, test := range map[string]string{refusals: "range v.Cases", blobs: "range v.Blob.Cases", both: "range j.Cases"} {
		source, err := os.ReadFile(filepath.Join("..", "..", file))
		require.NoError(t, err)
		require.Contains(t, string(source), test, "%s judges the whole corpus", file)
	}
	require.Contains(t, readFile(t, refusals), "range v.RefusedKeys")
	return known
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", path))
	require.NoError(t, err)
	return string(text)
}

// Stock cosign says that a log was consulted when none was. What it prints is
// for people: the demonstration runs it, and goes by its exit status. So no
// source of the product knows a word that it prints.
func TestNobodyReadsWhatACommandLinePrints(t *testing.T) {
	read := 0
	for _, room := range []string{"api", "activities", "cmd", "contract", "domain", "internal", "worker", "workflows"} {
		err := filepath.WalkDir(filepath.Join("..", "..", room), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			read++
			text := readFile(t, strings.TrimPrefix(filepath.ToSlash(path), "../../"))
			for _, words := range []string{"Verified OK", "Existence of the claims", "verified offline", "The following checks were performed"} {
				require.NotContains(t, text, words, path)
			}
			return nil
		})
		require.NoError(t, err)
	}
	require.Greater(t, read, 200, "the sources were not found")
}
