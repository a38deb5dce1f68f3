package oms

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"crypto/x509"
)

// The checker. Section numbers are those of the OpenSSF Model Signing
// specification v1.0 of 2026-05-14. Nothing of the module is imported here.

// object is a JSON object whose members are known to be there once.
type object map[string]json.RawMessage

// decode reads one JSON value into v. Two members of one name are refused
// everywhere: DSSE and in-toto leave open which one counts.
func decode(text []byte, v any) error {
	if err := once(json.NewDecoder(bytes.NewReader(text))); err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(text))
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("text after the JSON value")
	}
	return nil
}

func once(d *json.Decoder) error {
	token, err := d.Token()
	if err != nil {
		return err
	}
	delim, nested := token.(json.Delim)
	if !nested {
		return nil
	}
	seen := map[string]bool{}
	for d.More() {
		if delim == '{' {
			key, err := d.Token()
			if err != nil {
				return err
			}
			if seen[key.(string)] {
				return fmt.Errorf("member %q is there twice", key)
			}
			seen[key.(string)] = true
		}
		if err := once(d); err != nil {
			return err
		}
	}
	_, err = d.Token()
	return err
}

// text returns a member that must be a string.
func (o object) text(key string) (string, error) {
	var s *string
	if raw, ok := o[key]; !ok || json.Unmarshal(raw, &s) != nil || s == nil {
		return "", fmt.Errorf("%s is no string", key)
	}
	return *s, nil
}

// check verifies a model directory against a bundle and a public key, which is
// the method "key" of section 4.1.
func check(dir, signatureFile string, publicPEM, bundle []byte) error {
	payload, err := verifyBundle(publicPEM, bundle)
	if err != nil {
		return fmt.Errorf("8.1, 8.2: %w", err)
	}
	predicate, subject, err := readStatement(payload)
	if err != nil {
		return fmt.Errorf("8.3: %w", err)
	}
	resources, ignored, links, err := readPredicate(predicate, subject)
	if err != nil {
		return fmt.Errorf("5.2: %w", err)
	}
	return compare(dir, signatureFile, resources, ignored, links)
}

// verifyBundle is sections 4, 8.1 and 8.2, with the DSSE protocol.
func verifyBundle(publicPEM, bundle []byte) ([]byte, error) {
	var b struct {
		MediaType string `json:"mediaType"`
		Material  object `json:"verificationMaterial"`
		Envelope  object `json:"dsseEnvelope"`
	}
	if err := decode(bundle, &b); err != nil {
		return nil, err
	}
	if b.MediaType != "application/vnd.dev.sigstore.bundle.v0.3+json" {
		return nil, errors.New("mediaType")
	}
	for _, other := range []string{"certificate", "x509CertificateChain"} {
		if _, there := b.Material[other]; there {
			return nil, errors.New("two methods of verification")
		}
	}
	var public object
	if err := json.Unmarshal(b.Material["publicKey"], &public); err != nil {
		return nil, errors.New("publicKey")
	}
	hint, err := public.text("hint")
	if sum := sha256.Sum256(publicPEM); err != nil || hint != hex.EncodeToString(sum[:]) {
		return nil, errors.New("hint")
	}
	if kind, err := b.Envelope.text("payloadType"); err != nil || kind != "application/vnd.in-toto+json" {
		return nil, errors.New("payloadType")
	}
	encoded, err := b.Envelope.text("payload")
	if err != nil {
		return nil, err
	}
	payload, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if err != nil {
		return nil, err
	}
	var signatures []struct {
		Sig   string  `json:"sig"`
		KeyID *string `json:"keyid"`
	}
	if err := json.Unmarshal(b.Envelope["signatures"], &signatures); err != nil || len(signatures) != 1 {
		return nil, errors.New("not one signature")
	}
	der, err := base64.StdEncoding.Strict().DecodeString(signatures[0].Sig)
	if err != nil {
		return nil, err
	}
	block, rest := pem.Decode(publicPEM)
	if block == nil || len(rest) > 0 {
		return nil, errors.New("public key")
	}
	parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	key, ok := parsed.(*ecdsa.PublicKey)
	if !ok || key.Curve.Params().Name != "P-256" {
		return nil, errors.New("the key is not on P-256")
	}
	pae := fmt.Sprintf("DSSEv1 %d %s %d %s", len("application/vnd.in-toto+json"), "application/vnd.in-toto+json", len(payload), payload)
	hash := sha256.Sum256([]byte(pae))
	if !ecdsa.VerifyASN1(key, hash[:], der) {
		return nil, errors.New("signature")
	}
	return payload, nil
}

