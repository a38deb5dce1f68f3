package approval

import (
	"crypto/ecdsa"
	"errors"
	"slices"
	"time"

	"github.com/atom-fabric/fabric/domain/artifact"
)

// Why a vote whose signature is good is refused all the same.
var (
	ErrSigner     = errors.New("the registration of its signer was revoked")
	ErrUnreviewed = errors.New("an earlier broken glass has not been reviewed")
)

// Judge says whose vote a bundle is and what it says: it checks the signature
// against the keys of those who may vote, and then every word of the statement
// against the request. A vote that does not count has the reason in Refused. It
// returns the bundle as it is kept, none of a refused vote.
func Judge(req Request, bundle []byte, standing Standing, now time.Time) (Vote, []byte) {
	// Until somebody is known to have signed it, a vote is known by its bytes.
	vote := Vote{Statement: artifact.DigestOf(bundle), At: now}
	refuse := func(words string) (Vote, []byte) {
		vote.Refused = words
		return vote, nil
	}
	bundle, err := artifact.NormalizeBundle(bundle)
	if err != nil {
		return refuse(refusal(err))
	}
	known := slices.Concat(req.Approvers, req.Reserve, req.Barred, req.Bearers)
	delegates := standing.Delegates(req, now)
	verified, err := artifact.VerifyBundle(keysOf(known, delegates), bundle, artifact.PredicateApproval, req.Action.Plan)
	if err != nil {
		return refuse(refusal(err))
	}
	vote.Statement, vote.Key = verified.Statement, verified.Key
	var said Predicate
	if err := artifact.DecodeStrict(verified.Predicate, &said); err != nil {
		return refuse(ErrForm.Error())
	}
	vote.Decision, vote.Approve, vote.Reason = said.Decision, said.Decision == Approve, said.Reason
	identify(&vote, said, known, delegates)
	switch {
	case said.OnBehalfOf != "" && vote.For == "":
		return refuse(ErrDelegate.Error())
	case slices.Contains(standing.Revoked, vote.Key):
		return refuse(ErrSigner.Error())
	case said.Decision == BreakGlass && standing.Reviews > 0:
		return refuse(ErrUnreviewed.Error())
	}
	if err := req.Accepts(said, vote.Approver, now); err != nil {
		return refuse(err.Error())
	}
	return vote, bundle
}

// identify names the signer: an approver by their key, or a delegate by the
// delegation that the vote rests on.
func identify(vote *Vote, said Predicate, known []Approver, delegates []Granted) {
	if said.OnBehalfOf != "" {
		for _, g := range delegates {
			if g.Key == vote.Key && g.From == said.OnBehalfOf && g.To == said.Approver {
				vote.Approver, vote.For, vote.Role, vote.Delegation = g.To, g.From, g.Delegator.Role, g.ID
			}
		}
		return
	}
	for _, p := range known {
		if p.Key == vote.Key {
			vote.Approver, vote.Role = p.Name, p.Role
		}
	}
}

// keysOf returns the keys of the approvers and delegates. A key that does not
// parse is nobody's: it was checked when it was enrolled.
func keysOf(approvers []Approver, delegates []Granted) []*ecdsa.PublicKey {
	var keys []*ecdsa.PublicKey
	add := func(text string, id artifact.Digest) {
		key, err := artifact.ParsePublicKey([]byte(text))
		if err == nil && artifact.KeyID(key) == id {
			keys = append(keys, key)
		}
	}
	for _, p := range approvers {
		add(p.PublicKey, p.Key)
	}
	for _, g := range delegates {
		add(g.PublicKey, g.Key)
	}
	return keys
}

// refusal names the reason in words of ours: a bundle's own text is not for
// logs and pages.
func refusal(err error) string {
	for _, why := range []error{
		artifact.ErrUntrusted, artifact.ErrSubject, artifact.ErrPredicateType, artifact.ErrStatement, artifact.ErrTooLarge, artifact.ErrBundle,
	} {
		if errors.Is(err, why) {
			return why.Error()
		}
	}
	return ErrUnverified.Error()
}
