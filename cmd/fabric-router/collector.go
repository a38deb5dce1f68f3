package main

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"strings"
	"time"
)

// The heap may grow to heapGoal before it is collected, as long as that is one
// to four times of what lives in it beside: a router's requests work in memory
// that is kept, so little lives, and a collection for every few megabytes would
// have a tenth of its time; with a thousand connections more lives, and memory counts.
const (
	heapGoal = 28 << 20
	leastGC  = 100 // per cent
	mostGC   = 400
	// softLimit makes the runtime give memory back that it kept after a burst. It
	// is never less than twice what lives: then it would only collect in vain.
	softLimit = 42 << 20
)

// collect sets how much the heap grows between collections, until ctx ends.
// Where the environment has GOGC, that is what holds.
func collect(ctx context.Context, environ []string) {
	if slices.ContainsFunc(environ, func(v string) bool { return strings.HasPrefix(v, "GOGC=") }) {
		return
	}
	before := debug.SetGCPercent(mostGC)
	defer debug.SetGCPercent(before)
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(softLimit))
	ticker := time.NewTicker(500 * time.Millisecond)
	defer ticker.Stop()
	samples := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/stacks:bytes"}}
	for now := mostGC; ; {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		metrics.Read(samples)
		live, stacks := int64(samples[0].Value.Uint64()), int64(samples[1].Value.Uint64())
		percent := growth(live, stacks)
		debug.SetMemoryLimit(max(softLimit, 2*(live+stacks)))
		if percent < now*9/10 || percent > now*11/10 { // each setting costs a moment of everybody's
			debug.SetGCPercent(percent)
			now = percent
		}
	}
}

// growth is the percentage of what lives, stacks included, by which the heap
// may grow until it has heapGoal.
func growth(live, stacks int64) int {
	room := max(heapGoal-live, 0)
	return int(min(max(100*room/max(live+stacks, 1), leastGC), mostGC))
}
