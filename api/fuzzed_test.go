package api_test

import (
	"encoding/base64"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
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
