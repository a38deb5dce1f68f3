// Package oci carries packages and their bundles to and from any registry of
// the OCI distribution specification 1.1, with or without the referrers API.
//
// Invariant: nothing is given to a caller before it was compared with the
// digest that was asked for, and nothing is read without a limit. A registry
// is a carrier: what it lists is a hint, and only a verified bundle counts.
package oci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/errdef"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/domain/artifact"
)

// maxManifest is the size from which a manifest is refused, as the
// specification suggests.
const maxManifest = 4 << 20

// Why a registry or a repository is refused.
var (
	ErrURL        = errors.New("not a registry: want http:// or https://, a host, and nothing more")
	ErrClearText  = errors.New("a login would travel in clear text")
	ErrRepository = errors.New("not a name that an OCI repository may have")
)

// A RegistryError says which content of which repository is at fault.
type RegistryError struct {
	Repository string
	Digest     artifact.Digest
	Err        error
}

func (e *RegistryError) Error() string {
	return fmt.Sprintf("%s@%s: %v", e.Repository, e.Digest.Short(), e.Err)
}
func (e *RegistryError) Unwrap() error { return e.Err }

// A Login is who asks a registry. The zero value is nobody.
type Login struct{ Username, Password string }

// A Registry is one registry server. It is safe for concurrent use.
type Registry struct {
	base   *url.URL
	client remote.Client
	place  func(artifact.Digest) error // puts a blob where the registry has it; nil: it is sent

	mu    sync.Mutex
	repos *lru.Cache[string, *remote.Repository] // each remembers whether the server has the referrers API
}

// maxRepos bounds how many repositories are remembered. One that was forgotten
// asks the server once more what it can.
const maxRepos = 256

var _ activities.Registry = (*Registry)(nil)

// New returns the registry at a base URL. Nobody is asked yet. Plain HTTP will
// do, since content is compared with digests, unless there is a login to hide.
// Errors: [ErrURL], [ErrClearText].
func New(base string, login Login) (*Registry, error) {
	parsed, err := url.Parse(strings.TrimSuffix(base, "/"))
	if err != nil || parsed.Host == "" || parsed.Path != "" || parsed.RawQuery != "" || parsed.User != nil {
		return nil, ErrURL
	}
	if parsed.Scheme != "https" && parsed.Scheme != "http" {
		return nil, ErrURL
	}
	if parsed.Scheme == "http" && login != (Login{}) && !loopback(parsed.Hostname()) {
		return nil, ErrClearText
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DisableCompression = true               // a bundle is compared as it is stored, and nothing is inflated
	transport.ResponseHeaderTimeout = 3 * time.Minute // after the last byte of gigabytes a registry has to bring them to disk
	plain := &http.Client{Transport: transport}
	repos, err := lru.New[string, *remote.Repository](maxRepos)
	if err != nil {
		return nil, err
	}
	r := &Registry{base: parsed, client: plain, repos: repos}
	if login != (Login{}) {
		known, err := newTokens()
		if err != nil {
			return nil, err
		}
		r.client = &auth.Client{
			Client:     plain,
			Cache:      known,
			Credential: auth.StaticCredential(parsed.Host, auth.Credential{Username: login.Username, Password: login.Password}),
		}
	}
	return r, nil
}

// Placing lets place put blobs where the registry finds them, as a second name
// of the same file for one on the same disk. It is tried before a blob is sent,
// and the registry is then asked as always: when place fails, or puts it where
// the registry does not look, the blob is sent.
func (r *Registry) Placing(place func(artifact.Digest) error) *Registry {
	r.place = place
	return r
}

// loopback says whether what is sent there stays on this machine.
func loopback(host string) bool {
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}

// URL returns the base URL that the data plane pulls from.
func (r *Registry) URL() string { return r.base.String() }

// Ping asks whether the registry answers.
func (r *Registry) Ping(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.base.JoinPath("v2/").String(), nil)
	if err != nil {
		return err
	}
	answer, err := r.client.Do(req)
	if err != nil {
		return fmt.Errorf("registry %s: %w", r.base.Host, err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("registry %s: answered %s", r.base.Host, answer.Status)
	}
	return nil
}

// repository returns the client of one repository.
func (r *Registry) repository(name string) (*remote.Repository, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if repo, ok := r.repos.Get(name); ok {
		return repo, nil
	}
	repo, err := remote.NewRepository(r.base.Host + "/" + name)
	if err != nil || repo.Reference.Repository != name {
		return nil, fmt.Errorf("%q: %w", name, ErrRepository)
	}
	repo.Client = r.client
	repo.PlainHTTP = r.base.Scheme == "http"
	repo.SkipReferrersGC = true // deleting is often disabled, and here never wanted
	repo.MaxMetadataBytes = maxManifest
	repo.ReferrerListMaxPages = 16
	r.repos.Add(name, repo)
	return repo, nil
}

// Manifest returns a manifest, compared with its digest.
// Errors: [*RegistryError] with [activities.ErrNotFound], [artifact.ErrContent]
// or [artifact.ErrTooLarge]; [ErrRepository].
func (r *Registry) Manifest(ctx context.Context, repository string, digest artifact.Digest) ([]byte, error) {
	content, err := r.get(ctx, repository, "manifests", digest)
	if err != nil {
		return nil, err
	}
	defer content.Close()
	manifest, err := io.ReadAll(artifact.Expect(artifact.Limit(content, maxManifest), digest))
	if err != nil {
		return nil, fault(repository, digest, err)
	}
	return manifest, nil
}

// Blob returns a blob. Its last Read fails with [artifact.ErrContent] when the
// registry sent something else.
// Errors: [*RegistryError] with [activities.ErrNotFound]; [ErrRepository].
func (r *Registry) Blob(ctx context.Context, repository string, digest artifact.Digest) (io.ReadCloser, error) {
	content, err := r.get(ctx, repository, "blobs", digest)
	if err != nil {
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{artifact.Expect(content, digest), content}, nil
}

// get asks for content by its digest. What the answer's headers say of it is
// of no interest: its bytes are compared.
func (r *Registry) get(ctx context.Context, repository, kind string, digest artifact.Digest) (io.ReadCloser, error) {
	if _, err := r.repository(repository); err != nil {
		return nil, err
	}
	if _, err := artifact.ParseDigest(string(digest)); err != nil {
		return nil, err
	}
	target := r.base.JoinPath("v2", repository, kind, string(digest))
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return nil, err
	}
	if kind == "manifests" {
		req.Header.Set("Accept", ocispec.MediaTypeImageManifest)
	}
	answer, err := r.client.Do(req)
	if err != nil {
		return nil, fault(repository, digest, err)
	}
	switch answer.StatusCode {
	case http.StatusOK:
		return answer.Body, nil
	case http.StatusNotFound:
		err = activities.ErrNotFound
	default:
		err = fmt.Errorf("answered %s", answer.Status)
	}
	return nil, fault(repository, digest, errors.Join(err, answer.Body.Close()))
}

// fault says which content failed, in the words of the port.
func fault(repository string, digest artifact.Digest, err error) error {
	if errors.Is(err, errdef.ErrNotFound) {
		err = activities.ErrNotFound
	}
	return &RegistryError{Repository: repository, Digest: digest, Err: err}
}
