package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/catalog"
	"github.com/atom-fabric/fabric/domain/round"
)

// maxWeights bounds the weights of an uploaded package.
const maxWeights = 4 << 30

// mediaTypeImage is what the manifest of a package is.
const mediaTypeImage = "application/vnd.oci.image.manifest.v1+json"

// A packageManifest is what is read of an OCI image manifest. What else stands
// there is covered by its digest and passed on.
type packageManifest struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType"`
	ArtifactType  string            `json:"artifactType"`
	Config        packageBlob       `json:"config"`
	Layers        []packageBlob     `json:"layers"`
	Annotations   map[string]string `json:"annotations"`
}

type packageBlob struct {
	MediaType   string            `json:"mediaType"`
	Digest      artifact.Digest   `json:"digest"`
	Size        int64             `json:"size"`
	Annotations map[string]string `json:"annotations"`
}

// A packageStatement is what the bundle must say of the package: whose model
// it is, with which weights.
type packageStatement struct {
	Tenant     string          `json:"tenant"`
	Model      string          `json:"model"`
	Run        string          `json:"run"`
	Round      int             `json:"round"`
	Weights    artifact.Digest `json:"weights"`
	Metrics    round.Metrics   `json:"metrics"`
	Simulation bool            `json:"simulation"`
}

// An uploading is a package on its way in.
type uploading struct {
	text     []byte // of the manifest
	manifest packageManifest
	bundle   []byte
	said     packageStatement
	parts    map[string]packageBlob // that are still to come, by part name
}

// upload takes a signed package. The signature over the manifest is verified
// before a byte of the content is stored, and each part is compared with the
// digest in the manifest before it is kept.
func (s *Exchange) upload(c *gin.Context, k call) error {
	ctx := c.Request.Context()
	c.Request.Body = http.MaxBytesReader(c.Writer, c.Request.Body, maxWeights+4*maxDocument)
	reader, err := c.Request.MultipartReader()
	if err != nil {
		return mediaType.because("send Content-Type: multipart/form-data with a boundary")
	}
	up, err := s.announced(ctx, reader, k.Tenant)
	if err != nil {
		return err
	}
	if k.command.KeyHash != "" {
		k.command.Fingerprint = artifact.DigestOf(append(append([]byte("upload "+k.Tenant+"\n"), up.text...), up.bundle...))
		if replayed, err := s.b.replay(c, k); replayed || err != nil {
			return err
		}
	}
	for len(up.parts) > 0 {
		if err := s.part(ctx, reader, up); err != nil {
			return err
		}
	}
	return s.register(c, k, up)
}

// announced reads the manifest and its bundle, and refuses what is not a
// verified package of this tenant.
func (s *Exchange) announced(ctx context.Context, reader *multipart.Reader, tenant string) (*uploading, error) {
	up := &uploading{}
	var err error
	if up.text, err = partText(reader, "manifest"); err != nil {
		return nil, err
	}
	if up.bundle, err = partText(reader, "bundle"); err != nil {
		return nil, err
	}
	if err := up.read(); err != nil {
		return nil, err
	}
	predicate, err := s.verifier.Verify(ctx, up.bundle, artifact.PredicateModelPackage, artifact.DigestOf(up.text))
	if err != nil {
		return nil, &Problem{Kind: unverified, Detail: "no trusted key vouches for this manifest as a model package", Err: err}
	}
	if err := json.Unmarshal(predicate, &up.said); err != nil || !catalog.ValidName(up.said.Model) {
		return nil, &Problem{Kind: badPackage, Detail: "the statement names no model", Err: err}
	}
	if up.said.Tenant != tenant {
		return nil, notFound // of another tenant: not even that it verifies is said
	}
	if up.said.Weights != up.parts["weights"].Digest {
		return nil, badPackage.because("the statement vouches for other weights than the manifest holds")
	}
	return up, nil
}

