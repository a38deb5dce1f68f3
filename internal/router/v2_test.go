package router_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/routing"
)

// served routes the consortium's model to one runtime of eu and one of us.
func served(t *testing.T, f *fabric, eu, us http.HandlerFunc) {
	t.Helper()
	urls := map[string]string{}
	for region, handler := range map[string]http.HandlerFunc{"eu": eu, "us": us} {
		if handler == nil {
			continue
		}
		mux := http.NewServeMux()
		mux.HandleFunc("GET /v2/health/ready", func(http.ResponseWriter, *http.Request) {})
		mux.HandleFunc("GET /v2/models/{model}/versions/{version}/ready", func(http.ResponseWriter, *http.Request) {})
		mux.HandleFunc("/", handler)
		server := httptest.NewServer(mux)
		t.Cleanup(server.Close)
		urls[region] = server.URL
	}
	pkg := routing.Package{Tenant: "consortium", Model: "tumour", Version: 3, Manifest: artifact.DigestOf([]byte("m")), Regions: []string{"eu", "us"}}
	require.NoError(t, f.Use(endpoints(world(pkg), urls)))
}

// A client of the Open Inference Protocol works as it does against a runtime.
func TestSpeaksTheOpenInferenceProtocol(t *testing.T) {
	f := newFabric(t, setup{})
	f.two(t)
	bearer := f.token(t, "clinic")
	const body = `{"inputs":[{"name":"rows","datatype":"FP64","shape":[2,2],"data":[1,0,0,3]}]}`
	for _, path := range []string{"tumour", "consortium.tumour", "tumour/versions/3", "consortium.tumour/versions/3"} {
		got := f.call(t, "POST", "/v2/models/"+path+"/infer", bearer, body)
		require.Equal(t, 200, got.status, got.text)
		var answer struct {
			ModelName string `json:"model_name"`
			Outputs   []struct{ Name string }
		}
		require.NoError(t, json.Unmarshal([]byte(got.text), &answer))
		require.Equal(t, "consortium.tumour", answer.ModelName)
		require.NotEmpty(t, answer.Outputs)
		require.Regexp(t, `^v1;kid=[0-9a-f]{16};.*region=eu;`, got.header.Get("X-Fabric-Audit"))
		id := strings.Split(strings.Split(got.header.Get("X-Fabric-Audit"), "did=")[1], ";")[0]
		kept := f.call(t, "GET", "/router/decisions/"+id, bearer, "")
		require.Contains(t, kept.text, string(artifact.DigestOf([]byte(got.text))), "the record has the digest of the answer")
		require.Contains(t, kept.text, `"verified":true`)

		require.Equal(t, 200, f.call(t, "GET", "/v2/models/"+path+"/ready", bearer, "").status)
		meta := f.call(t, "GET", "/v2/models/"+path, bearer, "")
		require.Equal(t, 200, meta.status, meta.text)
		require.Contains(t, meta.text, `"inputs"`)
	}
	for path, want := range map[string]string{"/v2": `"fabric-router"`, "/v2/health/live": `{"live":true}`, "/v2/health/ready": `{"ready":true}`} {
		got := f.call(t, "GET", path, "", "")
		require.Equal(t, 200, got.status)
		require.Contains(t, got.text, want)
	}
	// Nothing is reached that /invoke does not reach.
	tests := []struct {
		name, method, path, bearer string
		status                     int
		headers                    []string
	}{
		{"no token", "POST", "tumour/infer", "", 401, nil},
		{"a model that is not there", "POST", "other/infer", bearer, 404, nil},
		{"another owner's", "POST", "lab.tumour/infer", bearer, 404, nil},
		{"another version", "POST", "tumour/versions/4/infer", bearer, 404, nil},
		{"a version that is none", "POST", "tumour/versions/x/infer", bearer, 404, nil},
		{"another environment", "POST", "tumour/infer", bearer, 404, []string{"X-Fabric-Environment", "staging"}},
		{"a stranger", "POST", "tumour/infer", f.token(t, "stranger"), 404, nil},
		{"in another tenant's name", "POST", "tumour/infer", bearer, 404, []string{"X-Fabric-Tenant", "lab"}},
		{"a region that a rule bars", "POST", "tumour/infer", f.token(t, "lab"), 403, []string{"X-Fabric-Region", "eu"}},
		{"a deadline that is none", "POST", "tumour/infer", bearer, 400, []string{"X-Fabric-Max-Latency-Ms", "0"}},
		{"another method", "GET", "tumour/infer", bearer, 405, nil},
		{"a name that is none", "POST", "T%20x/infer", bearer, 404, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := f.call(t, tt.method, "/v2/models/"+tt.path, tt.bearer, body, tt.headers...)
			require.Equal(t, tt.status, got.status, got.text)
			var e struct{ Error string }
			require.NoError(t, json.Unmarshal([]byte(got.text), &e))
			if tt.status != 405 {
				require.NotEmpty(t, e.Error, "clients of the protocol read that")
			}
		})
	}
}

