package worker

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A queue is idle when nobody has asked it for either kind of work of late.
func TestAQueueThatNobodyAsksIsIdle(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	asked := queues{
		"control Workflow": {now.Add(-time.Minute)}, "control Activity": {},
		"signing Workflow": {}, "signing Activity": {now.Add(-2 * time.Hour), now},
		"region-eu Workflow": {now.Add(-10 * time.Minute)}, "region-eu Activity": {},
	}
	for queue, want := range map[string]bool{"control": false, "signing": false, "region-eu": true} {
		got, err := idle(t.Context(), asked, queue, now)
		require.NoError(t, err)
		require.Equal(t, want, got, queue)
	}
	_, err := idle(t.Context(), asked, "region-us", now)
	require.Error(t, err)
}
