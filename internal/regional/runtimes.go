// Package regional asks the runtime of a region what it runs.
//
// Invariant: a report is taken only from the region that was asked for; what a
// runtime says of another region is an error, never evidence.
package regional

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/atom-fabric/fabric/activities"
)

var (
	// ErrUnknown says that no runtime is configured for a region.
	ErrUnknown = errors.New("no runtime is configured for this region")
	// ErrReport says that what a runtime answered is no report of its region.
	ErrReport = errors.New("not a report of this region's runtime")
)

// limit bounds a report: some 150 bytes a package, thousands of packages.
const limit = 4 << 20

// Runtimes are the runtimes of the regions by their base URLs.
type Runtimes struct {
	bases  map[string]string
	client *http.Client
}

// New returns the runtimes at the base URLs, by region. Spans of ctx are
// carried on where transport does so; nil means the default transport.
func New(bases map[string]string, transport http.RoundTripper) *Runtimes {
	own := make(map[string]string, len(bases))
	for region, base := range bases {
		own[region] = strings.TrimRight(base, "/")
	}
	return &Runtimes{bases: own, client: &http.Client{Transport: transport, Timeout: 5 * time.Second}}
}

// Active returns what the region's runtime says it runs.
func (r *Runtimes) Active(ctx context.Context, region string) (activities.Active, error) {
	var none activities.Active
	base, ok := r.bases[region]
	if !ok {
		return none, fmt.Errorf("region %s: %w", region, ErrUnknown)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/fabric/active", nil)
	if err != nil {
		return none, fmt.Errorf("region %s: %w", region, err)
	}
	answer, err := r.client.Do(req)
	if err != nil {
		return none, fmt.Errorf("region %s: %w", region, err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return none, fmt.Errorf("region %s: %w: status %d", region, ErrReport, answer.StatusCode)
	}
	var active activities.Active
	if err := json.NewDecoder(io.LimitReader(answer.Body, limit)).Decode(&active); err != nil {
		return none, fmt.Errorf("region %s: %w: %w", region, ErrReport, err)
	}
	if active.Region != region {
		return none, fmt.Errorf("region %s: %w: it says it is %.63q", region, ErrReport, active.Region)
	}
	return active, nil
}
