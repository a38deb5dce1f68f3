package cosign

import "strings"

// TrustedRoot is a Sigstore trusted root without any authority. The stock
// command line wants one for a bundle even when a key is given, and goes to the
// network for it otherwise.
const TrustedRoot = `{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}`

// Files are the paths that an auditor has for one signed statement.
type Files struct {
	Key         string // public key, PEM
	Bundle      string
	TrustedRoot string // holds [TrustedRoot]
	Content     string // what the statement is about; or its digest, "sha256:..."
}

// VerifyCommand returns the shell command with which stock cosign v2.6.5
// verifies, without a network, that the key signed a statement about the
// content. It does not look at what the statement says; to demand a predicate
// type, use [VerifyAttestationCommand].
func VerifyCommand(f Files) string {
	return shell("verify-blob", f, f.Content)
}

// VerifyAttestationCommand returns the shell command with which stock cosign
// v2.6.5 verifies, without a network, that the key signed a statement of this
// predicate type about the content.
func VerifyAttestationCommand(f Files, predicateType string) string {
	content := []string{f.Content}
	if digits, ok := strings.CutPrefix(f.Content, "sha256:"); ok {
		content = []string{"--digest", digits, "--digestAlg", "sha256"}
	}
	return shell("verify-blob-attestation", f, append([]string{"--type", predicateType}, content...)...)
}

func shell(command string, f Files, rest ...string) string {
	words := []string{
		"cosign", command, "--key", f.Key, "--bundle", f.Bundle,
		"--trusted-root", f.TrustedRoot, "--insecure-ignore-tlog",
	}
	words = append(words, rest...)
	for i, word := range words {
		words[i] = quote(word)
	}
	return strings.Join(words, " ")
}

// quote makes a word one argument for a POSIX shell, whatever is in it.
func quote(word string) string {
	plain := word != "" && strings.Trim(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:=@%+,") == ""
	if plain {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
