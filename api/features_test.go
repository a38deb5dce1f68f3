package api_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/api/v1"
)

// The contract's own call, as curl sends it: no token, and a form's type.
const curlFeature = `{"tenant":"t1","feature_id":"f1","schema":{},"consented":true}`

func form() request { return header("Content-Type", "application/x-www-form-urlencoded") }

func TestTheContractsCallRegistersAFeature(t *testing.T) {
	s := serve(t)
	a := s.do("POST", "/features/register", curlFeature, form()).is(201)
	f := into[v1.Feature](a)
	require.True(t, f.Simulated)
	require.Equal(t, "true", a.Header.Get("X-Fabric-Simulated"))
	require.Equal(t, 1, f.Version)
	// sha256 of "{}": printf '{}' | sha256sum
	require.Equal(t, "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a", f.Fingerprint)
	require.Equal(t, []v1.Purpose{"evaluate", "stats", "train"}, f.Consent.Purposes)
	require.Equal(t, []string{"t1"}, f.Consent.Grantees)

	page := into[v1.FeaturePage](s.do("GET", "/features/t1", nil).is(200))
	require.Len(t, page.Items, 1)
	require.True(t, page.Simulated)
	require.Equal(t, []string{"feature.registered"}, s.fabric.Leaves)
}

func TestRegistrationsThatAreRefusedChangeNothing(t *testing.T) {
	s := serve(t)
	with := func(more string) string {
		return strings.Replace(curlFeature, `"consented":true`, `"consented":true,`+more, 1)
	}
	tests := []struct {
		name   string
		body   string
		status int
		code   string
		at     string // pointer of the first item
	}{
		{"nothing", ``, 400, "bad_request", ""},
		{"half a document", curlFeature[:20], 400, "bad_request", ""},
		{"two documents", curlFeature + curlFeature, 400, "bad_request", ""},
		{"a list", `[]`, 400, "invalid_request", ""},
		{"a member twice", `{"tenant":"t1","tenant":"t2"}`, 400, "bad_request", "/tenant"},
		{"a member in two cases", `{"tenant":"t1","Tenant":"t2"}`, 400, "invalid_request", ""},
		{"an unknown member", with(`"secret-value":1`), 400, "invalid_request", ""},
		{"no consent said", `{"tenant":"t1","feature_id":"f1","schema":{}}`, 400, "invalid_request", "/consented"},
		{"a bad name", strings.Replace(curlFeature, "f1", "../f1", 1), 400, "invalid_request", "/feature_id"},
		{"a schema that is none", strings.Replace(curlFeature, "{}", "7", 1), 400, "invalid_request", "/schema"},
		{"a fingerprint that is raw data", with(`"fingerprint":"secret-value"`), 400, "invalid_request", "/fingerprint"},
		{"an MD5", with(`"fingerprint":"d41d8cd98f00b204e9800998ecf8427e"`), 400, "invalid_request", "/fingerprint"},
		{"an unknown purpose", with(`"purposes":["sell"]`), 400, "invalid_request", "/purposes/0"},
		{"grantees without consent", strings.Replace(with(`"grantees":["t2"]`), "true", "false", 1), 422, "bad_feature", "/consented"},
		{"a schema of 65 KiB", strings.Replace(curlFeature, "{}", `{"title":"`+strings.Repeat("x", 65<<10)+`"}`, 1), 422, "bad_feature", "/schema"},
		{"a body of 2 MiB", strings.Replace(curlFeature, "{}", `{"title":"`+strings.Repeat("x", 2<<20)+`"}`, 1), 413, "too_large", ""},
		{"too deep", strings.Replace(curlFeature, "{}", strings.Repeat(`{"a":`, 70)+"1"+strings.Repeat("}", 70), 1), 400, "bad_request", "*"},
		{"not Unicode", strings.Replace(curlFeature, "f1", "\xff", 1), 400, "bad_request", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := s.in(t).do("POST", "/features/register", tt.body).is(tt.status, tt.code)
			require.NotContains(t, string(a.body), "secret-value\"")
			p := into[v1.Problem](a)
			if tt.at != "" {
				require.NotEmpty(t, p.Errors, "%s", a.body)
				if tt.at != "*" {
					require.Equal(t, tt.at, p.Errors[0].Pointer)
				}
			}
			require.Empty(t, s.fabric.Features)
			require.Empty(t, s.fabric.Leaves)
		})
	}
	require.NotContains(t, s.log.String(), "secret-value")
}

func TestAFingerprintIsKeptInOneForm(t *testing.T) {
	s := serve(t)
	const digits = "44136FA355B3678A1146AD16F7E8649E94FB4FC21FE77E8310C060F61CAAFF8A"
	for i, spelled := range []string{digits, "sha256:" + strings.ToLower(digits), strings.ToLower(digits)} {
		body := map[string]any{"tenant": "t1", "feature_id": "f1", "schema": map[string]any{}, "consented": true, "fingerprint": spelled}
		f := into[v1.Feature](s.do("POST", "/features/register", body).is(201))
		require.Equal(t, "sha256:"+strings.ToLower(digits), f.Fingerprint)
		require.Equal(t, 1, f.Version, "spelling %d", i)
	}
}

func TestWithdrawnConsentIsSeen(t *testing.T) {
	s := serve(t)
	ann := s.as("t1", "data-scientist")
	s.do("POST", "/features/t1/f1/withdraw", nil, ann).is(404, "not_found")
	s.do("POST", "/features/register", curlFeature, ann).is(201)
	f := into[v1.Feature](s.do("POST", "/features/t1/f1/withdraw", nil, s.as("t1", "operator")).is(200))
	require.False(t, f.Consent.Granted)
	require.False(t, f.Consent.WithdrawnAt.IsZero())
	require.False(t, f.Simulated)
}

func TestPagesLeadToOneAnother(t *testing.T) {
	s := serve(t)
	for _, id := range []string{"c", "a", "e", "b", "d"} {
		s.do("POST", "/features/register", strings.Replace(curlFeature, "f1", id, 1)).is(201)
	}
	var seen []string
	for cursor := ""; ; {
		page := into[v1.FeaturePage](s.do("GET", "/features/t1?limit=2"+cursor, nil).is(200))
		for _, f := range page.Items {
			seen = append(seen, f.FeatureID)
		}
		if page.Next == "" {
			break
		}
		cursor = "&cursor=" + page.Next
	}
	require.Equal(t, []string{"a", "b", "c", "d", "e"}, seen)
	for _, bad := range []string{"limit=0", "limit=201", "limit=x", "cursor=%21", "cursor=a", "offset=2", "limit=1&limit=2"} {
		s.do("GET", "/features/t1?"+bad, nil).is(400, "invalid_request")
	}
}
