package docs

import (
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/api"
)

// spec is openapi.yaml.
func spec(t testing.TB) *openapi3.T {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromFile(filepath.Join(root, "api/openapi.yaml"))
	require.NoError(t, err)
	return doc
}

// border are the problems that any operation may answer with: they stand once
// at the top of the page.
var border = []string{
	"bad_request", "invalid_request", "idempotency_key_missing", "tenant_missing", "token_missing", "token_invalid", "role_missing",
	"simulation_refused", "not_found", "method_not_allowed", "idempotency_key_in_progress", "idempotency_key_reused",
	"too_large", "unsupported_media_type", "rate_limited", "internal", "unavailable",
}

const apiHead = `# The HTTP API

Made from ` + "`api/openapi.yaml`" + ` and from the handlers; a test compares. Every operation answers on the gateway (port 9000) and on the port of its service.

A POST with a token needs an ` + "`Idempotency-Key`" + `: the same key and body again are answered the same and done once. Lists are pages: give ` + "`next`" + ` back as ` + "`cursor`" + `.
In simulation, on loopback, a request without a token acts for the tenant that it names, unless the operation says *needs a token*. Every answer carries its trace id in
` + "`X-Trace-Id`" + `. Errors are problem documents; [errors.md](../errors.md) says of each what it means and what to do.

`

// reference is docs/reference/api.md.
func reference(t *testing.T) string {
	doc, problems := spec(t), newReach(t)
	status := api.Codes()
	var b strings.Builder
	b.WriteString(apiHead)
	fmt.Fprintf(&b, "Any operation may answer with: %s. Each lists what it answers with beside these.\n", linked(border))
	for _, tag := range doc.Tags {
		fmt.Fprintf(&b, "\n## %s\n\n%s.\n", tag.Name, capital(tag.Description))
		for _, path := range slices.Sorted(maps.Keys(doc.Paths.Map())) {
			item := doc.Paths.Value(path)
			for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE"} {
				if o := item.GetOperation(method); o != nil && slices.Contains(o.Tags, tag.Name) {
					describe(t, &b, doc, o, method, path, problems.codes(o.OperationID), status)
				}
			}
		}
	}
	return b.String()
}

func describe(t *testing.T, b *strings.Builder, doc *openapi3.T, o *openapi3.Operation, method, path string, codes []string, status map[string]int) {
	fmt.Fprintf(b, "\n### %s\n\n`%s %s`\n\n%s.", o.OperationID, method, path, strings.TrimSuffix(capital(o.Summary), "."))
	if o.Description != "" {
		fmt.Fprintf(b, " %s", strings.Join(strings.Fields(o.Description), " "))
	}
	b.WriteString("\n\n| | |\n| --- | --- |\n")
	row := func(name, value string) { fmt.Fprintf(b, "| %s | %s |\n", name, strings.ReplaceAll(value, "|", `\|`)) }
	row("who", access(o))
	for _, p := range o.Parameters {
		if p.Value.In == "header" && p.Value.Name == "Idempotency-Key" {
			continue
		}
		name := fmt.Sprintf("%s `%s`", p.Value.In, p.Value.Name)
		row(name, parameter(p.Value))
	}
	if body := o.RequestBody; body != nil {
		for _, media := range slices.Sorted(maps.Keys(body.Value.Content)) {
			row("body", strings.TrimSpace(fmt.Sprintf("`%s` %s", media, typeName(body.Value.Content[media].Schema))))
		}
	}
	for _, code := range slices.Sorted(maps.Keys(o.Responses.Map())) {
		response := o.Responses.Value(code)
		if response.Ref != "" || code >= "400" {
			continue
		}
		text := *response.Value.Description
		for _, media := range slices.Sorted(maps.Keys(response.Value.Content)) {
			text += "; " + strings.TrimSpace(fmt.Sprintf("`%s` %s", media, typeName(response.Value.Content[media].Schema)))
		}
		row(code, text)
	}
	var refused []string
	for _, code := range slices.Sorted(maps.Keys(o.Responses.Map())) {
		if code >= "400" {
			refused = append(refused, code)
		}
	}
	if len(refused) > 0 {
		row("refused", strings.Join(refused, ", "))
	}
	var own []string
	for _, code := range codes {
		if !slices.Contains(border, code) && slices.Contains(refused, fmt.Sprint(status[code])) {
			own = append(own, code)
		}
	}
	if len(own) > 0 {
		row("problems", linked(own))
	}
	fmt.Fprintf(b, "\n```sh\n%s\n```\n", curl(t, doc, o, method, path))
}

// access says who may call.
func access(o *openapi3.Operation) string {
	kind, _ := o.Extensions["x-access"].(string)
	switch kind {
	case "token":
		roles := []string{}
		list, _ := o.Extensions["x-roles"].([]any)
		for _, r := range list {
			roles = append(roles, "`"+fmt.Sprint(r)+"`")
		}
		text := "a token with one of " + strings.Join(roles, ", ")
		if o.Extensions["x-simulated"] == "refused" {
			text += "; needs a token, in simulation too"
		}
		return text
	case "site":
		return "an enrolled site, with the token of its enrolment"
	case "enrolment":
		return "a site, with `FEDERATION_TOKEN`"
	case "router":
		return "any token of the tenant; the router answers"
	}
	return "anybody who reaches the port"
}

func parameter(p *openapi3.Parameter) string {
	text := p.Description
	if len(p.Schema.Value.Enum) > 0 {
		var words []string
		for _, e := range p.Schema.Value.Enum {
			words = append(words, "`"+fmt.Sprint(e)+"`")
		}
		text = strings.TrimPrefix(text+"; ", "; ") + strings.Join(words, ", ")
	}
	if d := p.Schema.Value.Default; d != nil {
		text = strings.TrimPrefix(text+"; ", "; ") + fmt.Sprintf("`%v` if absent", d)
	}
	return strings.TrimSpace(text)
}

