package catalog

// maxName is the longest name of a tenant, model, feature, site or region.
const maxName = 63

// ValidName says whether s may name a tenant, model, feature, site or region:
// ^[a-z0-9][a-z0-9._-]{0,62}$. Such a name is also a valid path segment, OCI
// repository component and part of a workflow id.
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
