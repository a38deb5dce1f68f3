// Package rules holds the rules of the fabric in Rego, each once: the file that
// an operator's OPA serves is the file that the embedded engine evaluates.
//
// Invariant: package fabric.admission denies unless every condition holds, and
// names the reason of each that does not.
package rules

import "embed"

//go:embed admission.rego consent.rego
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