func typeName(ref *openapi3.SchemaRef) string {
	if ref == nil || ref.Ref == "" {
		return ""
	}
	return "`" + ref.Ref[strings.LastIndex(ref.Ref, "/")+1:] + "`"
}

func linked(codes []string) string {
	var out []string
	for _, c := range codes {
		out = append(out, fmt.Sprintf("[%s](../errors.md#%s)", c, c))
	}
	return strings.Join(out, ", ")
}

func capital(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// curl is a call that has everything that is required.
func curl(t *testing.T, doc *openapi3.T, o *openapi3.Operation, method, path string) string {
	for _, p := range o.Parameters {
		if p.Value.In == "path" {
			path = strings.ReplaceAll(path, "{"+p.Value.Name+"}", fmt.Sprint(sample(p.Value.Name, p.Value.Schema)))
		}
	}
	var query []string
	for _, p := range o.Parameters {
		if p.Value.In == "query" && p.Value.Required {
			query = append(query, fmt.Sprintf("%s=%v", p.Value.Name, sample(p.Value.Name, p.Value.Schema)))
		}
	}
	url := "$FABRIC_API_URL" + path
	if len(query) > 0 {
		url += "?" + strings.Join(query, "&")
	}
	var words []string
	if method != "GET" {
		words = append(words, "-X "+method)
	}
	words = append(words, fmt.Sprintf("%q", url))
	switch kind, _ := o.Extensions["x-access"].(string); kind {
	case "token", "router":
		words = append(words, `-H "Authorization: Bearer $FABRIC_TOKEN"`)
	case "site":
		words = append(words, `-H "Authorization: Bearer $SITE_TOKEN"`)
	case "enrolment":
		words = append(words, `-H "Authorization: Bearer $FEDERATION_TOKEN"`)
	}
	for _, p := range o.Parameters {
		if p.Value.In == "header" && p.Value.Name == "Idempotency-Key" {
			words = append(words, `-H "Idempotency-Key: $(uuidgen)"`)
		}
	}
	if body := o.RequestBody; body != nil {
		switch media := body.Value.Content; {
		case media["application/json"] != nil:
			schema := media["application/json"].Schema
			value := sample("", schema)
			require.NoError(t, schema.Value.VisitJSON(value), o.OperationID)
			text, err := json.Marshal(value)
			require.NoError(t, err)
			words = append(words, "-H 'Content-Type: application/json'", "-d '"+string(text)+"'")
		case media["multipart/form-data"] != nil:
			words = append(words, "-F manifest=@manifest.json -F bundle=@bundle.json")
		default:
			words = append(words, "-H 'Content-Type: application/octet-stream' --data-binary @file")
		}
	}
	return "curl " + strings.Join(words, " \\\n  ")
}

// known are values that read like the demonstration's.
var known = map[string]any{
	"tenant": "hosp-north", "tenants": []any{"hosp-north"}, "model_id": "tumour", "feature_id": "wdbc", "feature": "wdbc", "region": "eu", "site": "north",
	"run": "run-01", "name": "bob", "from": "hosp-north", "grantee": "consortium",
}

// sample is a value of a schema, with what is required of an object.
func sample(name string, ref *openapi3.SchemaRef) any {
	s := ref.Value
	if v, ok := known[name]; ok && s.VisitJSON(v) == nil {
		return v
	}
	switch {
	case len(s.Enum) > 0:
		return s.Enum[0]
	case len(s.OneOf) > 0:
		return sample(name, s.OneOf[0])
	case len(s.AnyOf) > 0:
		return sample(name, s.AnyOf[0])
	case s.Type.Is("object"):
		out := map[string]any{}
		for _, required := range s.Required {
			out[required] = sample(required, s.Properties[required])
		}
		return out
	case s.Type.Is("array"):
		out := []any{}
		for range max(int(s.MinItems), 1) {
			out = append(out, sample("", s.Items))
		}
		return out
	case s.Type.Is("boolean"):
		return true
	case s.Type.Is("integer"), s.Type.Is("number"):
		if s.Min != nil && *s.Min > 1 {
			return *s.Min
		}
		return float64(1)
	}
	for _, text := range []string{"example", "2026-11-23T12:00:00Z", "sha256:" + strings.Repeat("0", 64), strings.Repeat("0", 32), "0", strings.Repeat("0", 32) + "-" + strings.Repeat("0", 16), "000"} {
		if (s.Format == "date-time") == strings.Contains(text, "T12:") && s.VisitJSON(text) == nil {
			return text
		}
	}
	return strings.Repeat("x", int(s.MinLength))
}

func TestTheAPIReferenceIsTheDocument(t *testing.T) {
	written(t, "docs/reference/api.md", reference(t))
}

// Each code has a section with its status, and each section is a code's.
func TestEveryProblemHasItsSection(t *testing.T) {
	codes := api.Codes()
	sections := map[string]bool{}
	page := strings.Split(read(t, "docs/errors.md"), "\n")
	for i, line := range page {
		code, ok := strings.CutPrefix(line, "## ")
		if !ok {
			continue
		}
		require.False(t, sections[code], "two sections for %s", code)
		sections[code] = true
		status, exists := codes[code]
		require.True(t, exists, "docs/errors.md explains %s, which nothing answers", code)
		require.Contains(t, page[i+2], fmt.Sprintf("(%d)", status), code)
	}
	for code := range codes {
		require.True(t, sections[code], "docs/errors.md has no section %s", code)
	}
	for _, code := range newReach(t).kinds {
		require.Contains(t, codes, code, "api.Codes leaves out %s", code)
	}
}
