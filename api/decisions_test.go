package api_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/api/v1"
)

const oneDecision = `{"seq":%d,"decision_id":"0af7651916cd43dd8448eb211c80319c-%016x","at":"2026-11-22T12:00:00Z","tenant":"t1","owner":"t2","model":"m","environment":"production","snapshot":1,"policy":1,"trace_id":"0af7651916cd43dd8448eb211c80319c","status":200,"latency_micros":1500,"simulated":false%s}`

func spooled(records ...string) string {
	return `{"router":"` + strings.Repeat("a", 32) + `","region":"eu","records":[` + strings.Join(records, ",") + `]}`
}

func TestRoutersBringWhatTheyDecided(t *testing.T) {
	s := serve(t)
	plane := s.as("fabric", "data-plane")
	line := func(n int, more string) string { return fmt.Sprintf(oneDecision, n, n, more) }
	body := spooled(line(1, ""), line(2, `,"a_newer_router":"says more"`), line(5, ""))
	for range 2 { // sent again
		got := into[v1.DecisionsRecorded](s.do("POST", "/decisions", body, plane, header("Idempotency-Key", "k")).is(200))
		require.EqualValues(t, 6, got.Next)
	}
	require.Len(t, s.fabric.Decided, 3)
	require.EqualValues(t, 1500, s.fabric.Decided[0].LatencyMicros)

	id := s.fabric.Decided[0].ID
	for _, tenant := range []string{"t1", "t2"} {
		got := into[v1.DecisionRecord](s.do("GET", "/decisions/"+id, nil, s.as(tenant, "auditor")).is(200))
		require.Equal(t, id, got.DecisionID)
	}
	s.do("GET", "/decisions/"+id, nil, s.as("t3", "auditor")).is(404, "not_found")
	s.do("POST", "/decisions", body, s.as("t1", "admin"), header("Idempotency-Key", "k")).is(403, "role_missing")

	for name, record := range map[string]string{
		"no decision":           `{}`,
		"a number of 0":         line(0, ""),
		"another id":            strings.Replace(line(9, ""), "0af7", "ZZZZ", 1),
		"no status":             strings.Replace(line(9, ""), `"status":200`, `"status":20`, 1),
		"a negative latency":    strings.Replace(line(9, ""), "1500", "-1", 1),
		"a tenant that is none": strings.Replace(line(9, ""), `"tenant":"t1"`, `"tenant":"../t1"`, 1),
		"a line break":          strings.Replace(line(9, ""), `"environment":"production"`, `"environment":"a\nb"`, 1),
		"a time of nobody":      strings.Replace(line(9, ""), "2026-11-22", "0001-01-01", 1),
	} {
		t.Run(name, func(t *testing.T) {
			s.in(t).do("POST", "/decisions", spooled(record), plane, header("Idempotency-Key", "x")).is(422, "bad_record")
		})
	}
	s.do("POST", "/decisions", spooled(line(9, ""), line(9, "")), plane, header("Idempotency-Key", "x")).is(422, "bad_record")
	require.Len(t, s.fabric.Decided, 3)
}

func TestTokensAreTakenBack(t *testing.T) {
	s := serve(t)
	admin := s.as("t1", "admin")
	now := time.Now()
	got := into[v1.TokenRevocation](s.do("POST", "/tokens/revocations", `{"subject":"ann","reason":"left"}`, admin, header("Idempotency-Key", "k")).is(201))
	require.Equal(t, "ann", got.Subject)
	require.WithinDuration(t, now, got.Before, 2*time.Second)
	require.Equal(t, 24*time.Hour+30*time.Second, got.Until.Sub(got.Before), "the longest that a token is accepted")
	again := into[v1.TokenRevocation](s.do("POST", "/tokens/revocations", `{"subject":"ann","reason":"left"}`, admin, header("Idempotency-Key", "k")).is(201))
	require.Equal(t, got, again)
	at, err := json.Marshal(now.Add(-time.Hour))
	require.NoError(t, err)
	s.do("POST", "/tokens/revocations", `{"token":"j1","before":`+string(at)+`,"reason":"leaked"}`, admin, header("Idempotency-Key", "l")).is(201)
	page := into[v1.TokenRevocationPage](s.do("GET", "/tokens/revocations", nil, admin).is(200))
	require.Len(t, page.Items, 2)
	require.Equal(t, "j1", page.Items[0].Token)

	for name, body := range map[string]string{
		"both":       `{"token":"j","subject":"s","reason":"r"}`,
		"the future": `{"before":"2999-01-01T00:00:00Z","reason":"r"}`,
		"long ago":   `{"before":"2020-01-01T00:00:00Z","reason":"r"}`,
		"no reason":  `{"token":"j"}`,
	} {
		t.Run(name, func(t *testing.T) {
			s.in(t).do("POST", "/tokens/revocations", body, admin, header("Idempotency-Key", name)).is(400, "invalid_request")
		})
	}
	s.do("POST", "/tokens/revocations", `{"reason":"r"}`, s.as("t1", "operator"), header("Idempotency-Key", "o")).is(403, "role_missing")
	s.do("POST", "/tokens/revocations?tenant=t1", `{"reason":"r"}`).is(403, "simulation_refused")
	for len(s.fabric.Revoked) < api.MaxRevocations {
		s.fabric.Revoked = append(s.fabric.Revoked, api.Revocation{Tenant: "t1"})
	}
	s.do("POST", "/tokens/revocations", `{"reason":"r"}`, admin, header("Idempotency-Key", "p")).is(409, "conflict")
}
