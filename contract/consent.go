package contract

import (
	"fmt"

	"github.com/atom-fabric/fabric/domain/artifact"
)

// WithdrawalID names the workflow of one withdrawal.
func WithdrawalID(tenant string, epoch int64) string {
	return fmt.Sprintf("withdrawal/%s/%d", tenant, epoch)
}

// WithdrawalInput carries consent that was taken back: by the tenant of
// Subject, with the epoch that it began.
type WithdrawalInput struct {
	Subject
	Epoch   int64  `json:"epoch"`
	Feature string `json:"feature"`
}

// Enforced counts groups of rounds by what was done about them.
type Enforced struct {
	Canceled int `json:"canceled"`
	Dropped  int `json:"dropped"`
	Stopped  int `json:"stopped"`
	Tainted  int `json:"tainted"`
}

// WithdrawalRecord is the report of a withdrawal: for machines, for people, and
// signed.
type WithdrawalRecord struct {
	Subject
	Epoch     int64               `json:"epoch"`
	Report    artifact.Descriptor `json:"report"`
	Markdown  artifact.Descriptor `json:"markdown"`
	Undecided bool                `json:"undecided"` // a person is asked what becomes of what was learnt
	Bundle    artifact.Descriptor `json:"bundle,omitzero"`
	Statement artifact.Digest     `json:"statement,omitempty"`
}
