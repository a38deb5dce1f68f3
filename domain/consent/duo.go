package consent

import (
	"slices"
	"strings"
)

// Terms of the Data Use Ontology (DUO, 2021-02-23). A grant has at most one
// permission beside DS terms; what it has beside that are modifiers.
//
// Source: GA4GH, Data Use Ontology, https://github.com/EBISPOT/DUO; the order of
// permissions is that of its class hierarchy.
const (
	AnyUse     = "NRES" // DUO:0000004, no restriction
	Research   = "GRU"  // DUO:0000042, general research use
	Biomedical = "HMB"  // DUO:0000006, health or medical or biomedical research
	Origins    = "POA"  // DUO:0000011, population origins or ancestry research
	Disease    = "DS-"  // DUO:0000007, research of one disease, whose term follows
)

// decides returns the part of every grant that decides a modifier by itself: the
// grantee, the time, the place.
func decides(modifier string) (part string, ok bool) {
	switch modifier {
	case "US", "PS", "IS": // DUO:0000026, 0000027, 0000028: user, project, institution specific
		return "grantee", true
	case "TS": // DUO:0000025, time limit
		return "expiresAt", true
	case "GS": // DUO:0000022, geographical restriction
		return "constraints/regions", true
	}
	return "", false
}

// Declarable returns the modifiers that only the asker can say it obeys, sorted.
func Declarable() []string {
	return []string{
		"COL",    // DUO:0000020, collaboration with the investigator
		"GSO",    // DUO:0000016, genetic studies only
		"IRB",    // DUO:0000021, ethics approval required
		"MOR",    // DUO:0000024, publication moratorium
		"NCU",    // DUO:0000046, non-commercial use only
		"NMDS",   // DUO:0000015, no general methods research
		"NPU",    // DUO:0000045, not for profit organisations only
		"NPUNCU", // DUO:0000018, both
		"PUB",    // DUO:0000019, publication required
		"RS",     // DUO:0000012, research specific
		"RTN",    // DUO:0000029, return of results to the resource
	}
}

// ValidPurpose says whether a run may name this as what it is for.
func ValidPurpose(s string) bool {
	return s == AnyUse || s == Research || s == Biomedical || s == Origins || disease(s)
}

// disease is DS- and a term of an ontology of diseases.
func disease(s string) bool {
	term, ok := strings.CutPrefix(s, Disease)
	if !ok || len(term) == 0 || len(term) > 40 {
		return false
	}
	for i := range len(term) {
		c := term[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == ':' || c == '_' || c == '-') {
			return false
		}
	}
	return true
}

func checkPurposes(g Grant) error {
	permissions := 0
	for _, p := range g.Purposes {
		part, here := decides(p)
		switch {
		case disease(p):
		case ValidPurpose(p):
			permissions++
		case here:
			if part == "expiresAt" && g.ExpiresAt.IsZero() || part == "constraints/regions" && len(g.Constraints.Regions) == 0 {
				return ErrPurpose
			}
		case !slices.Contains(Declarable(), p):
			return ErrPurpose
		}
	}
	if permissions > 1 {
		return ErrPurpose
	}
	return nil
}

// allowsPurpose says whether a use for asked ("" is not stated) is within the
// permissions of a grant.
func allowsPurpose(purposes []string, asked string) bool {
	stated := false
	for _, p := range purposes {
		switch {
		case p == AnyUse:
			return true
		case p == Research && (asked == Research || asked == Biomedical || asked == Origins || disease(asked)):
			return true
		case p == Biomedical && (asked == Biomedical || disease(asked)):
			return true
		case (p == Origins || disease(p)) && asked == p:
			return true
		}
		stated = stated || ValidPurpose(p)
	}
	return !stated
}

// undeclared returns the first modifier that the asker must declare and does
// not.
func undeclared(purposes, meets []string) string {
	for _, p := range purposes {
		if slices.Contains(Declarable(), p) && !slices.Contains(meets, p) {
			return p
		}
	}
	return ""
}