// read decodes the manifest and lists the parts that must follow.
func (up *uploading) read() error {
	var members map[string]json.RawMessage
	if err := artifact.DecodeStrict(up.text, &members); err != nil {
		return malformed(err)
	}
	if err := json.Unmarshal(up.text, &up.manifest); err != nil {
		return &Problem{Kind: badPackage, Detail: "the manifest is not an OCI image manifest", Err: err}
	}
	m := up.manifest
	if m.MediaType != mediaTypeImage || m.ArtifactType != artifact.MediaTypePackage || m.Config.MediaType != artifact.MediaTypeModel {
		return badPackage.because("the manifest is not that of a model package (ModelPack)")
	}
	up.parts = map[string]packageBlob{"config": m.Config}
	for _, layer := range m.Layers {
		name := "card"
		if layer.MediaType == artifact.MediaTypeWeights {
			name = "weights"
		}
		if _, twice := up.parts[name]; twice {
			return badPackage.because("the manifest holds more than one layer of weights or of documents")
		}
		up.parts[name] = layer
	}
	for name, blob := range up.parts {
		limit := int64(maxDocument)
		if name == "weights" {
			limit = maxWeights
		}
		if blob.Digest == "" || blob.Size < 0 || blob.Size > limit {
			return badPackage.because("the manifest's " + name + " has no digest or is too large")
		}
	}
	if _, ok := up.parts["weights"]; !ok {
		return badPackage.because("the manifest holds no weights")
	}
	return nil
}

// partText reads the next part, which must be a small document of that name.
func partText(reader *multipart.Reader, name string) ([]byte, error) {
	part, err := next(reader)
	if err != nil {
		return nil, err
	}
	defer part.Close()
	if part.FormName() != name {
		return nil, badPackage.because("the part " + name + " is missing, or out of order")
	}
	text, err := io.ReadAll(io.LimitReader(part, maxDocument+1))
	if err != nil {
		return nil, contentProblem(err)
	}
	if len(text) > maxDocument {
		return nil, tooLarge.because("a " + name + " is at most 1 MiB")
	}
	return text, nil
}

func next(reader *multipart.Reader) (*multipart.Part, error) {
	part, err := reader.NextRawPart()
	if errors.Is(err, io.EOF) {
		return nil, badPackage.because("a part that the manifest names is missing")
	}
	if err != nil {
		return nil, contentProblem(err)
	}
	return part, nil
}

// part stores the next part if it is what the manifest says.
func (s *Exchange) part(ctx context.Context, reader *multipart.Reader, up *uploading) error {
	part, err := next(reader)
	if err != nil {
		return err
	}
	defer part.Close()
	name := part.FormName()
	want, ok := up.parts[name]
	if !ok {
		return badPackage.because("a part that the manifest does not name, or names once")
	}
	delete(up.parts, name)
	content := checking(io.LimitReader(part, want.Size+1), want.Digest)
	_, err = s.blobs.Put(ctx, want.MediaType, content)
	if content.err != nil {
		return contentProblem(content.err)
	}
	if err != nil {
		return err
	}
	if content.n != want.Size {
		return badPackage.because("the part " + name + " has another size than the manifest says")
	}
	return nil
}

// register pushes the package to the registry and makes it a version. A crash
// before the last line leaves content that nothing refers to.
func (s *Exchange) register(c *gin.Context, k call, up *uploading) error {
	ctx := c.Request.Context()
	bundle, err := put(ctx, s.blobs, artifact.MediaTypeBundle, up.bundle)
	if err != nil {
		return err
	}
	repository := "models/" + up.said.Tenant + "/" + up.said.Model
	pkg := artifact.Describe(mediaTypeImage, up.text)
	var weights artifact.Descriptor
	for _, blob := range append([]packageBlob{up.manifest.Config}, up.manifest.Layers...) {
		d := artifact.Descriptor{Digest: blob.Digest, SizeBytes: blob.Size, MediaType: blob.MediaType}
		if d.MediaType == artifact.MediaTypeWeights {
			weights = d
		}
		open := func(ctx context.Context) (io.ReadCloser, error) { return s.blobs.Open(ctx, d.Digest) }
		if err := s.packages.PushBlob(ctx, repository, d, open); err != nil {
			return fmt.Errorf("push to %s: %w", repository, err)
		}
	}
	if err := s.packages.PushManifest(ctx, repository, mediaTypeImage, up.text); err != nil {
		return fmt.Errorf("push to %s: %w", repository, err)
	}
	if err := s.packages.Attach(ctx, repository, pkg, artifact.PredicateModelPackage, up.bundle); err != nil {
		return fmt.Errorf("push to %s: %w", repository, err)
	}
	version := ModelVersion{
		Tenant: k.Tenant, ModelID: up.said.Model, Repository: repository, Package: pkg, Weights: weights, Bundle: bundle,
		Run: up.said.Run, Round: up.said.Round, Metrics: up.said.Metrics, RegisteredAt: s.b.now(), Simulated: k.Simulated,
	}
	answer, err := s.models.RegisterUpload(ctx, k.command, version, replying(http.StatusCreated, func(v ModelVersion) any { return versionView(v) }))
	return s.b.done(c, answer, err)
}
