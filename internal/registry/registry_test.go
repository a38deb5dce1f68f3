package registry_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	upstream "github.com/google/go-containerregistry/pkg/v1/remote"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"
	oras "oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/content/memory"
	"oras.land/oras-go/v2/registry/remote"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/internal/registry"
)

// A running registry, and what restarts it over the same directory.
type running struct {
	*registry.Registry
	dir    string
	server *httptest.Server
}

func start(t *testing.T, dir string) *running {
	t.Helper()
	r, err := registry.Open(dir, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	s := &running{Registry: r, dir: dir, server: httptest.NewServer(r)}
	t.Cleanup(s.stop)
	return s
}

func (s *running) stop() {
	s.server.Close()
	_ = s.Close() // a second time when a test restarted it
}

func (s *running) host() string { return strings.TrimPrefix(s.server.URL, "http://") }

func (s *running) repository(t *testing.T) *remote.Repository {
	t.Helper()
	repo, err := remote.NewRepository(s.host() + "/models/north/tumour")
	require.NoError(t, err)
	repo.PlainHTTP = true
	return repo
}

func (s *running) do(t *testing.T, method, path, mediaType, body string) *http.Response {
	t.Helper()
	req, err := http.NewRequest(method, s.server.URL+path, strings.NewReader(body))
	require.NoError(t, err)
	if mediaType != "" {
		req.Header.Set("Content-Type", mediaType)
	}
	answer, err := s.server.Client().Do(req)
	require.NoError(t, err)
	text, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	require.NoError(t, answer.Body.Close())
	answer.Body = io.NopCloser(bytes.NewReader(text))
	return answer
}

// pack pushes a small artifact, a referrer if it has a subject.
func pack(t *testing.T, repo *remote.Repository, kind, text string, subject *ocispec.Descriptor) ocispec.Descriptor {
	t.Helper()
	d, err := tryPack(repo, kind, text, subject)
	require.NoError(t, err)
	return d
}

func tryPack(repo *remote.Repository, kind, text string, subject *ocispec.Descriptor) (ocispec.Descriptor, error) {
	ctx := context.Background()
	layer, err := oras.PushBytes(ctx, repo, "application/vnd.test.layer", []byte(text))
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	return oras.PackManifest(ctx, repo, oras.PackManifestVersion1_1, kind, oras.PackManifestOptions{
		Subject:             subject,
		Layers:              []ocispec.Descriptor{layer},
		ManifestAnnotations: map[string]string{ocispec.AnnotationCreated: "2026-11-22T00:00:00Z", "text": text},
	})
}

func referrers(t *testing.T, repo *remote.Repository, subject ocispec.Descriptor, kind string) []ocispec.Descriptor {
	t.Helper()
	var all []ocispec.Descriptor
	require.NoError(t, repo.Referrers(context.Background(), subject, kind, func(page []ocispec.Descriptor) error {
		all = append(all, page...)
		return nil
	}))
	return all
}

func TestContentsSurviveARestart(t *testing.T) {
	ctx := context.Background()
	s := start(t, t.TempDir())
	repo := s.repository(t)
	subject := pack(t, repo, "application/vnd.test.package", "package", nil)
	require.NoError(t, repo.Tag(ctx, subject, "v1"))
	other := pack(t, repo, "application/vnd.test.package", "other", nil)
	require.NoError(t, repo.Tag(ctx, other, "latest"))
	require.NoError(t, repo.Tag(ctx, subject, "latest")) // moved: the last one holds
	signature := pack(t, repo, "application/vnd.test.signature", "signature", &subject)
	pack(t, repo, "application/vnd.test.comment", "comment", &subject)

	for range 2 { // also after the second start
		s.stop()
		s = start(t, s.dir)
		repo = s.repository(t)
		for _, tag := range []string{"v1", "latest", subject.Digest.String()} {
			got, err := repo.Resolve(ctx, tag)
			require.NoError(t, err, tag)
			require.Equal(t, subject.Digest, got.Digest, tag)
		}
		copied := memory.New()
		_, err := oras.Copy(ctx, repo, "v1", copied, "v1", oras.DefaultCopyOptions)
		require.NoError(t, err)
		manifest, err := content.FetchAll(ctx, copied, subject)
		require.NoError(t, err)
		require.EqualValues(t, subject.Digest, artifact.DigestOf(manifest))

		require.Len(t, referrers(t, repo, subject, ""), 2)
		listed := referrers(t, repo, subject, "application/vnd.test.signature")
		require.Len(t, listed, 1)
		require.Equal(t, signature.Digest, listed[0].Digest)
		require.Equal(t, signature.Size, listed[0].Size)
		require.Equal(t, "application/vnd.test.signature", listed[0].ArtifactType, "the artifact's own type, not its config's")
		require.Equal(t, "signature", listed[0].Annotations["text"])
		require.Empty(t, referrers(t, repo, other, ""))
		var tags []string
		require.NoError(t, repo.Tags(ctx, "", func(page []string) error { tags = append(tags, page...); return nil }))
		require.Equal(t, []string{"latest", "v1"}, tags)
	}
}

func TestConcurrentAttachesAreAllListed(t *testing.T) {
	s := start(t, t.TempDir())
	subject := pack(t, s.repository(t), "application/vnd.test.package", "package", nil)
	var writers sync.WaitGroup
	for i := range 20 {
		repo := s.repository(t) // each with a client of its own
		writers.Go(func() {
			if _, err := tryPack(repo, "application/vnd.test.signature", fmt.Sprint(i), &subject); err != nil {
				t.Error(err)
			}
		})
	}
	writers.Wait()
	require.Len(t, referrers(t, s.repository(t), subject, ""), 20)
	s.stop()
	s = start(t, s.dir)
	require.Len(t, referrers(t, s.repository(t), subject, ""), 20)
}

// The other common client: chunked uploads, indexes.
func TestUpstreamClient(t *testing.T) {
	s := start(t, t.TempDir())
	index, err := random.Index(100_000, 3, 2)
	require.NoError(t, err)
	ref, err := name.ParseReference(s.host()+"/images/test:v1", name.Insecure)
	require.NoError(t, err)
	require.NoError(t, upstream.WriteIndex(ref, index))
	s.stop()
	s = start(t, s.dir)
	ref, err = name.ParseReference(s.host()+"/images/test:v1", name.Insecure)
	require.NoError(t, err)
	got, err := upstream.Index(ref)
	require.NoError(t, err)
	want, err := index.Digest()
	require.NoError(t, err)
	have, err := got.Digest()
	require.NoError(t, err)
	require.Equal(t, want, have)
	list, err := got.IndexManifest()
	require.NoError(t, err)
	for _, d := range list.Manifests {
		image, err := got.Image(d.Digest)
		require.NoError(t, err)
		layers, err := image.Layers()
		require.NoError(t, err)
		for _, layer := range layers {
			body, err := layer.Compressed()
			require.NoError(t, err)
			_, err = io.Copy(io.Discard, body) // compares the digest
			require.NoError(t, err)
		}
	}
}

func TestRanges(t *testing.T) {
	s := start(t, t.TempDir())
	layer, err := oras.PushBytes(context.Background(), s.repository(t), "application/vnd.test.layer", []byte("0123456789"))
	require.NoError(t, err)
	req, err := http.NewRequest(http.MethodGet, s.server.URL+"/v2/models/north/tumour/blobs/"+layer.Digest.String(), nil)
	require.NoError(t, err)
	req.Header.Set("Range", "bytes=7-")
	answer, err := s.server.Client().Do(req)
	require.NoError(t, err)
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusPartialContent, answer.StatusCode)
	require.Equal(t, "789", string(body))
}

