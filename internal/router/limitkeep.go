package router

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"time"

	"github.com/atom-fabric/fabric/internal/durable"
)

const countsFile = "quotas.json"

// keepEvery is how much of the counts a crash may forget.
const keepEvery = 2 * time.Second

// counts are a tenant's calls of this hour and day, as the meter's words.
type counts struct {
	Hour uint64 `json:"hour"`
	Day  uint64 `json:"day"`
}

// loadCounts reads the counts of the state directory. A file that cannot be
// read is none: a router that counts from 0 is better than one that is down.
func loadCounts(dir string) (map[string]counts, error) {
	text, err := os.ReadFile(filepath.Join(dir, countsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var out map[string]counts
	if err == nil {
		err = json.Unmarshal(text, &out)
	}
	if err != nil {
		return nil, fmt.Errorf("counts of calls: %w", err)
	}
	return out, nil
}

// counts returns what the plan's tenants have called.
func (p *plan) counts() map[string]counts {
	out := map[string]counts{}
	for tenant, b := range p.bounds {
		if c := (counts{b.meter.hour.Load(), b.meter.day.Load()}); c.Day != 0 {
			out[tenant] = c
		}
	}
	return out
}

// keepCounts writes the counts every two seconds, where they changed, and once more
// when ctx ends.
func (r *Router) keepCounts(ctx context.Context) {
	ticker := time.NewTicker(keepEvery)
	defer ticker.Stop()
	var written map[string]counts
	for over := false; !over; {
		select {
		case <-ctx.Done():
			over = true
		case <-ticker.C:
		}
		p := r.plan.Load()
		if p == nil {
			continue
		}
		now := p.counts()
		if maps.Equal(now, written) {
			continue
		}
		text, err := json.Marshal(now)
		if err == nil {
			err = durable.Write(filepath.Join(r.opts.StateDir, countsFile), text, 0o600)
		}
		if err != nil {
			r.opts.Log.Warn("the counts of calls are not kept", "err", err)
			continue
		}
		written = now
	}
}
