package approval_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/atom-fabric/fabric/domain/approval"
	"github.com/atom-fabric/fabric/domain/artifact"
)

// by is a verified vote of a person, one minute after the ballot opened.
func by(name, role string, approve bool) approval.Vote {
	return approval.Vote{
		Approver: name, Role: role, Key: person(name, role).Key, Approve: approve,
		Statement: artifact.DigestOf(fmt.Appendf(nil, "%s %t", name, approve)), At: opened().Add(time.Minute),
	}
}

func change(v approval.Vote, by func(*approval.Vote)) approval.Vote { by(&v); return v }

func TestCast(t *testing.T) {
	bob, cyd, dan := by("bob", "owner", true), by("cyd", "owner", true), by("dan", "risk", true)
	second := change(bob, func(v *approval.Vote) { v.Statement = artifact.DigestOf([]byte("second")) })
	stolen := change(second, func(v *approval.Vote) { v.Key = dan.Key })
	tests := []struct {
		name    string
		votes   []approval.Vote
		want    approval.Outcome
		counted int
		errs    []error
		missing int
	}{
		{"waits for both seats", []approval.Vote{bob}, approval.Pending, 1, []error{nil}, 1},
		{"passes with both", []approval.Vote{bob, dan}, approval.Approved, 2, []error{nil, nil}, 0},
		{"passes in any order", []approval.Vote{dan, bob}, approval.Approved, 2, []error{nil, nil}, 0},
		{"counts two of one role for one seat", []approval.Vote{bob, cyd}, approval.Pending, 2, []error{nil, nil}, 1},
		{"refuses the requester", []approval.Vote{by("ann", "owner", true)}, approval.Pending, 0, []error{approval.ErrOwnVote}, 2},
		{"refuses a stranger", []approval.Vote{by("eve", "owner", true)}, approval.Pending, 0, []error{approval.ErrStranger}, 2},
		{"refuses a stranger's vote against", []approval.Vote{by("eve", "owner", false)}, approval.Pending, 0, []error{approval.ErrStranger}, 2},
		{"refuses another role than the enrolled one", []approval.Vote{by("bob", "risk", true)}, approval.Pending, 0, []error{approval.ErrStranger}, 2},
		{"refuses another person's key", []approval.Vote{stolen}, approval.Pending, 0, []error{approval.ErrStranger}, 2},
		{"refuses a second vote", []approval.Vote{bob, second}, approval.Pending, 1, []error{nil, approval.ErrTwice}, 1},
		{"takes the same statement twice for once", []approval.Vote{bob, bob}, approval.Pending, 1, []error{nil, nil}, 1},
		{"refuses what did not verify", []approval.Vote{change(bob, func(v *approval.Vote) { v.Refused = "no signature" })}, approval.Pending, 0, []error{approval.ErrUnverified}, 2},
		{"refuses what has no statement", []approval.Vote{change(bob, func(v *approval.Vote) { v.Statement = "" })}, approval.Pending, 0, []error{approval.ErrUnverified}, 2},
		{"refuses what came too late", []approval.Vote{change(bob, func(v *approval.Vote) { v.At = opened().Add(time.Hour + 1) })}, approval.Pending, 0, []error{approval.ErrExpired}, 2},
		{"takes what came at the last moment", []approval.Vote{change(bob, func(v *approval.Vote) { v.At = opened().Add(time.Hour) })}, approval.Pending, 1, []error{nil}, 1},
		{"is rejected by one vote against", []approval.Vote{bob, by("dan", "risk", false)}, approval.Rejected, 2, []error{nil, nil}, 1},
		{"takes nothing once it is over", []approval.Vote{bob, dan, cyd}, approval.Approved, 2, []error{nil, nil, approval.ErrClosed}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := approval.Open(request(t, 60, person("bob", "owner"), person("cyd", "owner"), person("dan", "risk")))
			for i, v := range tt.votes {
				before := b
				var err error
				b, err = b.Cast(v)
				if tt.errs[i] == nil {
					require.NoError(t, err)
					continue
				}
				require.ErrorIs(t, err, tt.errs[i])
				var who *approval.VoteError
				require.ErrorAs(t, err, &who)
				require.Equal(t, v.Approver, who.Approver)
				require.Len(t, b.Refused, len(before.Refused)+1)
				require.NotEmpty(t, b.Refused[len(b.Refused)-1].Refused)
			}
			require.Equal(t, tt.want, b.Outcome)
			require.Len(t, b.Votes, tt.counted)
			require.Equal(t, tt.missing, b.Missing())
		})
	}
}

