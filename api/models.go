package api

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"github.com/gin-gonic/gin"

	"github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/consent"
	"github.com/atom-fabric/fabric/domain/modelpack"
)

// Exchange is the model exchange bus, I.1.3.
type Exchange struct {
	b        *Border
	models   Models
	blobs    Blobs
	uploads  Uploads
	packages Packages
	verifier Verifier
}

// NewExchange returns the service.
func NewExchange(b *Border, p Ports) *Exchange {
	return &Exchange{b: b, models: p.Models, blobs: p.Blobs, uploads: p.Uploads, packages: p.Packages, verifier: p.Verifier}
}

// Mount implements [Service].
func (s *Exchange) Mount(r gin.IRouter) {
	s.b.mount(r, "uploadModel", s.upload)
	s.b.mount(r, "listModels", s.list)
	s.b.mount(r, "getModel", s.get)
	s.b.mount(r, "downloadModel", s.download)
	s.b.mount(r, "getModelBundle", s.bundle)
	s.b.mount(r, "putModelFile", s.put)
	s.b.mount(r, "listAliases", s.aliases)
	s.b.mount(r, "moveAlias", s.move)
}

func (s *Exchange) list(c *gin.Context, k call) error {
	p, err := page(c)
	if err != nil {
		return err
	}
	models, err := s.models.Models(c.Request.Context(), k.Caller, p)
	if err != nil {
		return err
	}
	models, next := paged(p, models, func(m Model) string { return m.ID })
	return s.b.send(c, http.StatusOK, v1.ModelPage{Items: views(models, modelView), Next: next, Simulated: k.Simulated})
}

func (s *Exchange) get(c *gin.Context, k call) error {
	model, err := s.models.Model(c.Request.Context(), k.Caller, c.Param("id"))
	if err != nil {
		return err
	}
	view := modelView(model)
	view.Versions = views(model.Versions, func(v ModelVersion) v1.ModelVersion { return taintedView(v, model.Taints) })
	view.Simulated = k.Simulated
	return s.b.send(c, http.StatusOK, view)
}

// taintedView says of a version which withdrawals reach it.
func taintedView(v ModelVersion, taints []Taint) v1.ModelVersion {
	view := versionView(v)
	for _, t := range taints {
		if t.Version == v.Number {
			view.Tainted = append(view.Tainted, t.Words())
			view.Blocked = view.Blocked || consent.Blocks(t.Decision)
		}
	}
	return view
}

// put keeps a piece of a file that a package will name. Until then nobody
// reads it, and it is its sender's alone.
func (s *Exchange) put(c *gin.Context, k call) error {
	if c.ContentType() != mediaTypeAhead {
		return mediaType.because("send Content-Type: application/octet-stream")
	}
	if c.GetHeader("Content-Range") == "" {
		return invalidRequest.at("header:Content-Range", "a file is sent ahead in pieces; whole it is sent with its package")
	}
	return s.b.chunk(c, s.uploads, uploader(k), mediaTypeAhead, nil)
}

// download streams the weights; the manifest, which are the bytes that the
// bundle is about, for a check with public tools; or another part.
func (s *Exchange) download(c *gin.Context, k call) error {
	v, err := s.resolve(c, k)
	if err != nil {
		return err
	}
	c.Header("X-Model-Version", strconv.Itoa(v.Number))
	name := fmt.Sprintf("%s-%d", v.ModelID, v.Number)
	switch part := c.Query("part"); part {
	case "manifest":
		return s.manifest(c, v, name+".manifest.json")
	case "card", "config":
		return s.document(c, v, part, name+"."+part+".json")
	}
	return s.b.serveBlob(c, s.blobs, v.Weights, name+".safetensors")
}

func (s *Exchange) manifest(c *gin.Context, v ModelVersion, filename string) error {
	text, err := s.packages.Manifest(c.Request.Context(), v.Repository, v.Package.Digest)
	if err != nil {
		return lost(v.Package.Digest, err)
	}
	open := func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(text)), nil }
	d := artifact.Descriptor{Digest: v.Package.Digest, SizeBytes: int64(len(text)), MediaType: v.Package.MediaType}
	return s.b.serveContent(c, open, d, filename)
}

// document streams the card or the config of a package.
func (s *Exchange) document(c *gin.Context, v ModelVersion, part, filename string) error {
	text, err := s.packages.Manifest(c.Request.Context(), v.Repository, v.Package.Digest)
	if err != nil {
		return lost(v.Package.Digest, err)
	}
	pkg, err := modelpack.ParseManifest(text)
	if err != nil { // this was checked when it came
		return fmt.Errorf("manifest of %s/%d: %s: %w", v.ModelID, v.Number, err.Error(), errLost)
	}
	d := pkg.Config.Descriptor
	if part == "card" {
		if pkg.Card == nil {
			return notFound
		}
		d = pkg.Card.Descriptor
	}
	open := func(ctx context.Context) (io.ReadCloser, error) { return s.packages.Blob(ctx, v.Repository, d.Digest) }
	return s.b.serveContent(c, open, d, filename)
}

// bundle streams one of the three bundles about a version.
func (s *Exchange) bundle(c *gin.Context, k call) error {
	v, err := s.resolve(c, k)
	if err != nil {
		return err
	}
	d, suffix := v.Bundle, ".sigstore.json"
	switch c.Query("about") {
	case "files":
		d, suffix = v.FilesBundle, ".sig"
	case "manifest":
		d, suffix = v.Signature, ".cosign.json"
	}
	if d.Digest == "" {
		return notFound // registered before it was asked for
	}
	return s.b.serveBlob(c, s.blobs, d, fmt.Sprintf("%s-%d%s", v.ModelID, v.Number, suffix))
}

func modelView(m Model) v1.Model {
	champions := m.Champions
	if champions == nil {
		champions = map[string]int{}
	}
	return v1.Model{Tenant: m.Tenant, ID: m.ID, Latest: m.Latest, Champions: champions, CreatedAt: m.CreatedAt}
}

func versionView(v ModelVersion) v1.ModelVersion {
	view := v1.ModelVersion{
		Tenant:       v.Tenant,
		ModelID:      v.ModelID,
		Version:      v.Number,
		Repository:   v.Repository,
		Package:      descriptorView(v.Package),
		Weights:      descriptorView(v.Weights),
		Bundle:       descriptorView(v.Bundle),
		Run:          v.Run,
		Round:        v.Round,
		Metrics:      metricsView(v.Metrics),
		RegisteredAt: v.RegisteredAt,
		Simulated:    v.Simulated,
	}
	if v.FilesBundle.Digest != "" {
		view.FilesBundle, view.Signature = descriptorView(v.FilesBundle), descriptorView(v.Signature)
	}
	return view
}
