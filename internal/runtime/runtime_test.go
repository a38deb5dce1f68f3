package runtime_test

import (
	"context"
	"crypto/ecdsa"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/policy"
	"github.com/atom-fabric/fabric/domain/routing"
	"github.com/atom-fabric/fabric/domain/trust"
	"github.com/atom-fabric/fabric/internal/runtime"
	"github.com/atom-fabric/fabric/internal/runtime/runtimetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A running runtime of region eu.
type running struct {
	*runtime.Runtime
	*httptest.Server
	dir string
}

func start(t *testing.T, dir string, keys ...*ecdsa.PrivateKey) running {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{}}
	opts := runtime.Options{Region: "eu", Kind: policy.Neural, Version: "test", Dir: dir, MaxWeights: 1 << 20, Client: client,
		Log: slog.New(slog.DiscardHandler), Registry: prometheus.NewRegistry(), Confirmed: time.Now, Now: time.Now}
	var publics []*ecdsa.PublicKey
	for _, key := range keys {
		publics = append(publics, &key.PublicKey)
	}
	var err error
	opts.Trust, err = trust.Pin(publics...)
	require.NoError(t, err)
	r, err := runtime.New(opts)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); r.Run(ctx) }()
	server := httptest.NewServer(r.Handler())
	t.Cleanup(func() { server.Close(); cancel(); <-done; client.CloseIdleConnections() })
	return running{r, server, dir}
}

func snapshot(version int64, packages ...routing.Package) routing.Snapshot {
	s := routing.Snapshot{Version: version, Packages: packages, Policies: []policy.Document{policy.Default()},
		Regions: []routing.Region{{Name: "eu", Policy: 1, PolicyDigest: artifact.DigestOf([]byte("policy"))}, {Name: "us", Policy: 1}}}
	return s
}

func (r running) call(t *testing.T, method, path, body string, headers ...string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, r.URL+path, strings.NewReader(body))
	require.NoError(t, err)
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := r.Client().Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(text)
}

// settles waits until the runtime has answered for each package of a snapshot.
func (r running) settles(t *testing.T, version int64) string {
	t.Helper()
	var active string
	require.Eventually(t, func() bool {
		_, health := r.call(t, "GET", "/health", "")
		_, active = r.call(t, "GET", "/fabric/active", "")
		return strings.Contains(active, fmt.Sprintf(`"snapshot":%d,`, version)) && !strings.Contains(health, "loading")
	}, 5*time.Second, 5*time.Millisecond)
	return active
}

const rows = `{"inputs":[{"name":"rows","shape":[2,2],"datatype":"FP64","data":[[1,0],[0,3]]}]}`

func TestServesWhatTheSnapshotWants(t *testing.T) {
	w := runtimetest.NewWorld(t)
	r := start(t, t.TempDir(), w.Key)
	code, _ := r.call(t, "GET", "/v2/health/ready", "")
	require.Equal(t, 503, code)
	code, _ = r.call(t, "GET", "/health", "")
	require.Equal(t, 503, code)

	one := w.Push(t, "consortium", "tumour", 1, runtimetest.Logistic(t, 0), "eu", "us")
	two := w.Push(t, "consortium", "tumour", 2, runtimetest.Logistic(t, 1), "eu")
	far := w.Push(t, "consortium", "lung", 1, runtimetest.Logistic(t, 2), "us")
	s := snapshot(4, one, two, far)
	s.Routes = []routing.Route{
		{Tenant: "consortium", Model: "tumour", Environment: "production", Version: 1, Regions: []string{"eu", "us"}},
		{Tenant: "consortium", Model: "lung", Environment: "production", Version: 1, Regions: []string{"us"}},
	}
	r.Received(4)
	r.Received(3) // it was sent again what it had: the newest stays
	require.NoError(t, r.Use(s))
	require.JSONEq(t, fmt.Sprintf(`{"region":"eu","snapshot":4,"policy":%q,
		"packages":{"consortium/tumour/1":%q,"consortium/tumour/2":%q},
		"routes":{"consortium/tumour/production":1},"delivered":4,"verified":4}`, artifact.DigestOf([]byte("policy")), one.Manifest, two.Manifest), r.settles(t, 4))

	// Softmax of (0, 1) and of (0, -3), worked out by hand: 1/(1+e^-1) and 1/(1+e^3).
	code, body := r.call(t, "POST", "/v2/models/consortium.tumour/versions/1/infer", rows, "X-Fabric-Tenant", "consortium", "X-Fabric-Manifest", string(one.Manifest))
	require.Equal(t, 200, code, body)
	var answer struct {
		ModelName    string `json:"model_name"`
		ModelVersion string `json:"model_version"`
		Outputs      []struct {
			Name, Datatype string
			Shape          []int
			Data           []float64
		}
	}
	require.NoError(t, json.Unmarshal([]byte(body), &answer))
	require.Equal(t, "consortium.tumour", answer.ModelName)
	require.Equal(t, "1", answer.ModelVersion)
	require.Equal(t, "probabilities", answer.Outputs[0].Name)
	require.Equal(t, []int{2, 2}, answer.Outputs[0].Shape)
	require.InDeltaSlice(t, []float64{0.2689414, 0.7310586, 0.9525741, 0.0474259}, answer.Outputs[0].Data, 1e-6)
	require.Equal(t, "INT64", answer.Outputs[1].Datatype)
	require.Equal(t, []float64{1, 0}, answer.Outputs[1].Data)

	// Version 2 has another bias; without a version the highest answers.
	_, v2 := r.call(t, "POST", "/v2/models/consortium.tumour/versions/2/infer", rows)
	_, newest := r.call(t, "POST", "/v2/models/consortium.tumour/infer", rows)
	require.Equal(t, v2, newest)
	require.NotEqual(t, body, v2)
}

