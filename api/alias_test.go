package api_test

import (
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/api/apitest"
	"github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/modelpack"
)

// aliased serves two versions of model "m" of tenant "t1".
func aliased(t *testing.T) (s *served, first, second v1.ModelVersion) {
	t.Helper()
	s = serve(t)
	first = into[v1.ModelVersion](s.upload(pack(t, "t1", nil), s.as("t1", "admin")).is(201))
	second = into[v1.ModelVersion](s.upload(pack(t, "t1", func(m map[string]any) { m["run"] = "run-2" }), s.as("t1", "admin")).is(201))
	if second.Version == 1 { // the same manifest is the same package
		p := packWith(t, "t1", safetensors(t), func(m map[string]any) { m["annotations"] = map[string]any{"n": "2"} }, nil)
		second = into[v1.ModelVersion](s.upload(p, s.as("t1", "admin")).is(201))
	}
	require.Equal(t, 2, second.Version)
	return s, first, second
}

// moving is the statement of a move to a version.
func moving(v v1.ModelVersion, alias string, sequence int64, previous string) modelpack.Move {
	return modelpack.Move{Tenant: "t1", Model: "m", Environment: "production", Alias: alias, Sequence: sequence,
		Version: v.Version, Previous: artifact.Digest(previous), IssuedAt: time.Now().UTC().Truncate(time.Second)}
}

func (s *served) moveAlias(m modelpack.Move, pkg string, changes ...request) answer {
	s.t.Helper()
	bundle := apitest.Vouch(artifact.PredicateAlias, artifact.Digest(pkg), m)
	return s.do("POST", "/models/m/aliases", v1.AliasMove{Version: m.Version, Bundle: string(bundle)}, append(changes, s.as("t1", "operator"))...)
}

func TestAnAliasMovesByASignedStatementAndNeverBack(t *testing.T) {
	s, first, second := aliased(t)
	one := moving(first, "challenger", 1, "")
	a := into[v1.Alias](s.moveAlias(one, first.Package.Digest).is(200))
	require.EqualValues(t, 1, a.Sequence)
	require.Contains(t, s.fabric.Content, artifact.Digest(a.Statement), "the statement is kept")
	before := time.Now().UTC()
	two := moving(second, "challenger", 2, first.Package.Digest)
	two.IssuedAt = before.Add(time.Minute).Truncate(time.Second) // within the skew that is allowed
	require.Equal(t, 2, into[v1.Alias](s.moveAlias(two, second.Package.Digest).is(200)).Version)

	s.moveAlias(one, first.Package.Digest).is(409, "alias_moved") // replayed, with every signature good
	s.moveAlias(two, second.Package.Digest).is(409, "alias_moved")

	reader := s.as("t1", "auditor")
	now := into[v1.AliasList](s.do("GET", "/models/m/aliases", nil, reader).is(200)).Items
	require.Len(t, now, 1)
	require.Equal(t, 2, now[0].Version)
	then := into[v1.AliasList](s.do("GET", "/models/m/aliases?at="+url.QueryEscape(before.Format(time.RFC3339)), nil, reader).is(200)).Items
	require.Len(t, then, 1)
	require.Equal(t, 1, then[0].Version, "where it stood")
	require.Len(t, into[v1.AliasList](s.do("GET", "/models/m/aliases?history=true", nil, reader).is(200)).Items, 2)
	require.Empty(t, into[v1.AliasList](s.do("GET", "/models/m/aliases?at=2001-01-01T00:00:00Z", nil, reader).is(200)).Items)

	got := s.do("GET", "/models/m/download?alias=challenger&part=manifest", nil, reader).is(200)
	require.Equal(t, "2", got.Header.Get("X-Model-Version"))
	require.Equal(t, `"`+second.Package.Digest+`"`, got.Header.Get("ETag"))
	s.do("GET", "/models/m/download?alias=challenger&environment=dev", nil, reader).is(404, "not_found")
	s.do("GET", "/models/m/download?alias=challenger&version=1", nil, reader).is(400, "invalid_request")
	s.do("GET", "/models/m/bundle?alias=nobody", nil, reader).is(404, "not_found")
	s.do("GET", "/models/m/aliases", nil, s.as("t2", "auditor")).is(404, "not_found")
}

func TestAnAliasThatMayNotMoveStays(t *testing.T) {
	tests := []struct {
		name   string
		change func(m *modelpack.Move, pkg *string, second v1.ModelVersion)
		status int
		code   string
	}{
		{"the champion", func(m *modelpack.Move, _ *string, _ v1.ModelVersion) { m.Alias = "champion" }, 422, "bad_alias"},
		{"a name that is a path", func(m *modelpack.Move, _ *string, _ v1.ModelVersion) { m.Alias = "../x" }, 422, "bad_alias"},
		{"no sequence", func(m *modelpack.Move, _ *string, _ v1.ModelVersion) { m.Sequence = 0 }, 422, "bad_alias"},
		{"a sequence that skips", func(m *modelpack.Move, _ *string, _ v1.ModelVersion) { m.Sequence = 2 }, 409, "alias_moved"},
		{"from where it does not stand", func(m *modelpack.Move, _ *string, v v1.ModelVersion) { m.Previous = artifact.Digest(v.Package.Digest) }, 409, "alias_moved"},
		{"to a version that is not there", func(m *modelpack.Move, _ *string, _ v1.ModelVersion) { m.Version = 9 }, 404, "not_found"},
		{"to a version with another package", func(_ *modelpack.Move, pkg *string, v v1.ModelVersion) { *pkg = v.Package.Digest }, 422, "unverified"},
		{"of another tenant", func(m *modelpack.Move, _ *string, _ v1.ModelVersion) { m.Tenant = "t2" }, 404, "not_found"},
		{"of another model", func(m *modelpack.Move, _ *string, _ v1.ModelVersion) { m.Model = "n" }, 404, "not_found"},
		{"in no environment of ours", func(m *modelpack.Move, _ *string, _ v1.ModelVersion) { m.Environment = "moon" }, 422, "bad_alias"},
		{"by an old statement", func(m *modelpack.Move, _ *string, _ v1.ModelVersion) { m.IssuedAt = m.IssuedAt.Add(-2 * time.Hour) }, 422, "unverified"},
		{"by a statement of tomorrow", func(m *modelpack.Move, _ *string, _ v1.ModelVersion) { m.IssuedAt = m.IssuedAt.Add(24 * time.Hour) }, 422, "unverified"},
	}
	s, first, second := aliased(t)
	kept, leaves := len(s.fabric.Content), len(s.fabric.Leaves)
	unchanged := func(t *testing.T) {
		require.Empty(t, s.fabric.AliasRows)
		require.Len(t, s.fabric.Content, kept)
		require.Len(t, s.fabric.Leaves, leaves)
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m, pkg := moving(first, "challenger", 1, ""), first.Package.Digest
			tt.change(&m, &pkg, second)
			s.in(t).moveAlias(m, pkg).is(tt.status, tt.code)
			unchanged(t)
		})
	}
	for name, bundle := range map[string][]byte{
		"no bundle":                 []byte("{}"),
		"another kind of statement": apitest.Vouch(artifact.PredicateModelPackage, artifact.Digest(first.Package.Digest), moving(first, "challenger", 1, "")),
	} {
		t.Run(name, func(t *testing.T) {
			s.in(t).do("POST", "/models/m/aliases", v1.AliasMove{Version: 1, Bundle: string(bundle)}, s.as("t1", "operator")).is(http.StatusUnprocessableEntity, "unverified")
			unchanged(t)
		})
	}
}
