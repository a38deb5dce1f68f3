package web

import (
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/approval"
	"github.com/atom-fabric/fabric/domain/artifact"
)

// enrolmentLasts is how long an admin may take to confirm a key.
const enrolmentLasts = 7 * 24 * time.Hour

// settingsPage is what the settings show. A list that the visitor may not see
// is nil, and its reason says so.
type settingsPage struct {
	Keys        []string // registered for the visitor
	Token       v1.Identity
	Approvers   []v1.Approver
	Revocations []v1.TokenRevocation
	Sites       []siteRow
	MoreSites   string            // address of the next ones
	Unseen      map[string]string // by part: why it is not shown
	Admin       bool
	Key         string
}

// A siteRow is a site and when it last said anything.
type siteRow struct {
	v1.Site
	State, Class string
}

// silentAfter is when a site that says nothing is called silent.
const silentAfter = 5 * time.Minute

func settings(v *visit) error {
	body := settingsPage{Unseen: map[string]string{}, Admin: v.who.Has("admin"), Key: fresh()}
	var mine holdings
	var gone v1.TokenRevocationPage
	var sites v1.SitePage
	var noTokens, noSites error
	err := together(
		func() (err error) { mine, err = v.keys(); return },
		func() (err error) { body.Token, err = v1.Fetch[v1.Identity](v.api.WhoAmI(v.ctx(), nil)); return },
		func() error {
			gone, noTokens = v1.Fetch[v1.TokenRevocationPage](v.api.ListTokenRevocations(v.ctx(), &v1.ListTokenRevocationsParams{Limit: 20}))
			return nil
		},
		func() error {
			sites, noSites = v1.Fetch[v1.SitePage](v.api.ListSites(v.ctx(), &v1.ListSitesParams{Cursor: v.query("sites")}))
			return nil
		},
	)
	if err = errors.Join(err, body.hides("tokens", noTokens), body.hides("sites", noSites)); err != nil {
		return err
	}
	body.Keys, body.Approvers, body.Revocations = mine.ids, mine.people, gone.Items
	if sites.Next != "" {
		body.MoreSites = "?sites=" + url.QueryEscape(sites.Next)
	}
	for _, s := range sites.Items {
		row := siteRow{s, "heard of", "good"}
		switch {
		case s.SeenAt.IsZero():
			row.State, row.Class = "never heard of", ""
		case v.now().Sub(s.SeenAt) > silentAfter:
			row.State, row.Class = "silent", "warn"
		}
		body.Sites = append(body.Sites, row)
	}
	return v.render("settings", "Settings", body)
}

// hides notes that the API keeps a part from the visitor; any other error
// stays one.
func (p *settingsPage) hides(part string, err error) error {
	var said *v1.ProblemError
	if errors.As(err, &said) && said.Status == http.StatusForbidden {
		p.Unseen[part] = sentence(said.Detail)
		return nil
	}
	return err
}

// enrolment answers with the statement by which a person asks for their key's
// registration. It changes nothing.
func enrolment(v *visit) error {
	key, err := artifact.ParseDigest(v.field("key"))
	if err != nil {
		return v.failJSON(&refusal{http.StatusUnprocessableEntity, "That is no key's digest", ""})
	}
	now := v.now().Truncate(time.Second)
	return v.paper("key of "+v.who.Subject, key, artifact.PredicateEnrolment, approval.Enrolment{
		Name: v.who.Subject, Tenant: v.who.Tenant, IssuedAt: now, ExpiresAt: now.Add(enrolmentLasts),
	})
}

// enrolPage is what an admin confirms.
type enrolPage struct {
	Name, PublicKey, Proof string
	Digest                 artifact.Digest
	Roles                  []string
	Why                    string // it cannot be confirmed
	Asked                  time.Time
	Key                    string
}

// enrol shows the request that a link carries: nothing of it is kept anywhere
// before an admin confirms it.
func enrol(v *visit) error {
	body := enrolPage{Name: v.query("name"), PublicKey: v.query("key"), Proof: v.query("proof"), Roles: approval.Roles(), Key: fresh()}
	key, err := artifact.ParsePublicKey([]byte(body.PublicKey))
	if err != nil {
		return &refusal{http.StatusUnprocessableEntity, "The link is broken", "It carries no public key on P-256. Ask for it again."}
	}
	body.Digest = artifact.KeyID(key)
	asked, err := approval.Enrol([]byte(body.Proof), body.PublicKey, v.who.Tenant, body.Name, v.now())
	if err != nil {
		return &refusal{http.StatusUnprocessableEntity, "The request is not genuine", "It is not signed with this key, for this name and your tenant, within a week. Ask for a new link."}
	}
	body.Asked = asked.IssuedAt
	if !v.who.Has("admin") {
		body.Why = "An admin of your tenant confirms this. You are none."
	}
	return v.render("enrol", "Register a key", body)
}

func addApprover(v *visit) error {
	_, err := v1.Fetch[v1.Approver](v.api.AddApprover(v.ctx(), nil, v1.ApproverRequest{
		Name: v.field("name"), Role: v.field("role"), PublicKey: v.r.PostFormValue("public_key"), Proof: v.field("proof"),
	}, v.once()))
	if err != nil {
		return err
	}
	return v.redirect(link("settings") + "?done=enrolled")
}

func revokeApprover(v *visit) error {
	_, err := v1.Fetch[v1.Approver](v.api.RevokeApprover(v.ctx(), v.path("name"), nil, v1.ReasonRequest{Reason: v.field("reason")}, v.once()))
	if err != nil {
		return err
	}
	return v.redirect(link("settings") + "?done=unenrolled")
}

func revokeTokens(v *visit) error {
	subject := v.field("subject")
	if subject == "" { // an empty one would mean everybody
		return &refusal{http.StatusUnprocessableEntity, "Name whose tokens are to be refused", "To refuse everybody's use the command: fabric token revoke --all."}
	}
	_, err := v1.Fetch[v1.TokenRevocation](v.api.RevokeTokens(v.ctx(), nil, v1.TokenRevocationRequest{Subject: subject, Reason: v.field("reason")}, v.once()))
	if err != nil {
		return err
	}
	return v.redirect(link("settings") + "?done=tokens-gone")
}
