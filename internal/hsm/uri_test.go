package hsm

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseURI(t *testing.T) {
	l, err := parseURI("pkcs11:token=My%20Token;object=model;id=%01%ff;type=private?module-path=/usr/lib/m.so&pin-source=file:/run/pin")
	require.NoError(t, err)
	require.Equal(t, location{module: "/usr/lib/m.so", token: "My Token", object: "model", id: []byte{1, 0xff}, pin: "/run/pin"}, l)
	for name, uri := range map[string]string{
		"another scheme":          "file:token=t;object=k?module-path=/m.so",
		"no module":               "pkcs11:token=t;object=k",
		"a module by name":        "pkcs11:token=t;object=k?module-path=m.so",
		"no token":                "pkcs11:object=k?module-path=/m.so",
		"no key":                  "pkcs11:token=t?module-path=/m.so",
		"an attribute twice":      "pkcs11:token=t;token=u;object=k?module-path=/m.so",
		"an empty attribute":      "pkcs11:token=;object=k?module-path=/m.so",
		"a malformed one":         "pkcs11:token=%zz;object=k?module-path=/m.so",
		"a PIN in the URI":        "pkcs11:token=t;object=k?module-path=/m.so&pin-value=1234",
		"a slot that is ignored":  "pkcs11:token=t;slot-id=3;object=k?module-path=/m.so",
		"a public key, not a key": "pkcs11:token=t;object=k;type=public?module-path=/m.so",
	} {
		t.Run("refuses "+name, func(t *testing.T) {
			_, err := parseURI(uri)
			require.ErrorIs(t, err, ErrURI)
			require.NotContains(t, err.Error(), "1234")
		})
	}
}

func TestReadPIN(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pin")
	require.NoError(t, os.WriteFile(file, []byte("5678\n"), 0o600))
	pin, err := location{pin: file}.readPIN("")
	require.NoError(t, err)
	require.Equal(t, "5678", pin)
	pin, err = location{}.readPIN("1234")
	require.NoError(t, err)
	require.Equal(t, "1234", pin)
	for name, try := range map[string]func() (string, error){
		"two":  func() (string, error) { return location{pin: file}.readPIN("1234") },
		"none": func() (string, error) { return location{}.readPIN("") },
		"gone": func() (string, error) { return location{pin: file + "x"}.readPIN("") },
	} {
		_, err := try()
		require.ErrorIs(t, err, ErrPIN, name)
		require.NotContains(t, err.Error(), "1234", name)
	}
}
