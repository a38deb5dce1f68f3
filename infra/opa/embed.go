// Package rules holds the rules of the fabric in Rego, each once: the file that
// an operator's OPA serves is the file that the embedded engine evaluates.
//
// Every question is a package fabric.<question> whose answer is allow and
// reasons: admission of a run, feature (consent of one), budget, routing, risk
// and approver. What they take from the routing policy is in data.json, which
// here is that of the policy a new fabric begins with.
//
// Invariant: each question denies unless every condition holds, and names the
// reason of each that does not.
package rules

import "embed"

//go:embed admission.rego approver.rego budget.rego consent.rego feature.rego risk.rego routing.rego
var files embed.FS

// Modules returns the source of each rule file by its name.
func Modules() (map[string]string, error) {
	entries, err := files.ReadDir(".")
	if err != nil {
		return nil, err
	}
	modules := make(map[string]string, len(entries))
	for _, e := range entries {
		source, err := files.ReadFile(e.Name())
		if err != nil {
			return nil, err
		}
		modules[e.Name()] = string(source)
	}
	return modules, nil
}
