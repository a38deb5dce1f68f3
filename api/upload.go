package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/catalog"
	"github.com/atom-fabric/fabric/domain/modelpack"
	"github.com/atom-fabric/fabric/domain/provenance"
)

// Names of the parts that come before the files, in their order.
const (
	partManifest  = "manifest"
	partBundle    = "bundle"    // that this is a package of a model of this tenant
	partOMS       = "oms"       // OpenSSF Model Signing: these are its files
	partSignature = "signature" // cosign: this is its manifest
)

// An uploading is a package on its way in.
type uploading struct {
	text      []byte // of the manifest
	pkg       modelpack.Package
	bundle    []byte
	oms       []byte
	signature []byte
	said      provenance.Package
}

// repository is where the packages of its model are.
func (up *uploading) repository() string { return "models/" + up.said.Tenant + "/" + up.said.Model }

// keepable refuses a model whose packages no registry could keep, before
// anybody trains or sends it.
func keepable(tenant, model string) error {
	const rule = "OCI repositories are named so: letters and digits, with one dot, one or two underscores, or dashes between them"
	switch {
	case !catalog.ValidStep(tenant):
		return badParams.because("packages of this tenant could not be kept. " + rule)
	case !catalog.ValidStep(model):
		return badParams.at("/model_id", "no package could be kept under this name. "+rule)
	}
	return nil
}

// upload takes a signed package. Its signatures are verified before a byte of
// the content is stored, and each file is compared with the digest in the
// manifest before it is kept. A file that its sender has sent ahead in pieces
// is left out.
func (s *Exchange) upload(c *gin.Context, k call) error {
	parts, err := newForm(c)
	if err != nil {
		return err
	}
	up, err := s.announced(c.Request.Context(), parts, k.Tenant)
	if err != nil {
		return err
	}
	if k.command.KeyHash != "" {
		k.command.Fingerprint = artifact.DigestOf(append(append([]byte("upload "+k.Tenant+"\n"), up.text...), up.bundle...))
		if replayed, err := s.b.replay(c, k); replayed || err != nil {
			return err
		}
	}
	if err := s.files(c.Request.Context(), parts, up, uploader(k)); err != nil {
		return err
	}
	return s.register(c, k, up)
}

// uploader is whose pieces a caller goes on with: those of no other tenant and
// of nobody else in it, so that a digest alone gives nobody a content.
func uploader(k call) string { return "models/" + k.Tenant + "/" + k.Subject }

// announced reads the manifest and its signatures, and refuses what is not a
// verified package of this tenant.
func (s *Exchange) announced(ctx context.Context, parts *form, tenant string) (*uploading, error) {
	up := &uploading{}
	for _, p := range []struct {
		name string
		into *[]byte
	}{{partManifest, &up.text}, {partBundle, &up.bundle}, {partOMS, &up.oms}, {partSignature, &up.signature}} {
		var err error
		if *p.into, err = parts.document(p.name); err != nil {
			return nil, err
		}
	}
	var members map[string]json.RawMessage
	if err := artifact.DecodeStrict(up.text, &members); err != nil {
		return nil, malformed(err)
	}
	var err error
	if up.pkg, err = modelpack.ParseManifest(up.text); err != nil {
		return nil, &Problem{Kind: badPackage, Detail: "the manifest is not that of a model package: one uncompressed layer for its weights.safetensors and one for its card.json", Err: err}
	}
	if err := s.verified(ctx, up); err != nil {
		return nil, err
	}
	if up.said.Tenant != tenant {
		return nil, notFound // of another tenant: not even that it verifies is said
	}
	if err := keepable(tenant, up.said.Model); err != nil {
		return nil, err
	}
	if up.said.Weights != up.pkg.Weights.Digest {
		return nil, badPackage.because("the statement vouches for other weights than the manifest holds")
	}
	return up, nil
}

// verified checks what is signed about the package: that it is one of a model,
// which files it has, and its manifest, each by a statement of its own kind.
func (s *Exchange) verified(ctx context.Context, up *uploading) error {
	refused := func(what string, err error) error { return judged(err, "no trusted key vouches for "+what) }
	manifest := artifact.DigestOf(up.text)
	predicate, err := s.verifier.Verify(ctx, up.bundle, artifact.PredicateModelPackage, manifest)
	if err != nil {
		return refused("this manifest as a model package", err)
	}
	if err := artifact.DecodeStrict(predicate, &up.said); err != nil || !catalog.ValidName(up.said.Model) {
		return &Problem{Kind: badPackage, Detail: "the statement names no model", Err: err}
	}
	// Only now is it known which repository it is for, and whose word counts there.
	repository := up.repository()
	if _, err := s.verifier.VerifyIn(ctx, repository, up.bundle, artifact.PredicateModelPackage, manifest); err != nil {
		return refused("a package of this model", err)
	}
	if _, err := s.verifier.VerifyIn(ctx, repository, up.signature, artifact.PredicateSign, manifest); err != nil {
		return refused("this manifest (cosign signature)", err)
	}
	predicate, err = s.verifier.VerifyIn(ctx, repository, up.oms, artifact.PredicateOMS, modelpack.Root(up.pkg.Files()))
	if err != nil {
		return refused("these files (OpenSSF Model Signing)", err)
	}
	if err := modelpack.CheckFiles(predicate, up.pkg.Files()); err != nil {
		return &Problem{Kind: badPackage, Detail: "the statement about the files is not one about exactly the files of the manifest", Err: err}
	}
	return nil
}

