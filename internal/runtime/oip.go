package runtime

import (
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/model"
)

const (
	maxBody          = 8 << 20
	inRows           = "rows"
	outProbabilities = "probabilities"
	outClass         = "class"
)

// Headers that the router sets and that other callers may set: whose request
// it is, and which package must answer it.
const (
	headerTenant   = "X-Fabric-Tenant"
	headerManifest = "X-Fabric-Manifest"
)

// The shapes of the Open Inference Protocol V2.
type (
	serverMetadata struct {
		Name       string   `json:"name"`
		Version    string   `json:"version"`
		Extensions []string `json:"extensions"`
	}
	modelMetadata struct {
		Name     string           `json:"name"`
		Versions []string         `json:"versions"`
		Platform string           `json:"platform"`
		Inputs   []tensorMetadata `json:"inputs"`
		Outputs  []tensorMetadata `json:"outputs"`
	}
	tensorMetadata struct {
		Name     string `json:"name"`
		Datatype string `json:"datatype"`
		Shape    []int  `json:"shape"`
	}
	inferAnswer struct {
		ModelName    string       `json:"model_name"`
		ModelVersion string       `json:"model_version"`
		ID           string       `json:"id,omitempty"`
		Outputs      []tensorData `json:"outputs"`
	}
	tensorData struct {
		Name     string `json:"name"`
		Shape    []int  `json:"shape"`
		Datatype string `json:"datatype"`
		Data     any    `json:"data"`
	}
	protocolError struct {
		Error string `json:"error"`
	}
)

// Handler answers the Open Inference Protocol V2 and the fabric's own report,
// health and metrics.
func (r *Runtime) Handler() http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern, operation string, serve http.HandlerFunc) {
		mux.Handle(pattern, r.metrics.count(operation, serve))
	}
	handle("GET /v2", "server", r.getServer)
	handle("GET /v2/{$}", "server", r.getServer)
	handle("GET /v2/health/live", "live", func(w http.ResponseWriter, _ *http.Request) { reply(w, http.StatusOK, map[string]bool{"live": true}) })
	handle("GET /v2/health/ready", "ready", r.getReady)
	for _, at := range []string{"/v2/models/{model}", "/v2/models/{model}/versions/{version}"} {
		handle("GET "+at, "metadata", r.getModel)
		handle("GET "+at+"/ready", "model_ready", r.getModelReady)
		handle("POST "+at+"/infer", "infer", r.infer)
	}
	handle("GET /fabric/active", "active", r.getActive)
	handle("GET /health", "health", r.getHealth)
	mux.Handle("GET /metrics", r.metrics.handler)
	handle("/", "unmatched", func(w http.ResponseWriter, _ *http.Request) { refuse(w, http.StatusNotFound, "no such path or method") })
	return mux
}