func TestRefusals(t *testing.T) {
	s := start(t, t.TempDir())
	subject := pack(t, s.repository(t), "application/vnd.test.package", "package", nil)
	const image, index = ocispec.MediaTypeImageManifest, ocispec.MediaTypeImageIndex
	const base = "/v2/models/north/tumour/"
	none := string(artifact.DigestOf([]byte("none")))
	tests := []struct {
		name, method, path, mediaType, body string
		want                                int
	}{
		{"a manifest under another's digest", "PUT", base + "manifests/" + none, image, `{"mediaType":"` + image + `"}`, 400},
		{"a manifest that calls itself something else", "PUT", base + "manifests/v1", image, `{"mediaType":"` + index + `"}`, 400},
		{"a manifest without a media type", "PUT", base + "manifests/v1", "", `{}`, 400},
		{"a manifest that is no JSON", "PUT", base + "manifests/v1", image, `{`, 400},
		{"a manifest over 4 MiB", "PUT", base + "manifests/v1", image, strings.Repeat(" ", 4<<20) + "{}", 413},
		{"an index of what is not here", "PUT", base + "manifests/v1", index, `{"schemaVersion":2,"manifests":[{"mediaType":"` + image + `","digest":"` + none + `","size":1}]}`, 404},
		{"a malformed index", "PUT", base + "manifests/v1", index, `{"manifests":[{"digest":"x"}]}`, 400},
		{"a malformed subject", "PUT", base + "manifests/v1", image, `{"subject":{"digest":"x"}}`, 400},
		{"a tag that is a path", "PUT", base + "manifests/..%2f..%2fx", image, `{}`, 405},
		{"a tag that is no tag", "PUT", base + "manifests/-v1", image, `{}`, 400},
		{"a manifest without a reference", "PUT", "/v2/models/manifests/", image, `{}`, 405},
		{"a repository that is a path", "PUT", "/v2/a/%2e%2e/manifests/v1", image, `{}`, 400},
		{"a repository in capitals", "PUT", "/v2/Models/manifests/v1", image, `{}`, 400},
		{"a blob under another's digest", "POST", base + "blobs/uploads/?digest=" + none, "application/octet-stream", "some", 400},
		{"deleting a manifest", "DELETE", base + "manifests/" + subject.Digest.String(), "", "", 405},
		{"deleting a blob", "DELETE", base + "blobs/" + none, "", "", 405},
		{"a blob that is not here", "GET", base + "blobs/" + none, "", "", 404},
		{"a blob without a digest", "GET", base + "blobs/v1", "", "", 400},
		{"referrers of a tag", "GET", base + "referrers/v1", "", "", 400},
		{"writing referrers", "PUT", base + "referrers/" + none, "", "", 405},
		{"writing a blob by its name", "PUT", base + "blobs/" + none, "", "x", 405},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			answer := s.do(t, tt.method, tt.path, tt.mediaType, tt.body)
			require.Equal(t, tt.want, answer.StatusCode)
			var body struct{ Errors []struct{ Code string } }
			require.NoError(t, json.NewDecoder(answer.Body).Decode(&body))
			require.Len(t, body.Errors, 1)
			require.NotEmpty(t, body.Errors[0].Code)
		})
	}
	s.stop()
	s = start(t, s.dir) // nothing of it is in the way of a restart
	require.Equal(t, http.StatusNotFound, s.do(t, "GET", base+"manifests/v1", "", "").StatusCode)
	require.Equal(t, http.StatusOK, s.do(t, "GET", base+"manifests/"+subject.Digest.String(), "", "").StatusCode)
}

