package registry

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"time"

	upstream "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/internal/blob"
)

// getBlob serves a blob, ranges too. Whoever asks compares the digest: the
// registry would have to read the file twice to do so before it answers.
func (r *Registry) getBlob(w http.ResponseWriter, req *http.Request, reference string) {
	digest, err := artifact.ParseDigest(reference)
	if err != nil {
		refuse(w, http.StatusBadRequest, "DIGEST_INVALID", "invalid digest")
		return
	}
	file, _, err := r.blobs.File(digest)
	if errors.Is(err, activities.ErrNotFound) {
		refuse(w, http.StatusNotFound, "BLOB_UNKNOWN", "unknown blob")
		return
	}
	if err != nil {
		r.log.Error("registry cannot read a blob", "digest", digest, "error", err)
		refuse(w, http.StatusInternalServerError, "UNKNOWN", "the blob could not be read")
		return
	}
	defer file.Close()
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Docker-Content-Digest", string(digest))
	w.Header().Set("ETag", `"`+string(digest)+`"`)
	http.ServeContent(w, req, "", time.Time{}, file)
}

// finishUpload takes the last piece of a blob, or all of it. What comes whole
// goes from the line into the store, in one pass and one copy; upstream never
// hears of it.
func (r *Registry) finishUpload(w http.ResponseWriter, req *http.Request, repository, id string) {
	digest, err := artifact.ParseDigest(req.URL.Query().Get("digest"))
	if req.Method == http.MethodPost && err != nil { // a session is begun
		r.next.ServeHTTP(w, req)
		return
	}
	if err != nil {
		refuse(w, http.StatusBadRequest, "DIGEST_INVALID", "invalid digest")
		return
	}
	if r.inPieces(id) {
		r.finishPieces(w, req)
		return
	}
	_, err = r.blobs.Put(req.Context(), "application/octet-stream", artifact.Expect(req.Body, digest))
	if errors.Is(err, artifact.ErrContent) {
		refuse(w, http.StatusBadRequest, "DIGEST_INVALID", "digest does not match contents")
		return
	}
	if err != nil {
		r.log.Error("registry cannot keep a blob", "repository", repository, "error", err)
		refuse(w, http.StatusInternalServerError, "UNKNOWN", "the blob could not be kept")
		return
	}
	w.Header().Set("Location", "/v2/"+repository+"/blobs/"+string(digest))
	w.Header().Set("Docker-Content-Digest", string(digest))
	w.WriteHeader(http.StatusCreated)
}

// inPieces says whether upstream holds a piece of this upload, and forgets it:
// what comes now is the last one.
func (r *Registry) inPieces(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, some := r.pieces[id]
	delete(r.pieces, id)
	return some
}

// piece passes a piece on to upstream, which holds it in memory.
func (r *Registry) piece(w http.ResponseWriter, req *http.Request, id string) {
	r.mu.Lock()
	r.pieces[id] = struct{}{}
	r.mu.Unlock()
	req.Body = http.MaxBytesReader(w, req.Body, maxChunk)
	r.next.ServeHTTP(w, req)
}

// finishPieces receives the body before upstream sees the request. Upstream
// holds a lock over all uploads while it reads one, so a sender that stalls
// would stop all others.
func (r *Registry) finishPieces(w http.ResponseWriter, req *http.Request) {
	spool, err := os.CreateTemp("", "fabric-registry-*")
	if err != nil {
		r.log.Error("registry cannot receive a blob", "error", err)
		refuse(w, http.StatusInternalServerError, "UNKNOWN", "the blob could not be received")
		return
	}
	defer os.Remove(spool.Name())
	defer spool.Close()
	size, err := io.Copy(spool, req.Body)
	if err == nil {
		_, err = spool.Seek(0, io.SeekStart)
	}
	if err != nil {
		refuse(w, http.StatusBadRequest, "BLOB_UPLOAD_INVALID", "the body broke off")
		return
	}
	whole := req.Clone(req.Context())
	whole.Body, whole.ContentLength = spool, size
	r.next.ServeHTTP(w, whole)
}

// uploads takes what upstream has received. Reading is done by getBlob.
type uploads struct{ blobs *blob.Dir }

var (
	_ upstream.BlobHandler    = uploads{}
	_ upstream.BlobPutHandler = uploads{}
)

// Put keeps an upload; rc fails at its end when the digest differs.
func (u uploads) Put(ctx context.Context, _ string, h v1.Hash, rc io.ReadCloser) error {
	_, err := u.blobs.Put(ctx, "application/octet-stream", artifact.Expect(rc, artifact.Digest(h.String())))
	return errors.Join(err, rc.Close())
}

// Get returns an upload.
func (u uploads) Get(ctx context.Context, _ string, h v1.Hash) (io.ReadCloser, error) {
	content, err := u.blobs.Open(ctx, artifact.Digest(h.String()))
	if errors.Is(err, activities.ErrNotFound) {
		return nil, upstream.ErrNotFound
	}
	return content, err
}
