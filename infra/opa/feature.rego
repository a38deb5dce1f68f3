# METADATA
# title: Feature
# description: >-
#   Whether one consumer may use one feature of one tenant for one purpose. What
#   is known of the feature is input.consent; a feature that is not known has
#   none.
package fabric.feature

default allow := false

allow if {
	granted
	consent.consented == true
	consent.withdrawn == false
	input.purpose in consent.purposes
}

# A stranger is told the same whether a feature is there or not.
reasons contains "it has no consent that you may use" if not granted

reasons contains "it has no consent that you may use" if {
	granted
	not consent.consented == true
}

reasons contains "its consent was withdrawn" if {
	granted
	not consent.withdrawn == false
}

reasons contains sprintf("it is not consented for this purpose: %v", [input.purpose]) if {
	granted
	not input.purpose in consent.purposes
}

consent := input.consent

granted if {
	input.consumer == consent.tenant
	consent.tenant != ""
}

granted if input.consumer in consent.grantees
