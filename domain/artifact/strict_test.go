package artifact_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/artifact"
)

type base struct {
	ID string `json:"id"`
}

type vote struct {
	base
	Decision string            `json:"decision"`
	Weight   int               `json:"weight"`
	At       time.Time         `json:"at"`
	Tags     map[string]string `json:"tags"`
	Parts    []*part           `json:"parts"`
	Free     any               `json:"free"`
	Raw      json.RawMessage   `json:"raw"`
	Digest   artifact.Digest   `json:"digest"`
	Hidden   string            `json:"-"`
	Bare     bool
}

type part struct {
	Name string `json:"name,omitempty"`
}

func TestDecodeStrict(t *testing.T) {
	tests := []struct {
		name    string
		in      string
		err     error // nil: accepted
		pointer string
	}{
		{"accepts known keys in any order", `{"weight":2,"decision":"approve","id":"a"}`, nil, ""},
		{"accepts a key without a tag by its name", `{"Bare":true}`, nil, ""},
		{"accepts any key in a map", `{"tags":{"a":"1","A":"2"}}`, nil, ""},
		{"accepts any key behind an interface", `{"free":{"x":[1,{"y":null}]}}`, nil, ""},
		{"accepts what a type reads by itself", `{"at":"2026-11-22T00:00:00Z"}`, nil, ""},
		{"accepts null", `{"parts":null}`, nil, ""},
		{"accepts white space after the value", "{}\n ", nil, ""},
		{"refuses an unknown key", `{"note":1}`, artifact.ErrUnknownKey, "/note"},
		{"refuses a key in another case", `{"Decision":"approve"}`, artifact.ErrUnknownKey, "/Decision"},
		{"refuses both spellings", `{"Decision":"reject","decision":"approve"}`, artifact.ErrUnknownKey, "/Decision"},
		{"refuses an unknown key in a list", `{"parts":[{"name":"a"},{"nome":"b"}]}`, artifact.ErrUnknownKey, "/parts/1/nome"},
		{"refuses a field that is not on the wire", `{"Hidden":"x"}`, artifact.ErrUnknownKey, "/Hidden"},
		{"escapes the pointer", `{"a/b~c":1}`, artifact.ErrUnknownKey, "/a~1b~0c"},
		{"refuses a duplicate", `{"decision":"reject","decision":"approve"}`, artifact.ErrDuplicateKey, "/decision"},
		{"refuses a duplicate under an escape", `{"decision":"reject","decisio\u006e":"approve"}`, artifact.ErrDuplicateKey, "/decision"},
		{"refuses a duplicate of an embedded field", `{"id":"a","id":"b"}`, artifact.ErrDuplicateKey, "/id"},
		{"refuses a duplicate in a map", `{"tags":{"a":"1","a":"2"}}`, artifact.ErrDuplicateKey, "/tags/a"},
		{"refuses a duplicate behind an interface", `{"free":[{"a":1,"a":1}]}`, artifact.ErrDuplicateKey, "/free/0/a"},
		{"refuses a duplicate in raw JSON", `{"raw":{"a":1,"a":1}}`, artifact.ErrDuplicateKey, "/raw/a"},
		{"refuses a second value", `{}{}`, artifact.ErrTrailing, ""},
		{"refuses a closing bracket too many", `{}}`, artifact.ErrTrailing, ""},
		{"refuses nothing at all", ``, artifact.ErrSyntax, ""},
		{"refuses a cut object", `{"decision":"approve"`, artifact.ErrSyntax, ""},
		{"refuses a cut list", `{"parts":[{}`, artifact.ErrSyntax, "/parts"},
		{"refuses NaN", `{"weight":NaN}`, artifact.ErrSyntax, "/weight"},
		{"refuses a leading zero", `{"weight":01}`, artifact.ErrSyntax, ""},
		{"refuses a fraction for an integer", `{"weight":1.5}`, artifact.ErrType, "/weight"},
		{"refuses an integer beyond its type", `{"weight":9223372036854775808}`, artifact.ErrType, "/weight"},
		{"refuses a number that nobody can hold", `{"free":1e400}`, artifact.ErrNumber, "/free"},
		{"refuses text for a number", `{"weight":"1"}`, artifact.ErrType, "/weight"},
		{"refuses a list for an object", `[]`, artifact.ErrType, "/"},
		{"refuses a malformed digest", `{"digest":"sha256:AA"}`, artifact.ErrDigest, ""},
		{"refuses bytes that are not UTF-8", "{\"decision\":\"\xff\"}", artifact.ErrText, ""},
		{"refuses half a surrogate pair", `{"decision":"\ud800"}`, artifact.ErrText, "/decision"},
		{"refuses half a surrogate pair in a key", `{"tags":{"\udfff":"x"}}`, artifact.ErrText, "/tags"},
		{"refuses a deep document", `{"free":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`, artifact.ErrNesting, "/free" + strings.Repeat("/0", 64)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got vote
			err := artifact.DecodeStrict([]byte(tt.in), &got)
			if tt.err == nil {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, tt.err)
			var where *artifact.JSONError
			require.ErrorAs(t, err, &where)
			require.Equal(t, tt.pointer, where.Pointer)
		})
	}
}

func TestDecodeStrictReadsTheValue(t *testing.T) {
	var got vote
	require.NoError(t, artifact.DecodeStrict([]byte(`{"id":"7","decision":"approve","parts":[{"name":"a"}],"raw":{"k":1}}`), &got))
	require.Equal(t, vote{base: base{ID: "7"}, Decision: "approve", Parts: []*part{{Name: "a"}}, Raw: json.RawMessage(`{"k":1}`)}, got)
}

func TestCanonical(t *testing.T) {
	content, err := os.ReadFile("../../tests/vectors/canonical/vectors.json")
	require.NoError(t, err)
	var vectors struct {
		Source            string
		Accepted, Refused []struct{ Name, In, Out string }
	}
	require.NoError(t, json.Unmarshal(content, &vectors))
	require.NotEmpty(t, vectors.Accepted)
	for _, v := range vectors.Accepted {
		t.Run(v.Name, func(t *testing.T) {
			got, err := artifact.Canonical(json.RawMessage(v.In))
			require.NoError(t, err)
			require.Equal(t, v.Out, string(got))
			again, err := artifact.Canonical(json.RawMessage(got))
			require.NoError(t, err)
			require.Equal(t, v.Out, string(again), "the canonical form is its own")
		})
	}
	for _, v := range vectors.Refused {
		t.Run("refuses "+v.Name, func(t *testing.T) {
			_, err := artifact.Canonical(json.RawMessage(v.In))
			require.Error(t, err)
		})
	}
}

func TestCanonicalIgnoresTheOrderOfFields(t *testing.T) {
	type one struct {
		B int    `json:"b"`
		A string `json:"a"`
	}
	type two struct {
		A string `json:"a"`
		B int    `json:"b"`
	}
	first, err := artifact.Canonical(one{A: "<&>\u2028", B: 1})
	require.NoError(t, err)
	second, err := artifact.Canonical(two{A: "<&>\u2028", B: 1})
	require.NoError(t, err)
	require.Equal(t, "{\"a\":\"<&>\u2028\",\"b\":1}", string(first), "no HTML escapes, see RFC 8785 section 3.2.2.2")
	require.Equal(t, first, second)
}
