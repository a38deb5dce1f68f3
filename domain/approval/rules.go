package approval

import (
	"errors"
	"fmt"
	"slices"
)

// Rules are what the policy says of ballots beside who must agree. The zero
// value has no escalation and no broken glass.
type Rules struct {
	BarTrainer      bool     `json:"barTrainer,omitempty"`      // whoever trained a version may not approve it
	DecideSeconds   int64    `json:"decideSeconds,omitempty"`   // 0: what the deployment says
	ExecuteSeconds  int64    `json:"executeSeconds,omitempty"`  // 0: no limit
	HoldSeconds     int64    `json:"holdSeconds,omitempty"`     // cool-down from approval on, at a risk of HoldRisk or more
	HoldRisk        int      `json:"holdRisk,omitempty"`        // 0..100
	EscalatePercent int      `json:"escalatePercent,omitempty"` // of the time to decide, after which others are asked; 0: never
	GlassRoles      []string `json:"glassRoles,omitempty"`      // one person of these may break the glass for a rollback, or for what loosens nothing
}

// ErrRules says that rules cannot be meant.
var ErrRules = errors.New("rules of approval out of range")

// DefaultRules returns the rules where a policy gives none: a day to begin,
// escalation at half the time, and the glass for those who are woken at night.
func DefaultRules() Rules {
	return Rules{
		ExecuteSeconds:  24 * 60 * 60,
		EscalatePercent: 50,
		GlassRoles:      []string{RoleOnCall, RoleOwner, RoleSecurity},
	}
}

// Check returns an error if the rules cannot be meant.
// Errors: [ErrRules].
func (r Rules) Check() error {
	limit := int64(MaxTTL.Seconds())
	for name, v := range map[string]int64{"decideSeconds": r.DecideSeconds, "executeSeconds": r.ExecuteSeconds, "holdSeconds": r.HoldSeconds} {
		if v < 0 || v > limit {
			return fmt.Errorf("%s: %w", name, ErrRules)
		}
	}
	if r.EscalatePercent < 0 || r.EscalatePercent > 99 || r.HoldRisk < 0 || r.HoldRisk > 100 {
		return fmt.Errorf("a percentage: %w", ErrRules)
	}
	for _, role := range r.GlassRoles {
		if !slices.Contains(Roles(), role) {
			return fmt.Errorf("glassRoles: %w", ErrRules)
		}
	}
	return nil
}

// Stricter returns rules that are no laxer than either: where regions differ,
// an action that concerns both obeys both.
func (r Rules) Stricter(o Rules) Rules {
	shorter := func(a, b int64) int64 {
		if a == 0 || b != 0 && b < a {
			return b
		}
		return a
	}
	// A risk from which nothing is held says nothing.
	risk := r.HoldRisk
	if r.HoldSeconds == 0 || o.HoldSeconds > 0 && o.HoldRisk < risk {
		risk = o.HoldRisk
	}
	out := Rules{
		BarTrainer:      r.BarTrainer || o.BarTrainer,
		DecideSeconds:   shorter(r.DecideSeconds, o.DecideSeconds),
		ExecuteSeconds:  shorter(r.ExecuteSeconds, o.ExecuteSeconds),
		HoldSeconds:     max(r.HoldSeconds, o.HoldSeconds),
		HoldRisk:        risk,
		EscalatePercent: max(r.EscalatePercent, o.EscalatePercent), // later is stricter, and never the strictest
	}
	if r.EscalatePercent == 0 || o.EscalatePercent == 0 {
		out.EscalatePercent = 0
	}
	for _, role := range r.GlassRoles {
		if slices.Contains(o.GlassRoles, role) {
			out.GlassRoles = append(out.GlassRoles, role)
		}
	}
	return out
}

// Equal says whether both say the same, whatever the order of roles.
func (r Rules) Equal(o Rules) bool {
	mine, theirs := slices.Sorted(slices.Values(r.GlassRoles)), slices.Sorted(slices.Values(o.GlassRoles))
	return slices.Equal(mine, theirs) && r.BarTrainer == o.BarTrainer && r.DecideSeconds == o.DecideSeconds && r.ExecuteSeconds == o.ExecuteSeconds &&
		r.HoldSeconds == o.HoldSeconds && r.HoldRisk == o.HoldRisk && r.EscalatePercent == o.EscalatePercent
}

// widen returns the seats after escalation: as many, each with the roles that
// stand in. Privacy and security have nobody who stands in for them.
func widen(seats [][]string) [][]string {
	standIn := map[string][]string{
		RoleOwner:    {RoleOnCall},
		RoleRisk:     {RoleSecurity},
		RolePlatform: {RoleSecurity},
		RoleOnCall:   {RoleOperator},
	}
	out := make([][]string, len(seats))
	for i, seat := range seats {
		out[i] = slices.Clone(seat)
		for _, role := range seat {
			for _, other := range standIn[role] {
				if !slices.Contains(out[i], other) {
					out[i] = append(out[i], other)
				}
			}
		}
	}
	return out
}
