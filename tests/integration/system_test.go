package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	v1 "github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/internal/demo"
	"github.com/atom-fabric/fabric/tests/harness"
)

// TestSystem starts the whole system once, as somebody at a terminal does, and
// asks it over the wire. The parts are in order: each finds what those before
// it have left.
func TestSystem(t *testing.T) {
	state, base := harness.State(t), harness.FreeBase(t)
	s := harness.Up(t, state, base)

	t.Run("answers the contract's calls as curl sends them", func(t *testing.T) { contractCalls(t, s) })
	t.Run("says of each service how it is", func(t *testing.T) { healthy(t, s) })
	t.Run("answers a repeated request once", func(t *testing.T) { replayed(t, s) })
	t.Run("refuses a token that it did not mint", func(t *testing.T) { forged(t, s) })
	t.Run("does not start where it cannot run", func(t *testing.T) { refused(t, s) })
	t.Run("walks a newcomer through the README's tour by itself", func(t *testing.T) { guided(t, s) })
	t.Run("is well, by its own doctor", func(t *testing.T) { examined(t, s) })

	s.Consent(t)
	lead := s.Lead(t)
	var figures v1.FeatureStatistics
	t.Run("publishes a hospital's statistics under differential privacy, once", func(t *testing.T) { figures = summarised(t, s) })
	run := harness.Watch(t, lead, s.Train(t, lead, harness.Request(3)), time.Minute, harness.Completed)
	require.Positive(t, run.Version)
	t.Run("draws what a run has become", func(t *testing.T) { pictured(t, s, run) })
	t.Run("changes production when people have voted, not before", func(t *testing.T) { promoted(t, s, lead, run) })
	t.Run("goes on answering when the control plane is gone", func(t *testing.T) { alone(t, s, run) })
	t.Run("carries on when it is started again", func(t *testing.T) {
		s.Again(t)
		after, err := v1.Fetch[v1.Run](lead.GetRun(t.Context(), run.ID, &v1.GetRunParams{}))
		require.NoError(t, err)
		require.Equal(t, run, after)
		require.Equal(t, run.Version, invoke(t, lead).Version)
		require.Equal(t, figures, told(t, s), "what is published stays as it is")
	})
}

// An answer is what came back.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// problem reads the answer as a problem document that says something.
func (a answer) problem(t *testing.T) v1.Problem {
	t.Helper()
	require.Contains(t, a.header.Get("Content-Type"), "application/problem+json", "%s", a.body)
	var p v1.Problem
	require.NoError(t, json.Unmarshal(a.body, &p))
	require.Equal(t, a.status, p.Status)
	require.NotEmpty(t, p.Title)
	require.NotEmpty(t, p.Instance, "the trace id")
	require.Contains(t, p.Type, p.Code)
	return p
}

func (a answer) fields(t *testing.T) map[string]any {
	t.Helper()
	var fields map[string]any
	require.NoError(t, json.Unmarshal(a.body, &fields), "%s", a.body)
	return fields
}

// ask sends a request with exactly these headers.
func ask(t *testing.T, method, url, body string, header ...string) answer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	require.NoError(t, err)
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return answer{resp.StatusCode, resp.Header, content}
}

// curl sends what curl -X POST -d does: a form's content type, no token, no key.
func curl(t *testing.T, url, body string) answer {
	t.Helper()
	return ask(t, http.MethodPost, url, body, "Content-Type", "application/x-www-form-urlencoded", "Accept", "*/*", "User-Agent", "curl/7.88.1")
}

// The contract's verification calls, word for word.
const (
	callRegister = `{"tenant":"t1","feature_id":"f1","schema":{},"consented":true}`
	callTrain    = `{"model_id":"m1","tenants":["t1"]}`
	callInvoke   = `{"tenant":"t1","model_id":"m1","input":{}}`
)

func contractCalls(t *testing.T, s *harness.System) {
	for _, base := range []string{s.Service(2), s.Gateway()} {
		p := curl(t, base+"/train/round", callTrain).problem(t)
		require.Less(t, p.Status, 500)
		require.NotEmpty(t, p.Detail+fmt.Sprint(p.Errors), "it says what is missing")
		require.NotEqual(t, http.StatusUnauthorized, p.Status, "a simulated caller is let in")
	}
	for _, base := range []string{s.Service(1), s.Gateway()} { // twice is once
		a := curl(t, base+"/features/register", callRegister)
		require.Contains(t, []int{http.StatusOK, http.StatusCreated}, a.status, "%s", a.body)
		require.Equal(t, "true", a.header.Get("X-Fabric-Simulated"))
		fields := a.fields(t)
		require.Equal(t, "t1", fields["tenant"])
		require.Equal(t, "f1", fields["feature_id"])
		require.Equal(t, true, fields["simulated"])
		require.EqualValues(t, 1, fields["version"])
	}
	for _, base := range []string{s.Service(4), s.Gateway()} {
		p := curl(t, base+"/invoke", callInvoke).problem(t)
		require.Equal(t, http.StatusNotFound, p.Status)
		require.NotEmpty(t, p.Detail+p.Title)
	}
	// With the feature there, what is missing is somebody to train.
	p := curl(t, s.Service(2)+"/train/round", callTrain).problem(t)
	require.Equal(t, http.StatusConflict, p.Status)
	require.Equal(t, "no_sites", p.Code)
	found := ask(t, http.MethodGet, s.Service(1)+"/features/t1", "")
	require.Equal(t, http.StatusOK, found.status)
	require.Contains(t, string(found.body), `"f1"`)

	for _, body := range []string{"", "{", `{"tenant":"t1","tenant":"t2"}`, `[]`, `null`, strings.Repeat("[", 100000)} {
		p := curl(t, s.Service(1)+"/features/register", body).problem(t)
		require.Contains(t, []int{http.StatusBadRequest, http.StatusRequestEntityTooLarge}, p.Status, "%.40s", body)
	}
}

