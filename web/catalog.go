package web

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/atom-fabric/fabric/api/v1"
)

// catalogPage is what can be found, and what was asked for.
type catalogPage struct {
	Query    string
	Cards    []v1.FeatureCard
	Next     string
	First    bool
	Requests []accessRow
}

// An accessRow is a request for access with what the visitor may do about it.
type accessRow struct {
	v1.AccessRequest
	Acts []act
}

func catalog(v *visit) error {
	query := strings.TrimSpace(v.query("q"))
	var got v1.FeatureCardPage
	var asked v1.AccessRequestList
	err := together(
		func() (err error) {
			got, err = v1.Fetch[v1.FeatureCardPage](v.api.DiscoverFeatures(v.ctx(), &v1.DiscoverFeaturesParams{Q: query, Cursor: v.query("cursor")}))
			return
		},
		func() (err error) {
			asked, err = v1.Fetch[v1.AccessRequestList](v.api.ListAccessRequests(v.ctx(), nil))
			return
		},
	)
	if err != nil {
		return err
	}
	p := catalogPage{Query: query, Cards: got.Items, Next: nextPage(got.Next, "q", query), First: v.query("cursor") == ""}
	for _, r := range asked.Items {
		p.Requests = append(p.Requests, accessRow{r, v.accessActs(r)})
	}
	return v.render("catalog", "Catalog and consent", p)
}

// accessActs are what the owner of a feature can say to a request.
func (v *visit) accessActs(r v1.AccessRequest) []act {
	if r.Owner != v.who.Tenant {
		return nil
	}
	say := func(name, label string) act {
		return act{Name: name + "-" + r.ID, Label: label, Link: link("access", r.ID), Fields: map[string]string{"decision": name}}
	}
	role := v.lacks("approver", "operator", "admin")
	switch r.State {
	case v1.AccessRequestStatePENDING:
		reject := say("reject", "Reject")
		reject.Danger = true
		return []act{say("approve", "Approve").unless(role), reject.unless(role)}
	case v1.AccessRequestStateAPPROVED, v1.AccessRequestStatePROVISIONED:
		revoke := say("revoke", "Revoke")
		revoke.Danger, revoke.Type = true, "revoke"
		return []act{revoke.unless(role)}
	}
	return nil
}

func decideAccess(v *visit) error {
	decision := v.field("decision")
	if decision == "revoke" && v.field("typed") != "revoke" {
		return &refusal{http.StatusUnprocessableEntity, "Nothing was done", "To revoke, type the word revoke into the form: it withdraws the grant, with all that follows."}
	}
	_, err := v1.Fetch[v1.AccessRequest](v.api.DecideAccess(v.ctx(), v.path("id"), nil, v1.AccessDecision{Decision: v1.AccessDecisionDecision(decision), Reason: v.field("reason")}, v.once()))
	if err != nil {
		return err
	}
	return v.redirect(link("catalog") + "?done=access-" + decision)
}

// featurePage is one feature: its consents for its owner, a form for others.
type featurePage struct {
	Card     v1.FeatureCard
	Own      bool
	Grants   []v1.Grant
	Next     string
	First    bool
	Why      string // access cannot be asked for
	Withdraw act
	Key      string
	Stats    v1.FeatureStatistics // what is published about its rows; no attempt: nothing
}

func featureView(v *visit) error {
	tenant, id := v.path("tenant"), v.path("feature")
	card, err := v.featureCard(tenant, id)
	if err != nil {
		return err
	}
	p := featurePage{Card: card, Own: tenant == v.who.Tenant, Key: fresh(), First: v.query("cursor") == ""}
	if p.Own || card.Access == v1.FeatureCardAccessPROVISIONED {
		if p.Stats, err = v.statistics(tenant, id); err != nil {
			return err
		}
	}
	if p.Own {
		got, err := v1.Fetch[v1.GrantPage](v.api.ListConsents(v.ctx(), &v1.ListConsentsParams{Feature: id, Cursor: v.query("cursor")}))
		if err != nil {
			return err
		}
		p.Grants, p.Next = got.Items, nextPage(got.Next)
		standing := slices.ContainsFunc(p.Grants, func(g v1.Grant) bool { return g.WithdrawnAt.IsZero() })
		p.Withdraw = act{Name: "withdraw", Label: "See what a withdrawal would reach", Link: link("catalog", tenant, id, "withdrawal"), Fields: map[string]string{"do": "preview"}, Reason: true}.
			unless(when(!standing && p.Next == "" && p.First, "No grant stands."), v.lacks("data-scientist", "operator", "admin"))
		return v.render("feature", tenant+"/"+id, p)
	}
	p.Why = v.lacks("data-scientist", "operator", "admin")
	switch card.Access {
	case v1.FeatureCardAccessPENDING:
		p.Why = "A request waits for the owner."
	case v1.FeatureCardAccessAPPROVED, v1.FeatureCardAccessPROVISIONED:
		p.Why = "You have access already."
	}
	return v.render("feature", tenant+"/"+id, p)
}