// Shapes of the Open Inference Protocol V2, REST.
func TestProtocolShapes(t *testing.T) {
	w := runtimetest.NewWorld(t)
	r := start(t, t.TempDir(), w.Key)
	require.NoError(t, r.Use(snapshot(1, w.Push(t, "a", "m", 7, runtimetest.Logistic(t, 0), "eu"))))
	r.settles(t, 1)
	row := func(datatype, shape, data string) string {
		return fmt.Sprintf(`{"inputs":[{"name":"rows","shape":%s,"datatype":%q,"data":%s}]}`, shape, datatype, data)
	}
	const infer = "/v2/models/a.m/versions/7/infer"
	tests := []struct {
		name, method, path, body string
		code                     int
		want                     string // JSON, or part of {"error"} for 4xx
	}{
		{"server", "GET", "/v2", "", 200, `{"name":"fabric-runtime-eu","version":"test","extensions":[]}`},
		{"live", "GET", "/v2/health/live", "", 200, `{"live":true}`},
		{"ready", "GET", "/v2/health/ready", "", 200, `{"ready":true}`},
		{"metadata", "GET", "/v2/models/a.m", "", 200, `{"name":"a.m","versions":["7"],"platform":"fabric_logistic",
			"inputs":[{"name":"rows","datatype":"FP64","shape":[-1,2]}],
			"outputs":[{"name":"probabilities","datatype":"FP64","shape":[-1,2]},{"name":"class","datatype":"INT64","shape":[-1]}]}`},
		{"model ready", "GET", "/v2/models/a.m/versions/7/ready", "", 200, `{"name":"a.m","ready":true}`},
		{"flat data", "POST", infer, row("FP64", "[2,2]", "[0,0,0,0]"), 200, `{"model_name":"a.m","model_version":"7","outputs":[{"name":"probabilities","shape":[2,2],"datatype":"FP64","data":[0.5,0.5,0.5,0.5]},{"name":"class","shape":[2],"datatype":"INT64","data":[0,0]}]}`},
		{"nested data, one row, id, one output", "POST", infer, `{"id":"x1","parameters":{},"inputs":[{"name":"r","shape":[1,2],"datatype":"FP32","parameters":{},"data":[ [0 , 0] ]}],"outputs":[{"name":"class"}]}`, 200, `{"model_name":"a.m","model_version":"7","id":"x1","outputs":[{"name":"class","shape":[1],"datatype":"INT64","data":[0]}]}`},
		{"a vector", "POST", infer, row("FP32", "[2]", "[0,0]"), 200, `{"model_name":"a.m","model_version":"7","outputs":[{"name":"probabilities","shape":[1,2],"datatype":"FP64","data":[0.5,0.5]},{"name":"class","shape":[1],"datatype":"INT64","data":[0]}]}`},
		{"unknown model", "GET", "/v2/models/b.m", "", 404, "no such model"},
		{"unknown version", "GET", "/v2/models/a.m/versions/8/ready", "", 404, "no such model"},
		{"version with a sign", "GET", "/v2/models/a.m/versions/+7", "", 404, "no such model"},
		{"unknown path", "GET", "/v2/nothing", "", 404, "no such path"},
		{"wrong method", "GET", infer, "", 404, "no such path"},
		{"no JSON", "POST", infer, "x", 400, "not one JSON value"},
		{"a name twice", "POST", infer, `{"inputs":[],"inputs":[]}`, 400, "twice"},
		{"an unknown field", "POST", infer, `{"rows":[]}`, 400, "/rows"},
		{"no inputs", "POST", infer, `{}`, 400, "one tensor"},
		{"two inputs", "POST", infer, `{"inputs":[{},{}]}`, 400, "one tensor"},
		{"no name", "POST", infer, `{"inputs":[{"shape":[1,2],"datatype":"FP64","data":[0,0]}]}`, 400, "name"},
		{"INT64", "POST", infer, row("INT64", "[1,2]", "[0,0]"), 400, "datatype"},
		{"too many columns", "POST", infer, row("FP64", "[1,3]", "[0,0,0]"), 400, "shape must be [rows, 2]"},
		{"no rows", "POST", infer, row("FP64", "[0,2]", "[]"), 400, "shape"},
		{"negative rows", "POST", infer, row("FP64", "[-1,2]", "[]"), 400, "shape"},
		{"a shape that overflows", "POST", infer, row("FP64", "[4611686018427387904,2]", "[]"), 400, "shape"},
		{"a shape of fractions", "POST", infer, row("FP64", "[1.5,2]", "[0,0]"), 400, "shape"},
		{"too little data", "POST", infer, row("FP64", "[2,2]", "[0,0,0]"), 400, "flat nor nested"},
		{"too much data", "POST", infer, row("FP64", "[1,2]", "[0,0,0]"), 400, "flat nor nested"},
		{"ragged data", "POST", infer, row("FP64", "[2,2]", "[[0,0,0],[0]]"), 400, "flat nor nested"},
		{"nested too deep", "POST", infer, row("FP64", "[1,2]", "[[[0],[0]]]"), 400, "flat nor nested"},
		{"null", "POST", infer, row("FP64", "[1,2]", "[0,null]"), 400, "finite number"},
		{"a text", "POST", infer, row("FP64", "[1,2]", `[0,"1"]`), 400, "finite number"},
		{"out of the range of FP64", "POST", infer, row("FP64", "[1,2]", "[0,1e400]"), 400, "finite number"},
		{"out of the range of FP32", "POST", infer, row("FP32", "[1,2]", "[0,1e40]"), 400, "finite number"},
		{"no data", "POST", infer, `{"inputs":[{"name":"r","shape":[1,2],"datatype":"FP64"}]}`, 400, "flat nor nested"},
		{"an output that is not there", "POST", infer, `{"inputs":[{"name":"r","shape":[1,2],"datatype":"FP64","data":[0,0]}],"outputs":[{"name":"x"}]}`, 400, "output"},
		{"too large", "POST", infer, `"` + strings.Repeat("a", 8<<20) + `"`, 413, "8 MiB"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			code, body := r.call(t, tt.method, tt.path, tt.body)
			require.Equal(t, tt.code, code, body)
			if code == 200 {
				require.JSONEq(t, tt.want, body)
				return
			}
			var refused map[string]string
			require.NoError(t, json.Unmarshal([]byte(body), &refused), body)
			require.Len(t, refused, 1)
			require.Contains(t, refused["error"], tt.want)
		})
	}
}

