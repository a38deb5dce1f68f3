package router

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/atom-fabric/fabric/domain/endpoint"
)

const (
	// latencyHeader carries how many milliseconds an answer may take: from the
	// caller to the router, and what is left of them from the router to the runtime.
	latencyHeader = "X-Fabric-Max-Latency-Ms"
	// retryHeader says, with the value "never", that a request must not be done
	// twice. An inference may be, so nothing else need be said.
	retryHeader = "X-Fabric-Retry"
)

// bounded reads the header fields that bound how long and how often a request
// is tried. The shorter of a field and a preference holds.
func (in *request) bounded(h http.Header) *problem {
	if values := h[latencyHeader]; len(values) > 0 {
		ms, err := strconv.ParseInt(values[0], 10, 32)
		if err != nil || len(values) > 1 || ms < 1 || ms > longestDeadline.Milliseconds() {
			return badField(latencyHeader, "must occur once and be 1 to %d", longestDeadline.Milliseconds())
		}
		if d := time.Duration(ms) * time.Millisecond; in.prefers.maxLatency == 0 || d < in.prefers.maxLatency {
			in.prefers.maxLatency = d
		}
	}
	if values := h[retryHeader]; len(values) > 0 {
		if len(values) > 1 || values[0] != "never" {
			return badField(retryHeader, "can only be never")
		}
		in.once = true
	}
	return nil
}

// A limited context has a deadline for which nobody is woken: whoever works in it
// asks when it is, and makes a context of its own where it has to wait. A timer
// for each call, beside that of each attempt, would be in vain nearly always.
type limited struct {
	context.Context
	end time.Time
}

// within limits a context.
func within(ctx context.Context, d time.Duration) context.Context {
	end := time.Now().Add(d)
	if at, ok := ctx.Deadline(); ok && at.Before(end) {
		return ctx
	}
	return &limited{ctx, end}
}

// Deadline implements [context.Context].
func (l *limited) Deadline() (time.Time, bool) { return l.end, true }

// Err implements [context.Context].
func (l *limited) Err() error {
	if err := l.Context.Err(); err != nil {
		return err
	}
	if !time.Now().Before(l.end) {
		return context.DeadlineExceeded
	}
	return nil
}

// left returns how many milliseconds a context still has, at least 1.
func left(ctx context.Context) string {
	end, ok := ctx.Deadline()
	if !ok {
		return strconv.FormatInt(longestDeadline.Milliseconds(), 10)
	}
	return strconv.FormatInt(max(1, time.Until(end).Milliseconds()), 10)
}

// aside reports whether every endpoint that may answer is set aside or says that
// it is not ready.
func aside(t *target, a *endpoint.Ask) bool {
	for i := range t.candidates {
		c := &t.candidates[i]
		if (a.Among == nil || a.Among.Has(i)) && c.Live.Ready() && !c.Live.Ejected(a.Now) {
			return false
		}
	}
	return true
}

// barred names the rules of policies that keep other endpoints from answering
// where the permitted ones cannot: nothing widens that set.
func barred(t *target) string {
	var rules []string
	for _, x := range t.Excluded {
		if strings.HasPrefix(x.Rule, "policy/") && !slices.Contains(rules, x.Rule) {
			rules = append(rules, x.Rule)
		}
	}
	if len(rules) == 0 {
		return ""
	}
	return " Others are barred by rule " + strings.Join(rules, ", ") + "."
}
