package api_test

import (
	"encoding/base64"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/api/v1"
)

// What generated requests have found; see tests/fuzz.

func TestACursorThatNoPageGaveIsTheCallersMistake(t *testing.T) {
	s := owned(t)
	ann := s.as("b", "admin")
	for _, path := range []string{"/sites", "/train/runs", "/models", "/features/b", "/consents", "/privacy/budgets", "/tokens/revocations"} {
		for _, key := range []string{"\xff\xfe", "a\x00", "\n"} {
			s.do("GET", path+"?cursor="+base64.RawURLEncoding.EncodeToString([]byte(key)), nil, ann).is(400, "invalid_request")
		}
	}
}

func TestHeadIsAnsweredWithoutABody(t *testing.T) {
	s := serve(t)
	resp, err := http.Head(s.url + "/models")
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusMethodNotAllowed, resp.StatusCode)
	require.Equal(t, "application/problem+json", resp.Header.Get("Content-Type"), "not the framework's own text")
}

func TestASequenceIsOneThatJSONCanHold(t *testing.T) {
	s := owned(t)
	ann := s.as("b", "admin")
	for _, c := range []struct {
		sequence string
		status   int
		code     string
	}{
		{"9007199254740991", 404, "not_found"}, {"9007199254740992", 400, "invalid_request"}, {"9223372036854775807", 400, "invalid_request"},
		{"99999999999999999999", 400, "invalid_request"}, {"0", 400, "invalid_request"}, {"-1", 400, "invalid_request"}, {"1.5", 400, "invalid_request"}, {"1e3", 400, "invalid_request"},
	} {
		s.do("GET", "/recovery-points/"+c.sequence, nil, ann).is(c.status, c.code)
	}
}

func TestAModelThatNoRegistryCouldKeepIsNotTrained(t *testing.T) {
	s := serve(t)
	for _, model := range []string{"a..b", "a.", "a_", "a-", "a___b", "a.-b"} {
		got := s.do("POST", "/train/round", map[string]any{"model_id": model, "tenants": []string{"t1"}}, s.as("t1", "data-scientist")).is(422, "bad_params")
		require.Equal(t, "/model_id", into[v1.Problem](got).Errors[0].Pointer, model)
	}
	s.do("POST", "/train/round", map[string]any{"model_id": "m", "tenants": []string{"t."}}, s.as("t.", "data-scientist")).is(422, "bad_params")
}

func TestALineThatIsNoTextIsRefused(t *testing.T) {
	s := owned(t)
	ann := s.as("b", "admin", "auditor")
	for _, bytes := range []string{"nul%00", "%00", "%ff", "a%c3", "%ed%a0%80"} {
		s.do("POST", "/approvers/"+bytes+"/revoke", map[string]any{"reason": "left"}, ann).is(400, "invalid_request")
		s.do("GET", "/audit/leaves?match="+bytes, nil, ann).is(400, "invalid_request")
	}
}

func TestABodyWithNULIsRefusedWhereItIs(t *testing.T) {
	s := owned(t)
	ann := s.as("b", "admin", "auditor", "operator", "data-scientist")
	for _, c := range []struct{ path, body, at string }{
		{"/tokens/revocations", `{"reason":"lost","subject":"a\u0000"}`, "/subject"},
		{"/tokens/revocations", `{"reason":"lost","token":"\u0000"}`, "/token"},
		{"/recovery-points", `{"reason":"why\u0000"}`, "/reason"},
		{"/features/register", `{"tenant":"b","feature_id":"f2","consented":true,"schema":{"properties":{"a/b":{"enum":["x","\u0000"]}}}}`, "/schema/properties/a~1b/enum/1"},
		{"/features/register", `{"tenant":"b","feature_id":"f2","consented":true,"schema":{"properties":{"\u0000":{}}}}`, "/schema/properties"},
	} {
		got := s.do("POST", c.path, c.body, ann).is(400, "invalid_request")
		require.Equal(t, c.at, into[v1.Problem](got).Errors[0].Pointer, c.body)
	}
}
