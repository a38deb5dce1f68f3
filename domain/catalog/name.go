package catalog

import "strings"

// maxName is the longest name of a tenant, model, feature, site or region.
const maxName = 63

// ValidName says whether s may name a tenant, model, feature, site or region:
// ^[a-z0-9][a-z0-9._-]{0,62}$. Such a name is also a valid path segment and
// part of a workflow id.
func ValidName(s string) bool {
	if len(s) == 0 || len(s) > maxName {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
		case i > 0 && (c == '.' || c == '_' || c == '-'):
		default:
			return false
		}
	}
	return true
}

// ValidStep says whether a valid name is also a step of the name of an OCI
// repository, where separators stand between letters and digits only: one dot,
// one or two underscores, or dashes. Packages of a model are kept in a
// repository that is named after its tenant and itself.
//
// Source: OCI distribution specification 1.1, "Pulling manifests".
func ValidStep(s string) bool {
	if !ValidName(s) {
		return false
	}
	for i := 0; i < len(s); {
		from := i
		for i < len(s) && (s[i] == '.' || s[i] == '_' || s[i] == '-') {
			i++
		}
		switch between := s[from:i]; {
		case between == "":
			i++
		case i == len(s):
			return false
		case between != "." && between != "_" && between != "__" && strings.Trim(between, "-") != "":
			return false
		}
	}
	return true
}
