package approval

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Roles of approvers.
const (
	RoleOwner    = "owner"    // of the model
	RoleOnCall   = "on-call"  // for the model
	RoleOperator = "operator" // of a region
	RoleRisk     = "risk"
	RolePlatform = "platform"
	RolePrivacy  = "privacy"
	RoleSecurity = "security"
)

// Roles returns every role that an approver may have.
func Roles() []string {
	return []string{RoleOwner, RoleOnCall, RoleOperator, RoleRisk, RolePlatform, RolePrivacy, RoleSecurity}
}

// Kinds of action that are gated.
const (
	KindPromotion       = "promotion"
	KindPolicy          = "policy"
	KindTuning          = "tuning"
	KindLeaveSimulation = "leave-simulation"
)

// Environments. Any other name is treated as production.
const (
	Dev        = "dev"
	Staging    = "staging"
	Production = "production"
)

// MaxTTL bounds how long a ballot may stay open.
const MaxTTL = 30 * 24 * time.Hour

// ErrNoApprovers says that a ballot could never pass.
var ErrNoApprovers = errors.New("too few people may approve it")

// Required returns the seats that must be filled by distinct people for the
// action to go on; none means that it goes on by itself. Each seat lists the
// roles that may fill it.
//
//	risk     outside production   in production
//	 0-19    -                    - only if it loosens nothing or rolls back, else one
//	20-39    -                    one: owner or on-call
//	40-59    one                  one: owner, on-call or operator
//	60-79    one                  two: owner; risk or platform
//	80-100   two                  three: owner; two of privacy, security
//
// In production the threshold (0..100) is where an action that loosens nothing
// begins to need people; what loosens needs them at any risk. A rollback needs
// one person at most. Leaving simulation always needs one.
func Required(a Action, threshold int) [][]string {
	lead := []string{RoleOwner, RoleOnCall}
	wide := []string{RoleOwner, RoleOnCall, RoleOperator}
	prod := a.Environment != Dev && a.Environment != Staging
	var seats [][]string
	switch {
	case prod && a.Risk >= 80:
		guards := []string{RolePrivacy, RoleSecurity}
		seats = [][]string{{RoleOwner}, guards, guards}
	case prod && a.Risk >= 60:
		seats = [][]string{{RoleOwner}, {RoleRisk, RolePlatform}}
	case prod && a.Risk >= 40:
		seats = [][]string{wide}
	case prod:
		seats = [][]string{lead}
	case a.Risk >= 80:
		seats = [][]string{wide, {RoleOwner, RoleRisk, RolePlatform, RolePrivacy, RoleSecurity}}
	case a.Risk >= 40:
		seats = [][]string{wide}
	}
	switch {
	case a.Kind == KindLeaveSimulation:
		if len(seats) == 0 {
			seats = [][]string{wide}
		}
	case a.Rollback && len(seats) > 0:
		seats = [][]string{wide}
		fallthrough
	case !a.Loosens:
		if prod && a.Risk < threshold {
			seats = nil
		}
	}
	return seats
}

// An Ask is what a request is made of.
type Ask struct {
	Action    Action
	Requester string
	Trainers  []string // who made what is to serve; barred where the rules say so
	Threshold int
	Approvers []Approver
	Rules     Rules
	Evidence  []Exhibit
	Nonce     string
	OpenedAt  time.Time
	TTL       time.Duration // unless the rules say another
	NotAfter  time.Time     // what the action rests on is too old then; zero: never
}

