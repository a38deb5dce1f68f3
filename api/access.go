package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/catalog"
	"github.com/atom-fabric/fabric/domain/consent"
	"github.com/atom-fabric/fabric/domain/lineage"
)

// An AccessDesk is how tenants find features of others and ask for them, I.1.1.
type AccessDesk struct {
	b        *Border
	consents Consents
}

// NewAccessDesk returns the service.
func NewAccessDesk(b *Border, p Ports) *AccessDesk { return &AccessDesk{b: b, consents: p.Consents} }

// Mount implements [Service].
func (s *AccessDesk) Mount(r gin.IRouter) {
	s.b.mount(r, "discoverFeatures", s.discover)
	s.b.mount(r, "requestAccess", s.request)
	s.b.mount(r, "listAccessRequests", s.list)
	s.b.mount(r, "decideAccess", s.decide)
	s.b.mount(r, "featureVersions", s.versions)
	s.b.mount(r, "promoteFeature", s.promote)
}

// discover shows cards: of what is another tenant's, that it exists.
func (s *AccessDesk) discover(c *gin.Context, k call) error {
	p, err := page(c)
	if err != nil {
		return err
	}
	found, err := s.consents.Cards(c.Request.Context(), k.Caller, strings.ToLower(c.Query("q")), p)
	if err != nil {
		return err
	}
	found, next := paged(p, found, func(card Card) string { return card.Tenant + "/" + card.Feature })
	items := views(found, func(card Card) v1.FeatureCard {
		return v1.FeatureCard{
			Tenant: card.Tenant, FeatureID: card.Feature, Description: card.Description,
			Tags: views(card.Tags, func(t string) v1.Name { return t }), Access: v1.FeatureCardAccess(card.Access),
		}
	})
	return s.b.send(c, http.StatusOK, v1.FeatureCardPage{Items: items, Next: next, Simulated: k.Simulated})
}

func (s *AccessDesk) request(c *gin.Context, k call) error {
	var in v1.AccessRequestBody
	if err := decode(k.body, &in); err != nil {
		return err
	}
	switch {
	case in.Owner == k.Tenant:
		return badGrant.at("/owner", "the feature is your own")
	case !consent.ValidPurpose(in.Purpose):
		return badGrant.at("/purpose", consent.ErrPurpose.Error())
	}
	actions := slices.Clone(in.Actions)
	slices.Sort(actions)
	asked := Access{
		ID: "access-" + s.b.opts.NewID(), Owner: in.Owner, Feature: in.FeatureID, Requester: k.Tenant, Purpose: in.Purpose,
		Actions: actions, Days: in.Days, Reason: in.Reason, State: consent.Pending,
	}
	answer, err := s.consents.RequestAccess(c.Request.Context(), k.command, asked, replying(http.StatusCreated, k.access))
	return s.b.done(c, answer, err)
}

func (k call) access(a Access) any {
	view := accessView(a)
	view.Simulated = k.Simulated
	return view
}

func accessView(a Access) v1.AccessRequest {
	return v1.AccessRequest{
		ID: a.ID, Owner: a.Owner, FeatureID: a.Feature, Requester: a.Requester, Purpose: a.Purpose,
		Actions: a.Actions, Days: a.Days, Reason: a.Reason,
		State: v1.AccessRequestState(a.State), GrantID: a.GrantID, DecidedFor: a.DecidedFor, DecidedAt: a.DecidedAt, CreatedAt: a.CreatedAt,
	}
}

func (s *AccessDesk) list(c *gin.Context, k call) error {
	found, err := s.consents.AccessRequests(c.Request.Context(), k.Caller)
	if err != nil {
		return err
	}
	return s.b.send(c, http.StatusOK, v1.AccessRequestList{Items: views(found, accessView), Simulated: k.Simulated})
}

func (s *AccessDesk) decide(c *gin.Context, k call) error {
	var in v1.AccessDecision
	if err := decode(k.body, &in); err != nil {
		return err
	}
	answer, err := s.consents.DecideAccess(c.Request.Context(), k.command, c.Param("id"), consent.AccessEvent(in.Decision), in.Reason, replying(http.StatusOK, k.access))
	return s.b.done(c, answer, err)
}

func (s *AccessDesk) versions(c *gin.Context, k call) error {
	found, err := s.consents.FeatureVersions(c.Request.Context(), k.Caller, c.Param("feature_id"))
	if err != nil {
		return err
	}
	return s.b.send(c, http.StatusOK, v1.FeaturePage{Items: views(found, featureView), Simulated: k.Simulated})
}

func (s *AccessDesk) promote(c *gin.Context, k call) error {
	var in v1.FeaturePromotion
	if err := decode(k.body, &in); err != nil {
		return err
	}
	answer, err := s.consents.PromoteFeature(c.Request.Context(), k.command, c.Param("feature_id"), in.Version, replying(http.StatusOK, k.feature))
	return s.b.done(c, answer, breaks(err))
}

// breaks says what a version would break.
func breaks(err error) error {
	var b *catalog.Breaks
	if errors.As(err, &b) {
		return &Problem{Kind: featureBreaks, Detail: clip(b.Error()), Err: err}
	}
	return registrationProblem(err)
}

// lineage tells what the rounds of a run read and made, to whoever collects
// OpenLineage events.
func (s *Training) lineage(c *gin.Context, k call) error {
	rounds, err := s.consents.Lineage(c.Request.Context(), k.Caller, c.Param("id"))
	if err != nil {
		return err
	}
	out := v1.LineageEvents{Events: []v1.JSON{}, Simulated: k.Simulated}
	for _, r := range rounds {
		for _, e := range lineage.Of(r) {
			text, err := json.Marshal(e)
			if err != nil {
				return err
			}
			out.Events = append(out.Events, text)
		}
	}
	return s.b.send(c, http.StatusOK, out)
}

// floorsView is what a site is told of its tenant's withdrawals.
func floorsView(ctx context.Context, sites Sites, tenant string) ([]v1.ConsentFloor, error) {
	floors, _, err := sites.Floors(ctx, tenant)
	if err != nil || len(floors) == 0 {
		return nil, err
	}
	return views(floors, func(f consent.Floor) v1.ConsentFloor {
		return v1.ConsentFloor{Feature: f.Feature, Grantee: f.Grantee, Epoch: f.Epoch}
	}), nil
}