// Two tenants' names that join to one name on the wire never answer for each
// other.
func TestJoinedNamesAreToldApart(t *testing.T) {
	w := runtimetest.NewWorld(t)
	r := start(t, t.TempDir(), w.Key)
	one := w.Push(t, "a", "b.c", 1, runtimetest.Logistic(t, 0), "eu")
	two := w.Push(t, "a.b", "c", 1, runtimetest.Logistic(t, 5), "eu")
	require.NoError(t, r.Use(snapshot(1, one, two)))
	r.settles(t, 1)
	const infer = "/v2/models/a.b.c/versions/1/infer"
	code, first := r.call(t, "POST", infer, rows, "X-Fabric-Manifest", string(one.Manifest))
	require.Equal(t, 200, code)
	code, second := r.call(t, "POST", infer, rows, "X-Fabric-Manifest", string(two.Manifest))
	require.Equal(t, 200, code)
	require.NotEqual(t, first, second)
	code, _ = r.call(t, "POST", infer, rows)
	require.Equal(t, 404, code)
	code, _ = r.call(t, "POST", infer, rows, "X-Fabric-Manifest", "latest")
	require.Equal(t, 400, code)
}

// Versions come and go under load and no request fails.
func TestSwapsWithoutDroppingARequest(t *testing.T) {
	w := runtimetest.NewWorld(t)
	r := start(t, t.TempDir(), w.Key)
	kept := w.Push(t, "a", "m", 1, runtimetest.Logistic(t, 0), "eu")
	require.NoError(t, r.Use(snapshot(1, kept)))
	r.settles(t, 1)
	stop := make(chan struct{})
	var group sync.WaitGroup
	var failed, answered atomic.Int64
	for range 4 {
		group.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				resp, err := r.Client().Post(r.URL+"/v2/models/a.m/versions/1/infer", "application/json", strings.NewReader(rows))
				if err != nil || resp.StatusCode != 200 {
					failed.Add(1)
				}
				if err == nil {
					_, _ = io.Copy(io.Discard, resp.Body)
					_ = resp.Body.Close()
				}
				answered.Add(1)
			}
		})
	}
	for version := int64(2); version < 12; version++ {
		require.NoError(t, r.Use(snapshot(version, kept, w.Push(t, "a", "m", int(version), runtimetest.Logistic(t, float32(version)), "eu"))))
		r.settles(t, version)
	}
	close(stop)
	group.Wait()
	require.Zero(t, failed.Load())
	require.Positive(t, answered.Load())
}
