package router

import (
	"context"
	"os"
	"path/filepath"
	"time"
)

// Two processes write decision records while one replaces the other. Each has
// a folder of its own, of two that take turns: the state folder, and one in it.
// Whoever is left ships what the other could not.
const besideDir = "beside"

// recordDirs returns the folder of this process's records, and the other one.
func recordDirs(state string, beside bool) (own, other string) {
	own, other = state, filepath.Join(state, besideDir)
	if beside {
		own, other = other, own
	}
	return own, other
}

// inherit ships the records that a predecessor left, once it is gone.
func (r *Router) inherit(ctx context.Context) {
	_, other := recordDirs(r.opts.StateDir, r.opts.Beside)
	select {
	case <-ctx.Done():
		return
	case <-r.opts.Gone:
	}
	if _, err := os.Stat(filepath.Join(other, "decisions")); err != nil {
		return // there never was one
	}
	left, err := openSpool(other, r.opts.SpoolBytes, func(n int) { r.metrics.dropped.Add(float64(n)) })
	if err != nil {
		r.opts.Log.Error("a predecessor's decision records", "err", err)
		return
	}
	defer left.close() //nolint:errcheck // nothing is written to it here
	ships := *r.ships
	ships.spool = left
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan struct{})
	go func() { defer close(done); ships.run(ctx) }()
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		if n, _ := left.pending(); n == 0 {
			break
		}
		select {
		case <-ctx.Done():
		case <-ticker.C:
			continue
		}
		break
	}
	cancel()
	<-done
}
