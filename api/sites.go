package api

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/compress"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/domain/site"
)

const (
	maxBlob      = 64 << 20 // of an update
	maxDocument  = 1 << 20  // of a manifest or a bundle
	maxMessage   = 4 << 20  // of the secure aggregation protocol
	maxPack      = 16 << 20 // of the grants that one tenant takes part under
	siteTokenTTL = time.Hour
)

// Fleet is the sites' half of the federated trainer, I.1.2. Nothing connects
// into a site: it asks, and everything that it is given is signed.
type Fleet struct {
	b       *Border
	sites   Sites
	stats   Statistics
	blobs   Blobs
	uploads Uploads
	tokens  SiteTokens
}

// NewFleet returns the service.
func NewFleet(b *Border, p Ports) *Fleet {
	return &Fleet{b: b, sites: p.Sites, stats: p.Statistics, blobs: p.Blobs, uploads: p.Uploads, tokens: p.SiteTokens}
}

// Mount implements [Service].
func (s *Fleet) Mount(r gin.IRouter) {
	s.b.mount(r, "enrolSite", s.enrol)
	s.b.mount(r, "listSites", s.list)
	s.b.mount(r, "siteWork", s.work)
	s.b.mount(r, "answerQuestion", s.answer)
	s.b.mount(r, "siteRuns", s.runs)
	s.b.mount(r, "getBlob", s.blob)
	s.b.mount(r, "putBlob", s.put)
	s.b.mount(r, "submitUpdate", s.submit)
}

// enrol gives a token each time, so there is nothing to be replayed: the
// answer is a secret and is not kept.
func (s *Fleet) enrol(c *gin.Context, k call) error {
	var in v1.EnrolRequest
	if err := decode(k.body, &in); err != nil {
		return err
	}
	if !slices.Contains(s.b.opts.Regions, in.Region) {
		return badParams.at("/region", fmt.Sprintf("is none of the regions that are served: %v", s.b.opts.Regions))
	}
	key, err := canonicalKey(in.PublicKey)
	if err != nil {
		return badKey.at("/public_key", artifact.ErrKey.Error())
	}
	k.Tenant = in.Tenant
	enrolled, err := s.sites.Enrol(c.Request.Context(), k.Caller, site.Site{Tenant: in.Tenant, ID: in.Site, Region: in.Region, PublicKey: key})
	if err != nil {
		return err
	}
	token, expires, err := s.tokens.MintSite(enrolled.Tenant, enrolled.ID, enrolled.Region, siteTokenTTL)
	if err != nil {
		return err
	}
	now := s.b.opts.Now()
	return s.b.send(c, http.StatusOK, v1.Enrolment{
		Token:       token,
		ExpiresAt:   expires.UTC(),
		RenewAfter:  now.Add(expires.Sub(now) / 2).UTC(),
		TrustedKeys: s.b.opts.TrustedKeys,
	})
}

// canonicalKey returns the one PEM form of a public key.
func canonicalKey(text string) (string, error) {
	key, err := artifact.ParsePublicKey([]byte(text))
	if err != nil {
		return "", err
	}
	canonical, err := artifact.MarshalPublicKey(key)
	return string(canonical), err
}

func (s *Fleet) list(c *gin.Context, k call) error {
	p, err := page(c)
	if err != nil {
		return err
	}
	found, err := s.sites.Sites(c.Request.Context(), k.Caller, p)
	if err != nil {
		return err
	}
	found, next := paged(p, found, func(one site.Site) string { return one.ID })
	return s.b.send(c, http.StatusOK, v1.SitePage{Items: views(found, siteView), Next: next, Simulated: k.Simulated})
}

func siteView(one site.Site) v1.Site {
	return v1.Site{
		Tenant: one.Tenant, Site: one.ID, Region: one.Region, PublicKey: one.PublicKey,
		EnrolledAt: one.EnrolledAt, SeenAt: one.SeenAt,
	}
}

// work hands out open stages with the exact text of what was signed.
func (s *Fleet) work(c *gin.Context, k call) error {
	ctx, stop := polling(c)
	defer stop()
	found, err := s.sites.Work(ctx, k.Tenant, k.site.Site, seconds(intQuery(c, "wait_seconds", 0)))
	if err = polled(ctx, err); err != nil {
		return err
	}
	list := v1.WorkList{Items: make([]v1.Work, 0, len(found))}
	if list.Floors, err = floorsView(ctx, s.sites, k.Tenant); err != nil {
		return err
	}
	if list.Questions, err = s.questions(ctx, k); err != nil {
		return err
	}
	for _, w := range found {
		manifest, err := read(ctx, s.blobs, w.Manifest.Digest, maxDocument)
		if err != nil {
			return fmt.Errorf("manifest of round %s/%d: %w", w.Stage.Run, w.Stage.Number, err)
		}
		bundle, err := read(ctx, s.blobs, w.Signature.Digest, maxDocument)
		if err != nil {
			return fmt.Errorf("bundle of round %s/%d: %w", w.Stage.Run, w.Stage.Number, err)
		}
		item := v1.Work{
			Run: w.Stage.Run, Number: w.Stage.Number, Kind: v1.WorkKind(w.Stage.Kind), Stage: v1.Stage(w.Stage.Stage.Or()),
			Tenant: w.Stage.Tenant, ModelID: w.Stage.ModelID, Region: w.Stage.Region,
			Manifest: string(manifest), Bundle: string(bundle), Base: descriptorView(w.Base), Deadline: w.Deadline,
		}
		if w.Inbox.Digest != "" {
			item.Inbox = descriptorView(w.Inbox)
		}
		if item.Grants, err = s.grants(ctx, k.Tenant, manifest); err != nil {
			return fmt.Errorf("grants of round %s/%d: %w", w.Stage.Run, w.Stage.Number, err)
		}
		list.Items = append(list.Items, item)
	}
	return s.b.send(c, http.StatusOK, list)
}