// partName is what the part with a file is called.
func partName(f modelpack.File) string {
	switch f.Path {
	case modelpack.WeightsFile:
		return "weights"
	case modelpack.CardFile:
		return "card"
	}
	return "config"
}

// files stores the files that come, in the order of the manifest, and looks for
// the others among what the sender has sent ahead.
func (s *Exchange) files(ctx context.Context, parts *form, up *uploading, sender string) error {
	for _, f := range up.pkg.Parts() {
		name := partName(f)
		came, err := parts.at(name, f.SizeBytes)
		if err != nil {
			return err
		}
		if !came {
			if err := s.ahead(ctx, f, sender); err != nil {
				return err
			}
			continue
		}
		if err := s.keep(ctx, parts, f); err != nil {
			return err
		}
	}
	return parts.end()
}

// keep stores the file of the part that is open, if it is what the manifest says.
func (s *Exchange) keep(ctx context.Context, parts *form, f modelpack.File) error {
	raw := &sender{Reader: io.LimitReader(parts.content(), f.SizeBytes+1)}
	content, err := sound(f, raw)
	var d artifact.Descriptor
	if err == nil {
		d, err = s.blobs.Put(ctx, f.MediaType, artifact.Expect(content, f.Digest))
	}
	switch {
	case raw.err != nil:
		return contentProblem(raw.err)
	case errors.Is(err, artifact.ErrContent):
		return contentProblem(errDigest)
	case err != nil:
		return err
	case d.SizeBytes != f.SizeBytes:
		return badPackage.because("the part " + partName(f) + " has another size than the manifest says")
	}
	return nil
}

// ahead accepts a file that this sender has sent in pieces, all of them.
func (s *Exchange) ahead(ctx context.Context, f modelpack.File, sender string) error {
	missing := badPackage.because("the part " + partName(f) + " is missing or out of order, and was not sent ahead")
	kept, err := s.uploads.Resume(ctx, Upload{Owner: sender, Digest: f.Digest, SizeBytes: f.SizeBytes, MediaType: mediaTypeAhead})
	if err != nil || kept != f.SizeBytes {
		missing.Err = err
		return missing
	}
	content, err := s.blobs.Open(ctx, f.Digest)
	if err != nil {
		return fmt.Errorf("sent ahead: %w", err)
	}
	defer content.Close()
	_, err = sound(f, content)
	return err
}

// register pushes the package to the registry and makes it a version. A crash
// before the last line leaves content that nothing refers to.
func (s *Exchange) register(c *gin.Context, k call, up *uploading) error {
	ctx := c.Request.Context()
	repository := up.repository()
	pkg := artifact.Describe(modelpack.MediaTypeImage, up.text)
	for _, f := range up.pkg.Parts() {
		open := func(ctx context.Context) (io.ReadCloser, error) { return s.blobs.Open(ctx, f.Digest) }
		if err := s.packages.PushBlob(ctx, repository, f.Descriptor, open); err != nil {
			return fmt.Errorf("push to %s: %w", repository, err)
		}
	}
	if err := s.packages.PushManifest(ctx, repository, modelpack.MediaTypeImage, up.text); err != nil {
		return fmt.Errorf("push to %s: %w", repository, err)
	}
	version := ModelVersion{
		Tenant: k.Tenant, ModelID: up.said.Model, Repository: repository, Package: pkg, Weights: up.pkg.Weights.Descriptor,
		Run: up.said.Run, Round: up.said.Round, Metrics: up.said.Metrics, RegisteredAt: s.b.now(), Simulated: k.Simulated,
	}
	for _, signed := range []struct {
		predicateType string
		bundle        []byte
		into          *artifact.Descriptor
	}{
		{artifact.PredicateModelPackage, up.bundle, &version.Bundle},
		{artifact.PredicateOMS, up.oms, &version.FilesBundle},
		{artifact.PredicateSign, up.signature, &version.Signature},
	} {
		if err := s.packages.Attach(ctx, repository, pkg, signed.predicateType, signed.bundle); err != nil {
			return fmt.Errorf("push to %s: %w", repository, err)
		}
		var err error
		if *signed.into, err = put(ctx, s.blobs, artifact.MediaTypeBundle, signed.bundle); err != nil {
			return err
		}
	}
	answer, err := s.models.RegisterUpload(ctx, k.command, version, replying(http.StatusCreated, func(v ModelVersion) any { return versionView(v) }))
	return s.b.done(c, answer, err)
}
