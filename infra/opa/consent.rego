# METADATA
# title: Consent
# description: >-
#   Which of the features that a run asks for may not be used, and why. The same
#   rule, in the same words, as catalog.Refusals: a feature without consent looks
#   to a stranger like one that is not there at all.
package fabric.consent

# A run takes statistics, trains and evaluates: it must be allowed all three.
purposes := {"evaluate", "stats", "train"}

facts[f.tenant][f.feature] contains f if some f in input.features

refusals contains reason if {
	some tenant in input.tenants
	some id in input.requested
	not usable(tenant, id)
	reason := sprintf("feature %s of tenant %s%s", [id, tenant, why(tenant, id)])
}

# usable is the whole permission: whatever is absent or of another type fails it.
usable(tenant, id) if {
	count(facts[tenant][id]) == 1
	some f in facts[tenant][id]
	granted(f)
	f.consented == true
	f.withdrawn == false
	every purpose in purposes {
		purpose in f.purposes
	}
}

granted(f) if f.tenant == input.tenant

granted(f) if input.tenant in f.grantees

missing(f) := purposes - {p | some p in f.purposes}

# why words a refusal. It decides nothing: what it cannot explain is refused all
# the same.
default why(_, _) := " has no consent that you may use"

why(tenant, id) := " is described twice" if {
	count(facts[tenant][id]) > 1
} else := " is not registered" if {
	not facts[tenant][id]
	tenant == input.tenant
} else := " has had its consent withdrawn" if {
	some f in facts[tenant][id]
	granted(f)
	f.withdrawn == true
} else := sprintf(" is not consented for this purpose: %s", [purpose]) if {
	some f in facts[tenant][id]
	granted(f)
	f.consented == true
	purpose := min(missing(f))
}
