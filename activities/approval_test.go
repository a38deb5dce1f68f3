package activities_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/asn1"
	"encoding/base64"
	"math/big"
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
	shown, err := req.Digest()
	require.NoError(t, err)
	say := func(change func(*approval.Predicate)) approval.Predicate {
		p := approval.Predicate{
			Decision: "approve", Action: "promotion-1", Kind: "promotion", Nonce: "once", Request: shown, Approver: "bob", Reason: "evidence is good",
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
		{"that says neither", vote(func(p *approval.Predicate) { p.Decision = "Approve" }), "none of what a vote may say", nil},
		{"about another request, or other evidence", vote(func(p *approval.Predicate) { p.Request = plan }), "request and evidence", nil},
		{"about no request", vote(func(p *approval.Predicate) { p.Request = "" }), "request and evidence", nil},
		{"against, without a reason", vote(func(p *approval.Predicate) { p.Decision, p.Reason = "reject", "" }), "gives no reason", nil},
		{"for somebody who delegated nothing", vote(func(p *approval.Predicate) { p.OnBehalfOf = "cyd" }), "may not stand in", nil},
		{"with two signatures", bytes.Replace(vote(as), []byte(`"signatures":[`), []byte(`"signatures":[{"sig":"MAA="},`), 1), "not a Sigstore bundle", nil},
		{"with words after it", append(vote(as), []byte("{}")...), "not a Sigstore bundle", nil},
		{"with a payload of another type", bytes.Replace(vote(as), []byte("vnd.in-toto+json"), []byte("vnd.other+json"), 1), "not a Sigstore bundle", nil},
		{"with a key more", cast(t, bob, plan, artifact.PredicateApproval, map[string]any{"decision": "approve", "Decision": "reject"}), "form of a vote", nil},
		{"with one byte changed", bytes.Replace(vote(as), []byte(`"sig":"M`), []byte(`"sig":"N`), 1), "not signed by a trusted key", nil},
		{"that is no bundle", []byte("approve!"), "not a Sigstore bundle", nil},
	}
	votes := &activities.Approval{Actions: w, Blobs: w, Notifier: w, Now: clock}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := act(t, contract.VerifyVote, votes.VerifyVote, contract.VoteInput{Request: req, Vote: contract.SignedVote{Bundle: string(tt.bundle)}})
			require.NoError(t, err, "a bad vote never fails the ballot")
			require.Equal(t, noon, got.At.UTC())
			require.NotEmpty(t, got.Statement)
			require.Equal(t, tt.refused == "", got.Bundle != "", "what did not verify is not kept")
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

// resigned writes the signature of a bundle in another way.
func resigned(t *testing.T, bundle []byte, write func(r, s *big.Int) []byte) []byte {
	t.Helper()
	envelope, err := artifact.ParseBundle(bundle)
	require.NoError(t, err)
	var pair struct{ R, S *big.Int }
	_, err = asn1.Unmarshal(envelope.Signature, &pair)
	require.NoError(t, err)
	text := base64.StdEncoding.EncodeToString
	return bytes.Replace(bundle, []byte(text(envelope.Signature)), []byte(text(write(pair.R, pair.S))), 1)
}

func der(t *testing.T, r, s *big.Int) []byte {
	t.Helper()
	text, err := asn1.Marshal(struct{ R, S *big.Int }{r, s})
	require.NoError(t, err)
	return text
}

func TestADelegatesVote(t *testing.T) {
	w := world(t)
	bob := voter(t, w, "bob", approval.RoleOwner)
	zoe := voter(t, w, "zoe", approval.RoleOwner)
	person := w.Voters[1]
	plan := artifact.DigestOf([]byte("plan"))
	req := approval.Request{
		Action: approval.Action{ID: "a", Kind: "promotion", Plan: plan}, Need: 1, Roles: []string{approval.RoleOwner}, Approvers: w.Voters[:1],
		Nonce: "n", OpenedAt: noon, TTLSeconds: 60,
	}
	shown, err := req.Digest()
	require.NoError(t, err)
	bundle := cast(t, zoe, plan, artifact.PredicateApproval, approval.Predicate{
		Decision: "approve", Action: "a", Kind: "promotion", Nonce: "n", Request: shown, Approver: "zoe", OnBehalfOf: "bob", IssuedAt: noon, ExpiresAt: noon.Add(time.Minute)})
	granted := approval.Granted{
		ID: plan, Key: person.Key, Delegator: w.Voters[0],
		Delegation: approval.Delegation{From: "bob", To: "zoe", PublicKey: person.PublicKey, Kinds: []string{"promotion"}, NotBefore: noon, ExpiresAt: noon.Add(time.Hour)},
	}
	votes := &activities.Approval{Actions: w, Blobs: w, Notifier: w, Now: clock}
	for name, tt := range map[string]struct {
		change  func(*approval.Granted, *approval.Standing)
		refused string
	}{
		"fills the seat":               {func(*approval.Granted, *approval.Standing) {}, ""},
		"not when it is revoked":       {func(g *approval.Granted, _ *approval.Standing) { g.RevokedAt = noon }, "not signed by a trusted key"},
		"not when it is over":          {func(g *approval.Granted, _ *approval.Standing) { g.ExpiresAt = noon.Add(-1) }, "not signed by a trusted key"},
		"not before it begins":         {func(g *approval.Granted, _ *approval.Standing) { g.NotBefore = noon.Add(1) }, "not signed by a trusted key"},
		"not outside its scope":        {func(g *approval.Granted, _ *approval.Standing) { g.Kinds = []string{"policy"} }, "not signed by a trusted key"},
		"not by somebody else's":       {func(g *approval.Granted, _ *approval.Standing) { g.To = "yan" }, "may not stand in"},
		"not for a revoked delegator":  {func(_ *approval.Granted, s *approval.Standing) { s.Revoked = append(s.Revoked, w.Voters[0].Key) }, "not signed by a trusted key"},
		"not after the key is revoked": {func(_ *approval.Granted, s *approval.Standing) { s.Revoked = append(s.Revoked, person.Key) }, "registration of its signer was revoked"},
	} {
		t.Run(name, func(t *testing.T) {
			g := granted
			w.Stands = approval.Standing{}
			tt.change(&g, &w.Stands)
			w.Stands.Delegations = []approval.Granted{g}
			vote, err := act(t, contract.VerifyVote, votes.VerifyVote, contract.VoteInput{Request: req, Vote: contract.SignedVote{Bundle: string(bundle)}})
			require.NoError(t, err)
			if tt.refused != "" {
				require.Contains(t, vote.Refused, tt.refused)
				return
			}
			require.Empty(t, vote.Refused)
			ballot, err := approval.Open(req).Cast(vote)
			require.NoError(t, err)
			require.Equal(t, approval.Approved, ballot.Outcome)
			require.Equal(t, "bob", ballot.Votes[0].For)
		})
	}
	w.Stands = approval.Standing{Reviews: 1}
	req.GlassRoles, req.Bearers = []string{approval.RoleOwner}, w.Voters[:1]
	shown, err = req.Digest()
	require.NoError(t, err)
	glass := cast(t, bob, plan, artifact.PredicateApproval, approval.Predicate{
		Decision: "break-glass", Action: "a", Kind: "promotion", Nonce: "n", Request: shown, Approver: "bob", Reason: "fire", IssuedAt: noon, ExpiresAt: noon.Add(time.Minute)})
	vote, err := act(t, contract.VerifyVote, votes.VerifyVote, contract.VoteInput{Request: req, Vote: contract.SignedVote{Bundle: string(glass)}})
	require.NoError(t, err)
	require.Contains(t, vote.Refused, "has not been reviewed", "one broken glass at a time")
}

func TestAVoteIsTheSameHoweverItIsEncoded(t *testing.T) {
	w := world(t)
	bob := voter(t, w, "bob", approval.RoleOwner)
	plan := artifact.DigestOf([]byte("plan"))
	req := approval.Request{
		Action: approval.Action{ID: "a", Kind: "promotion", Plan: plan}, Need: 2, Roles: []string{approval.RoleOwner}, Approvers: w.Voters,
		Nonce: "n", OpenedAt: noon, TTLSeconds: 60,
	}
	shown, err := req.Digest()
	require.NoError(t, err)
	said := approval.Predicate{Decision: "approve", Action: "a", Kind: "promotion", Nonce: "n", Request: shown, Approver: "bob", IssuedAt: noon, ExpiresAt: noon.Add(time.Minute)}
	votes := &activities.Approval{Actions: w, Blobs: w, Notifier: w, Now: clock}
	ballot := approval.Open(req)
	first := cast(t, bob, plan, artifact.PredicateApproval, said)
	again := cast(t, bob, plan, artifact.PredicateApproval, said) // ECDSA draws a new number for each
	for name, bundle := range map[string][]byte{
		"as signed":        first,
		"signed twice":     again,
		"with the other s": resigned(t, first, func(r, s *big.Int) []byte { return der(t, r, new(big.Int).Sub(elliptic.P256().Params().N, s)) }),
		"as a browser writes it": resigned(t, first, func(r, s *big.Int) []byte {
			return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
		}),
		"as a browser, the other s": resigned(t, first, func(r, s *big.Int) []byte {
			s = new(big.Int).Sub(elliptic.P256().Params().N, s)
			return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
		}),
	} {
		vote, err := act(t, contract.VerifyVote, votes.VerifyVote, contract.VoteInput{Request: req, Vote: contract.SignedVote{Bundle: string(bundle)}})
		require.Empty(t, vote.Refused, name)
		require.NoError(t, err)
		ballot, err = ballot.Cast(vote)
		require.NoError(t, err)
	}
	require.Len(t, ballot.Votes, 1)
	require.Equal(t, approval.Pending, ballot.Outcome)
}
