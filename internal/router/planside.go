package router

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/atom-fabric/fabric/domain/endpoint"
	"github.com/atom-fabric/fabric/domain/routing"
)

// Names by which a caller may ask for a version.
const (
	champion   = "champion"
	challenger = "challenger"
)

// Sides are who of a target's candidates answers which calls.
type sides struct {
	champion   endpoint.Set
	canary     endpoint.Set // the canary where it runs, the champion elsewhere
	challenger endpoint.Set // the canary only
	versions   map[int]*endpoint.Set
}

// newSides sorts the candidates of a target by what they answer with, without
// those that are barred.
func newSides(t *target, barred []routing.Exclusion) *sides {
	n := len(t.candidates)
	s := &sides{champion: endpoint.NewSet(n), canary: endpoint.NewSet(n), challenger: endpoint.NewSet(n), versions: map[int]*endpoint.Set{}}
	tried := map[string]bool{} // regions
	for i := len(t.Permitted); i < n; i++ {
		tried[t.nodes[i].Region] = true
	}
	for i := range n {
		if slices.ContainsFunc(barred, func(x routing.Exclusion) bool { return x.Endpoint == t.nodes[i].Name }) {
			continue
		}
		version := t.legs[i].Package.Version
		if s.versions[version] == nil {
			of := endpoint.NewSet(n)
			s.versions[version] = &of
		}
		s.versions[version].Add(i)
		switch {
		case i >= len(t.Permitted):
			s.challenger.Add(i)
			s.canary.Add(i)
		case tried[t.nodes[i].Region]:
			s.champion.Add(i)
		default:
			s.champion.Add(i)
			s.canary.Add(i)
		}
	}
	return s
}

// sidesFor returns the sides for calls of a purpose.
func (t *target) sidesFor(purpose string) *sides {
	if t.purposes == nil {
		return t.sides
	}
	if s := t.purposes[purpose]; s != nil {
		return s
	}
	return t.purposes[""]
}

// A side is who answers one call.
type side struct {
	among   *endpoint.Set
	instead *endpoint.Set // when nobody of among can; nil: nobody else
	tried   bool          // a canary runs, and the call names no version
	trial   triedOut      // if tried
}

// A triedOut says how a call takes part in a canary.
type triedOut struct {
	Lineage string `json:"lineage"`
	Share   int    `json:"share_basis_points"`
	Bucket  int    `json:"bucket"` // on the canary's side if below the share
	Canary  bool   `json:"canary"`
}

// side returns who answers a call: who has the version that it names, else the
// side that the hash of its caller puts it on. One on the canary's side that no
// canary can answer is answered by the champion: a version on trial refuses nobody.
func (t *target) side(in *request) (side, *problem) {
	s := t.sidesFor(in.prefers.purpose)
	var named *endpoint.Set
	switch p := &in.prefers; {
	case p.version != 0:
		named = s.versions[p.version]
	case p.alias == champion:
		named = &s.champion
	case p.alias == challenger && s.challenger.Len() > 0:
		named = &s.challenger
	case p.alias == "":
		return t.drawn(s, in), nil
	}
	if named == nil {
		what := "a " + in.prefers.alias
		if in.prefers.version != 0 {
			what = fmt.Sprintf("version %d", in.prefers.version)
		}
		return side{}, noRoute("Model %s has no %s in %s for tenant %s.", t.Model, what, t.Environment, t.Caller)
	}
	return side{among: named}, nil
}

// drawn returns the side of a call that names no version.
func (t *target) drawn(s *sides, in *request) side {
	out := side{among: &s.champion}
	if t.Trial == nil {
		return out
	}
	bucket := t.Trial.Bucket(t.Caller, in.callerKey)
	out.tried, out.trial = true, triedOut{Lineage: t.Trial.Lineage, Share: t.Trial.Share, Bucket: bucket, Canary: bucket < t.Trial.Share}
	if out.trial.Canary && s.challenger.Len() > 0 {
		out.among, out.instead = &s.canary, &s.champion
	}
	return out
}

// callerKeyHeader is how a caller that cannot change its body says whom it asks for.
const callerKeyHeader = "X-Fabric-Caller-Key"

// longestCallerKey bounds what is hashed.
const longestCallerKey = 255

// keyed fills in the key by which a call keeps its side of a canary: the one in
// its preferences, else the header, else the subject of its token, else none,
// which is the same for all such calls of the tenant.
func (in *request) keyed(header http.Header, who caller) *problem {
	switch values := header[callerKeyHeader]; {
	case in.prefers.callerKey != "":
		in.callerKey = in.prefers.callerKey
	case len(values) == 0:
		in.callerKey = who.claims.Subject
	case len(values) > 1 || !isCallerKey(values[0]):
		return &problem{code: "bad_request", status: http.StatusBadRequest, title: "The request is malformed",
			detail: fmt.Sprintf("The header %s must occur once, with 1 to %d printable ASCII characters.", callerKeyHeader, longestCallerKey)}
	default:
		in.callerKey = values[0]
	}
	return nil
}

func isCallerKey(s string) bool {
	return s != "" && len(s) <= longestCallerKey && !strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c > '~' })
}
