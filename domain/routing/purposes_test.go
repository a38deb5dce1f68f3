package routing_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/policy"
	"github.com/atom-fabric/fabric/domain/routing"
)

func TestARuleIsForItsPurposes(t *testing.T) {
	care := rule("care", "clinic", "*", "*")
	care.Purposes = []string{"care", "research"}
	research := rule("research", "clinic", "*", "*")
	research.Purposes = []string{"research"}
	// apac runs the first policy, eu and us the second.
	s := world(doc(1, research), doc(2, care, rule("others", "*", "*", "*")))
	table, err := routing.Compile(s, "eu")
	require.NoError(t, err)
	g := table.Target("clinic", "consortium", "tumour", "production")
	require.Len(t, g.Permitted, 3)
	require.Empty(t, g.For("research"))
	require.Equal(t, []routing.Exclusion{{Endpoint: "apac-1", Region: "apac", Rule: "policy/1/research/purpose"}}, g.For("care"))
	everywhere := []routing.Exclusion{
		{Endpoint: "apac-1", Region: "apac", Rule: "policy/2/care/purpose"},
		{Endpoint: "eu-1", Region: "eu", Rule: "policy/2/care/purpose"},
		{Endpoint: "us-1", Region: "us", Rule: "policy/2/care/purpose"},
	}
	require.Equal(t, everywhere, g.For("marketing"), "home's policy decides too, and first")
	require.Equal(t, everywhere, g.For(""), "a call that names none")
	require.Nil(t, table.Target("consortium", "consortium", "tumour", "production").Purposes, "its rule names none")
}

func TestAClosedRegionAnswersNobody(t *testing.T) {
	closed := doc(1, rule("anywhere", "*", "*", "*"))
	closed.Shares = []policy.Share{{Region: "us", Weight: 0}}
	table, err := routing.Compile(world(closed), "eu")
	require.NoError(t, err)
	g := table.Target("clinic", "consortium", "tumour", "production")
	require.Equal(t, []routing.Exclusion{{Endpoint: "us-1", Region: "us", Rule: "policy/1/closed"}}, g.Excluded)
	require.Equal(t, closed.Shares, g.Shares)
}
