# METADATA
# title: Approver
# description: >-
#   Whether a person may vote on an action: in a role that fills one of its
#   seats, not on their own request, and not on what they trained where the
#   policy bars that. Whether the signature verifies is not asked here.
package fabric.approver

import data.fabric.risk

default allow := false

allow if {
	known
	not own
	not barred
	fills
}

reasons contains "the request names no person, role or requester, or no action" if not known

reasons contains "nobody decides on their own request" if own

reasons contains "whoever trained a version does not approve it" if barred

reasons contains sprintf("role %s fills no seat of this action", [input.role]) if {
	known
	not fills
}

known if {
	risk.known
	named(input.name)
	named(input.role)
	named(input.requester)
}

named(value) if {
	is_string(value)
	value != ""
}

own if input.name == input.requester

barred if {
	data.fabric.barTrainer
	input.name in input.trainers
}

fills if {
	some seat in risk.seats
	input.role in seat
}
