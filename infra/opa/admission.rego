# METADATA
# title: Admission
# description: >-
#   Whether a training run may start. Asked for as data.fabric.admission with
#   the input that policy.Admission describes; the answer is allow and reasons.
#   What is not allowed outright is refused, and every refusal says why.
package fabric.admission

import data.fabric.consent

default allow := false

allow if {
	complete
	count(reasons) == 0
}

reasons contains "the request is incomplete: it names no tenant, model, participants or features" if not complete

reasons contains reason if some reason in consent.refusals

reasons contains "no site takes part" if not sites_at_least(1)

reasons contains "a production run needs a signing key that was given" if {
	production
	not input.signing == true
}

reasons contains "a production run needs 3 sites or more" if {
	production
	not sites_at_least(3)
}

reasons contains "a simulated caller may not ask for a production run" if {
	production
	not input.simulation == false
}

reasons contains "the bundle holds no limits: serve the fabric's whole bundle" if not data.fabric.limits

reasons contains sprintf("the policy wants %d sites or more", [data.fabric.limits.minCohort]) if {
	data.fabric.limits.minCohort > 0
	not sites_at_least(data.fabric.limits.minCohort)
}

reasons contains sprintf("the policy allows a run %d thousandths of epsilon", [data.fabric.limits.maxEpsilonMilli]) if {
	over("maxEpsilonMilli", "epsilonMilli")
}

reasons contains sprintf("the policy lets a stage wait %d seconds", [data.fabric.limits.maxDeadlineSeconds]) if {
	over("maxDeadlineSeconds", "deadlineSeconds")
}

reasons contains sprintf("the policy wants updates clipped to %d thousandths", [data.fabric.limits.maxClipMilli]) if {
	over("maxClipMilli", "clipMilli")
}

reasons contains sprintf("the policy lets a stage be extended %d times", [data.fabric.limits.maxRetries]) if {
	over("maxRetries", "retries")
}

# over holds where a limit is set, unless the run says that it keeps it.
over(limit, demand) if {
	data.fabric.limits[limit] > 0
	not input.demands[demand] <= data.fabric.limits[limit]
}

# production holds unless the request says outright that it is not.
production if not input.production == false

complete if {
	named(input.tenant)
	named(input.model)
	names(input.tenants)
	names(input.requested)
	is_boolean(input.production)
}

named(value) if {
	is_string(value)
	value != ""
}

names(list) if {
	count(list) > 0
	every value in list {
		named(value)
	}
}

sites_at_least(n) if sites >= n

sites := sum([c.sites | some c in input.cohort])
