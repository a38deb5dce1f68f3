package approval_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/approval"
	"github.com/atom-fabric/fabric/domain/artifact"
)

// The table of risk, environment and approvers in docs/policies; threshold 20.
func TestRequired(t *testing.T) {
	lead := []string{"owner", "on-call"}
	wide := []string{"owner", "on-call", "operator"}
	guards := []string{"privacy", "security"}
	tests := []struct {
		name        string
		environment string
		risk        int
		loosens     bool
		rollback    bool
		threshold   int
		want        [][]string
	}{
		{"dev goes on by itself", "dev", 39, true, false, 20, nil},
		{"staging needs one from 40", "staging", 40, true, false, 20, [][]string{wide}},
		{"staging needs one up to 79", "staging", 79, false, false, 20, [][]string{wide}},
		{"staging needs two from 80", "staging", 80, true, false, 20, [][]string{wide, {"owner", "risk", "platform", "privacy", "security"}}},
		{"production tightens by itself below the threshold", "production", 19, false, false, 20, nil},
		{"production asks from the threshold on", "production", 20, false, false, 20, [][]string{lead}},
		{"production asks for whatever loosens", "production", 0, true, false, 20, [][]string{lead}},
		{"a higher threshold spares no loosening", "production", 39, true, false, 100, [][]string{lead}},
		{"a higher threshold spares tightening", "production", 39, false, false, 40, nil},
		{"a threshold of 0 asks for everything", "production", 0, false, false, 0, [][]string{lead}},
		{"production at 40 takes a region's operator too", "production", 40, true, false, 20, [][]string{wide}},
		{"production at 59 the same", "production", 59, true, false, 20, [][]string{wide}},
		{"production at 60 needs two from two roles", "production", 60, true, false, 20, [][]string{{"owner"}, {"risk", "platform"}}},
		{"production at 79 the same", "production", 79, true, false, 20, [][]string{{"owner"}, {"risk", "platform"}}},
		{"production at 80 needs the owner and two guards", "production", 80, true, false, 20, [][]string{{"owner"}, guards, guards}},
		{"a rollback needs one person at most", "production", 60, false, true, 20, [][]string{wide}},
		{"a rollback below the threshold needs none", "production", 15, false, true, 20, nil},
		{"an unknown environment is production", "prod", 10, true, false, 20, [][]string{lead}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := approval.Action{Kind: "promotion", Environment: tt.environment, Risk: tt.risk, Loosens: tt.loosens, Rollback: tt.rollback}
			require.Equal(t, tt.want, approval.Required(a, tt.threshold))
		})
	}
	t.Run("leaving simulation always needs one", func(t *testing.T) {
		for _, environment := range []string{"dev", "staging", "production"} {
			require.Len(t, approval.Required(approval.Action{Kind: approval.KindLeaveSimulation, Environment: environment}, 100), 1)
		}
	})
}

// More risk never needs fewer people, and production never fewer than staging.
func TestRequiredIsMonotone(t *testing.T) {
	for _, kind := range []string{"promotion", "leave-simulation"} {
		for _, loosens := range []bool{false, true} {
			for _, rollback := range []bool{false, true} {
				for threshold := range 101 {
					for _, environment := range []string{"dev", "production"} {
						last := 0
						for risk := range 101 {
							a := approval.Action{Kind: kind, Environment: environment, Risk: risk, Loosens: loosens, Rollback: rollback}
							need := len(approval.Required(a, threshold))
							require.GreaterOrEqual(t, need, last, "%+v at threshold %d", a, threshold)
							last = need
						}
					}
				}
			}
		}
	}
}

func person(name, role string) approval.Approver {
	return approval.Approver{Name: name, Role: role, Key: artifact.DigestOf([]byte(name))}
}

func production(risk int) approval.Action {
	return approval.Action{ID: "a1", Kind: "promotion", Environment: "production", Risk: risk, Loosens: true, Plan: artifact.DigestOf([]byte("plan"))}
}

func opened() time.Time { return time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC) }

func ask(a approval.Action, approvers ...approval.Approver) approval.Ask {
	return approval.Ask{Action: a, Requester: "ann", Threshold: 20, Approvers: approvers, Nonce: "nonce", OpenedAt: opened(), TTL: time.Hour}
}

func request(t *testing.T, risk int, approvers ...approval.Approver) approval.Request {
	t.Helper()
	req, err := approval.NewRequest(ask(production(risk), approvers...))
	require.NoError(t, err)
	return req
}

func TestNewRequest(t *testing.T) {
	alias := person("ann-at-home", "owner")
	alias.Key = person("ann", "owner").Key
	req := request(t, 60, person("dan", "risk"), person("bob", "owner"), person("ann", "owner"), alias, person("eve", "auditor"))
	require.Equal(t, 2, req.Need)
	require.Equal(t, []string{"owner", "platform", "risk"}, req.Roles)
	var names []string
	for _, p := range req.Approvers {
		names = append(names, p.Name)
	}
	require.Equal(t, []string{"bob", "dan"}, names, "by name, without the requester, the requester's key, and roles that may not")
	require.EqualValues(t, 3600, req.TTLSeconds)
	require.Len(t, req.Barred, 2, "ann, and ann at home")
	b, err := approval.Open(req).Cast(approval.Vote{Approver: alias.Name, Role: alias.Role, Key: alias.Key, Approve: true, Statement: "s", At: opened()})
	require.ErrorIs(t, err, approval.ErrOwnVote)
	require.Empty(t, b.Votes)

	forever := ask(production(20), person("bob", "owner"))
	forever.TTL = 1000 * time.Hour
	long, err := approval.NewRequest(forever)
	require.NoError(t, err)
	require.Equal(t, approval.MaxTTL, long.TTL())

	for name, approvers := range map[string][]approval.Approver{
		"nobody":                nil,
		"two of one role":       {person("bob", "owner"), person("cyd", "owner")},
		"the requester and one": {person("ann", "owner"), person("dan", "risk")},
	} {
		t.Run("cannot pass with "+name, func(t *testing.T) {
			_, err := approval.NewRequest(ask(production(60), approvers...))
			require.ErrorIs(t, err, approval.ErrNoApprovers)
		})
	}
	free, err := approval.NewRequest(ask(approval.Action{Environment: "dev"}))
	require.NoError(t, err)
	require.Zero(t, free.Need)
	require.Equal(t, approval.Approved, approval.Open(free).Outcome)
}