func TestBinaryTensorsPassUntouched(t *testing.T) {
	f := newFabric(t, setup{})
	raw := []byte{0, 255, 10, 13, 34, 128}
	head := `{"inputs":[{"name":"x","shape":[6],"datatype":"UINT8","parameters":{"binary_data_size":6}}]}`
	answer := append([]byte(`{"outputs":[]}`), 1, 0, 200)
	served(t, f, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.Header.Get("Inference-Header-Content-Length") != fmt.Sprint(len(head)) || r.Header.Get("Content-Type") != "application/octet-stream" ||
			!bytes.Equal(body, append([]byte(head), raw...)) || r.Header.Get("Authorization") != "" || r.Header.Get("X-Fabric-Tenant") != "clinic" {
			w.WriteHeader(500)
			return
		}
		w.Header().Set("Inference-Header-Content-Length", "14")
		w.Header().Set("Content-Type", "application/octet-stream")
		_, _ = w.Write(answer)
	}, nil)
	got := f.call(t, "POST", "/v2/models/tumour/infer", f.token(t, "clinic"), head+string(raw), "Inference-Header-Content-Length", fmt.Sprint(len(head)), "Content-Type", "application/octet-stream")
	require.Equal(t, 200, got.status, got.text)
	require.Equal(t, string(answer), got.text)
	require.Equal(t, "14", got.header.Get("Inference-Header-Content-Length"))
}

func TestARuntimesRefusalPassesInItsWords(t *testing.T) {
	f := newFabric(t, setup{})
	var calls atomic.Int32
	served(t, f, func(w http.ResponseWriter, _ *http.Request) {
		calls.Add(1)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(400)
		_, _ = io.WriteString(w, `{"error":"bad shape"}`)
	}, func(http.ResponseWriter, *http.Request) { calls.Add(1) })
	got := f.call(t, "POST", "/v2/models/tumour/infer", f.token(t, "clinic"), `{}`)
	require.Equal(t, 400, got.status)
	require.Equal(t, `{"error":"bad shape"}`, got.text)
	require.NotEmpty(t, got.header.Get("X-Fabric-Audit"))
	require.EqualValues(t, 1, calls.Load())
}

// Up to 256 KiB an answer that breaks off is made up for elsewhere; no caller
// ever takes half of one for the whole.
func TestAnAnswerThatBreaksOffIsMadeUpFor(t *testing.T) {
	whole := strings.Repeat("x", 256<<10)
	f := newFabric(t, setup{})
	served(t, f, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(len(whole)))
		_, _ = io.WriteString(w, whole[:200_000])
		panic(http.ErrAbortHandler)
	}, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, whole) })
	got := f.call(t, "POST", "/v2/models/tumour/infer", f.token(t, "clinic"), `{}`)
	require.Equal(t, 200, got.status)
	require.Equal(t, whole, got.text)
	require.Contains(t, got.header.Get("X-Fabric-Audit"), "region=us")
}

func TestStreamsAsItComes(t *testing.T) {
	f := newFabric(t, setup{})
	next, gone := make(chan string), make(chan time.Time, 1)
	served(t, f, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		out := http.NewResponseController(w)
		for {
			_ = out.Flush()
			select {
			case text, ok := <-next:
				if !ok {
					panic(http.ErrAbortHandler)
				}
				_, _ = io.WriteString(w, text)
			case <-r.Context().Done():
				gone <- time.Now()
				return
			}
		}
	}, nil)
	ask := func(ctx context.Context) *http.Response {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, f.URL+"/v2/models/tumour/infer", strings.NewReader(`{}`))
		require.NoError(t, err)
		req.Header.Set("Authorization", "Bearer "+f.token(t, "clinic"))
		req.Header.Set("X-Fabric-Max-Latency-Ms", "500")
		resp, err := f.Client().Do(req)
		require.NoError(t, err)
		require.Equal(t, 200, resp.StatusCode)
		require.NotEmpty(t, resp.Header.Get("X-Fabric-Audit"))
		return resp
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	resp := ask(ctx)
	part := make([]byte, 9)
	for i := range 3 {
		time.Sleep(250 * time.Millisecond) // past the deadline, which is of the first byte
		next <- fmt.Sprintf("data: %d\n\n", i)
		_, err := io.ReadFull(resp.Body, part)
		require.NoError(t, err)
		require.Equal(t, fmt.Sprintf("data: %d\n\n", i), string(part))
	}
	left := time.Now()
	cancel()
	require.Less(t, (<-gone).Sub(left), 200*time.Millisecond, "a caller who leaves ends the stream of the runtime")
	_ = resp.Body.Close()

	resp = ask(t.Context())
	defer resp.Body.Close()
	next <- "data: 1\n\n"
	close(next)
	_, err := io.ReadAll(resp.Body)
	require.Error(t, err, "a stream that breaks off is broken off here too")
}