// NewRequest opens no ballot yet: it says who may vote in one. Of the
// approvers, it keeps those that may fill a seat and are neither the requester
// nor barred, by name. The time to decide is cut to [MaxTTL]. With no seats the
// request needs nobody.
// Errors: [ErrOutdated]; [ErrNoApprovers] when the seats could not be filled
// even if everybody approved, without escalation.
func NewRequest(ask Ask) (Request, error) {
	rules, a := ask.Rules, ask.Action
	ttl := ask.TTL
	if rules.DecideSeconds > 0 {
		ttl = time.Duration(rules.DecideSeconds) * time.Second
	}
	req := Request{
		Action:         a,
		Requester:      ask.Requester,
		Seats:          Required(a, ask.Threshold),
		Evidence:       ask.Evidence,
		Nonce:          ask.Nonce,
		OpenedAt:       ask.OpenedAt,
		TTLSeconds:     int64(min(ttl, MaxTTL) / time.Second),
		ExecuteSeconds: rules.ExecuteSeconds,
		NotAfter:       ask.NotAfter,
	}
	if req.Outdated(ask.OpenedAt) {
		return req, ErrOutdated
	}
	req.Need = len(req.Seats)
	req.Roles = rolesOf(req.Seats)
	if rules.BarTrainer {
		req.Trainers = ask.Trainers
	}
	if rules.HoldSeconds > 0 && a.Risk >= rules.HoldRisk && !a.Rollback {
		req.HoldSeconds = rules.HoldSeconds
	}
	if rules.EscalatePercent > 0 && req.Need > 0 {
		req.EscalateSeconds = max(1, req.TTLSeconds*int64(rules.EscalatePercent)/100)
		req.Widened = widen(req.Seats)
	}
	if a.Rollback || !a.Loosens {
		req.GlassRoles = rules.GlassRoles
	}
	later := rolesOf(req.Widened)
	for _, p := range ask.Approvers {
		if slices.Contains(req.GlassRoles, p.Role) {
			req.Bearers = append(req.Bearers, p)
		}
		switch {
		case barred(ask.Approvers, p, append([]string{req.Requester}, req.Trainers...)):
			req.Barred = append(req.Barred, p)
		case slices.Contains(req.Roles, p.Role):
			req.Approvers = append(req.Approvers, p)
		case slices.Contains(later, p.Role):
			req.Reserve = append(req.Reserve, p)
		}
	}
	for _, people := range [][]Approver{req.Approvers, req.Reserve, req.Bearers} {
		slices.SortFunc(people, func(a, b Approver) int { return strings.Compare(a.Name, b.Name) })
	}
	everybody := make([]Vote, len(req.Approvers))
	for i, p := range req.Approvers {
		everybody[i] = Vote{Approver: p.Name, Role: p.Role, Key: p.Key, Approve: true}
	}
	if !Open(req).filled(everybody) {
		return req, fmt.Errorf("%d approvals are needed from %v: %w", req.Need, req.Seats, ErrNoApprovers)
	}
	return req, nil
}

// barred says whether p is one of names, under whatever name.
func barred(approvers []Approver, p Approver, names []string) bool {
	return slices.ContainsFunc(approvers, func(q Approver) bool { return slices.Contains(names, q.Name) && q.Key == p.Key })
}

func rolesOf(seats [][]string) []string {
	var roles []string
	for _, seat := range seats {
		roles = append(roles, seat...)
	}
	slices.Sort(roles)
	return slices.Compact(roles)
}

// seats returns the seats of a request, also of one from before they were named.
func (r Request) seats() [][]string {
	if len(r.Seats) > 0 {
		return r.Seats
	}
	seats := make([][]string, max(0, r.Need))
	for i := range seats {
		seats[i] = r.Roles
	}
	return seats
}

// fill returns how many seats can be filled at once, each vote taking one at
// most. There are at most three seats, so trying every way is short.
func fill(seats [][]string, votes []Vote) int {
	if len(seats) == 0 {
		return 0
	}
	most := fill(seats[1:], votes) // this seat stays empty
	for i, v := range votes {
		if slices.Contains(seats[0], v.Role) {
			most = max(most, 1+fill(seats[1:], slices.Delete(slices.Clone(votes), i, i+1)))
		}
	}
	return most
}

// distinct keeps approvals, and drops those whose person or key came before.
func distinct(votes []Vote) []Vote {
	var kept []Vote
	for _, v := range votes {
		if v.Says() == Approve && !slices.ContainsFunc(kept, func(k Vote) bool { return touches(k, v) }) {
			kept = append(kept, v)
		}
	}
	return kept
}
