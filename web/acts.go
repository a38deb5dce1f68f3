package web

// An act is something that a visitor may do on a page: a form with a button, or
// a button that says why not.
type act struct {
	Name   string // unique on its page, for labels
	Label  string
	Link   string
	Danger bool
	Why    string            // it cannot be done; empty where it can
	Fields map[string]string // hidden
	Reason bool              // asks for a reason
	Type   string            // asks to type this text, where it is more than a click
	Key    string            // makes it one however often it is sent
}

// unless says why not, in the order of the reasons; none: it may be done.
func (a act) unless(reasons ...string) act {
	for _, r := range reasons {
		if r != "" {
			a.Why = r
			break
		}
	}
	a.Key = fresh()
	return a
}

// lacks says which roles a visitor would need; the API decides.
func (v *visit) lacks(roles ...string) string {
	if v.who.Has(roles...) {
		return ""
	}
	text := "You need the role "
	for i, r := range roles {
		switch {
		case i == 0:
		case i == len(roles)-1:
			text += " or "
		default:
			text += ", "
		}
		text += r
	}
	return text + "."
}

// when is a reason that holds only if it is so.
func when(so bool, reason string) string {
	if so {
		return reason
	}
	return ""
}
