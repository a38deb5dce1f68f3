package api

import (
	"errors"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/catalog"
)

// Features is the global feature catalog, I.1.1.
type Features struct {
	b       *Border
	catalog Catalog
}

// NewFeatures returns the service.
func NewFeatures(b *Border, p Ports) *Features { return &Features{b: b, catalog: p.Catalog} }

// Mount implements [Service].
func (s *Features) Mount(r gin.IRouter) {
	s.b.mount(r, "registerFeature", s.register)
	s.b.mount(r, "listFeatures", s.list)
	s.b.mount(r, "withdrawConsent", s.withdraw)
}

func (s *Features) register(c *gin.Context, k call) error {
	var in v1.FeatureRegistration
	if err := decode(k.body, &in); err != nil {
		return err
	}
	registration := catalog.Registration{
		Tenant:      k.Tenant,
		ID:          in.FeatureID,
		Schema:      in.Schema,
		Fingerprint: in.Fingerprint,
		Consented:   in.Consented,
		Grantees:    in.Grantees,
		Semantics:   in.Semantics,
		Description: in.Description,
		Tags:        in.Tags,
		Mode:        catalog.Mode(in.Compatibility),
		Staged:      in.Staged,
	}
	for _, p := range in.Purposes {
		registration.Purposes = append(registration.Purposes, string(p))
	}
	feature, err := registration.Feature()
	if err != nil {
		return registrationProblem(err)
	}
	answer, err := s.catalog.Register(c.Request.Context(), k.command, feature, replying(http.StatusCreated, k.feature))
	return s.b.done(c, answer, breaks(err))
}

// registrationProblem names the field that the domain refused.
func registrationProblem(err error) error {
	var field *catalog.FieldError
	if errors.As(err, &field) {
		return badFeature.at(field.Field, field.Err.Error())
	}
	return err
}

func (s *Features) list(c *gin.Context, k call) error {
	p, err := page(c)
	if err != nil {
		return err
	}
	found, err := s.catalog.Features(c.Request.Context(), k.Caller, p)
	if err != nil {
		return err
	}
	found, next := paged(p, found, func(f catalog.Feature) string { return f.ID })
	items := views(found, featureView)
	return s.b.send(c, http.StatusOK, v1.FeaturePage{Items: items, Next: next, Simulated: k.Simulated})
}

func (s *Features) withdraw(c *gin.Context, k call) error {
	answer, err := s.catalog.Withdraw(c.Request.Context(), k.command, c.Param("feature_id"), replying(http.StatusOK, k.feature))
	return s.b.done(c, answer, err)
}

// feature is what a command answers with.
func (k call) feature(f catalog.Feature) any {
	view := featureView(f)
	view.Simulated = k.Simulated
	return view
}

func featureView(f catalog.Feature) v1.Feature {
	view := v1.Feature{
		Tenant:       f.Tenant,
		FeatureID:    f.ID,
		Version:      f.Version,
		Schema:       f.Schema,
		Fingerprint:  string(f.Fingerprint),
		RegisteredAt: f.Registered,
		Consent: v1.Consent{
			Granted:    f.Consent.Granted,
			Purposes:   views(f.Consent.Purposes, func(p string) v1.Purpose { return v1.Purpose(p) }),
			Grantees:   views(f.Consent.Grantees, func(g string) v1.Name { return g }),
			RecordedAt: f.Consent.RecordedAt,
		},
	}
	view.Consent.WithdrawnAt = moment(f.Consent.WithdrawnAt)
	view.Content, view.Semantics, view.Description, view.Staged = string(f.Content), f.Semantics, f.Description, f.Staged
	view.Tags, view.Compatibility = f.Tags, v1.Compatibility(f.Mode)
	return view
}

// moment returns a time that may be absent.
func moment(at *time.Time) time.Time {
	if at == nil {
		return time.Time{}
	}
	return *at
}
