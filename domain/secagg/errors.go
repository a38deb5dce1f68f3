package secagg

import (
	"errors"
	"fmt"
)

// Why something is refused. The first group is about what was agreed on, the
// second about who speaks, the third about what a message holds, the fourth
// about what a lying coordinator would gain from.
var (
	ErrSpec       = errors.New("not a possible secure aggregation")
	ErrRange      = errors.New("the sum could leave the ring")
	ErrInfeasible = errors.New("no graph of this many sites survives so many corrupt and dropped ones")
	ErrCall       = errors.New("an earlier stage has not been played")

	ErrForeign  = errors.New("message of another protocol, run, round, plan or group")
	ErrStage    = errors.New("message of another stage")
	ErrSender   = errors.New("the sender does not take part in this stage")
	ErrUnknown  = errors.New("the identity of the site is not known here")
	ErrIdentity = errors.New("the identity key is not the one that is known for the site")
	ErrSigned   = errors.New("the signature does not verify")

	ErrForm     = errors.New("malformed message")
	ErrRepeated = errors.New("occurs twice")
	ErrIndex    = errors.New("no such member")
	ErrKey      = errors.New("not a usable public key")
	ErrShare    = errors.New("the share does not open or is none")
	ErrVector   = errors.New("length differs from the round's vector")
	ErrSecret   = errors.New("the shares do not give the secret that was committed to")

	ErrSelf      = errors.New("the roster does not hold this site as it advertised itself")
	ErrTooFew    = errors.New("fewer sites than the threshold")
	ErrDead      = errors.New("this site is said to have dropped out")
	ErrSubset    = errors.New("not the sites that shared their keys, each once")
	ErrBothKinds = errors.New("both kinds of share are asked of one site")
	ErrChanged   = errors.New("a second, different message in a stage that was answered")
	ErrAborted   = errors.New("this site has left the round")
)

// A SiteError says whose message was refused in which stage, and why. Without
// tenant and site it is the coordinator's.
type SiteError struct {
	Tenant string
	Site   string
	Stage  Stage
	Err    error
}

func (e *SiteError) Error() string {
	if e.Tenant == "" && e.Site == "" {
		return fmt.Sprintf("coordinator, stage %s: %v", e.Stage, e.Err)
	}
	return fmt.Sprintf("site %s/%s, stage %s: %v", clip(e.Tenant), clip(e.Site), e.Stage, e.Err)
}
func (e *SiteError) Unwrap() error { return e.Err }

// clip shortens foreign text before it goes into an error.
func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "..."
	}
	return s
}