func reply(w http.ResponseWriter, status int, body any) {
	text, err := json.Marshal(body)
	if err != nil { // a NaN: probabilities of finite weights and rows hold none
		status, text = http.StatusInternalServerError, []byte(`{"error":"the answer cannot be written"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(text)
}

func refuse(w http.ResponseWriter, status int, why string) { reply(w, status, protocolError{why}) }

func (r *Runtime) getServer(w http.ResponseWriter, _ *http.Request) {
	reply(w, http.StatusOK, serverMetadata{Name: "fabric-runtime-" + r.opts.Region, Version: r.opts.Version, Extensions: []string{}})
}

func (r *Runtime) getReady(w http.ResponseWriter, _ *http.Request) {
	ready := r.wanted.Load() != nil
	reply(w, status(ready), map[string]bool{"ready": ready})
}

func status(ok bool) int {
	if ok {
		return http.StatusOK
	}
	return http.StatusServiceUnavailable
}

// model finds the model of a request, or answers why not.
func (r *Runtime) model(w http.ResponseWriter, req *http.Request) *loaded {
	manifest := artifact.Digest("")
	if text := req.Header.Get(headerManifest); text != "" {
		parsed, err := artifact.ParseDigest(text)
		if err != nil {
			refuse(w, http.StatusBadRequest, headerManifest+" is not a digest")
			return nil
		}
		manifest = parsed
	}
	m := r.served.Load().lookup(req.PathValue("model"), req.PathValue("version"), manifest)
	if m == nil {
		refuse(w, http.StatusNotFound, "no such model or version is loaded in region "+r.opts.Region)
		return nil
	}
	return m
}

// permits asks the newest policy, not the one that was in force when the model
// was loaded. The router asked too; a runtime does not rely on it. A caller that
// names no tenant is a stranger: only what the policy permits to everybody
// answers it.
func (r *Runtime) permits(req *http.Request, m *loaded) bool {
	wanted := r.wanted.Load()
	if wanted == nil {
		return false
	}
	_, doc, ok := wanted.PolicyOf(r.opts.Region)
	return ok && doc.Permits(req.Header.Get(headerTenant), m.pkg.Model, r.opts.Region, r.opts.Kind)
}

func (r *Runtime) getModel(w http.ResponseWriter, req *http.Request) {
	m := r.model(w, req)
	if m == nil {
		return
	}
	var versions []string
	for _, n := range slices.Sorted(maps.Keys(r.served.Load().models[m.wire])) {
		versions = append(versions, strconv.Itoa(n))
	}
	reply(w, http.StatusOK, modelMetadata{
		Name: m.wire, Versions: versions, Platform: "fabric_" + m.spec.Trainer,
		Inputs: []tensorMetadata{{inRows, "FP64", []int{-1, m.spec.Inputs}}},
		Outputs: []tensorMetadata{
			{outProbabilities, "FP64", []int{-1, m.spec.Classes}},
			{outClass, "INT64", []int{-1}},
		},
	})
}

func (r *Runtime) getModelReady(w http.ResponseWriter, req *http.Request) {
	if m := r.model(w, req); m != nil {
		reply(w, http.StatusOK, map[string]any{"name": m.wire, "ready": true})
	}
}

func (r *Runtime) infer(w http.ResponseWriter, req *http.Request) {
	m := r.model(w, req)
	if m == nil {
		return
	}
	if !r.permits(req, m) {
		refuse(w, http.StatusForbidden, "the policy of region "+r.opts.Region+" does not permit this tenant and model here")
		return
	}
	if req.Header.Get("Inference-Header-Content-Length") != "" {
		refuse(w, http.StatusBadRequest, "binary tensors are not served; send JSON")
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, maxBody))
	if err != nil {
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			refuse(w, http.StatusRequestEntityTooLarge, "the body is larger than 8 MiB")
			return
		}
		refuse(w, http.StatusBadRequest, "the body ended early")
		return
	}
	asked, err := parseInfer(body, m.net.Inputs())
	if err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	started := time.Now()
	rows, err := m.work.probabilities(asked.rows)
	if err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	r.metrics.infer.Observe(time.Since(started).Seconds())
	w.Header().Set(headerManifest, string(m.pkg.Manifest))
	reply(w, http.StatusOK, answer(m, asked, rows))
}

func answer(m *loaded, asked inferRequest, rows [][]float64) inferAnswer {
	classes := m.net.Classes()
	flat := make([]float64, 0, len(rows)*classes)
	best := make([]int, len(rows))
	for i, row := range rows {
		flat = append(flat, row...)
		best[i] = model.Argmax(row)
	}
	out := inferAnswer{ModelName: m.wire, ModelVersion: strconv.Itoa(m.pkg.Version), ID: asked.id}
	for _, t := range []tensorData{
		{outProbabilities, []int{len(rows), classes}, "FP64", flat},
		{outClass, []int{len(rows)}, "INT64", best},
	} {
		if asked.outputs == nil || asked.outputs[t.Name] {
			out.Outputs = append(out.Outputs, t)
		}
	}
	return out
}

// active is the runtime's report: what activities.Active reads.
type active struct {
	Region   string                     `json:"region"`
	Snapshot int64                      `json:"snapshot"`
	Policy   artifact.Digest            `json:"policy"`
	Packages map[string]artifact.Digest `json:"packages"` // "tenant/model/version" -> manifest digest, loaded
	Routes   map[string]int             `json:"routes"`   // "tenant/model/environment" -> version that is loaded

	Delivered int64 `json:"delivered"` // newest snapshot that it was sent
	Verified  int64 `json:"verified"`  // newest that it has verified
}

func (r *Runtime) getActive(w http.ResponseWriter, _ *http.Request) {
	s := r.served.Load()
	out := active{Region: r.opts.Region, Snapshot: s.snapshot.Version, Policy: s.digest, Packages: map[string]artifact.Digest{}, Routes: map[string]int{}}
	out.Delivered, out.Verified = r.seen.Load(), s.snapshot.Version
	if wanted := r.wanted.Load(); wanted != nil {
		out.Verified = wanted.Version
	}
	for m := range s.all() {
		out.Packages[packageID(m.pkg)] = m.pkg.Manifest
	}
	for _, route := range s.snapshot.Routes {
		_, loaded := out.Packages[route.Tenant+"/"+route.Model+"/"+strconv.Itoa(route.Version)]
		if loaded && slices.Contains(route.Regions, r.opts.Region) {
			out.Routes[route.Tenant+"/"+route.Model+"/"+route.Environment] = route.Version
		}
	}
	reply(w, http.StatusOK, out)
}
