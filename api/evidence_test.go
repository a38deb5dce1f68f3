package api_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/api/apitest"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
)

func TestAnAppliedPromotionHasAnEvidencePack(t *testing.T) {
	s := serve(t)
	pack, bundle := []byte("PK: a pack that proves itself"), []byte(`{"mediaType":"of a bundle"}`)
	is := func(state string, kept bool) {
		a := api.Action{ID: "promote-1", Kind: api.KindPromotion, Tenant: "t1", ModelID: "m", Environment: "dev", State: state, CreatedAt: apitest.Epoch}
		if kept {
			a.Pack, a.PackBundle = s.fabric.Keep(artifact.MediaTypeEvidence, pack), s.fabric.Keep("application/json", bundle)
		}
		s.fabric.ActionRows["promote-1"] = a
	}
	const path = "/promotions/promote-1/evidence"
	auditor := s.as("t1", "auditor")

	for _, state := range []string{"planned", "started", contract.Failed, contract.Rejected} {
		is(state, false)
		s.do("GET", path, nil, auditor).is(404, "not_found")
		s.do("GET", path+"?part=bundle", nil, auditor).is(404, "not_found")
	}
	is(contract.Applied, false)
	for _, part := range []string{"", "?part=pack", "?part=bundle"} {
		a := s.do("GET", path+part, nil, auditor).is(409, "not_ready")
		require.Equal(t, "1", a.Header.Get("Retry-After"))
	}

	is(contract.Applied, true)
	for part, want := range map[string]struct {
		name    string
		content []byte
	}{
		"":             {"promote-1.evidence.zip", pack},
		"?part=pack":   {"promote-1.evidence.zip", pack},
		"?part=bundle": {"promote-1.evidence.bundle.json", bundle},
	} {
		a := s.do("GET", path+part, nil, auditor).is(200)
		require.Equal(t, want.content, a.body)
		require.Equal(t, `"`+string(artifact.DigestOf(want.content))+`"`, a.Header.Get("ETag"))
		require.Equal(t, `attachment; filename="`+want.name+`"`, a.Header.Get("Content-Disposition"))
		require.Equal(t, want.content[4:], s.do("GET", path+part, nil, auditor, header("Range", "bytes=4-")).is(206).body)
		require.Empty(t, s.do("GET", path+part, nil, auditor, header("If-None-Match", a.Header.Get("ETag"))).is(304).body)
	}
	s.do("GET", path, nil, auditor, header("Range", "bytes=1000-")).is(416, "range_not_satisfiable")

	s.do("GET", path+"?part=plan", nil, auditor).is(400, "invalid_request")
	s.do("GET", "/promotions/promote-2/evidence", nil, auditor).is(404, "not_found")
	s.do("GET", path, nil, s.as("t2", "auditor")).is(404, "not_found")
	other := s.fabric.ActionRows["promote-1"]
	other.Kind = api.KindPolicy
	s.fabric.ActionRows["promote-1"] = other
	s.do("GET", path, nil, auditor).is(404, "not_found")
}
