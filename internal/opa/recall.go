package opa

import (
	"encoding/json"
	"reflect"
	"sync"
	"sync/atomic"

	"github.com/atom-fabric/fabric/domain/policy"
)

// remembers bounds what a bundle remembers; what is more is decided each time.
const remembers = 1 << 14

// A recollection holds what a bundle has decided. The rules that ship see
// nothing but their input (no clock, no network), and a bundle never changes: the
// same question is answered the same as long as it is in force. Other rules are
// asked each time.
type recollection struct {
	verdicts sync.Map // of questioned or of its text to Verdict
	held     atomic.Int64
}

// A questioned is a question whose input can be compared as it is.
type questioned struct {
	question string
	input    any
}

// key returns what tells one question from another, or nil.
func key(question string, input any) any {
	switch in := input.(type) {
	case policy.Call, policy.Spending, policy.Stake:
		return questioned{question, in}
	case json.RawMessage:
		return question + "\x00" + string(in)
	case policy.FeatureUse, policy.Candidacy, policy.Admission:
		text, err := json.Marshal(in)
		if err != nil {
			return nil
		}
		return question + "\x00" + reflect.TypeOf(in).Name() + "\x00" + string(text)
	}
	return nil
}

func (r *recollection) of(k any) (Verdict, bool) {
	if k == nil {
		return Verdict{}, false
	}
	v, ok := r.verdicts.Load(k)
	if !ok {
		return Verdict{}, false
	}
	known, ok := v.(Verdict)
	return known, ok
}

func (r *recollection) keep(k any, v Verdict) {
	if k == nil || r.held.Load() >= remembers {
		return
	}
	if _, there := r.verdicts.LoadOrStore(k, v); !there {
		r.held.Add(1)
	}
}
