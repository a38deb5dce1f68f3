package opa

import (
	"bytes"
	"encoding/json"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/atom-fabric/fabric/domain/approval"
	"github.com/atom-fabric/fabric/domain/catalog"
	"github.com/atom-fabric/fabric/domain/policy"
)

// A vocabulary holds the terms of texts that inputs are full of: the names of
// their members, and what stands in them over and over. It is written once.
type vocabulary map[string]*ast.Term

func newVocabulary() vocabulary {
	v := vocabulary{}
	learn := func(words ...string) {
		for _, w := range words {
			v[w] = ast.StringTerm(w)
		}
	}
	learn("tenant", "tenants", "model", "region", "kind", "epsilonMilli", "remainingMilli", "environment", "risk", "loosens", "rollback",
		"name", "role", "requester", "trainers", "consumer", "purpose", "consent", "feature", "consented", "withdrawn", "purposes", "grantees",
		"sites", "group", "requested", "features", "cohort", "production", "signing", "simulation", "demands", "clipMilli", "deadlineSeconds", "retries",
		"staging", "dev", policy.Neural, policy.Quantum)
	learn(approval.Roles()...)
	learn(catalog.Purposes()...)
	return v
}

// text is the term of a text.
func (v vocabulary) text(s string) *ast.Term {
	if t, ok := v[s]; ok {
		return t
	}
	return ast.StringTerm(s)
}

// A pair is a member of an object.
type pair = [2]*ast.Term

func (v vocabulary) says(name, value string) pair         { return pair{v.text(name), v.text(value)} }
func (v vocabulary) lists(name string, all []string) pair { return pair{v.text(name), v.texts(all)} }
func (v vocabulary) counts(name string, n int64) pair {
	return pair{v.text(name), ast.InternedTerm(int(n))}
}
func (v vocabulary) holds(name string, is bool) pair   { return pair{v.text(name), ast.InternedTerm(is)} }
func (v vocabulary) has(name string, t *ast.Term) pair { return pair{v.text(name), t} }

// texts is null for a list that is absent, as in JSON.
func (v vocabulary) texts(all []string) *ast.Term {
	if all == nil {
		return ast.NullTerm()
	}
	terms := make([]*ast.Term, len(all))
	for i, s := range all {
		terms[i] = v.text(s)
	}
	return ast.ArrayTerm(terms...)
}

// valueOf turns an input into what the rules work on. What the questions take is
// turned without the way through its JSON; a test compares both ways.
func (v vocabulary) valueOf(input any) (ast.Value, error) {
	switch in := input.(type) {
	case ast.Value:
		return in, nil
	case policy.Call:
		return ast.NewObject(v.says("tenant", in.Tenant), v.says("model", in.Model), v.says("region", in.Region), v.says("kind", in.Kind)), nil
	case policy.Spending:
		return ast.NewObject(v.counts("epsilonMilli", in.EpsilonMilli), v.counts("remainingMilli", in.RemainingMilli)), nil
	case policy.Stake:
		return v.stake(in), nil
	case policy.Candidacy:
		return v.stake(in.Stake, v.says("name", in.Name), v.says("role", in.Role), v.says("requester", in.Requester), v.lists("trainers", in.Trainers)), nil
	case policy.FeatureUse:
		if in.Consent == nil {
			return ast.NewObject(v.says("consumer", in.Consumer), v.says("purpose", in.Purpose)), nil
		}
		return ast.NewObject(v.says("consumer", in.Consumer), v.says("purpose", in.Purpose), v.has("consent", v.consent(*in.Consent))), nil
	case policy.Admission:
		return v.admission(in), nil
	case json.RawMessage:
		return ast.ValueFromReader(bytes.NewReader(in))
	}
	encoded, err := json.Marshal(input)
	if err != nil {
		return nil, err
	}
	return ast.ValueFromReader(bytes.NewReader(encoded))
}

func (v vocabulary) stake(s policy.Stake, more ...pair) ast.Object {
	return ast.NewObject(append([]pair{v.says("kind", s.Kind), v.says("environment", s.Environment), v.counts("risk", int64(s.Risk)),
		v.holds("loosens", s.Loosens), v.holds("rollback", s.Rollback)}, more...)...)
}

func (v vocabulary) consent(c policy.Consent) *ast.Term {
	return ast.ObjectTerm(v.says("tenant", c.Tenant), v.says("feature", c.Feature), v.holds("consented", c.Consented), v.holds("withdrawn", c.Withdrawn),
		v.lists("purposes", c.Purposes), v.lists("grantees", c.Grantees))
}

func (v vocabulary) admission(a policy.Admission) ast.Object {
	features, cohort := ast.NullTerm(), ast.NullTerm()
	if a.Features != nil {
		terms := make([]*ast.Term, len(a.Features))
		for i, c := range a.Features {
			terms[i] = v.consent(c)
		}
		features = ast.ArrayTerm(terms...)
	}
	if a.Cohort != nil {
		terms := make([]*ast.Term, len(a.Cohort))
		for i, c := range a.Cohort {
			one := []pair{v.says("region", c.Region), v.counts("sites", int64(c.Sites))}
			if c.Group != "" {
				one = append(one, v.says("group", c.Group))
			}
			terms[i] = ast.ObjectTerm(one...)
		}
		cohort = ast.ArrayTerm(terms...)
	}
	return ast.NewObject(v.says("tenant", a.Tenant), v.lists("tenants", a.Tenants), v.says("model", a.Model), v.lists("requested", a.Requested),
		v.has("features", features), v.has("cohort", cohort), v.holds("production", a.Production), v.holds("signing", a.Signing), v.holds("simulation", a.Simulation),
		v.has("demands", ast.ObjectTerm(v.counts("epsilonMilli", a.Demands.EpsilonMilli), v.counts("clipMilli", a.Demands.ClipMilli),
			v.counts("deadlineSeconds", int64(a.Demands.DeadlineSeconds)), v.counts("retries", int64(a.Demands.Retries)))))
}
