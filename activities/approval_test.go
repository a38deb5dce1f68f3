package activities_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rand"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/approval"
	"github.com/atom-fabric/fabric/domain/artifact"
)

// cast signs what is said about a subject.
func cast(t *testing.T, key *ecdsa.PrivateKey, subjectDigest artifact.Digest, predicateType string, said any) []byte {
	t.Helper()
	statement, err := artifact.NewStatement("vote", subjectDigest, predicateType, said)
	require.NoError(t, err)
	bundle, err := artifact.SignStatement(rand.Reader, key, statement)
	require.NoError(t, err)
	return bundle
}

func TestAVoteCountsForWhatItSaysAndWhoSignedIt(t *testing.T) {
	w := world(t)
	bob, cyd := voter(t, w, "bob", approval.RoleOwner), voter(t, w, "cyd", approval.RoleRisk)
	ann := voter(t, w, "ann", approval.RoleOwner)
	stranger := voter(t, w, "zed", approval.RoleOwner)
	plan := artifact.DigestOf([]byte("plan"))
	req := approval.Request{
		Action:    approval.Action{ID: "promotion-1", Kind: "promotion", Tenant: "clinic", Plan: plan, Environment: "production"},
		Requester: "ann", Need: 2, Roles: []string{approval.RoleOwner, approval.RoleRisk}, Approvers: w.Voters[:3],
		Nonce: "once", OpenedAt: noon.Add(-time.Hour), TTLSeconds: 7200,
	}
	say := func(change func(*approval.Predicate)) approval.Predicate {
		p := approval.Predicate{
			Decision: "approve", Action: "promotion-1", Kind: "promotion", Nonce: "once", Approver: "bob", Reason: "evidence is good",
			IssuedAt: noon.Add(-time.Minute), ExpiresAt: noon.Add(time.Hour),
		}
		change(&p)
		return p
	}
	vote := func(change func(*approval.Predicate)) []byte {
		return cast(t, bob, plan, artifact.PredicateApproval, say(change))
	}
	as := func(p *approval.Predicate) {}

	tests := []struct {
		name    string
		bundle  []byte
		refused string // empty: it counts in the ballot, or Cast says why it does not
		cast    error
	}{
		{"for", vote(as), "", nil},
		{"against", vote(func(p *approval.Predicate) { p.Decision = "reject" }), "", nil},
		{"of another approver", cast(t, cyd, plan, artifact.PredicateApproval, say(func(p *approval.Predicate) { p.Approver = "cyd" })), "", nil},
		{"of the requester", cast(t, ann, plan, artifact.PredicateApproval, say(func(p *approval.Predicate) { p.Approver = "ann" })), "", approval.ErrOwnVote},
		{"of a stranger under a good name", cast(t, stranger, plan, artifact.PredicateApproval, say(as)), "not signed by a trusted key", nil},
		{"of the fabric itself", cast(t, w.Key, plan, artifact.PredicateApproval, say(as)), "not signed by a trusted key", nil},
		{"under another approver's name", cast(t, cyd, plan, artifact.PredicateApproval, say(as)), "not that of its signer", nil},
		{"about another plan", cast(t, bob, artifact.DigestOf([]byte("other")), artifact.PredicateApproval, say(as)), "about other content", nil},
		{"that is a statement of another kind", cast(t, bob, plan, artifact.PredicatePromotion, say(as)), "another predicate type", nil},
		{"about another action", vote(func(p *approval.Predicate) { p.Action = "promotion-2" }), "another action", nil},
		{"about another kind of action", vote(func(p *approval.Predicate) { p.Kind = "policy" }), "another action", nil},
		{"with another nonce", vote(func(p *approval.Predicate) { p.Nonce = "twice" }), "nonce", nil},
		{"without a nonce", vote(func(p *approval.Predicate) { p.Nonce = "" }), "nonce", nil},
		{"that has expired", vote(func(p *approval.Predicate) { p.ExpiresAt = noon }), "not valid now", nil},
		{"from the future", vote(func(p *approval.Predicate) { p.IssuedAt = noon.Add(time.Hour) }), "not valid now", nil},
		{"that says neither", vote(func(p *approval.Predicate) { p.Decision = "Approve" }), "neither", nil},
		{"with a key more", cast(t, bob, plan, artifact.PredicateApproval, map[string]any{"decision": "approve", "Decision": "reject"}), "form of a vote", nil},
		{"with one byte changed", bytes.Replace(vote(as), []byte(`"sig":"M`), []byte(`"sig":"N`), 1), "not signed by a trusted key", nil},
		{"that is no bundle", []byte("approve!"), "not a Sigstore bundle", nil},
	}
	votes := &activities.Approval{Actions: w, Notifier: w, Now: clock}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := act(t, contract.VerifyVote, votes.VerifyVote, contract.VoteInput{Request: req, Vote: contract.SignedVote{Bundle: string(tt.bundle)}})
			require.NoError(t, err, "a bad vote never fails the ballot")
			require.Equal(t, noon, got.At.UTC())
			require.NotEmpty(t, got.Statement)
			if tt.refused != "" {
				require.Contains(t, got.Refused, tt.refused)
				_, err := approval.Open(req).Cast(got)
				require.ErrorIs(t, err, approval.ErrUnverified)
				return
			}
			require.Empty(t, got.Refused)
			ballot, err := approval.Open(req).Cast(got)
			require.ErrorIs(t, err, tt.cast)
			if tt.cast == nil {
				require.Len(t, ballot.Votes, 1)
				require.Equal(t, tt.name != "against", ballot.Votes[0].Approve)
			}
		})
	}
}

func TestAVoteIsTheSameHoweverItIsEncoded(t *testing.T) {
	w := world(t)
	bob := voter(t, w, "bob", approval.RoleOwner)
	plan := artifact.DigestOf([]byte("plan"))
	req := approval.Request{
		Action: approval.Action{ID: "a", Kind: "promotion", Plan: plan}, Need: 2, Roles: []string{approval.RoleOwner}, Approvers: w.Voters,
		Nonce: "n", OpenedAt: noon, TTLSeconds: 60,
	}
	said := approval.Predicate{Decision: "approve", Action: "a", Kind: "promotion", Nonce: "n", Approver: "bob", IssuedAt: noon, ExpiresAt: noon.Add(time.Minute)}
	votes := &activities.Approval{Actions: w, Notifier: w, Now: clock}
	ballot := approval.Open(req)
	for range 2 { // two signatures over the same words: ECDSA draws a new number for each
		vote, err := act(t, contract.VerifyVote, votes.VerifyVote, contract.VoteInput{
			Request: req, Vote: contract.SignedVote{Bundle: string(cast(t, bob, plan, artifact.PredicateApproval, said))},
		})
		require.NoError(t, err)
		ballot, err = ballot.Cast(vote)
		require.NoError(t, err)
	}
	require.Len(t, ballot.Votes, 1)
	require.Equal(t, approval.Pending, ballot.Outcome)
}
