package agent

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/artifact"
)

// serve returns a fabric at a server, and what it was last asked.
func serve(t *testing.T, status int, contentType, body string) (Fabric, *http.Request, *string) {
	var got http.Request
	var sent string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		content, _ := io.ReadAll(r.Body)
		got, sent = *r, string(content)
		w.Header().Set("Content-Type", contentType)
		w.Header().Set("Location", "http://127.0.0.1:1/elsewhere")
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}))
	t.Cleanup(server.Close)
	fabric, err := Dial(server.URL, http.DefaultTransport)
	require.NoError(t, err)
	return fabric, &got, &sent
}

// The calls as docs/protocol/site.md and openapi.yaml write them.
func TestCallsOverHTTP(t *testing.T) {
	ctx := traced(t.Context(), "0123456789abcdef0123456789abcdef")
	digest := artifact.DigestOf([]byte("update"))

	fabric, got, sent := serve(t, 200, "application/json", `{"token":"t","expires_at":"2026-11-22T10:00:00Z","renew_after":"2026-11-22T09:00:00Z","trusted_keys":["k"]}`)
	enrolment, err := fabric.Enrol(t.Context(), "federation", v1.EnrolRequest{Tenant: "a", Site: "b", Region: "c", PublicKey: "d"})
	require.NoError(t, err)
	require.Equal(t, v1.Enrolment{Token: "t", ExpiresAt: time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC),
		RenewAfter: time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC), TrustedKeys: []string{"k"}}, enrolment)
	require.Equal(t, "POST /sites/enrol Bearer federation", got.Method+" "+got.URL.Path+" "+got.Header.Get("Authorization"))
	require.JSONEq(t, `{"tenant":"a","site":"b","region":"c","public_key":"d"}`, *sent)

	fabric, got, _ = serve(t, 200, "application/json", `{"items":[{"run":"run-1","number":3,"kind":"train","manifest":"{}"}]}`)
	list, err := fabric.Work(ctx, "t", 20*time.Second)
	items := list.Items
	require.NoError(t, err)
	require.Len(t, items, 1)
	require.Equal(t, "run-1", items[0].Run)
	require.Equal(t, "GET /sites/work?wait_seconds=20 Bearer t", got.Method+" "+got.URL.String()+" "+got.Header.Get("Authorization"))

	fabric, got, _ = serve(t, 200, "application/octet-stream", "weights")
	body, err := fabric.Blob(ctx, "t", digest, 0)
	require.NoError(t, err)
	content, err := io.ReadAll(body)
	require.NoError(t, err)
	require.NoError(t, body.Close())
	require.Equal(t, "weights", string(content))
	require.Empty(t, got.Header.Get("Range"))
	require.Equal(t, "GET /blobs/"+string(digest), got.Method+" "+got.URL.Path)

	fabric, got, sent = serve(t, 201, "application/json", `{}`)
	require.NoError(t, fabric.PutBlob(ctx, "t", digest, 6, strings.NewReader("update")))
	require.Equal(t, "PUT /blobs/"+string(digest)+" application/octet-stream", got.Method+" "+got.URL.Path+" "+got.Header.Get("Content-Type"))
	require.EqualValues(t, 6, got.ContentLength)
	require.Equal(t, "update", *sent)

	fabric, got, sent = serve(t, 202, "application/json", `{}`)
	req := v1.SubmissionRequest{Examples: 3, Metrics: v1.SiteMetrics{Evaluated: 2, Correct: 1, LossMicros: 5}, Bundle: "{}"}
	require.NoError(t, fabric.Submit(ctx, "t", "run-1", 3, req))
	require.Equal(t, "POST /rounds/run-1/3/submissions", got.Method+" "+got.URL.Path)
	require.JSONEq(t, `{"examples":3,"metrics":{"evaluated":2,"correct":1,"loss_micros":5},"bundle":"{}"}`, *sent)
	require.Regexp(t, "^00-0123456789abcdef0123456789abcdef-[0-9a-f]{16}-01$", got.Header.Get("Traceparent"))
}

func TestAnswersThatAreNone(t *testing.T) {
	tests := []struct {
		name                string
		status              int
		contentType, body   string
		final, unauthorised bool
	}{
		{"a problem that stays", 409, "application/problem+json", `{"status":409,"code":"stage_closed","title":"x"}`, true, false},
		{"a token that ran out", 401, "application/problem+json", `{"status":401,"code":"token_expired","title":"x"}`, true, true},
		{"too many calls", 429, "application/problem+json", `{"status":429,"code":"slow_down","title":"x"}`, false, false},
		{"a fabric that is not ready", 503, "application/problem+json", `{"status":503,"code":"unavailable","title":"x"}`, false, false},
		{"a proxy's page", 404, "text/html", `<html>`, false, false},
		{"a redirect", 302, "text/html", ``, false, false},
		{"no JSON", 200, "application/json", `<html>`, false, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			fabric, _, _ := serve(t, tt.status, tt.contentType, tt.body)
			_, err := fabric.Work(t.Context(), "t", 0)
			require.Error(t, err)
			require.Equal(t, tt.final, final(err))
			require.Equal(t, tt.unauthorised, unauthorised(err))
		})
	}
	for _, base := range []string{"", "http://[", "127.0.0.1:9000", "ftp://host", "/path"} {
		_, err := Dial(base, http.DefaultTransport)
		require.ErrorIs(t, err, ErrOptions, base)
	}
}

func TestTraceIDsOfOtherFormsAreLeftOut(t *testing.T) {
	for _, trace := range []string{"", "short", "zz23456789abcdef0123456789abcdef", "0123456789abcdef0123456789abcdef\r\nX: y"} {
		require.Nil(t, traced(t.Context(), trace).Value(traceKey{}), trace)
	}
}