// A crash between any two steps of a push.
func TestCrashes(t *testing.T) {
	ctx := context.Background()
	s := start(t, t.TempDir())
	kept := pack(t, s.repository(t), "application/vnd.test.package", "kept", nil)
	journal := filepath.Join(s.dir, "manifests.jsonl")
	before, err := os.ReadFile(journal)
	require.NoError(t, err)

	t.Run("after the blobs", func(t *testing.T) {
		_, err := oras.PushBytes(ctx, s.repository(t), "application/vnd.test.layer", []byte("orphan"))
		require.NoError(t, err)
		s.stop()
		s = start(t, s.dir)
		_, err = s.repository(t).Resolve(ctx, kept.Digest.String())
		require.NoError(t, err)
		pack(t, s.repository(t), "application/vnd.test.package", "orphan", nil)
	})
	t.Run("within a line of the journal", func(t *testing.T) {
		after, err := os.ReadFile(journal)
		require.NoError(t, err)
		require.Greater(t, len(after), len(before))
		for cut := len(before); cut < len(after); cut++ {
			s.stop()
			require.NoError(t, os.WriteFile(journal, after[:cut], 0o600))
			s = start(t, s.dir)
			_, err := s.repository(t).Resolve(ctx, kept.Digest.String())
			require.NoError(t, err)
			again := pack(t, s.repository(t), "application/vnd.test.package", "again", nil)
			s.stop()
			s = start(t, s.dir)
			_, err = s.repository(t).Resolve(ctx, again.Digest.String())
			require.NoError(t, err, "what was pushed after the crash at byte %d is there", cut)
		}
	})
}

func TestDamageIsFoundAtStart(t *testing.T) {
	for _, tt := range []struct {
		name   string
		damage func(t *testing.T, dir string, digest artifact.Digest)
		want   error
	}{
		{"a line that cannot be read", func(t *testing.T, dir string, _ artifact.Digest) {
			path := filepath.Join(dir, "manifests.jsonl")
			content, err := os.ReadFile(path)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(path, append([]byte("{]\n"), content...), 0o600))
		}, registry.ErrJournal},
		{"an altered manifest", func(t *testing.T, dir string, digest artifact.Digest) {
			require.NoError(t, os.WriteFile(filepath.Join(dir, "blobs", "sha256", digest.Hex()[:2], digest.Hex()), []byte("{}"), 0o600))
		}, artifact.ErrContent},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := start(t, t.TempDir())
			digest := artifact.Digest(pack(t, s.repository(t), "application/vnd.test.package", "kept", nil).Digest)
			s.stop()
			tt.damage(t, s.dir, digest)
			_, err := registry.Open(s.dir, slog.New(slog.DiscardHandler))
			require.ErrorIs(t, err, tt.want)
			var where *registry.JournalError
			require.ErrorAs(t, err, &where)
			require.Equal(t, 1, where.Line)
		})
	}
}

func TestOneProcessAtATime(t *testing.T) {
	s := start(t, t.TempDir())
	_, err := registry.Open(s.dir, slog.New(slog.DiscardHandler))
	require.ErrorIs(t, err, registry.ErrInUse)
	s.stop()
	start(t, s.dir)
}
