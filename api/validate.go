package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"

	"github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/artifact"
)

// maxItems bounds how many faults one problem names.
const maxItems = 20

// checkParameters compares path, query and header with the document. A query
// parameter that nobody knows is a mistake of the caller, not noise: a
// misspelt filter would otherwise show too much.
func (s *spec) checkParameters(r *http.Request, o *operation, path map[string]string) error {
	for name, values := range r.URL.Query() {
		if !slices.Contains(o.query, name) {
			return invalidRequest.at("query:"+clip(name), "is not known here")
		}
		if len(values) > 1 {
			return invalidRequest.at("query:"+clip(name), "occurs more than once")
		}
		if !isText(values[0]) {
			return invalidRequest.at("query:"+name, "is no text")
		}
	}
	for name, value := range path {
		if !isText(value) {
			return invalidRequest.at("path:"+name, "is no text")
		}
	}
	// Without its body: the filter reads all of it into memory, however long it
	// is, before it looks at a security requirement.
	bare := r.WithContext(r.Context())
	bare.Body = http.NoBody
	input := &openapi3filter.RequestValidationInput{
		Request:    bare,
		PathParams: path,
		Route:      &routers.Route{Spec: s.plain, Path: o.path, PathItem: o.item, Method: o.method, Operation: o.spec},
		Options: &openapi3filter.Options{
			MultiError:         true,
			ExcludeRequestBody: true,
			AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, // the border knows already who asks
			// an absent parameter stays absent: handlers know their defaults
			SkipSettingDefaults: true,
		},
	}
	if err := openapi3filter.ValidateRequest(r.Context(), input); err != nil {
		return &Problem{Kind: invalidRequest, Items: faults(err, "")}
	}
	return nil
}

// isText says whether a value of the line can be stored and shown. Where the
// document sets no pattern, any bytes can be written there.
func isText(s string) bool { return utf8.ValidString(s) && !strings.ContainsRune(s, 0) }

// checkBody compares a JSON body with the document.
func checkBody(schema *openapi3.Schema, body []byte) error {
	var value any
	if err := artifact.DecodeStrict(body, &value); err != nil {
		return malformed(err)
	}
	if err := schema.VisitJSON(value, openapi3.MultiErrors(), openapi3.VisitAsRequest()); err != nil {
		return &Problem{Kind: invalidRequest, Items: faults(err, "body")}
	}
	if at, found := nulIn(value, nil); found {
		return invalidRequest.at(clip(jsonPointer(at)), "holds the character U+0000, which no text here does")
	}
	return nil
}

// nulIn returns where a JSON value holds U+0000: no column can keep it, neither
// as text nor inside a document.
func nulIn(v any, at []string) ([]string, bool) {
	switch v := v.(type) {
	case string:
		return at, strings.ContainsRune(v, 0)
	case []any:
		for i, one := range v {
			if where, found := nulIn(one, append(at, strconv.Itoa(i))); found {
				return where, true
			}
		}
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			if strings.ContainsRune(name, 0) {
				return at, true
			}
			if where, found := nulIn(v[name], append(at, name)); found {
				return where, true
			}
		}
	}
	return nil, false
}

// decode reads a body that was checked into its type, strictly: what the
// schema leaves open (1.0 for an integer) is refused here.
func decode(body []byte, into any) error {
	if err := artifact.DecodeStrict(body, into); err != nil {
		return malformed(err)
	}
	return nil
}

// malformed says where JSON is malformed. The reason is one of the decoder's
// sentinels, never text of the body.
func malformed(err error) error {
	p := &Problem{Kind: badRequest, Detail: "the body is not JSON that every parser reads alike"}
	var at *artifact.JSONError
	if !errors.As(err, &at) {
		return p
	}
	for _, why := range []error{
		artifact.ErrText, artifact.ErrUnknownKey, artifact.ErrDuplicateKey, artifact.ErrType,
		artifact.ErrNumber, artifact.ErrNesting, artifact.ErrTrailing, artifact.ErrSyntax,
	} {
		if errors.Is(err, why) {
			p.Items = []v1.ProblemItem{{Pointer: clip(at.Pointer), Detail: why.Error()}}
			break
		}
	}
	return p
}

// faults turns what the validator says into pointers and fixed words. Its own
// text is left out: it may quote the request.
func faults(err error, where string) []v1.ProblemItem {
	var items []v1.ProblemItem
	var walk func(err error, where string)
	walk = func(err error, where string) {
		var many openapi3.MultiError
		var request *openapi3filter.RequestError
		var schema *openapi3.SchemaError
		switch {
		case len(items) >= maxItems:
		case errors.As(err, &request) && request.Parameter != nil && where == "":
			where = request.Parameter.In + ":" + request.Parameter.Name
			if request.Err == nil || errors.Is(request.Err, openapi3filter.ErrInvalidRequired) {
				items = append(items, v1.ProblemItem{Pointer: where, Detail: "is required"})
				return
			}
			walk(request.Err, where)
		case asMulti(err, &many):
			for _, one := range many {
				walk(one, where)
			}
		case errors.As(err, &schema):
			pointer := where
			if where == "body" {
				pointer = jsonPointer(schema.JSONPointer())
			}
			items = append(items, v1.ProblemItem{Pointer: clip(pointer), Detail: words(schema)})
		default:
			items = append(items, v1.ProblemItem{Pointer: where, Detail: "cannot be read as what it should be"})
		}
	}
	walk(err, where)
	return items
}

// asMulti unwraps only the outermost error, so that a parameter's errors keep
// their parameter.
func asMulti(err error, many *openapi3.MultiError) bool {
	m, ok := err.(openapi3.MultiError) //nolint:errorlint // see above
	*many = m
	return ok
}

func jsonPointer(path []string) string {
	var b strings.Builder
	for _, part := range path {
		b.WriteByte('/')
		b.WriteString(strings.NewReplacer("~", "~0", "/", "~1").Replace(part))
	}
	return b.String()
}

// words says what a schema wanted, in terms of the schema only.
func words(e *openapi3.SchemaError) string {
	s := e.Schema
	number := func(f *float64) string {
		text, err := json.Marshal(f)
		if err != nil {
			return "the bound"
		}
		return string(text)
	}
	switch e.SchemaField {
	case "required":
		return "is required"
	case "additionalProperties", "properties", "unevaluatedProperties":
		return "holds a member that is not known"
	case "type":
		if s != nil && s.Type != nil {
			return "must be of type " + strings.Join(s.Type.Slice(), " or ")
		}
	case "enum":
		if s != nil {
			return fmt.Sprintf("must be one of %v", s.Enum)
		}
	case "pattern":
		if s != nil {
			return "must match " + s.Pattern
		}
	case "maxLength":
		if s != nil && s.MaxLength != nil {
			return fmt.Sprintf("must have at most %d characters", *s.MaxLength)
		}
	case "minLength":
		return "is too short"
	case "maximum":
		if s != nil && s.Max != nil {
			return "must be at most " + number(s.Max)
		}
	case "minimum":
		if s != nil && s.Min != nil {
			return "must be at least " + number(s.Min)
		}
	case "maxItems", "maxProperties":
		return "has too many members"
	case "minItems", "minProperties":
		return "has too few members"
	case "uniqueItems":
		return "holds something twice"
	case "format":
		if s != nil {
			return "must be a " + s.Format
		}
	}
	return "does not follow its schema"
}

// clip shortens foreign text before it goes into an answer.
func clip(s string) string {
	if len(s) > 200 {
		return strings.ToValidUTF8(s[:200], "") + "..."
	}
	return strings.ToValidUTF8(s, "")
}
