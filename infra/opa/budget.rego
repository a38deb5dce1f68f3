# METADATA
# title: Budget
# description: >-
#   Whether a run may spend so much of a feature's privacy budget: not more than
#   is left of it, and not more than the policy allows one run. Thousandths of
#   epsilon.
package fabric.budget

default allow := false

allow if {
	bounded
	within_remaining
	within_policy
}

reasons contains "the request says not what it costs, or what is left" if not bounded

reasons contains sprintf("it costs %d thousandths of epsilon and %d are left", [input.epsilonMilli, input.remainingMilli]) if {
	bounded
	not within_remaining
}

reasons contains sprintf("it costs %d thousandths of epsilon and the policy allows a run %d", [input.epsilonMilli, data.fabric.limits.maxEpsilonMilli]) if {
	bounded
	not within_policy
}

bounded if {
	is_number(input.epsilonMilli)
	is_number(input.remainingMilli)
	input.epsilonMilli >= 0
	is_number(data.fabric.limits.maxEpsilonMilli)
}

within_remaining if input.epsilonMilli <= input.remainingMilli

within_policy if data.fabric.limits.maxEpsilonMilli == 0

within_policy if input.epsilonMilli <= data.fabric.limits.maxEpsilonMilli
