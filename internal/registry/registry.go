// Package registry is the OCI registry that the fabric brings along: packages,
// their bundles as referrers, and nothing that is ever forgotten.
//
// The protocol's upload and tag endpoints are those of go-containerregistry,
// which keeps manifests in memory. In front of it this package writes every
// manifest to disk before it is answered, reads them back at start, serves
// blobs and referrers itself, and refuses what would break a promise: see
// docs/adr/0002-embedded-registry.md.
//
// Invariant: an answer of 201 survives a crash, content is what its digest
// says, and nothing is deleted.
package registry

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"sync"

	upstream "github.com/google/go-containerregistry/pkg/registry"

	"github.com/atom-fabric/fabric/internal/blob"
)

// Limits of one request.
const (
	maxManifest = 4 << 20  // as the specification suggests
	maxChunk    = 64 << 20 // of a PATCH, which upstream holds in memory
)

// ErrInUse says that another process has the directory open.
var ErrInUse = errors.New("the registry's directory is in use by another process")

// A Registry is an OCI registry as an HTTP handler. It is safe for concurrent
// use. It asks nobody who they are: it listens on loopback only.
type Registry struct {
	blobs   *blob.Dir
	next    http.Handler // upstream
	log     *slog.Logger
	mu      sync.Mutex // orders the journal and what upstream is told
	journal *journal
	index   referrers
	pieces  map[string]struct{} // uploads of which upstream holds pieces
}

var _ http.Handler = (*Registry)(nil)

// Blobs returns where the registry in dir keeps its blobs, a directory of
// package blob. What is linked into it is in the registry.
func Blobs(dir string) string { return filepath.Join(dir, "blobs") }

// Open reads the registry in dir, or starts an empty one.
// Errors: [ErrInUse], [*JournalError].
func Open(dir string, log *slog.Logger) (*Registry, error) {
	blobs, err := blob.NewDir(Blobs(dir))
	if err != nil {
		return nil, fmt.Errorf("registry: %w", err)
	}
	r := &Registry{blobs: blobs, log: log, index: referrers{}, pieces: map[string]struct{}{}}
	r.next = upstream.New(
		upstream.Logger(slog.NewLogLogger(log.Handler(), slog.LevelDebug)),
		upstream.WithBlobHandler(uploads{blobs}),
	)
	r.journal, err = openJournal(filepath.Join(dir, "manifests.jsonl"))
	if err != nil {
		return nil, fmt.Errorf("registry: %w", err)
	}
	count, err := r.replay()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("registry: %w", err), r.journal.close())
	}
	log.Info("registry opened", "manifests", count)
	return r, nil
}

// Close lets another process open the directory.
func (r *Registry) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.journal.close()
}

// A repository's name, by the OCI distribution specification.
var repositoryName = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)

// ServeHTTP answers what this package promises by itself, and leaves the rest
// to upstream.
func (r *Registry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if req.Method == http.MethodDelete {
		refuse(w, http.StatusMethodNotAllowed, "UNSUPPORTED", "nothing is deleted here")
		return
	}
	repository, kind, reference := split(req.URL.Path)
	read := req.Method == http.MethodGet || req.Method == http.MethodHead
	if kind == "" && read { // /v2/ and the catalog
		r.next.ServeHTTP(w, req)
		return
	}
	if kind == "" { // upstream would find a manifest in paths that are none
		refuse(w, http.StatusMethodNotAllowed, "UNSUPPORTED", "unsupported operation")
		return
	}
	if !repositoryName.MatchString(repository) || len(repository) > 255 {
		refuse(w, http.StatusBadRequest, "NAME_INVALID", "invalid repository name")
		return
	}
	switch {
	case kind == "manifests" && req.Method == http.MethodPut:
		r.putManifest(w, req, repository, reference)
	case kind == "referrers" && req.Method == http.MethodGet:
		r.listReferrers(w, req, repository, reference)
	case kind == "blobs" && read:
		r.getBlob(w, req, reference)
	case kind == "manifests" && read, kind == "tags" && read:
		r.next.ServeHTTP(w, req)
	case kind == "uploads" && req.Method == http.MethodPatch:
		r.piece(w, req, reference)
	case kind == "uploads" && (req.Method == http.MethodPost || req.Method == http.MethodPut):
		r.finishUpload(w, req, repository, reference)
	default:
		refuse(w, http.StatusMethodNotAllowed, "UNSUPPORTED", "unsupported operation")
	}
}

// split takes /v2/<repository>/<kind>/<reference> apart. The kind of
// /v2/<repository>/blobs/uploads/<id> is "uploads".
func split(path string) (repository, kind, reference string) {
	rest, ok := strings.CutPrefix(path, "/v2/")
	if !ok {
		return "", "", ""
	}
	parts := strings.Split(strings.TrimSuffix(rest, "/"), "/")
	n := len(parts)
	switch {
	case n >= 3 && parts[n-2] == "blobs" && parts[n-1] == "uploads":
		return strings.Join(parts[:n-2], "/"), "uploads", ""
	case n >= 4 && parts[n-3] == "blobs" && parts[n-2] == "uploads":
		return strings.Join(parts[:n-3], "/"), "uploads", parts[n-1]
	case n >= 3:
		switch parts[n-2] {
		case "manifests", "blobs", "referrers", "tags":
			return strings.Join(parts[:n-2], "/"), parts[n-2], parts[n-1]
		}
	}
	return "", "", ""
}

// refuse answers with an error of the distribution specification.
func refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, `{"errors":[{"code":"`+code+`","message":"`+message+`"}]}`) // the caller has gone
}
