package api

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/atom-fabric/fabric/api/v1"
)

const (
	checkTimeout = time.Second // of one dependency
	checkFresh   = time.Second // how long an answer is given again
)

// A Check asks one dependency whether it answers.
type Check func(ctx context.Context) error

// A monitor answers /health. Probes that come together share one look, so that
// they cannot become the load that they measure. Safe for concurrent use.
type monitor struct {
	service string
	opts    Options

	mu   sync.Mutex
	seen time.Time
	last v1.Health
}

func (m *monitor) serve(c *gin.Context) {
	// The look outlives an impatient probe: its result is for the next one too.
	health := m.look(context.WithoutCancel(c.Request.Context()))
	status := http.StatusOK
	if health.Status != v1.HealthStatusPass {
		status = http.StatusServiceUnavailable
	}
	c.Header("Cache-Control", "no-store")
	c.JSON(status, health)
}

// look asks every dependency at once.
func (m *monitor) look(ctx context.Context) v1.Health {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.seen.IsZero() && m.opts.Now().Sub(m.seen) < checkFresh {
		return m.last
	}
	health := v1.Health{
		Status:     v1.HealthStatusPass,
		Service:    m.service,
		Version:    m.opts.Version,
		Simulation: m.opts.Simulation,
		Checks:     make(map[string]v1.HealthCheck, len(m.opts.Checks)),
	}
	type result struct {
		name string
		err  error
	}
	results := make(chan result, len(m.opts.Checks))
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	for name, check := range m.opts.Checks {
		health.Checks[name] = v1.HealthCheck{Status: v1.HealthCheckStatusFail, Output: "no answer within 1 s"}
		go func() { results <- result{name, check(ctx)} }()
	}
	for range m.opts.Checks {
		select {
		case r := <-results:
			health.Checks[r.name] = verdict(r.err)
		case <-ctx.Done(): // a check that ignores its context has not answered
		}
	}
	for _, check := range health.Checks {
		if check.Status != v1.HealthCheckStatusPass {
			health.Status = v1.HealthStatusFail
		}
	}
	m.seen, m.last = m.opts.Now(), health
	return health
}

// verdict leaves the text of an error inside: it may name hosts and users.
func verdict(err error) v1.HealthCheck {
	switch {
	case err == nil:
		return v1.HealthCheck{Status: v1.HealthCheckStatusPass}
	case errors.Is(err, context.DeadlineExceeded):
		return v1.HealthCheck{Status: v1.HealthCheckStatusFail, Output: "no answer within 1 s"}
	}
	return v1.HealthCheck{Status: v1.HealthCheckStatusFail, Output: "it failed; the log says how"}
}
