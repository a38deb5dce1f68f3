package demo

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	v1 "github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/drift"
	"github.com/atom-fabric/fabric/examples/tumour"
)

// How callers ask, and what the policy loop looks at of it.
const (
	every    = 60 * time.Millisecond // a call of a region
	perCall  = 64                    // rows
	window   = 3 * time.Second
	windows  = 3 // that must say the same
	baseline = 2 // windows before them
)

// callers are simulated. They ask the router in every region, each for itself,
// and compare what they send with what the model was trained on, as a monitor
// beside them would: the distance goes to the policy loop as telemetry.
type callers struct {
	lead    person
	random  map[string]*rand.Rand
	rows    [][]float64    // nobody has trained on
	bins    []drift.Bins   // of the watched columns
	trained []drift.Sketch // of them, over the training rows
	all     sync.WaitGroup

	mu      sync.Mutex
	drifted string
	tallies map[string]*tally
}

// A tally is what a region's callers saw since it was asked for last.
type tally struct {
	since           time.Time // the last time
	asked, answered int
	version         int
	header          string // of the last answer
	sum             float64
	n               int
}

// pace is how many calls a second were asked.
func (t tally) pace() float64 { return float64(t.asked) / max(1e-3, time.Since(t.since).Seconds()) }

// psi is the mean distance.
func (t tally) psi() float64 { return t.sum / float64(max(1, t.n)) }

func (g *Governance) newCallers() (*callers, error) {
	train, held := tumour.Pooled()
	c := &callers{lead: g.lead, rows: held.Rows, random: map[string]*rand.Rand{}, tallies: map[string]*tally{}}
	for j, b := range tumour.Bounds()[:columns] {
		cut, err := drift.EqualWidth(b[0], b[1], bins)
		if err != nil {
			return nil, err
		}
		values := make([]float64, train.Len())
		for i, row := range train.Rows {
			values[i] = row[j]
		}
		c.bins, c.trained = append(c.bins, cut), append(c.trained, drift.Count(cut, values))
	}
	for _, h := range tumour.Split() {
		if c.random[h.Region] == nil {
			c.random[h.Region], c.tallies[h.Region] = rand.New(rand.NewPCG(g.Seed, uint64(len(c.random)))), &tally{since: time.Now()}
		}
	}
	return c, nil
}

// regions are where they ask, in order.
func (c *callers) regions() []string {
	var out []string
	for region := range c.random {
		out = append(out, region)
	}
	slices.Sort(out)
	return out
}

// start lets them ask until ctx ends.
func (c *callers) start(ctx context.Context) {
	for region, random := range c.random {
		c.all.Go(func() { c.region(ctx, region, random) })
	}
}

// wait returns when all of them have stopped.
func (c *callers) wait() {
	if c != nil {
		c.all.Wait()
	}
}

// drift lets the inputs of a region drift.
func (c *callers) drift(region string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drifted = region
}

// tally returns what a region's callers saw since the last time.
func (c *callers) tally(region string) tally {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := *c.tallies[region]
	*c.tallies[region] = tally{since: time.Now()}
	return t
}

// region asks at an even pace, and reports the distances of each second.
func (c *callers) region(ctx context.Context, region string, random *rand.Rand) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	var seen []v1.Observation
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		rows, psi := c.batch(region, random)
		c.call(ctx, region, i, rows, psi)
		seen = append(seen, v1.Observation{Metric: "drift", Target: region, At: time.Now().UTC(), Value: psi})
		if len(seen) < int(time.Second/every/2) {
			continue
		}
		if _, err := v1.Fetch[v1.Observed](c.lead.RecordObservations(ctx, &v1.RecordObservationsParams{}, v1.Observations{Items: seen})); err == nil {
			seen = nil // what was not taken is sent again: once by its moment
		}
	}
}

// batch draws rows and says how far they are from the training rows: the mean of
// the watched columns' population stability index.
func (c *callers) batch(region string, random *rand.Rand) (rows [][]float64, psi float64) {
	c.mu.Lock()
	drifted := c.drifted == region
	c.mu.Unlock()
	for range perCall {
		row := slices.Clone(c.rows[random.IntN(len(c.rows))])
		if drifted {
			shift(row)
		}
		rows = append(rows, row)
	}
	values := make([]float64, perCall)
	for j, bins := range c.bins {
		for i, row := range rows {
			values[i] = row[j]
		}
		if got, err := drift.CompareBinned(bins, c.trained[j], drift.Count(bins, values)); err == nil {
			psi += got.PSI / columns
		}
	}
	return rows, psi
}

// call asks in the region; where the policy closed it, wherever else it may be
// answered.
func (c *callers) call(ctx context.Context, region string, i int, rows [][]float64, psi float64) {
	answer, header, err := c.invoke(ctx, region, region, i, rows)
	var problem *v1.ProblemError
	if errors.As(err, &problem) && problem.Status == http.StatusForbidden {
		answer, header, err = c.invoke(ctx, region, "", i, rows)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.tallies[region]
	t.asked, t.sum, t.n = t.asked+1, t.sum+psi, t.n+1
	if err == nil {
		t.answered, t.version, t.header = t.answered+1, answer.Version, header
	}
}

func (c *callers) invoke(ctx context.Context, caller, region string, i int, rows [][]float64) (v1.Invocation, string, error) {
	preferences, err := json.Marshal(struct {
		Region string `json:"region,omitempty"`
		Caller string `json:"caller_key"`
	}{region, caller + "-" + string(rune('a'+i%26))})
	if err != nil {
		return v1.Invocation{}, "", err
	}
	input, err := json.Marshal(map[string]any{"data": rows})
	if err != nil {
		return v1.Invocation{}, "", err
	}
	resp, err := c.lead.Invoke(ctx, v1.InvokeRequest{Tenant: Consortium, ModelID: Model, Input: input, Preferences: preferences})
	header := ""
	if err == nil {
		header = resp.Header.Get("X-Fabric-Audit")
	}
	answer, err := v1.Fetch[v1.Invocation](resp, err)
	return answer, header, err
}
