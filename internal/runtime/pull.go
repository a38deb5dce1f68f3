package runtime

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/routing"
	"github.com/atom-fabric/fabric/domain/trust"
)

// Why a package is not loaded.
var (
	ErrUnsigned = errors.New("no trusted signature vouches for the package")
	ErrVouched  = errors.New("the signature vouches for another model")
	ErrManifest = errors.New("not a manifest of a model package")
	ErrDigest   = errors.New("content differs from its digest")
	ErrSize     = errors.New("content is larger than allowed")
	ErrRegistry = errors.New("the registry does not hand it out")
	ErrWeights  = errors.New("the weights are not of a model that this runtime serves")
	ErrDisk     = errors.New("it cannot be kept on disk")
)

const maxManifest = 4 << 20

// reason is the bounded label of an error.
func reason(err error) string {
	for _, known := range []struct {
		err   error
		label string
	}{
		{ErrPolicy, "policy"}, {ErrUnsigned, "signature"}, {ErrVouched, "vouched"}, {ErrManifest, "manifest"},
		{ErrDigest, "digest"}, {ErrSize, "size"}, {ErrRegistry, "registry"}, {ErrWeights, "weights"}, {ErrDisk, "disk"},
	} {
		if errors.Is(err, known.err) {
			return known.label
		}
	}
	return "other"
}

// A statement is the part of the model-package predicate that decides what the
// weights may be used as.
type statement struct {
	Tenant  string          `json:"tenant"`
	Model   string          `json:"model"`
	Weights artifact.Digest `json:"weights"`
}

// vouch returns what a trusted key has said of the package. It is asked before
// a byte is fetched and again before what is on disk is used.
//
// The time that decides is when the control plane accepted the package, which
// the signed snapshot says: a package outlives the key that signed it.
func vouch(by trust.Source, environment string, pkg routing.Package, now time.Time) (statement, error) {
	judge, err := by.Judge()
	if err != nil {
		return statement{}, fmt.Errorf("%w: %w", ErrUnsigned, err)
	}
	at := now
	if !pkg.AcceptedAt.IsZero() && pkg.AcceptedAt.Before(now) {
		at = pkg.AcceptedAt
	}
	verified, err := judge.Verify(pkg.Bundle, trust.Question{
		PredicateType: artifact.PredicateModelPackage, Subject: pkg.Manifest, Environment: environment, Repository: pkg.Repository, At: at, Now: now,
	})
	if err != nil {
		return statement{}, fmt.Errorf("%w: %w", ErrUnsigned, err)
	}
	var said statement
	if err := json.Unmarshal(verified.Predicate, &said); err != nil {
		return statement{}, fmt.Errorf("%w: %w", ErrVouched, err)
	}
	// A valid package of one model must not be served under the name of another.
	if said.Tenant != pkg.Tenant || said.Model != pkg.Model || said.Weights == "" {
		return statement{}, ErrVouched
	}
	return said, nil
}

// manifest is what is read of an OCI image manifest.
type manifest struct {
	ArtifactType string                `json:"artifactType"`
	Layers       []manifestDescription `json:"layers"`
}

type manifestDescription struct {
	MediaType string          `json:"mediaType"`
	Digest    artifact.Digest `json:"digest"`
	Size      int64           `json:"size"`
}

// pull fetches the package's manifest and weights by digest, keeps them, and
// returns the weights. Nothing has its final name on disk before its digest
// was compared.
func pull(ctx context.Context, client *http.Client, disk store, pkg routing.Package, said statement, maxWeights int64) ([]byte, error) {
	base, err := repositoryURL(pkg)
	if err != nil {
		return nil, err
	}
	text, err := get(ctx, client, base+"/manifests/"+string(pkg.Manifest), "application/vnd.oci.image.manifest.v1+json", pkg.Manifest, maxManifest)
	if err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	var m manifest
	if err := json.Unmarshal(text, &m); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrManifest, err)
	}
	if m.ArtifactType != artifact.MediaTypePackage {
		return nil, fmt.Errorf("%w: artifact type %q", ErrManifest, m.ArtifactType)
	}
	found := 0
	var layer manifestDescription
	for _, l := range m.Layers {
		if l.MediaType == artifact.MediaTypeWeights {
			layer, found = l, found+1
		}
	}
	if found != 1 || layer.Digest != said.Weights {
		return nil, fmt.Errorf("%w: it does not hold exactly the weights that were signed", ErrManifest)
	}
	if layer.Size > maxWeights {
		return nil, fmt.Errorf("weights of %d bytes: %w", layer.Size, ErrSize)
	}
	weights, err := get(ctx, client, base+"/blobs/"+string(layer.Digest), "*/*", layer.Digest, maxWeights)
	if err != nil {
		return nil, fmt.Errorf("weights: %w", err)
	}
	// If we crash in here, the next start pulls again.
	if err := disk.put(pkg.Manifest, text, weights); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDisk, err)
	}
	return weights, nil
}

func repositoryURL(pkg routing.Package) (string, error) {
	at, err := url.Parse(pkg.Registry)
	if err != nil || at.Host == "" || at.Scheme != "http" && at.Scheme != "https" || at.User != nil {
		return "", fmt.Errorf("%w: not an http or https URL", ErrRegistry)
	}
	return at.JoinPath("v2", pkg.Repository).String(), nil
}

// get returns content by digest.
func get(ctx context.Context, client *http.Client, at, accept string, want artifact.Digest, limit int64) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRegistry, err)
	}
	req.Header.Set("Accept", accept)
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRegistry, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%w: status %d", ErrRegistry, resp.StatusCode)
	}
	return readDigest(resp.Body, want, limit)
}

// readDigest reads content while it hashes it; memory grows with what arrives,
// never with what was announced.
func readDigest(from io.Reader, want artifact.Digest, limit int64) ([]byte, error) {
	sum := sha256.New()
	content, err := io.ReadAll(io.TeeReader(io.LimitReader(from, limit+1), sum))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrRegistry, err)
	case int64(len(content)) > limit:
		return nil, ErrSize
	case digest(sum) != want:
		return nil, ErrDigest
	}
	return content, nil
}

func digest(sum hash.Hash) artifact.Digest {
	return artifact.Summed(sum)
}
