package router_test

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/routing"
)

func TestACallForAPurposeGoesWhereARulePermitsIt(t *testing.T) {
	runtime := newStub(t)
	s := tried(t, 10_000, runtime.URL, runtime.URL)
	us := s.Policies[0]
	us.Revision = 2
	us.Rules = append(us.Rules[:0:0], us.Rules...)
	us.Rules[1].Purposes = []string{"research"}
	s.Policies[0].Rules[1].Purposes = []string{"care", "research"}
	s.Policies = append(s.Policies, us)
	s.Regions[1].Policy = 2
	f := newFabric(t, setup{})
	require.NoError(t, f.Use(s))
	handler, bearer := f.Handler(), f.token(t, "clinic")

	got := handle(t, handler, bearer, "", asking("clinic", `{"purpose":"research","region":"us"}`))
	require.Equal(t, "us", got.Region)
	got = handle(t, handler, bearer, "", asking("clinic", `{"purpose":"care","explain":true}`))
	require.Equal(t, "eu", got.Region)
	require.Equal(t, 4, got.Version, "the canary is within the purpose too")
	require.Contains(t, got.Decision.Excluded, routing.Exclusion{Endpoint: "us-1", Region: "us", Rule: "policy/2/default/purpose"})
	for _, preferences := range []string{`{}`, `{"purpose":"marketing"}`, `{"purpose":"care","region":"us"}`, `{"purpose":"marketing","version":4}`} {
		refused := f.invoke(t, bearer, asking("clinic", preferences))
		require.Equal(t, http.StatusForbidden, refused.status, preferences)
		require.Equal(t, "not_permitted", refused.body.Code)
		require.Contains(t, refused.body.Detail, "/default/purpose", preferences)
	}
	require.Equal(t, http.StatusBadRequest, f.invoke(t, bearer, asking("clinic", `{"purpose":"a b"}`)).status)
}

// A caller that weighs cost alone is answered by the cheap one as far as the
// policy gives it leeway.
func TestACallersWeightsHaveTheLeewayOfThePolicy(t *testing.T) {
	runtime := newStub(t)
	s := tried(t, 0, runtime.URL, runtime.URL)
	s.Endpoints[1].CostMicros = 1 // us, a hundredth of eu's
	f := newFabric(t, setup{})
	bearer := f.token(t, "clinic")
	best := func(preferences string) string {
		text := f.invoke(t, bearer, asking("clinic", preferences)).text
		var got struct {
			Decision struct{ Scores []struct{ Region string } }
		}
		require.NoError(t, json.Unmarshal([]byte(text), &got))
		require.NotEmpty(t, got.Decision.Scores, text)
		return got.Decision.Scores[0].Region
	}
	const cheap = `{"explain":true,"weights":{"cost":1000}}`
	require.NoError(t, f.Use(s))
	// By the default policy locality and cost weigh the same; eu is near.
	require.Equal(t, "eu", best(cheap))
	s.Policies[0].Leeway = 500
	s.Version++
	require.NoError(t, f.Use(s))
	require.Equal(t, "us", best(cheap))
	require.Equal(t, "eu", best(`{"explain":true}`))
	require.Equal(t, http.StatusBadRequest, f.invoke(t, bearer, asking("clinic", `{"weights":{"cost":1001}}`)).status)
	require.Equal(t, http.StatusBadRequest, f.invoke(t, bearer, asking("clinic", `{"weights":{"speed":1}}`)).status)
}
