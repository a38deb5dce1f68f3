# METADATA
# title: Routing
# description: >-
#   Whether a tenant's call of a model may be answered in a region by a kind of
#   runtime. The same answer as policy.Document.Permits. data.fabric.routes is
#   what the document's rules say, first match first, laid out by tenant and
#   model; "*" is any that is not named.
package fabric.routing

default allow := false

allow if permitted

reasons contains "the request names no tenant, model, region or kind" if not named

reasons contains sprintf("region %s is closed", [input.region]) if {
	named
	data.fabric.closed[input.region]
}

reasons contains "no rule matches" if {
	named
	not data.fabric.closed[input.region]
	not cell
}

reasons contains sprintf("rule %s does not permit %s runtimes in %s", [cell.rule, input.kind, input.region]) if {
	named
	not data.fabric.closed[input.region]
	cell
	not permitted
}

permitted if {
	not data.fabric.closed[input.region]
	cell.at[input.region][input.kind]
}

permitted if {
	not data.fabric.closed[input.region]
	cell.at["*"][input.kind]
}

row := data.fabric.routes[input.tenant] if {
	data.fabric.routes[input.tenant]
} else := data.fabric.routes["*"]

cell := row[input.model] if {
	row[input.model]
} else := row["*"]

named if {
	is_string(input.tenant)
	is_string(input.model)
	is_string(input.region)
	is_string(input.kind)
}