// statistics returns what is published about a feature; nothing where nothing is,
// or where no grant lets the tenant see it.
func (v *visit) statistics(tenant, id string) (v1.FeatureStatistics, error) {
	var params v1.GetFeatureStatisticsParams
	if tenant != v.who.Tenant {
		params.Owner = tenant
	}
	got, err := v1.Fetch[v1.FeatureStatistics](v.api.GetFeatureStatistics(v.ctx(), v.who.Tenant, id, &params))
	var none *v1.ProblemError
	if errors.As(err, &none) && none.Status == http.StatusNotFound {
		return v1.FeatureStatistics{}, nil
	}
	return got, err
}

// mostLooked bounds the search for one card: the API finds features by words,
// and others may hold the same.
const mostLooked = 20

// featureCard finds a card by its feature's id, which the search looks into.
func (v *visit) featureCard(tenant, id string) (v1.FeatureCard, error) {
	cursor := ""
	for range mostLooked {
		got, err := v1.Fetch[v1.FeatureCardPage](v.api.DiscoverFeatures(v.ctx(), &v1.DiscoverFeaturesParams{Q: id, Cursor: cursor, Limit: 200}))
		if err != nil {
			return v1.FeatureCard{}, err
		}
		for _, c := range got.Items {
			if c.Tenant == tenant && c.FeatureID == id {
				return c, nil
			}
		}
		if cursor = got.Next; cursor == "" {
			return v1.FeatureCard{}, errNoPage
		}
	}
	return v1.FeatureCard{}, &refusal{http.StatusNotFound, "The feature was not found", "Very many features are named like it. Look for it in the catalog."}
}

func askAccess(v *visit) error {
	days, err := strconv.Atoi(v.field("days"))
	if err != nil {
		return &refusal{http.StatusUnprocessableEntity, "Nothing was asked", "For how many days is a whole number."}
	}
	body := v1.AccessRequestBody{Owner: v.path("tenant"), FeatureID: v.path("feature"), Purpose: v.field("purpose"), Actions: v.r.PostForm["actions"], Days: days, Reason: v.field("reason")}
	if _, err := v1.Fetch[v1.AccessRequest](v.api.RequestAccess(v.ctx(), nil, body, v.once())); err != nil {
		return err
	}
	return v.redirect(link("catalog", v.path("tenant"), v.path("feature")) + "?done=access-asked")
}

// withdrawalPage is what a withdrawal would reach, or did.
type withdrawalPage struct {
	Withdrawal v1.Withdrawal
	Feature    string
	Acts       []act
}

// withdraw shows what a withdrawal would reach and changes nothing; with the
// feature's name typed under what it showed, it withdraws.
func withdraw(v *visit) error {
	id := v.path("feature")
	if v.path("tenant") != v.who.Tenant {
		return errNoPage
	}
	apply := v.field("do") == "apply"
	if apply && v.field("typed") != id {
		return &refusal{http.StatusUnprocessableEntity, "Nothing was withdrawn", fmt.Sprintf("To withdraw, type %s into the form.", id)}
	}
	got, err := v1.Fetch[v1.Withdrawal](v.api.WithdrawGrants(v.ctx(), nil, v1.WithdrawalRequest{FeatureID: id, Reason: v.field("reason"), Apply: apply}, v.once()))
	if err != nil {
		return err
	}
	if apply {
		return v.redirect(link("withdrawals", strconv.FormatInt(got.Epoch, 10)) + "?done=withdrawn")
	}
	p := withdrawalPage{Withdrawal: got, Feature: id, Acts: []act{act{
		Name: "apply", Label: "Withdraw the consent", Link: link("catalog", v.who.Tenant, id, "withdrawal"), Danger: true, Type: id,
		Fields: map[string]string{"do": "apply", "reason": v.field("reason")},
	}.unless(v.lacks("data-scientist", "operator", "admin"))}}
	return v.render("withdrawal", "What a withdrawal of "+id+" would reach", p)
}

func withdrawal(v *visit) error {
	epoch, err := strconv.ParseInt(v.path("epoch"), 10, 64)
	if err != nil {
		return errNoPage
	}
	got, err := v1.Fetch[v1.Withdrawal](v.api.GetWithdrawal(v.ctx(), epoch, nil))
	if err != nil {
		return err
	}
	return v.render("withdrawal", "Withdrawal of "+got.FeatureID, withdrawalPage{Withdrawal: got, Feature: got.FeatureID})
}