// runs names what is open of what has asked the site, so that it can erase what
// it carries for the others.
func (s *Fleet) runs(c *gin.Context, k call) error {
	found, err := s.sites.Runs(c.Request.Context(), k.Tenant, k.site.Site)
	if err != nil {
		return err
	}
	return s.b.send(c, http.StatusOK, v1.OpenRuns{Items: views(found, func(r OpenRun) v1.OpenRun { return v1.OpenRun{Tenant: r.Tenant, Run: r.Run} })})
}

// grants returns the pack of the tenant's grants that a manifest names.
func (s *Fleet) grants(ctx context.Context, tenant string, manifest []byte) (string, error) {
	var m struct {
		Consents []round.TenantConsent `json:"consents"`
	}
	if err := json.Unmarshal(manifest, &m); err != nil {
		return "", err
	}
	for _, c := range m.Consents {
		if c.Tenant == tenant {
			text, err := read(ctx, s.blobs, c.Grants, maxPack)
			return string(text), err
		}
	}
	return "", nil
}

// read returns a small blob whole. That one of ours is missing is a fault of
// ours, not of the caller.
func read(ctx context.Context, blobs Blobs, digest artifact.Digest, limit int64) ([]byte, error) {
	content, err := blobs.Open(ctx, digest)
	if err != nil {
		return nil, lost(digest, err)
	}
	defer content.Close()
	text, err := io.ReadAll(io.LimitReader(content, limit+1))
	if err != nil {
		return nil, fmt.Errorf("blob %s: %w", digest.Short(), err)
	}
	if int64(len(text)) > limit {
		return nil, fmt.Errorf("blob %s is larger than %d bytes: %w", digest.Short(), limit, errLost)
	}
	return text, nil
}

// blob serves what an open stage gives to the site that asks.
func (s *Fleet) blob(c *gin.Context, k call) error {
	digest := artifact.Digest(c.Param("digest")) // well formed, by the document
	d, err := s.sites.Readable(c.Request.Context(), k.Tenant, k.site.Site, digest)
	if err != nil {
		return err
	}
	return s.b.serveBlob(c, s.blobs, d, "")
}

// put keeps an update or a masked vector. Only a site that is asked for
// something may fill the store, and only content that has the digest it claims
// is kept.
func (s *Fleet) put(c *gin.Context, k call) error {
	ctx := c.Request.Context()
	work, err := s.sites.Work(ctx, k.Tenant, k.site.Site, 0)
	if err != nil {
		return err
	}
	media, sizes, err := s.wanted(ctx, work)
	if err != nil {
		return err
	}
	switch c.ContentType() {
	case artifact.MediaTypeWeights, "application/octet-stream":
	default:
		return mediaType.because("send Content-Type: application/octet-stream")
	}
	if c.GetHeader("Content-Range") != "" {
		return s.b.chunk(c, s.uploads, k.Tenant+"/"+k.site.Site, media, sizes)
	}
	limit := int64(maxBlob)
	if len(sizes) > 0 {
		limit = min(limit, slices.Max(sizes))
	}
	if c.Request.ContentLength > limit {
		return tooLarge.because(fmt.Sprintf("the content is at most %d bytes", limit))
	}
	digest := artifact.Digest(c.Param("digest"))
	content := checking(http.MaxBytesReader(c.Writer, c.Request.Body, limit), digest)
	content.sizes = sizes
	d, err := s.blobs.Put(ctx, media, content)
	if content.err != nil {
		return contentProblem(content.err)
	}
	if err != nil {
		return err
	}
	return s.b.send(c, http.StatusCreated, descriptorView(d))
}

// wanted returns what the open stages of a site take as a blob: an update of
// any size, or, where only masked vectors are waited for, one of their sizes.
func (s *Fleet) wanted(ctx context.Context, work []Work) (media string, sizes []int64, err error) {
	for _, w := range work {
		switch w.Stage.Stage.Or() {
		case round.StageUpdate:
			manifest, err := s.manifest(ctx, w)
			if err != nil {
				return "", nil, err
			}
			if own := compress.MediaType(manifest); media == "" || media == own {
				media = own
			} else {
				media = mediaTypeAhead // whose it is, the submission says
			}
		case round.StageMask:
			form, err := s.form(ctx, w)
			if err != nil {
				return "", nil, err
			}
			sizes = append(sizes, form.Spec.SizeBytes())
		default: // a message is all that it takes
		}
	}
	if media != "" {
		return media, nil, nil
	}
	if len(sizes) == 0 {
		return "", nil, noOpenStage.because("an update is taken while a stage waits for it")
	}
	return artifact.MediaTypeMasked, sizes, nil
}
