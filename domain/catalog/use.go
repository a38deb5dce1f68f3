package catalog

import (
	"errors"
	"fmt"
	"slices"
)

// Why a feature may not be used.
var (
	ErrUnregistered = errors.New("is not registered")
	ErrNoConsent    = errors.New("has no consent that you may use")
	ErrWithdrawn    = errors.New("has had its consent withdrawn")
	ErrNotFor       = errors.New("is not consented for this purpose")
)

// A Refusal says which feature may not be used, and why.
type Refusal struct {
	Tenant  string
	Feature string
	Purpose string // empty unless Err is ErrNotFor
	Err     error
}

func (r *Refusal) Error() string {
	if r.Purpose != "" {
		return fmt.Sprintf("feature %s of tenant %s %v: %s", r.Feature, r.Tenant, r.Err, r.Purpose)
	}
	return fmt.Sprintf("feature %s of tenant %s %v", r.Feature, r.Tenant, r.Err)
}
func (r *Refusal) Unwrap() error { return r.Err }

// Usable returns nil if grantee may use the feature for every one of the
// purposes. To a stranger, a feature without consent looks like one that is
// not there at all.
// Errors: [*Refusal].
func (f Feature) Usable(grantee string, purposes ...string) error {
	refuse := func(purpose string, why error) error {
		return &Refusal{Tenant: f.Tenant, Feature: f.ID, Purpose: purpose, Err: why}
	}
	if !slices.Contains(f.Consent.Grantees, grantee) && grantee != f.Tenant {
		return refuse("", ErrNoConsent)
	}
	switch {
	case f.Consent.WithdrawnAt != nil:
		return refuse("", ErrWithdrawn)
	case !f.Consent.Granted:
		return refuse("", ErrNoConsent)
	}
	for _, p := range purposes {
		if !slices.Contains(f.Consent.Purposes, p) {
			return refuse(p, ErrNotFor)
		}
	}
	return nil
}

// Refusals checks that each tenant has each of the features and lets grantee
// use it for every one of the purposes. It returns the refusals by tenant and
// feature in the order asked; none means that all may be used.
func Refusals(have []Feature, grantee string, tenants, features []string, purposes ...string) []*Refusal {
	byName := make(map[[2]string]Feature, len(have))
	for _, f := range have {
		byName[[2]string{f.Tenant, f.ID}] = f
	}
	var refusals []*Refusal
	for _, tenant := range tenants {
		for _, id := range features {
			f, ok := byName[[2]string{tenant, id}]
			if !ok {
				why := ErrNoConsent // whether it exists is not for a stranger to know
				if tenant == grantee {
					why = ErrUnregistered
				}
				refusals = append(refusals, &Refusal{Tenant: tenant, Feature: id, Err: why})
				continue
			}
			var refusal *Refusal
			if errors.As(f.Usable(grantee, purposes...), &refusal) {
				refusals = append(refusals, refusal)
			}
		}
	}
	return refusals
}

// Common returns the ids of the features that every one of the tenants lets
// grantee use for every one of the purposes, sorted.
func Common(have []Feature, grantee string, tenants []string, purposes ...string) []string {
	count := map[string]int{}
	for _, f := range have {
		if slices.Contains(tenants, f.Tenant) && f.Usable(grantee, purposes...) == nil {
			count[f.ID]++
		}
	}
	var common []string
	for id, n := range count {
		if n == len(tenants) {
			common = append(common, id)
		}
	}
	slices.Sort(common)
	return common
}
