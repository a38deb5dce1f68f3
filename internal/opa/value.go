package opa

import (
	"bytes"
	"encoding/json"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/atom-fabric/fabric/domain/policy"
)

// valueOf turns an input into what the evaluator works on. What the questions
// take is turned without the way through its JSON; a test compares both ways.
func valueOf(input any) (ast.Value, error) {
	switch in := input.(type) {
	case ast.Value:
		return in, nil
	case policy.Call:
		return object("tenant", text(in.Tenant), "model", text(in.Model), "region", text(in.Region), "kind", text(in.Kind)), nil
	case policy.Spending:
		return object("epsilonMilli", number(in.EpsilonMilli), "remainingMilli", number(in.RemainingMilli)), nil
	case policy.Stake:
		return stake(in), nil
	case policy.Candidacy:
		return stake(in.Stake, "name", text(in.Name), "role", text(in.Role), "requester", text(in.Requester), "trainers", texts(in.Trainers)), nil
	case policy.FeatureUse:
		if in.Consent == nil {
			return object("consumer", text(in.Consumer), "purpose", text(in.Purpose)), nil
		}
		return object("consumer", text(in.Consumer), "purpose", text(in.Purpose), "consent", consent(*in.Consent)), nil
	case policy.Admission:
		return admission(in), nil
	case json.RawMessage:
		return ast.ValueFromReader(bytes.NewReader(in))
	}
	encoded, err := json.Marshal(input)
	if err != nil {
		return nil, err
	}
	return ast.ValueFromReader(bytes.NewReader(encoded))
}

// object returns an object of names and terms, which take turns.
func object(members ...any) ast.Object {
	pairs := make([][2]*ast.Term, 0, len(members)/2)
	for i := 0; i+1 < len(members); i += 2 {
		name, _ := members[i].(string)
		value, _ := members[i+1].(*ast.Term)
		pairs = append(pairs, [2]*ast.Term{ast.InternedTerm(name), value})
	}
	return ast.NewObject(pairs...)
}

func text(s string) *ast.Term      { return ast.InternedTerm(s) }
func number(n int64) *ast.Term     { return ast.InternedTerm(int(n)) }
func truth(b bool) *ast.Term       { return ast.InternedTerm(b) }
func list(t []*ast.Term) *ast.Term { return ast.ArrayTerm(t...) }

// texts is null for a list that is absent, as in JSON.
func texts(all []string) *ast.Term {
	if all == nil {
		return ast.NullTerm()
	}
	terms := make([]*ast.Term, len(all))
	for i, s := range all {
		terms[i] = text(s)
	}
	return list(terms)
}

func stake(s policy.Stake, more ...any) ast.Object {
	return object(append([]any{"kind", text(s.Kind), "environment", text(s.Environment), "risk", number(int64(s.Risk)),
		"loosens", truth(s.Loosens), "rollback", truth(s.Rollback)}, more...)...)
}

func consent(c policy.Consent) *ast.Term {
	return ast.NewTerm(object("tenant", text(c.Tenant), "feature", text(c.Feature), "consented", truth(c.Consented), "withdrawn", truth(c.Withdrawn),
		"purposes", texts(c.Purposes), "grantees", texts(c.Grantees)))
}

func admission(a policy.Admission) ast.Object {
	features, cohort := ast.NullTerm(), ast.NullTerm()
	if a.Features != nil {
		terms := make([]*ast.Term, len(a.Features))
		for i, c := range a.Features {
			terms[i] = consent(c)
		}
		features = list(terms)
	}
	if a.Cohort != nil {
		terms := make([]*ast.Term, len(a.Cohort))
		for i, c := range a.Cohort {
			one := object("region", text(c.Region), "sites", number(int64(c.Sites)))
			if c.Group != "" {
				one = object("region", text(c.Region), "sites", number(int64(c.Sites)), "group", text(c.Group))
			}
			terms[i] = ast.NewTerm(one)
		}
		cohort = list(terms)
	}
	return object("tenant", text(a.Tenant), "tenants", texts(a.Tenants), "model", text(a.Model), "requested", texts(a.Requested),
		"features", features, "cohort", cohort, "production", truth(a.Production), "signing", truth(a.Signing), "simulation", truth(a.Simulation),
		"demands", ast.NewTerm(object("epsilonMilli", number(a.Demands.EpsilonMilli), "clipMilli", number(a.Demands.ClipMilli),
			"deadlineSeconds", number(int64(a.Demands.DeadlineSeconds)), "retries", number(int64(a.Demands.Retries)))))
}
