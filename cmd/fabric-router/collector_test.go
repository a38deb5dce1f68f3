package main

import (
	"context"
	"runtime/debug"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTheHeapGrowsAsFarAsMemoryAllows(t *testing.T) {
	const mb = 1 << 20
	require.Equal(t, 400, growth(0, 0))
	require.Equal(t, 400, growth(4*mb, 1*mb))
	require.Equal(t, 100*20/14, growth(8*mb, 6*mb))
	require.Equal(t, 100, growth(20*mb, 8*mb))
	require.Equal(t, 100, growth(500*mb, 0))

	was := debug.SetGCPercent(123)
	defer debug.SetGCPercent(was)
	collect(t.Context(), []string{"GOGC=50"}) // returns at once
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	collect(ctx, nil)
	require.Equal(t, 123, debug.SetGCPercent(123), "as it was")
}
