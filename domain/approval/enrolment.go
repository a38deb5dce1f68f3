package approval

import (
	"errors"
	"fmt"
	"time"

	"github.com/atom-fabric/fabric/domain/artifact"
)

// ErrEnrolment says that a key's holder did not ask for this registration.
var ErrEnrolment = errors.New("the proof is not the key holder's, for this name and tenant, and valid now")

// An Enrolment is what a person signs with the key that they ask to be
// registered under, as the predicate of a statement about the key itself. It
// proves that they hold the key; who they are is for the admin to know.
type Enrolment struct {
	Name      string    `json:"name"` // under which the key is to be registered
	Tenant    string    `json:"tenant"`
	IssuedAt  time.Time `json:"issuedAt"`
	ExpiresAt time.Time `json:"expiresAt"`
}

// Enrol reads the proof that the holder of a key asks to be registered, as a
// name of a tenant. Errors: [ErrEnrolment], [artifact.ErrKey].
func Enrol(bundle []byte, publicKey, tenant, name string, now time.Time) (Enrolment, error) {
	key, err := artifact.ParsePublicKey([]byte(publicKey))
	if err != nil {
		return Enrolment{}, err
	}
	id := artifact.KeyID(key)
	verified, err := artifact.VerifyBundle(keysOf([]Approver{{Key: id, PublicKey: publicKey}}, nil), bundle, artifact.PredicateEnrolment, id)
	if err != nil {
		return Enrolment{}, fmt.Errorf("%w: %w", ErrEnrolment, err)
	}
	var e Enrolment
	if err := artifact.DecodeStrict(verified.Predicate, &e); err != nil {
		return Enrolment{}, ErrEnrolment
	}
	if e.Name != name || e.Tenant != tenant || e.IssuedAt.After(now.Add(maxSkew)) || !e.ExpiresAt.After(now) {
		return Enrolment{}, ErrEnrolment
	}
	return e, nil
}
