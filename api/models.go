package api

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/artifact"
)

// Exchange is the model exchange bus, I.1.3.
type Exchange struct {
	b        *Border
	models   Models
	blobs    Blobs
	packages Packages
	verifier Verifier
}

// NewExchange returns the service.
func NewExchange(b *Border, p Ports) *Exchange {
	return &Exchange{b: b, models: p.Models, blobs: p.Blobs, packages: p.Packages, verifier: p.Verifier}
}

// Mount implements [Service].
func (s *Exchange) Mount(r gin.IRouter) {
	s.b.mount(r, "uploadModel", s.upload)
	s.b.mount(r, "listModels", s.list)
	s.b.mount(r, "getModel", s.get)
	s.b.mount(r, "downloadModel", s.download)
	s.b.mount(r, "getModelBundle", s.bundle)
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
	view.Versions = views(model.Versions, versionView)
	view.Simulated = k.Simulated
	return s.b.send(c, http.StatusOK, view)
}

// download streams the weights; the manifest, which are the bytes that the
// bundle is about, for a check with public tools; or the card, for people.
func (s *Exchange) download(c *gin.Context, k call) error {
	v, err := s.models.ModelVersion(c.Request.Context(), k.Caller, c.Param("id"), intQuery(c, "version", 0))
	if err != nil {
		return err
	}
	name := fmt.Sprintf("%s-%d", v.ModelID, v.Number)
	switch c.Query("part") {
	case "manifest":
		return s.manifest(c, v, name+".manifest.json")
	case "card":
		return s.card(c, v, name+".card.json")
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

// card streams the one layer of the package that is a document.
func (s *Exchange) card(c *gin.Context, v ModelVersion, filename string) error {
	text, err := s.packages.Manifest(c.Request.Context(), v.Repository, v.Package.Digest)
	if err != nil {
		return lost(v.Package.Digest, err)
	}
	up := uploading{text: text}
	if err := up.read(); err != nil {
		// Its kind is for uploads and stays behind: this was checked when it came.
		return fmt.Errorf("manifest of %s/%d: %s: %w", v.ModelID, v.Number, err.Error(), errLost)
	}
	card, ok := up.parts["card"]
	if !ok {
		return notFound
	}
	d := artifact.Descriptor{Digest: card.Digest, SizeBytes: card.Size, MediaType: card.MediaType}
	open := func(ctx context.Context) (io.ReadCloser, error) { return s.packages.Blob(ctx, v.Repository, d.Digest) }
	return s.b.serveContent(c, open, d, filename)
}

func (s *Exchange) bundle(c *gin.Context, k call) error {
	v, err := s.models.ModelVersion(c.Request.Context(), k.Caller, c.Param("id"), intQuery(c, "version", 0))
	if err != nil {
		return err
	}
	return s.b.serveBlob(c, s.blobs, v.Bundle, fmt.Sprintf("%s-%d.sigstore.json", v.ModelID, v.Number))
}

func modelView(m Model) v1.Model {
	champions := m.Champions
	if champions == nil {
		champions = map[string]int{}
	}
	return v1.Model{Tenant: m.Tenant, ID: m.ID, Latest: m.Latest, Champions: champions, CreatedAt: m.CreatedAt}
}

func versionView(v ModelVersion) v1.ModelVersion {
	return v1.ModelVersion{
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
}
