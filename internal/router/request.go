package router

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"regexp"
	"slices"
	"time"

	"github.com/atom-fabric/fabric/domain/policy"
	"github.com/atom-fabric/fabric/internal/strictjson"
)

// name is the form of tenants, models and regions in the whole fabric.
var name = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)

// Environments, in the order in which a simulated caller is served by them.
const (
	dev        = "dev"
	staging    = "staging"
	production = "production"
)

// A request is the body of POST /invoke.
type request struct {
	tenant  string
	model   string
	input   json.RawMessage
	prefers preferences
}

// preferences narrow or shape a decision within what the policy permits.
type preferences struct {
	region      string
	owner       string // of the model, where two tenants' models have one id
	kind        string
	environment string
	maxLatency  time.Duration
	maxCost     int64
	explain     bool
}

// read returns the body, strictly: one JSON object of at most 1 MiB, with known
// names, each once.
func (r *Router) read(w http.ResponseWriter, req *http.Request, who caller) (request, *problem) {
	if media, _, err := mime.ParseMediaType(req.Header.Get("Content-Type")); !who.simulated && (err != nil || media != "application/json") {
		return request{}, &problem{code: "unsupported_media_type", status: http.StatusUnsupportedMediaType, title: "The content type is not the one wanted", detail: "Send application/json."}
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, maxBody))
	if err != nil {
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			return request{}, &problem{code: "too_large", status: http.StatusRequestEntityTooLarge, title: "The body is too large", detail: fmt.Sprintf("At most %d bytes.", maxBody)}
		}
		return request{}, &problem{code: "bad_request", status: http.StatusBadRequest, title: "The request is malformed", detail: "The body ended early."}
	}
	return parse(body)
}

func parse(body []byte) (request, *problem) {
	var out request
	var prefers json.RawMessage
	if p := decode("", body, map[string]any{"tenant": &out.tenant, "model_id": &out.model, "input": &out.input, "preferences": &prefers}); p != nil {
		return request{}, p
	}
	for _, field := range []struct{ pointer, value string }{{"/tenant", out.tenant}, {"/model_id", out.model}} {
		if !name.MatchString(field.value) {
			return request{}, badField(field.pointer, "must be given and match %s", name)
		}
	}
	if len(out.input) == 0 || out.input[0] != '{' {
		return request{}, badField("/input", "must be given and be an object")
	}
	if len(prefers) == 0 || string(prefers) == "null" {
		return out, nil
	}
	var p *problem
	out.prefers, p = parsePreferences(prefers)
	return out, p
}

func parsePreferences(text json.RawMessage) (preferences, *problem) {
	var out preferences
	var latency *int64
	var cost *int64
	if p := decode("/preferences", text, map[string]any{
		"region": &out.region, "owner": &out.owner, "kind": &out.kind, "environment": &out.environment,
		"max_latency_ms": &latency, "max_cost_micros": &cost, "explain": &out.explain,
	}); p != nil {
		return out, p
	}
	for _, field := range []struct{ pointer, value string }{{"/preferences/region", out.region}, {"/preferences/owner", out.owner}} {
		if field.value != "" && !name.MatchString(field.value) {
			return out, badField(field.pointer, "must match %s", name)
		}
	}
	if out.kind != "" && out.kind != policy.Neural && out.kind != policy.Quantum {
		return out, badField("/preferences/kind", "must be neural or quantum")
	}
	if out.environment != "" && !slices.Contains([]string{dev, staging, production}, out.environment) {
		return out, badField("/preferences/environment", "must be dev, staging or production")
	}
	if latency != nil {
		if *latency < 1 || *latency > longestDeadline.Milliseconds() {
			return out, badField("/preferences/max_latency_ms", "must be 1 to %d", longestDeadline.Milliseconds())
		}
		out.maxLatency = time.Duration(*latency) * time.Millisecond
	}
	if cost != nil {
		if *cost < 1 {
			return out, badField("/preferences/max_cost_micros", "must be 1 or more")
		}
		out.maxCost = *cost
	}
	return out, nil
}

// decode decodes an object and says where it is wrong.
func decode(at string, text []byte, fields map[string]any) *problem {
	err := strictjson.Decode(text, fields)
	var where *strictjson.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &where):
		return badField(at+where.Pointer, "%v", where.Err)
	default:
		return badField(at, "cannot be read")
	}
}
