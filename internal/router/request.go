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
	input   []byte
	prefers preferences

	once      bool   // it must not be done twice, see bounded
	callerKey string // by which it keeps its side of a canary, see keyed
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
	version     int    // 0: the one that the route and the canary give
	alias       string // champion, challenger or ""
	callerKey   string
	purpose     string // of the call, for rules that name some
	weights     policy.Weights
}

// read returns the body, strictly: one JSON object of at most 1 MiB, with known
// names, each once. Its parts lie in the page.
func (r *Router) read(w http.ResponseWriter, req *http.Request, page *page, who caller) (request, *problem) {
	if !who.simulated && !isJSON(req.Header) {
		return request{}, &problem{code: "unsupported_media_type", status: http.StatusUnsupportedMediaType, title: "The content type is not the one wanted", detail: "Send application/json."}
	}
	if size := req.ContentLength; size > 0 && size <= maxBody { // twice: what is made of it lies behind it
		page.b = slices.Grow(page.b[:0], int(2*size)+256)
	}
	if p := readBody(w, req, page, maxBody); p != nil {
		return request{}, p
	}
	return parse(page.b, who.tenant)
}

// isJSON reports whether a request says that its body is JSON.
func isJSON(h http.Header) bool {
	kind := h.Get("Content-Type")
	if kind == "application/json" {
		return true
	}
	media, _, err := mime.ParseMediaType(kind)
	return err == nil && media == "application/json"
}

// readBody reads the body of a request into the page.
func readBody(w http.ResponseWriter, req *http.Request, page *page, limit int64) *problem {
	if req.ContentLength > limit {
		w.Header().Set("Connection", "close")
		return tooLarge(limit)
	}
	body := req.Body // ends at its length
	if req.ContentLength > 0 {
		page.b = slices.Grow(page.b[:0], int(req.ContentLength)+1)
	} else {
		body = http.MaxBytesReader(w, body, limit)
	}
	for {
		if len(page.b) == cap(page.b) {
			page.b = slices.Grow(page.b, len(page.b)+512)
		}
		n, err := body.Read(page.b[len(page.b):cap(page.b)])
		page.b = page.b[:len(page.b)+n]
		var past *http.MaxBytesError
		switch {
		case err == nil:
		case err == io.EOF: //nolint:errorlint // a reader returns that very value
			return nil
		case errors.As(err, &past):
			return tooLarge(limit)
		default:
			return &problem{code: "bad_request", status: http.StatusBadRequest, title: "The request is malformed", detail: "The body ended early."}
		}
	}
}

func tooLarge(limit int64) *problem {
	return &problem{code: "too_large", status: http.StatusRequestEntityTooLarge, title: "The body is too large", detail: fmt.Sprintf("At most %d bytes.", limit)}
}

// parse splits the envelope once. tenant is whom the token names, if anybody.
func parse(body []byte, tenant string) (request, *problem) {
	var room [8]strictjson.Field
	fields, err := strictjson.Fields(room[:0], body)
	if err != nil {
		return request{}, misread("", err)
	}
	var out request
	var prefers []byte
	for _, f := range fields {
		switch string(f.Name) {
		case "tenant":
			out.tenant, err = text(f.Value, tenant)
		case "model_id":
			out.model, err = text(f.Value, "")
		case "input":
			out.input = f.Value
		case "preferences":
			prefers = f.Value
		default:
			err = strictjson.ErrUnknown
		}
		if err != nil {
			return request{}, misread("", strictjson.At(string(f.Name), err))
		}
	}
	if !named(out.tenant) {
		return request{}, badField("/tenant", "must be given and match %s", name)
	}
	if !named(out.model) {
		return request{}, badField("/model_id", "must be given and match %s", name)
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

var errNoText = errors.New("not a text")

// text returns the string that a value is; likely is one that it may well be,
// and is returned instead of a copy.
func text(value []byte, likely string) (string, error) {
	plain := strictjson.Text(value)
	switch {
	case plain == nil && string(value) == "null":
		return "", nil
	case plain == nil:
		return "", errNoText
	case string(plain) == likely:
		return likely, nil
	}
	return string(plain), nil
}

// named reports whether a text matches [name].
func named(text string) bool {
	for i := range len(text) {
		c := text[i]
		if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || i > 0 && (c == '.' || c == '_' || c == '-')) {
			return false
		}
	}
	return len(text) > 0 && len(text) <= 63
}

func parsePreferences(text []byte) (preferences, *problem) {
	var out preferences
	var latency, cost, version *int64
	var key *string
	var weights json.RawMessage
	if p := decode("/preferences", text, map[string]any{
		"region": &out.region, "owner": &out.owner, "kind": &out.kind, "environment": &out.environment,
		"max_latency_ms": &latency, "max_cost_micros": &cost, "explain": &out.explain,
		"version": &version, "alias": &out.alias, "caller_key": &key,
		"purpose": &out.purpose, "weights": &weights,
	}); p != nil {
		return out, p
	}
	for _, field := range []struct{ pointer, value string }{{"/preferences/region", out.region}, {"/preferences/owner", out.owner}, {"/preferences/purpose", out.purpose}} {
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
	if version != nil {
		if *version < 1 || *version > 1<<31-1 {
			return out, badField("/preferences/version", "must be 1 or more")
		}
		out.version = int(*version)
	}
	if out.alias != "" && out.alias != champion && out.alias != challenger || out.alias != "" && version != nil {
		return out, badField("/preferences/alias", "must be champion or challenger, and not with a version")
	}
	if weights != nil {
		if p := decodeWeights(weights, &out.weights); p != nil {
			return out, p
		}
	}
	if key != nil {
		if !isCallerKey(*key) {
			return out, badField("/preferences/caller_key", "must be 1 to %d printable ASCII characters", longestCallerKey)
		}
		out.callerKey = *key
	}
	return out, nil
}

// decodeWeights reads what a caller would weigh by.
func decodeWeights(text []byte, out *policy.Weights) *problem {
	if p := decode("/preferences/weights", text, map[string]any{
		"latency": &out.Latency, "cost": &out.Cost, "fabric": &out.Fabric, "locality": &out.Locality}); p != nil {
		return p
	}
	for _, w := range []int{out.Latency, out.Cost, out.Fabric, out.Locality} {
		if w < 0 || w > 1000 {
			return badField("/preferences/weights", "each must be 0 to 1000")
		}
	}
	return nil
}

// decode decodes an object and says where it is wrong.
func decode(at string, text []byte, fields map[string]any) *problem {
	if err := strictjson.Decode(text, fields); err != nil {
		return misread(at, err)
	}
	return nil
}

// misread says where a document is wrong.
func misread(at string, err error) *problem {
	var where *strictjson.Error
	if errors.As(err, &where) {
		return badField(at+where.Pointer, "%v", where.Err)
	}
	return badField(at, "cannot be read")
}