func TestExpire(t *testing.T) {
	b := approval.Open(request(t, 20, person("bob", "owner")))
	require.Equal(t, approval.Expired, b.Expire().Outcome, "expiry rejects")
	passed, err := b.Cast(by("bob", "owner", true))
	require.NoError(t, err)
	require.Equal(t, approval.Approved, passed.Expire().Outcome, "what was decided stays decided")
	_, err = b.Expire().Cast(by("bob", "owner", true))
	require.ErrorIs(t, err, approval.ErrClosed)
}

func TestRefusedVotesAreBounded(t *testing.T) {
	b := approval.Open(request(t, 20, person("bob", "owner")))
	for i := range approval.MaxRefused + 50 {
		b, _ = b.Cast(by(fmt.Sprintf("stranger-%d", i), "owner", true))
	}
	require.Len(t, b.Refused, approval.MaxRefused)
	require.Equal(t, "stranger-149", b.Refused[approval.MaxRefused-1].Approver, "latest last")
}

// Ballots from before seats were named: any Need people of Roles.
func TestBallotWithoutSeats(t *testing.T) {
	req := request(t, 60, person("bob", "owner"), person("cyd", "owner"), person("dan", "risk"))
	req.Seats = nil
	b, err := approval.Open(req).Cast(by("bob", "owner", true))
	require.NoError(t, err)
	require.Equal(t, approval.Pending, b.Outcome)
	b, err = b.Cast(by("cyd", "owner", true))
	require.NoError(t, err)
	require.Equal(t, approval.Approved, b.Outcome)
}

// However votes come, a ballot passes only with distinct eligible people on
// every seat, nobody of them the requester, and never leaves its end.
func TestBallotsPassOnlyWithEligiblePeople(t *testing.T) {
	roles := map[string]string{"ann": "owner", "bob": "owner", "cyd": "owner", "dan": "risk", "eve": "platform", "fay": "privacy"}
	req := request(t, 60, person("ann", "owner"), person("bob", "owner"), person("cyd", "owner"), person("dan", "risk"), person("eve", "platform"))
	rapid.Check(t, func(t *rapid.T) {
		b := approval.Open(req)
		for i := range rapid.IntRange(0, 12).Draw(t, "votes") {
			name := rapid.SampledFrom([]string{"ann", "bob", "cyd", "dan", "eve", "fay"}).Draw(t, "name")
			v := by(name, roles[name], rapid.IntRange(0, 9).Draw(t, "approve") > 0)
			v.Statement = artifact.DigestOf(fmt.Appendf(nil, "%s %d", name, rapid.IntRange(0, i+1).Draw(t, "statement")))
			before := b
			b, _ = b.Cast(v)
			if b.Outcome == approval.Approved && b.BegunAt.IsZero() { // until then it can be taken back
				b, _ = b.Begin(b.ExecuteFrom())
			}
			if before.Over() && b.Outcome != before.Outcome {
				t.Fatalf("%s became %s", before.Outcome, b.Outcome)
			}
		}
		people := map[string]bool{}
		byRole := map[string]int{}
		for _, v := range b.Votes {
			if people[v.Approver] || v.Approver == "ann" || v.Approver == "fay" {
				t.Fatalf("%s counted twice or unfit", v.Approver)
			}
			people[v.Approver] = true
			if v.Approve {
				byRole[v.Role]++
			}
		}
		passed := byRole["owner"] > 0 && byRole["risk"]+byRole["platform"] > 0
		if (b.Outcome == approval.Approved) && !passed {
			t.Fatalf("approved with %v", byRole)
		}
		if b.Outcome == approval.Pending && passed {
			t.Fatalf("pending with %v", byRole)
		}
	})
}
