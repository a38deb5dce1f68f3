package opa_test

import (
	"encoding/json"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/policy"
	"github.com/atom-fabric/fabric/internal/opa"
)

// The machine answers what OPA's own evaluator answers: to inputs as they come,
// and to what is left of them when members are missing or of another type.
func TestTheMachineAnswersWhatTheEvaluatorAnswers(t *testing.T) {
	const seed = 20261124
	t.Logf("seed %d", seed)
	for name, document := range map[string]policy.Document{"shipped": policy.Default(), "tight": tight()} {
		t.Run(name, func(t *testing.T) {
			b, err := opa.Shipped(document)
			require.NoError(t, err)
			machine, evaluator, err := opa.Both(t.Context(), b)
			require.NoError(t, err, "the rules that ship are run by the machine")
			r := rand.New(rand.NewPCG(seed, 9))
			allowed := 0
			for _, question := range policy.Questions() {
				for i := range 150 {
					text, err := json.Marshal(drawn(r, question))
					require.NoError(t, err)
					for range i % 4 {
						text = spoilt(t, r, text)
					}
					got, failed := machine(question, json.RawMessage(text))
					want, err := evaluator(question, json.RawMessage(text))
					require.Equal(t, err == nil, failed == nil, "%s %s: %v, %v", question, text, err, failed)
					if err != nil {
						require.ErrorIs(t, failed, opa.ErrUndecided)
						continue
					}
					require.Equal(t, want, got, "%s %s", question, text)
					if got.Allowed {
						allowed++
					}
				}
			}
			require.Greater(t, allowed, 30)
		})
	}
}

// spoilt takes something out of a document, or puts something odd in its place.
func spoilt(t *testing.T, r *rand.Rand, text []byte) []byte {
	t.Helper()
	var tree any
	require.NoError(t, json.Unmarshal(text, &tree))
	odd := []any{nil, true, false, 0.0, -1.0, 2.5, 1e9, "", "x", []any{}, []any{"mayo", 1.0}, map[string]any{}, map[string]any{"tenant": "mayo"}}
	for at := tree; ; {
		switch v := at.(type) {
		case map[string]any:
			var keys []string
			for k := range v {
				keys = append(keys, k)
			}
			slices.Sort(keys)
			if len(keys) == 0 {
				v["more"] = odd[r.IntN(len(odd))]
				break
			}
			k := keys[r.IntN(len(keys))]
			if r.IntN(2) == 0 && deep(v[k]) {
				at = v[k]
				continue
			}
			if r.IntN(3) == 0 {
				delete(v, k)
			} else {
				v[k] = odd[r.IntN(len(odd))]
			}
		case []any:
			if i := r.IntN(len(v)); r.IntN(2) == 0 && deep(v[i]) {
				at = v[i]
				continue
			} else {
				v[i] = odd[r.IntN(len(odd))]
			}
		}
		break
	}
	out, err := json.Marshal(tree)
	require.NoError(t, err)
	return out
}

func deep(v any) bool {
	switch v := v.(type) {
	case map[string]any:
		return true
	case []any:
		return len(v) > 0
	}
	return false
}

// Rules that a machine does not run are decided all the same, by OPA's
// evaluator; and those with a rule of two values by neither.
func TestRulesBeyondTheMachine(t *testing.T) {
	const head = "package fabric.budget\n\ndefault allow := false\n\n"
	tests := []struct {
		name, rules string
		beyond      bool
		input       string
		allowed     bool
		reasons     []string
		err         error
	}{
		{"the clock", head + "allow if time.now_ns() > 0\nreasons contains \"never\" if not allow", true, `{}`, true, nil, nil},
		{"with", head + "allow if within with input.n as 3\nwithin if input.n == 3\nreasons contains \"never\" if not allow", true, `{"n":1}`, true, nil, nil},
		{"a rule by its name", head + "p.a := 1\np.b := 2\nallow if p[input.n] == 2\nreasons contains \"not b\" if not allow", true, `{"n":"a"}`, false, []string{"not b"}, nil},
		{"two values", head + "which := 1 if input.a\nwhich := 2 if input.b\nallow if which == 1\nreasons contains \"no\" if not allow", false, `{"a":true,"b":true}`, false, nil, opa.ErrUndecided},
		{"every and some", head + "allow if {\n\tevery x in input.all { x > 1 }\n\tsome k, v in input.by\n\tk == \"a\"\n\tv == 2\n}\nreasons contains \"no\" if not allow", false,
			`{"all":[2,3],"by":{"a":2}}`, true, nil, nil},
		{"a member of a set", head + "names := {\"a\", \"b\"}\nallow if names[input.n]\nreasons contains \"no\" if not allow", false, `{"n":"c"}`, false, []string{"no"}, nil},
		{"every of nothing that can be gone over", head + "allow if every x in input.all { x > 1 }\nreasons contains \"no\" if not allow", false, `{"all":3}`, false, []string{"no"}, nil},
		{"a division by nothing", head + "allow if 1 / input.n > 0\nreasons contains \"no\" if not allow", false, `{"n":0}`, false, []string{"no"}, nil},
		{"objects made of what was asked", head + "by[k] := v if some k, v in input\nallow if {\n\tcount(by) == 2\n\tby == {\"a\": 1, \"b\": [2]}\n\t[x | some x in by.b] == [2]\n}\nreasons contains \"no\" if not allow", false,
			`{"a":1,"b":[2]}`, true, nil, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b, err := opa.Shipped(policy.Default())
			require.NoError(t, err)
			b.Modules["budget.rego"] = tt.rules
			machine, evaluator, err := opa.Both(t.Context(), b)
			if tt.beyond {
				require.ErrorIs(t, err, opa.ErrNoMachine)
			} else {
				require.NoError(t, err)
			}
			for _, decide := range []func(string, any) (opa.Verdict, error){machine, evaluator} {
				v, err := decide(policy.AskBudget, json.RawMessage(tt.input))
				require.ErrorIs(t, err, tt.err)
				require.Equal(t, tt.allowed, v.Allowed)
				require.Equal(t, tt.reasons, v.Reasons)
			}
		})
	}
}
