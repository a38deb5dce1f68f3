package catalog_test

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/atom-fabric/fabric/domain/catalog"
)

func TestValidName(t *testing.T) {
	for name, want := range map[string]bool{
		"t1": true, "a": true, "0.a_b-c": true, strings.Repeat("a", 63): true,
		"": false, strings.Repeat("a", 64): false, "-a": false, ".a": false, "A": false, "a/b": false, "a b": false, "é": false, "a\n": false,
	} {
		require.Equal(t, want, catalog.ValidName(name), "%q", name)
	}
}

// The expected values come from the expression in the OCI distribution
// specification 1.1, "Pulling manifests", for the steps of a repository's name.
func TestAStepOfARepositoryIsNamedAsOCIWants(t *testing.T) {
	oci := regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*$`)
	for _, name := range []string{"a", "a.b", "a_b", "a__b", "a---b", "0.a_b-c", "a..b", "a.", "a_", "a-", "a___b", "a.-b", "a_.b", "", "-a", "A", "a/b", strings.Repeat("a", 63)} {
		require.Equal(t, oci.MatchString(name), catalog.ValidStep(name), "%q", name)
	}
	require.False(t, catalog.ValidStep(strings.Repeat("a", 64)), "no name at all")
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringMatching(`[ab][._ab-]{0,8}`).Draw(t, "name")
		require.Equal(t, oci.MatchString(name), catalog.ValidStep(name), "%q", name)
	})
}

func TestParseFingerprint(t *testing.T) {
	const abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" // FIPS 180-2, appendix B.1: SHA-256("abc")
	tests := []struct {
		name string
		text string
		ok   bool
	}{
		{"digits", abc, true},
		{"with its algorithm", "sha256:" + abc, true},
		{"upper case", strings.ToUpper(abc), true},
		{"an MD5", "900150983cd24fb0d6963f7d28e17f72", false},
		{"a SHA-512", strings.Repeat(abc, 2), false},
		{"another algorithm", "sha512:" + abc, false},
		{"the algorithm twice", "sha256:sha256:" + abc, false},
		{"raw data", "Jane Doe, 1970-01-01", false},
		{"nothing", "", false},
		{"a letter that is no digit", "g" + abc[1:], false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			digest, err := catalog.ParseFingerprint(tt.text)
			if tt.ok {
				require.NoError(t, err)
				require.EqualValues(t, "sha256:"+abc, digest)
				return
			}
			require.ErrorIs(t, err, catalog.ErrFingerprint)
			require.NotContains(t, err.Error(), "Jane")
		})
	}
}

func TestAFeatureHasOneForm(t *testing.T) {
	one := catalog.Registration{
		Tenant: "t1", ID: "f1", Consented: true, Purposes: []string{"train", "stats", "train"}, Grantees: []string{"z", "t1", "b"},
		Schema: json.RawMessage(`{ "b" : 1.0, "a" : "x" }`),
	}
	f, err := one.Feature()
	require.NoError(t, err)
	require.Equal(t, `{"a":"x","b":1}`, string(f.Schema))
	require.Equal(t, []string{"stats", "train"}, f.Consent.Purposes)
	require.Equal(t, []string{"b", "t1", "z"}, f.Consent.Grantees)
	two := one
	two.Schema = json.RawMessage(`{"a":"x","b":1}`)
	g, err := two.Feature()
	require.NoError(t, err)
	require.Equal(t, f, g)

	two.Consented, two.Purposes, two.Grantees = false, nil, nil
	g, err = two.Feature()
	require.NoError(t, err)
	require.False(t, g.Consent.Granted)
	require.Equal(t, f.Fingerprint, g.Fingerprint)
}

func TestRegistrationsThatAreRefused(t *testing.T) {
	tests := []struct {
		name   string
		change func(*catalog.Registration)
		field  string
		why    error
	}{
		{"no tenant", func(r *catalog.Registration) { r.Tenant = "" }, "/tenant", catalog.ErrName},
		{"an id that is a path", func(r *catalog.Registration) { r.ID = "../f" }, "/feature_id", catalog.ErrName},
		{"no schema", func(r *catalog.Registration) { r.Schema = nil }, "/schema", catalog.ErrSchema},
		{"null", func(r *catalog.Registration) { r.Schema = json.RawMessage("null") }, "/schema", catalog.ErrSchema},
		{"a list", func(r *catalog.Registration) { r.Schema = json.RawMessage("[]") }, "/schema", catalog.ErrSchema},
		{"a member twice", func(r *catalog.Registration) { r.Schema = json.RawMessage(`{"a":1,"a":2}`) }, "/schema", catalog.ErrSchema},
		{"too large", func(r *catalog.Registration) {
			r.Schema = json.RawMessage(`{"a":"` + strings.Repeat("x", catalog.MaxSchema) + `"}`)
		}, "/schema", catalog.ErrSchema},
		{"a fingerprint that is none", func(r *catalog.Registration) { r.Fingerprint = "x" }, "/fingerprint", catalog.ErrFingerprint},
		{"an unknown purpose", func(r *catalog.Registration) { r.Purposes = []string{"train", "sell"} }, "/purposes/1", catalog.ErrPurpose},
		{"a grantee that is no name", func(r *catalog.Registration) { r.Grantees = []string{"*"} }, "/grantees/0", catalog.ErrName},
		{"too many grantees", func(r *catalog.Registration) { r.Grantees = make([]string, 257) }, "/grantees", catalog.ErrGrantees},
		{"purposes without consent", func(r *catalog.Registration) { r.Consented, r.Purposes = false, []string{"train"} }, "/consented", catalog.ErrConsentless},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := catalog.Registration{Tenant: "t1", ID: "f1", Schema: json.RawMessage("{}"), Consented: true}
			tt.change(&r)
			_, err := r.Feature()
			require.ErrorIs(t, err, tt.why)
			var field *catalog.FieldError
			require.ErrorAs(t, err, &field)
			require.Equal(t, tt.field, field.Field)
		})
	}
}

func TestColumns(t *testing.T) {
	for schema, want := range map[string]int{
		`{}`: 1, `{"type":"number"}`: 1, `{"properties":{"a":{},"b":{}}}`: 2, `{"properties":{"a":{},"label":{}}}`: 1, `{"properties":[]}`: 1,
	} {
		require.Equal(t, want, catalog.Columns(json.RawMessage(schema)), schema)
	}
}

// consented returns a feature of tenant h that lab may use for everything.
func consented(id string) catalog.Feature {
	return catalog.Feature{Tenant: "h", ID: id, Consent: catalog.Consent{Granted: true, Purposes: catalog.Purposes(), Grantees: []string{"h", "lab"}}}
}

func TestWhoMayUseAFeature(t *testing.T) {
	at := time.Unix(1, 0)
	tests := []struct {
		name    string
		change  func(*catalog.Feature)
		grantee string
		purpose string
		want    error
	}{
		{"a grantee", func(*catalog.Feature) {}, "lab", "train", nil},
		{"the tenant itself", func(f *catalog.Feature) { f.Consent.Grantees = nil }, "h", "train", nil},
		{"a stranger", func(*catalog.Feature) {}, "eve", "train", catalog.ErrNoConsent},
		{"a purpose that was not named", func(f *catalog.Feature) { f.Consent.Purposes = []string{"stats"} }, "lab", "train", catalog.ErrNotFor},
		{"after a withdrawal", func(f *catalog.Feature) { f.Consent.WithdrawnAt = &at }, "lab", "train", catalog.ErrWithdrawn},
		{"a stranger after a withdrawal", func(f *catalog.Feature) { f.Consent.WithdrawnAt = &at }, "eve", "train", catalog.ErrNoConsent},
		{"without consent", func(f *catalog.Feature) { f.Consent.Granted = false }, "lab", "train", catalog.ErrNoConsent},
		{"the tenant itself without consent", func(f *catalog.Feature) { f.Consent.Granted = false }, "h", "train", catalog.ErrNoConsent},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := consented("f")
			tt.change(&f)
			err := f.Usable(tt.grantee, tt.purpose)
			if tt.want == nil {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, tt.want)
		})
	}
}

func TestAbsenceIsToldToTheTenantOnly(t *testing.T) {
	have := []catalog.Feature{consented("f")}
	refusals := catalog.Refusals(have, "lab", []string{"h"}, []string{"f", "g"}, "train")
	require.Len(t, refusals, 1)
	require.Equal(t, "g", refusals[0].Feature)
	require.ErrorIs(t, refusals[0], catalog.ErrNoConsent)
	require.ErrorIs(t, catalog.Refusals(have, "h", []string{"h"}, []string{"g"}, "train")[0], catalog.ErrUnregistered)
}

func TestCommonFeatures(t *testing.T) {
	other := consented("f")
	other.Tenant = "k"
	have := []catalog.Feature{consented("g"), consented("f"), other}
	require.Equal(t, []string{"f", "g"}, catalog.Common(have, "lab", []string{"h"}, "train"))
	require.Equal(t, []string{"f"}, catalog.Common(have, "lab", []string{"h", "k"}, "train"))
	require.Empty(t, catalog.Common(have, "eve", []string{"h"}, "train"))
}
