package fabric.admission_test

import data.fabric.admission

feature(tenant, id) := {
	"tenant": tenant, "feature": id, "consented": true, "withdrawn": false,
	"purposes": ["evaluate", "stats", "train"], "grantees": ["consortium"],
}

run := {
	"tenant": "consortium", "tenants": ["charite", "mayo"], "model": "tumour", "requested": ["area", "radius"],
	"features": [feature("charite", "area"), feature("charite", "radius"), feature("mayo", "area"), feature("mayo", "radius")],
	"cohort": [{"region": "eu", "sites": 2}, {"region": "us", "sites": 1}],
	"production": false, "signing": false, "simulation": false,
}

with_feature(changed) := object.union(run, {"features": array.concat(array.slice(run.features, 0, 3), [changed])})

test_admits_a_consented_run if {
	admission.allow with input as run
	count(admission.reasons) == 0 with input as run
}

test_admits_a_signed_production_run_of_three_sites if {
	admission.allow with input as object.union(run, {"production": true, "signing": true})
}

test_refuses_nothing_at_all if {
	not admission.allow with input as {}
	count(admission.reasons) > 0 with input as {}
}

test_every_missing_part_is_refused if {
	every part in ["tenant", "tenants", "model", "requested", "features", "cohort", "production"] {
		not admission.allow with input as object.remove(run, [part])
	}
}

test_refuses_a_withdrawn_feature if {
	changed := object.union(feature("mayo", "radius"), {"withdrawn": true})
	admission.reasons == {"feature radius of tenant mayo has had its consent withdrawn"} with input as with_feature(changed)
}

test_refuses_a_purpose_that_is_missing if {
	changed := object.union(feature("mayo", "radius"), {"purposes": ["train", "evaluate"]})
	admission.reasons == {"feature radius of tenant mayo is not consented for this purpose: stats"} with input as with_feature(changed)
}

test_hides_from_a_stranger_that_a_feature_exists if {
	stranger := object.union(feature("mayo", "radius"), {"grantees": ["other"], "withdrawn": true})
	absent := object.union(run, {"features": array.slice(run.features, 0, 3)})
	hidden := {"feature radius of tenant mayo has no consent that you may use"}
	admission.reasons == hidden with input as with_feature(stranger)
	admission.reasons == hidden with input as absent
}

test_refuses_production_without_a_key if {
	admission.reasons == {"a production run needs a signing key that was given"} with input as object.union(run, {"production": true})
}

test_refuses_production_with_two_sites if {
	few := object.union(run, {"production": true, "signing": true, "cohort": [{"region": "eu", "sites": 2}]})
	admission.reasons == {"a production run needs 3 sites or more"} with input as few
}

test_refuses_production_to_a_simulated_caller if {
	simulated := object.union(run, {"production": true, "signing": true, "simulation": true})
	admission.reasons == {"a simulated caller may not ask for a production run"} with input as simulated
}

test_a_count_that_is_no_number_counts_for_nothing if {
	odd := object.union(run, {"cohort": [{"region": "eu", "sites": "3"}]})
	admission.reasons == {"no site takes part"} with input as odd
}

test_a_run_that_does_not_say_no_is_judged_as_production if {
	unclear := object.union(run, {"production": "no"})
	"a production run needs a signing key that was given" in admission.reasons with input as unclear
}
