package api

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func BenchmarkReadSpec(b *testing.B) {
	for b.Loop() {
		_, err := readSpec()
		require.NoError(b, err)
	}
}
