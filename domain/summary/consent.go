package summary

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/atom-fabric/fabric/domain/consent"
	"github.com/atom-fabric/fabric/domain/site"
)

// States of an attempt to publish.
const (
	StateWaiting      = "waiting" // nobody was asked yet
	StateOpen         = "open"    // sites are asked
	StateShut         = "shut"    // no more answers are taken
	StatePublished    = "published"
	StateInsufficient = "insufficient"
	StateFailed       = "failed" // it may be asked for again
)

// ErrSites says that nobody could be asked.
var ErrSites = errors.New("no site of the tenant is enrolled that the consent lets take part: start fabric-site beside the rows")

// Use is what the question does with the feature at sites of these regions.
func (q Question) Use(regions []string, now time.Time) consent.Use {
	return consent.Use{
		Grantee: q.Tenant, Action: consent.ActionStats, Purpose: q.Purpose, Regions: regions, Cohort: len(q.Sites),
		Private: true, Epsilon: q.Epsilon, Now: now,
	}
}

// Allowed returns the grant that the question is asked under, and the sites of
// the tenant that it may be asked of: those in its regions.
// Errors: [*consent.Refusal]; [ErrSites].
func Allowed(have []consent.Record, q Question, sites []site.Site, now time.Time) (consent.Record, []site.Site, error) {
	q.Sites = nil // who takes part follows from the grant
	grant, err := consent.Choose(have, q.Tenant, q.Feature, q.Use(nil, now), consent.ActionStats)
	if err != nil {
		return consent.Record{}, nil, err
	}
	var asked []site.Site
	var names []string
	for _, one := range sites {
		if one.Tenant == q.Tenant && grant.Permits(q.Use([]string{one.Region}, now)) == nil {
			asked, names = append(asked, one), append(names, one.ID)
		}
	}
	if len(asked) == 0 {
		return consent.Record{}, nil, ErrSites
	}
	q.Sites = names
	return grant, asked, grant.Permits(q.Use(nil, now)) // its cohort, now that it is known
}

// Learnt says whether the answers told anything of rows.
func Learnt(answers []Answer) bool {
	return slices.ContainsFunc(answers, func(a Answer) bool { return a.Refused == "" || a.Refused == FewRows })
}

// Explain says why nothing was published, with what sites said instead of
// numbers.
func Explain(err error, answers []Answer, asked int) error {
	why := map[string]string{
		NoColumns: "lacks a column that is asked about", FewRows: "has fewer rows than its operator asks for",
		NoConsent: "found no signed grant that allows it", NoLimits: "is kept from it by its operator's limits",
		Answered: "has answered another question about this version, and answers one only",
	}
	var said []string
	for _, a := range answers {
		if a.Refused != "" {
			said = append(said, fmt.Sprintf("%s %s", a.Site, why[a.Refused]))
		}
	}
	if silent := asked - len(answers); silent > 0 {
		said = append(said, fmt.Sprintf("%d of %d did not answer in time", silent, asked))
	}
	if len(said) == 0 {
		return err
	}
	return fmt.Errorf("%w: %s", err, strings.Join(said, "; "))
}

// Visible says whether a tenant other than the owner may be shown what was
// published: a grant in force allows it statistics of the feature.
func Visible(have []consent.Record, q Question, grantee string, now time.Time) bool {
	for _, r := range have {
		if r.Tenant == q.Tenant && r.Feature == q.Feature && r.Grantee == grantee && r.At(now) == consent.Active && slices.Contains(r.Actions, consent.ActionStats) {
			return true
		}
	}
	return false
}
