package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Limits are what the policy demands of every training run. A field of zero
// demands nothing. Each has one direction in which it protects more.
type Limits struct {
	MaxEpsilonMilli    int64    `json:"maxEpsilonMilli,omitempty"`    // of a run, in thousandths; lower protects more
	MinCohort          int      `json:"minCohort,omitempty"`          // sites that must take part; higher protects more
	MaxDeadlineSeconds int      `json:"maxDeadlineSeconds,omitempty"` // that a stage waits for stragglers; lower protects more
	MaxClipMilli       int64    `json:"maxClipMilli,omitempty"`       // norm that an update is clipped to, in thousandths; lower protects more
	MaxRetries         int      `json:"maxRetries,omitempty"`         // how often a stage below quorum is extended; lower protects more
	Quarantined        []string `json:"quarantined,omitempty"`        // sites that no run may ask, "tenant/site"; more protect more
}

// A Share is how much of its usual weight a region has when an endpoint is
// chosen, in thousandths. A region that no share names has 1000; 0 closes it.
type Share struct {
	Region string `json:"region"`
	Weight int    `json:"weight"`
}

// A Rollback says which earlier document this one brings back. Content is the
// digest of what both permit; see [Document.Content].
type Rollback struct {
	Revision int64  `json:"revision"` // that is brought back
	Digest   string `json:"digest"`   // of that revision's canonical bytes
	Content  string `json:"content"`  // the same for both
}

// Most of what limits may hold.
const (
	MaxQuarantined = 1000
	MaxShares      = 64
)

// What may be wrong with limits and shares.
var (
	ErrLimit      = errors.New("must be 0 or more")
	ErrQuarantine = fmt.Errorf("must be at most %d distinct sites, each tenant/site, in order", MaxQuarantined)
	ErrShare      = fmt.Errorf("must be at most %d distinct regions in order, each with a weight of 0 to 1000", MaxShares)
	ErrRollback   = errors.New("must bring back a lower revision, with the content that it had")
)

// Share returns the weight of a region in thousandths.
func (d Document) Share(region string) int {
	for _, s := range d.Shares {
		if s.Region == region {
			return s.Weight
		}
	}
	return 1000
}

// Open says whether anybody at all may be answered in a region.
func (d Document) Open(region string) bool { return d.Share(region) > 0 }

// Isolates says whether the policy keeps a site out of every run.
func (d Document) Isolates(tenant, site string) bool {
	return d.Limits != nil && slices.Contains(d.Limits.Quarantined, tenant+"/"+site)
}

// Bounds returns the limits; none demand nothing.
func (d Document) Bounds() Limits {
	if d.Limits == nil {
		return Limits{}
	}
	return *d.Limits
}

// looser names the first limit that to takes away or widens.
func (l Limits) looser(to Limits) (string, bool) {
	for _, upper := range []struct {
		name    string
		was, is int64
	}{
		{"the bound on epsilon", l.MaxEpsilonMilli, to.MaxEpsilonMilli},
		{"the bound on the time for stragglers", int64(l.MaxDeadlineSeconds), int64(to.MaxDeadlineSeconds)},
		{"the bound on the clipping norm", l.MaxClipMilli, to.MaxClipMilli},
		{"the bound on retries", int64(l.MaxRetries), int64(to.MaxRetries)},
	} {
		if upper.was > 0 && (upper.is == 0 || upper.is > upper.was) {
			return fmt.Sprintf("%s rises from %d to %s", upper.name, upper.was, orNone(upper.is)), true
		}
	}
	if to.MinCohort < l.MinCohort {
		return fmt.Sprintf("the least cohort falls from %d to %d", l.MinCohort, to.MinCohort), true
	}
	for _, site := range l.Quarantined {
		if !slices.Contains(to.Quarantined, site) {
			return fmt.Sprintf("site %s leaves quarantine", site), true
		}
	}
	return "", false
}

func orNone(n int64) string {
	if n == 0 {
		return "none"
	}
	return fmt.Sprint(n)
}

// limits are the lines of a diff between two documents.
func (d Document) limits() []Change {
	l := d.Bounds()
	lines := []Change{
		{"most epsilon of a run, in thousandths", "", orNone(l.MaxEpsilonMilli)},
		{"least cohort", "", orNone(int64(l.MinCohort))},
		{"most seconds for stragglers", "", orNone(int64(l.MaxDeadlineSeconds))},
		{"most clipping norm, in thousandths", "", orNone(l.MaxClipMilli)},
		{"most retries of a stage", "", orNone(int64(l.MaxRetries))},
		{"sites in quarantine", "", joined(l.Quarantined)},
	}
	var shares []string
	for _, s := range d.Shares {
		shares = append(shares, fmt.Sprintf("%s %d", s.Region, s.Weight))
	}
	return append(lines, Change{"weights of regions, in thousandths", "", joined(shares)})
}

func joined(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

func (d Document) validateLimits() error {
	l := d.Bounds()
	for _, n := range []struct {
		at    string
		value int64
	}{
		{"maxEpsilonMilli", l.MaxEpsilonMilli}, {"minCohort", int64(l.MinCohort)}, {"maxDeadlineSeconds", int64(l.MaxDeadlineSeconds)},
		{"maxClipMilli", l.MaxClipMilli}, {"maxRetries", int64(l.MaxRetries)},
	} {
		if n.value < 0 {
			return &DocumentError{"/limits/" + n.at, ErrLimit}
		}
	}
	if len(l.Quarantined) > MaxQuarantined {
		return &DocumentError{"/limits/quarantined", ErrQuarantine}
	}
	for i, site := range l.Quarantined {
		tenant, name, ok := strings.Cut(site, "/")
		if !ok || !isID(tenant) || !isID(name) || i > 0 && l.Quarantined[i-1] >= site {
			return &DocumentError{fmt.Sprintf("/limits/quarantined/%d", i), ErrQuarantine}
		}
	}
	if len(d.Shares) > MaxShares {
		return &DocumentError{"/shares", ErrShare}
	}
	for i, s := range d.Shares {
		if !isID(s.Region) || s.Weight < 0 || s.Weight > 1000 || i > 0 && d.Shares[i-1].Region >= s.Region {
			return &DocumentError{fmt.Sprintf("/shares/%d", i), ErrShare}
		}
	}
	return nil
}