func healthy(t *testing.T, s *harness.System) {
	for n := range 7 {
		health := ask(t, http.MethodGet, s.Service(n)+"/health", "")
		require.Equal(t, http.StatusOK, health.status, "service %d: %s", n, health.body)
		fields := health.fields(t)
		require.Equal(t, "pass", fields["status"])
		require.NotEmpty(t, fields["checks"], "service %d has a status for each dependency", n)

		metrics := ask(t, http.MethodGet, s.Service(n)+"/metrics", "")
		require.Equal(t, http.StatusOK, metrics.status)
		require.Contains(t, string(metrics.body), "\nfabric_", "service %d", n)
	}
}

// replayed sends one request twice: the answer is the same and is marked.
func replayed(t *testing.T, s *harness.System) {
	url := s.Service(1) + "/features/register"
	body := `{"tenant":"clinic-x","feature_id":"once","schema":{},"consented":false}`
	headers := []string{"Authorization", "Bearer " + s.Token(t, "clinic-x", "ines", "operator", "admin"), "Content-Type", "application/json"}
	require.Equal(t, "idempotency_key_missing", ask(t, http.MethodPost, url, body, headers...).problem(t).Code)

	headers = append(headers, "Idempotency-Key", uuid.NewString())
	first := ask(t, http.MethodPost, url, body, headers...)
	require.Equal(t, http.StatusCreated, first.status, "%s", first.body)
	require.Empty(t, first.header.Get("Idempotency-Replayed"))
	second := ask(t, http.MethodPost, url, body, headers...)
	require.Equal(t, first.status, second.status)
	require.Equal(t, string(first.body), string(second.body))
	require.Equal(t, "true", second.header.Get("Idempotency-Replayed"))

	other := ask(t, http.MethodPost, url, strings.Replace(body, "once", "twice", 1), headers...).problem(t)
	require.Equal(t, http.StatusUnprocessableEntity, other.Status)
	require.Equal(t, "idempotency_key_reused", other.Code)
}

// forged presents a good token with another signature, and one for another
// tenant.
func forged(t *testing.T, s *harness.System) {
	good := s.Token(t, "clinic-x", "ines", "operator", "admin")
	at := strings.LastIndex(good, ".") + 1
	bad := []byte(good)
	bad[at] = map[bool]byte{true: 'B', false: 'A'}[bad[at] == 'A']
	for url, path := range map[string]string{s.Service(1): "/features/clinic-x", s.Gateway(): "/features/clinic-x", s.Service(4): "/router/active"} {
		p := ask(t, http.MethodGet, url+path, "", "Authorization", "Bearer "+string(bad)).problem(t)
		require.Equal(t, http.StatusUnauthorized, p.Status)
		require.Equal(t, "token_invalid", p.Code)
	}
	require.Equal(t, http.StatusOK, ask(t, http.MethodGet, s.Service(1)+"/features/clinic-x", "", "Authorization", "Bearer "+good).status)
	p := ask(t, http.MethodGet, s.Service(1)+"/features/clinic-y", "", "Authorization", "Bearer "+good).problem(t)
	require.Equal(t, http.StatusNotFound, p.Status)
}

// refused starts further systems where none can run.
func refused(t *testing.T, s *harness.System) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	program := filepath.Join(harness.Programs(t), "fabric")
	tests := []struct {
		name, state string
		base        int
		says        []string
	}{
		{"ports in use", harness.State(t), s.Base, []string{"port is in use", s.Address(0), s.Address(4), "--port-base"}},
		{"state directory in use", s.State, harness.FreeBase(t), []string{"another fabric up runs", s.State, "--state"}},
		{"state directory below a file", filepath.Join(file, "state"), harness.FreeBase(t), []string{"state directory cannot be used", "not a directory", "--state"}},
	}
	for _, tt := range tests {
		out, status := harness.Command(t, program, []string{"up", "--state", tt.state, "--port-base", strconv.Itoa(tt.base)})
		require.Equal(t, 69, status, "%s: %s", tt.name, out)
		for _, text := range tt.says {
			require.Contains(t, out, text, tt.name)
		}
		require.LessOrEqual(t, bytes.Count([]byte(out), []byte("\n")), 3, "one clear error: %s", out)
	}
	require.Equal(t, http.StatusOK, ask(t, http.MethodGet, s.Gateway()+"/health", "").status, "the first one runs on")
}

// invoke asks the promoted model with a token.
func invoke(t *testing.T, who *v1.Client) v1.Invocation {
	t.Helper()
	a, err := v1.Fetch[v1.Invocation](who.Invoke(t.Context(), v1.InvokeRequest{Tenant: demo.Consortium, ModelID: demo.Model, Input: harness.Rows(t)}))
	require.NoError(t, err)
	return a
}
