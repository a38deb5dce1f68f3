package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Masks returns what is masked of a question's input, as JSON pointers in which
// * is every element of a list. This is the whole of it:
//
//   - names of people: the voter, the requester, the trainers;
//   - the grantees of a feature, who are other tenants than the one that asks;
//     its own name among them stays, so that the decision can be made again.
func Masks(question string) []string {
	switch question {
	case AskApprover:
		return []string{"/name", "/requester", "/trainers/*"}
	case AskAdmission:
		return []string{"/features/*/grantees/*"}
	case AskFeature:
		return []string{"/consent/grantees/*"}
	}
	return nil
}

// Mask returns the input with every masked text replaced by a pseudonym, and
// where it did so. The pseudonym of a text is the same within one decision, so
// that the rules decide alike on it, and another one in every other decision, so
// that nobody is followed through the log. id is the decision's, keep are texts
// that stay.
func Mask(question, id string, input json.RawMessage, keep ...string) (json.RawMessage, []string, error) {
	masks := Masks(question)
	if len(masks) == 0 {
		return input, nil, nil
	}
	var tree any
	if err := json.Unmarshal(input, &tree); err != nil {
		return nil, nil, fmt.Errorf("input of decision %s: %w", id, err)
	}
	m := masker{id: id, keep: keep}
	for _, mask := range masks {
		tree = m.apply(tree, "", strings.Split(mask, "/")[1:])
	}
	masked, err := json.Marshal(tree)
	if err != nil {
		return nil, nil, fmt.Errorf("input of decision %s: %w", id, err)
	}
	slices.Sort(m.at)
	return masked, m.at, nil
}

type masker struct {
	id   string
	keep []string
	at   []string
}

func (m *masker) apply(node any, at string, path []string) any {
	if len(path) == 0 {
		text, ok := node.(string)
		if !ok || text == "" || slices.Contains(m.keep, text) {
			return node
		}
		sum := sha256.Sum256([]byte(m.id + "\x00" + text))
		m.at = append(m.at, at)
		return "masked-" + hex.EncodeToString(sum[:8])
	}
	switch n := node.(type) {
	case map[string]any:
		if child, ok := n[path[0]]; ok {
			n[path[0]] = m.apply(child, at+"/"+path[0], path[1:])
		}
	case []any:
		if path[0] == "*" {
			for i, child := range n {
				n[i] = m.apply(child, at+"/"+strconv.Itoa(i), path[1:])
			}
		}
	}
	return node
}
