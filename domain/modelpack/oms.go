package modelpack

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/atom-fabric/fabric/domain/artifact"
)

// Why a statement about the files of a model is refused.
var (
	ErrOMS   = errors.New("not a statement of OpenSSF Model Signing v1.0 over whole files by SHA-256")
	ErrFiles = errors.New("the statement is about other files")
)

// maxResources bounds what is read of a statement: a package has two files.
const maxResources = 64

// omsPredicate is the predicate of OpenSSF Model Signing v1.0, section 5.2.
// Of a resource, keys that are not ours are passed over, as the specification
// wants it; elsewhere they are refused.
type omsPredicate struct {
	Resources     []map[string]json.RawMessage `json:"resources"`
	Serialization omsSerialization             `json:"serialization"`
}

type omsSerialization struct {
	Method        string   `json:"method"`
	HashType      string   `json:"hash_type"`
	AllowSymlinks *bool    `json:"allow_symlinks"`
	IgnorePaths   []string `json:"ignore_paths,omitempty"` // of whoever signed a folder; a package has no others
	ShardSize     *int64   `json:"shard_size,omitempty"`
}

// omsResource is a resource as it is written.
type omsResource struct {
	Name      string `json:"name"`
	Algorithm string `json:"algorithm"`
	Digest    string `json:"digest"`
}

// byName returns the files in the order of the specification: by code points,
// which for valid UTF-8 is by bytes.
func byName(files []File) []File {
	out := slices.Clone(files)
	slices.SortFunc(out, func(a, b File) int { return cmp.Compare(a.Path, b.Path) })
	return out
}

// Root returns the digest that OpenSSF Model Signing names a set of files by:
//
//	root = SHA-256(digest[1] ‖ … ‖ digest[n])
//
// over the raw digests of the files by ascending name.
// Source: OMS v1.0, section 6.5.1.
func Root(files []File) artifact.Digest {
	sum := sha256.New()
	for _, f := range byName(files) {
		raw, err := hex.DecodeString(f.Digest.Hex())
		if err != nil {
			return "" // no digest that exists
		}
		sum.Write(raw)
	}
	return artifact.Summed(sum)
}

// FilesStatement returns the statement of OpenSSF Model Signing over files.
// Name is the model's, for people. Source: OMS v1.0, sections 5 and 6.
func FilesStatement(name string, files []File) (artifact.Statement, error) {
	links := false
	predicate := struct {
		Resources     []omsResource    `json:"resources"`
		Serialization omsSerialization `json:"serialization"`
	}{Serialization: omsSerialization{Method: "files", HashType: "sha256", AllowSymlinks: &links}}
	for _, f := range byName(files) {
		predicate.Resources = append(predicate.Resources, omsResource{Name: f.Path, Algorithm: "sha256", Digest: f.Digest.Hex()})
	}
	s, err := artifact.NewStatement(name, Root(files), artifact.PredicateOMS, predicate)
	if err != nil {
		return artifact.Statement{}, err
	}
	return s, CheckFiles(s.Predicate, files)
}

// CheckFiles accepts a predicate of OpenSSF Model Signing only if it is about
// exactly these files: none missing, none more, each with its digest. That
// the statement's subject is [Root] of them is for its verifier to compare.
// Errors: [ErrOMS], [ErrFiles].
func CheckFiles(predicate json.RawMessage, files []File) error {
	var p omsPredicate
	if err := artifact.DecodeStrict(predicate, &p); err != nil {
		return fmt.Errorf("%w: %w", ErrOMS, err)
	}
	switch s := p.Serialization; {
	case s.Method != "files", s.ShardSize != nil:
		return fmt.Errorf("%w: method", ErrOMS)
	case s.HashType != "sha256":
		return fmt.Errorf("%w: hash_type", ErrOMS)
	case s.AllowSymlinks == nil:
		return fmt.Errorf("%w: allow_symlinks is missing", ErrOMS)
	case len(p.Resources) == 0 || len(p.Resources) > maxResources:
		return fmt.Errorf("%w: %d resources", ErrOMS, len(p.Resources))
	}
	said := make([]omsResource, len(p.Resources))
	for i, fields := range p.Resources {
		for key, to := range map[string]*string{"name": &said[i].Name, "algorithm": &said[i].Algorithm, "digest": &said[i].Digest} {
			if err := json.Unmarshal(fields[key], to); err != nil {
				return fmt.Errorf("%w: %s of resource %d", ErrOMS, key, i)
			}
		}
		if said[i].Algorithm != "sha256" {
			return fmt.Errorf("%w: algorithm of resource %d", ErrOMS, i)
		}
		if i > 0 && said[i-1].Name >= said[i].Name {
			return fmt.Errorf("%w: resource %d is there twice or out of order", ErrOMS, i)
		}
	}
	want := byName(files)
	if len(said) != len(want) {
		return fmt.Errorf("%d, not %d: %w", len(said), len(want), ErrFiles)
	}
	for i, f := range want {
		if said[i].Name != f.Path || said[i].Digest != f.Digest.Hex() {
			return fmt.Errorf("%s: %w", f.Path, ErrFiles)
		}
	}
	return nil
}