// readStatement is sections 6.5, 6.6 and 8.3.
func readStatement(payload []byte) (predicate object, root string, err error) {
	var s struct {
		Type          string `json:"_type"`
		PredicateType string `json:"predicateType"`
		Predicate     object `json:"predicate"`
		Subject       []struct {
			Name   string            `json:"name"`
			Digest map[string]string `json:"digest"`
		} `json:"subject"`
	}
	if !utf8.Valid(payload) {
		return nil, "", errors.New("not UTF-8")
	}
	if err := decode(payload, &s); err != nil {
		return nil, "", err
	}
	switch {
	case s.Type != "https://in-toto.io/Statement/v1":
		return nil, "", errors.New("_type")
	case s.PredicateType != "https://model_signing/signature/v1.0":
		return nil, "", errors.New("predicateType")
	case s.Predicate == nil:
		return nil, "", errors.New("no predicate")
	case len(s.Subject) != 1 || s.Subject[0].Name == "":
		return nil, "", errors.New("not one named subject")
	}
	return s.Predicate, s.Subject[0].Digest["sha256"], nil
}

type resource struct{ name, digest string }

// readPredicate is sections 5.2, 6.1.2, 6.2.1, 6.3.1 and 6.5.1.
func readPredicate(p object, root string) (resources []resource, ignored []string, links bool, err error) {
	var raw []object
	var how struct {
		Method   *string   `json:"method"`
		HashType *string   `json:"hash_type"`
		Shard    *int64    `json:"shard_size"`
		Links    *bool     `json:"allow_symlinks"`
		Ignored  *[]string `json:"ignore_paths"`
	}
	fail := func(what string) ([]resource, []string, bool, error) { return nil, nil, false, errors.New(what) }
	if json.Unmarshal(p["resources"], &raw) != nil || len(raw) == 0 {
		return fail("resources")
	}
	if json.Unmarshal(p["serialization"], &how) != nil || how.Method == nil || how.HashType == nil || how.Links == nil {
		return fail("serialization")
	}
	if *how.Method != "files" || how.Shard != nil {
		return fail("this checker knows no shards") // 6.3.2: such a verifier must refuse them
	}
	if *how.HashType != "sha256" {
		return fail("hash_type")
	}
	if how.Ignored != nil {
		for _, one := range *how.Ignored {
			if strings.ContainsAny(one, `*?[\`) || strings.HasPrefix(one, "/") || slices.Contains(strings.Split(one, "/"), "..") {
				return fail("ignore_paths")
			}
		}
		ignored = *how.Ignored
	}
	sum := sha256.New()
	for i, r := range raw {
		name, err1 := r.text("name")
		digest, err2 := r.text("digest")
		algorithm, err3 := r.text("algorithm")
		if err := errors.Join(err1, err2, err3); err != nil {
			return nil, nil, false, err
		}
		binary, err := hex.DecodeString(digest)
		switch {
		case algorithm != *how.HashType:
			return fail("algorithm")
		case err != nil, len(binary) != sha256.Size, strings.ToLower(digest) != digest:
			return fail("digest")
		case name == "", strings.HasPrefix(name, "/"), path.Clean(name) != name, name == ".", name == "..", strings.HasPrefix(name, "../"):
			return fail("name is not canonical")
		case i > 0 && slices.Compare([]rune(resources[i-1].name), []rune(name)) >= 0:
			return fail("not sorted")
		}
		sum.Write(binary)
		resources = append(resources, resource{name, digest})
	}
	if hex.EncodeToString(sum.Sum(nil)) != root {
		return fail("root digest")
	}
	return resources, ignored, *how.Links, nil
}

// compare is section 8.4: nothing missing, nothing else, nothing more.
func compare(dir, signatureFile string, resources []resource, ignored []string, links bool) error {
	found := map[string]string{}
	skip := append([]string{".git", ".gitignore", ".gitattributes", ".github"}, ignored...)
	err := filepath.WalkDir(dir, func(full string, entry fs.DirEntry, err error) error {
		if err != nil || full == dir {
			return err
		}
		relative, err := filepath.Rel(dir, full)
		if err != nil {
			return err
		}
		name := filepath.ToSlash(relative)
		switch {
		case slices.Contains(skip, name) && entry.IsDir():
			return fs.SkipDir
		case slices.Contains(skip, name), full == signatureFile:
			return nil
		case entry.IsDir():
			return nil
		case entry.Type()&fs.ModeSymlink != 0 && !links:
			return fmt.Errorf("6.1.1: %s is a link", name)
		case !utf8.ValidString(name):
			return fmt.Errorf("6.1.2: %q", name)
		}
		content, err := os.ReadFile(full)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(content)
		found[name] = hex.EncodeToString(sum[:])
		return nil
	})
	if err != nil {
		return err
	}
	for _, r := range resources {
		if found[r.name] != r.digest {
			return fmt.Errorf("8.4: %s is missing or differs", r.name)
		}
		delete(found, r.name)
	}
	if len(found) > 0 {
		return fmt.Errorf("8.5: %d files are not signed", len(found))
	}
	return nil
}
