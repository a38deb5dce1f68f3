# METADATA
# title: Risk
# description: >-
#   Whether a change may go on by itself at its risk, and else whom it needs: a
#   seat for each person, with the roles that may fill it. The same seats as
#   approval.Required. data.fabric.threshold is where an action in production
#   that loosens nothing begins to need people.
package fabric.risk

default allow := false

allow if {
	known
	count(seats) == 0
}

reasons contains "the request names no kind, risk, environment, or says not whether it loosens or rolls back" if not known

reasons contains reason if {
	known
	some i, seat in seats
	reason := sprintf("seat %d: %s", [i + 1, concat(" or ", seat)])
}

known if {
	is_string(input.kind)
	is_string(input.environment)
	is_boolean(input.loosens)
	is_boolean(input.rollback)
	input.risk >= 0
	input.risk <= 100
	is_number(data.fabric.threshold)
}

lead := ["owner", "on-call"]

wide := ["owner", "on-call", "operator"]

guards := ["privacy", "security"]

# production is every environment that is not known to be another.
production if not input.environment in {"dev", "staging"}

by_risk := [["owner"], guards, guards] if {
	production
	input.risk >= 80
} else := [["owner"], ["risk", "platform"]] if {
	production
	input.risk >= 60
} else := [wide] if {
	production
	input.risk >= 40
} else := [lead] if {
	production
} else := [wide, ["owner", "risk", "platform", "privacy", "security"]] if {
	input.risk >= 80
} else := [wide] if {
	input.risk >= 40
} else := []

seats := leaving if {
	input.kind == "leave-simulation"
} else := [] if {
	production
	lenient
	input.risk < data.fabric.threshold
} else := [wide] if {
	input.rollback
	count(by_risk) > 0
} else := by_risk

leaving := by_risk if {
	count(by_risk) > 0
} else := [wide]

lenient if not input.loosens

lenient if input.rollback
