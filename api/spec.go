package api

import (
	_ "embed"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
)

//go:generate go tool -modfile=../tools/go.mod oapi-codegen -config oapi-codegen.yaml openapi.yaml

// document is openapi.yaml: what is served, by whom, to whom.
//
//go:embed openapi.yaml
var document []byte

// Who an operation wants to talk to (x-access).
const (
	accessToken     = "token"     // a caller of a tenant, or a simulated one
	accessSite      = "site"      // an enrolled site
	accessEnrolment = "enrolment" // whoever holds the FEDERATION_TOKEN
	accessRouter    = "router"    // passed on: the router decides
	accessNone      = "none"      // anybody
)

// An operation is one operation of the document, with what the border needs to
// know of it.
type operation struct {
	id         string
	method     string
	path       string // as in the document
	route      string // as gin wants it
	access     string
	roles      []string
	simulated  bool  // a simulated caller may
	tenantless bool  // it belongs to no tenant
	json       bool  // it takes a JSON body
	maxBody    int64 // of a JSON body, in bytes
	item       *openapi3.PathItem
	spec       *openapi3.Operation
	query      []string // names of query parameters
}

// A spec is the document, by operation.
type spec struct {
	doc *openapi3.T
	// plain says of itself that it is a version 3.0: for one of 3.1 the filter
	// compiles the schema of a parameter, and its patterns, for every request.
	// The parameters have no keyword that 3.0 has not; bodies are compared so too.
	plain      *openapi3.T
	operations map[string]*operation
}

// readSpec reads the document that this binary was built with.
func readSpec() (*spec, error) {
	doc, err := openapi3.NewLoader().LoadFromData(document)
	if err != nil {
		return nil, fmt.Errorf("openapi.yaml: %w", err)
	}
	s := &spec{doc: doc, plain: &openapi3.T{OpenAPI: "3.0.3", Components: doc.Components, Security: doc.Security}, operations: map[string]*operation{}}
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			o, err := readOperation(method, path, item, op)
			if err != nil {
				return nil, fmt.Errorf("openapi.yaml: %s %s: %w", method, path, err)
			}
			s.operations[o.id] = o
		}
	}
	return s, nil
}

func readOperation(method, path string, item *openapi3.PathItem, op *openapi3.Operation) (*operation, error) {
	o := &operation{id: op.OperationID, method: method, path: path, route: ginRoute(path), item: item, spec: op, simulated: true}
	o.access, _ = op.Extensions["x-access"].(string)
	known := []string{accessToken, accessSite, accessEnrolment, accessRouter, accessNone}
	if o.id == "" || !slices.Contains(known, o.access) {
		return nil, fmt.Errorf("operationId or x-access is missing")
	}
	if roles, ok := op.Extensions["x-roles"].([]any); ok {
		for _, role := range roles {
			o.roles = append(o.roles, fmt.Sprint(role))
		}
	}
	if o.access == accessToken && len(o.roles) == 0 {
		return nil, fmt.Errorf("x-roles is missing: nobody could call it")
	}
	if op.Extensions["x-simulated"] == "refused" {
		o.simulated = false
	}
	if rest, _ := op.Extensions["x-rest"].(bool); rest { // its last parameter holds slashes
		at := strings.LastIndex(o.route, ":")
		o.route = o.route[:at] + "*" + o.route[at+1:]
	}
	o.tenantless, _ = op.Extensions["x-tenantless"].(bool)
	if op.RequestBody != nil {
		o.json = op.RequestBody.Value.Content["application/json"] != nil
	}
	o.maxBody = maxBody
	if limit, ok := op.Extensions["x-max-body"].(float64); ok {
		o.maxBody = int64(limit)
	}
	for _, p := range slices.Concat(item.Parameters, op.Parameters) {
		if p.Value.In == openapi3.ParameterInQuery {
			o.query = append(o.query, p.Value.Name)
		}
	}
	return o, nil
}

// bodySchema returns the schema of the JSON body, or nil.
func (o *operation) bodySchema() *openapi3.Schema {
	if !o.json {
		return nil
	}
	return o.spec.RequestBody.Value.Content["application/json"].Schema.Value
}

// streams says whether the operation's body is read by its handler, bit by bit.
func (o *operation) streams() bool { return o.spec.RequestBody != nil && !o.json }

// writes says whether the operation is a command.
func (o *operation) writes() bool { return o.method == http.MethodPost }

// ginRoute turns /a/{b} into /a/:b.
func ginRoute(path string) string {
	return strings.NewReplacer("{", ":", "}", "").Replace(path)
}
