package routing

import (
	"cmp"
	"slices"
	"time"
)

// A Revocation takes tokens of a tenant back before they expire: the one with
// an id, those of a subject, or all of them.
type Revocation struct {
	Tenant  string `json:"tenant"`
	Token   string `json:"token,omitempty"`   // claim jti
	Subject string `json:"subject,omitempty"` // claim sub
	Before  int64  `json:"before"`            // issued in this second since 1970 or earlier
	Until   int64  `json:"until"`             // by then the last of them has expired by itself
}

// Revoke returns the next snapshot with the revocations that are in force, and
// false, and s, when it has every one of them already. Those that are over are let go.
func (s Snapshot) Revoke(active []Revocation, at time.Time) (Snapshot, bool) {
	missing := slices.ContainsFunc(active, func(r Revocation) bool { return !slices.Contains(s.Revocations, r) })
	if !missing {
		return s, false
	}
	next := s.next(at)
	next.Revocations = slices.Clone(active)
	for _, r := range s.Revocations { // the control plane that knows them may be another one's copy, a moment behind
		if r.Until >= at.Unix() && !slices.Contains(active, r) {
			next.Revocations = append(next.Revocations, r)
		}
	}
	slices.SortFunc(next.Revocations, func(a, b Revocation) int {
		return cmp.Or(cmp.Compare(a.Tenant, b.Tenant), cmp.Compare(a.Token, b.Token), cmp.Compare(a.Subject, b.Subject),
			cmp.Compare(a.Before, b.Before), cmp.Compare(a.Until, b.Until))
	})
	return next, true
}

// Revoked is a set of revocations to be asked: one look-up for each form.
type Revoked struct{ before map[revokedKey]int64 }

type revokedKey struct{ tenant, token, subject string }

// NewRevoked returns the set of a list.
func NewRevoked(list []Revocation) *Revoked {
	set := &Revoked{before: make(map[revokedKey]int64, len(list))}
	for _, r := range list {
		key := revokedKey{r.Tenant, r.Token, r.Subject}
		set.before[key] = max(set.before[key], r.Before)
	}
	return set
}

// Len returns how many different things are revoked.
func (s *Revoked) Len() int { return len(s.before) }

// Has reports whether a token is revoked. One that was issued in the second of
// the revocation is: times of tokens are whole seconds, and the safe side of
// that second is this one.
func (s *Revoked) Has(tenant, token, subject string, issued time.Time) bool {
	if len(s.before) == 0 {
		return false
	}
	at := issued.Unix()
	hit := func(token, subject string) bool {
		before, ok := s.before[revokedKey{tenant, token, subject}]
		return ok && at <= before
	}
	return hit("", "") || hit("", subject) || token != "" && hit(token, "")
}
