//go:build !cgo

package hsm

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// A build without cgo says so, once there is nothing else wrong, and signs
// nothing.
func TestWithoutCgo(t *testing.T) {
	const good = "pkcs11:token=t;object=o?module-path=/nowhere/module.so"
	for _, try := range []func(uri, pin string) (*Key, error){Open, Generate} {
		_, err := try("token", "1234")
		require.ErrorIs(t, err, ErrURI)
		_, err = try(good, "")
		require.ErrorIs(t, err, ErrPIN)
		key, err := try(good, "1234")
		require.ErrorIs(t, err, ErrNoCgo)
		require.Nil(t, key)
		require.NotContains(t, err.Error(), "1234")
	}
	var key Key
	_, err := key.Sign(t.Context(), make([]byte, 32))
	require.ErrorIs(t, err, ErrNoCgo)
	require.Nil(t, key.Public())
	require.Empty(t, key.Version())
	require.NoError(t, key.Close())
}
