// Package prom reads telemetry from a Prometheus.
//
// Invariant: what Prometheus does not answer is an error and is tried again;
// what it has no series for is an empty window. The two are never mixed up, and
// neither reads as zero.
package prom

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/atom-fabric/fabric/domain/feedback"
)

// Why nothing can be read.
var (
	ErrURL         = errors.New("not the URL of a Prometheus")
	ErrUnavailable = errors.New("Prometheus does not answer")
	ErrAnswer      = errors.New("what answers at PROM_URL is no Prometheus")
	ErrQuery       = errors.New("Prometheus refuses the query")
)

// maxAnswer bounds what is read of an answer.
const maxAnswer = 32 << 20

// How many values a window of single values has at most, and of those that say
// what happened since the one before: fewer, so that each holds some scrapes.
const (
	points = 240
	steps  = 60
)

// A Reader reads from one Prometheus: [activities.Telemetry].
type Reader struct {
	base    *url.URL
	client  *http.Client
	queries map[string]Query
	rest    Source
}

// A Source knows what no query asks Prometheus for.
type Source interface {
	Windows(ctx context.Context, tenant, metric string, spans []feedback.Span) (map[string][]feedback.Window, error)
}

// Else returns a reader that asks a source for the metrics without a query.
func (r *Reader) Else(rest Source) *Reader {
	other := *r
	other.rest = rest
	return &other
}

// A Query is how a metric is asked for. A share has Hits and Total, counters of
// which the increase in the window counts; single values have Value, which is
// read at equal steps. Each is a PromQL expression with the label Label for its
// target; $window is the window's length, $step the distance of two values. A
// value that has $step is what happened since the one before, so that nothing
// counts as two observations.
type Query struct {
	Hits  string
	Total string
	Value string
	Label string
}

// Queries returns how the metrics of the policy loop are asked for where nothing
// else is said. site_refused is none of them: no metric names a site.
func Queries() map[string]Query {
	share := func(hits, total, label string) Query {
		by := func(expr string) string { return "sum by (" + label + ") (increase(" + expr + "[$window]))" }
		return Query{Hits: by(hits), Total: by(total), Label: label}
	}
	value := func(expr, label string) Query {
		return Query{Value: "avg by (" + label + ") (" + expr + ")", Label: label}
	}
	// What is derived from rows is the same at every worker of the control queue:
	// of several one is read.
	rows := func(hits, total, label string) Query {
		by := func(expr string) string { return "max by (" + label + ") (increase(" + expr + "[$window]))" }
		return Query{Hits: by(hits), Total: by(total), Label: label}
	}
	mean := func(expr, label string) Query {
		by := func(part string) string { return "sum by (" + label + ") (increase(" + expr + part + "[$step]))" }
		return Query{Value: by("_sum") + " / (" + by("_count") + " > 0)", Label: label}
	}
	// What is decided is answered: of all that a runtime was asked for it is the rest.
	routed := share("fabric_router_failed_total", "fabric_router_decisions_total", "region")
	routed.Total += " + " + routed.Hits
	return map[string]Query{
		"drift":                    value("fabric_drift_psi", "region"),
		"privacy_attack_advantage": value("fabric_privacy_attack_advantage_ratio", "region"),
		"retried":                  share("fabric_router_retries_total", "fabric_router_upstream_seconds_count", "region"),
		"round_dropout":            rows("fabric_round_dropped_total", "fabric_round_asked_total", "region"),
		"route_failed":             routed,
		"stage_seconds":            mean("fabric_round_stage_seconds", "region"),
		"update_norm":              mean("fabric_round_update_norm", "region"),
	}
}

// New returns a reader. queries replace those of [Queries] by metric.
// Errors: [ErrURL].
func New(at string, client *http.Client, queries map[string]Query) (*Reader, error) {
	base, err := url.Parse(at)
	if err != nil || base.Host == "" || base.User != nil || base.Scheme != "http" && base.Scheme != "https" {
		return nil, ErrURL // without its text: it may hold a password
	}
	if client == nil {
		client = &http.Client{Timeout: 30 * time.Second}
	}
	all := Queries()
	for metric, q := range queries {
		all[metric] = q
	}
	return &Reader{base: base, client: client, queries: all}, nil
}

// Windows returns what a metric was in each span, for every target that has a
// series in one of them. A metric that has no query is asked of the source of
// the rest; without one it has no series.
// Errors: [ErrUnavailable], [ErrAnswer], [ErrQuery]; those of the source.
func (r *Reader) Windows(ctx context.Context, tenant, metric string, spans []feedback.Span) (map[string][]feedback.Window, error) {
	q, ok := r.queries[metric]
	if !ok && r.rest != nil {
		return r.rest.Windows(ctx, tenant, metric, spans)
	}
	if !ok {
		return nil, nil
	}
	out := feedback.History{}
	at := func(target string, i int) *feedback.Window { return out.At(target, spans, i) }
	for i, span := range spans {
		if q.Value != "" {
			series, err := r.values(ctx, q.Value, span)
			if err != nil {
				return nil, fmt.Errorf("metric %s: %w", metric, err)
			}
			for _, s := range series {
				if target := s.Metric[q.Label]; target != "" {
					w := at(target, i)
					w.Values = append(w.Values, s.numbers()...)
				}
			}
			continue
		}
		for part, expr := range []string{q.Hits, q.Total} {
			series, err := r.increase(ctx, expr, span)
			if err != nil {
				return nil, fmt.Errorf("metric %s: %w", metric, err)
			}
			for _, s := range series {
				target := s.Metric[q.Label]
				if target == "" {
					continue
				}
				// Increases are extrapolated to the window's ends: counts are whole.
				for _, n := range s.numbers() {
					if w := at(target, i); part == 0 {
						w.Hits = math.Round(n)
					} else {
						w.Total = math.Round(n)
					}
				}
			}
		}
	}
	for _, windows := range out {
		for i := range windows {
			windows[i].Hits = min(windows[i].Hits, max(windows[i].Total, 0)) // both are rounded and scraped at different times
		}
	}
	return out, nil
}

// increase asks for one number at the end of a span.
func (r *Reader) increase(ctx context.Context, expr string, span feedback.Span) ([]series, error) {
	window := strconv.FormatInt(int64(span.To.Sub(span.From)/time.Second), 10) + "s"
	return r.ask(ctx, "query", url.Values{"query": {strings.ReplaceAll(expr, "$window", window)}, "time": {unix(span.To)}})
}

// values asks for the numbers of a span, at equal steps of a second or more.
func (r *Reader) values(ctx context.Context, expr string, span feedback.Span) ([]series, error) {
	step, first, last := max(span.To.Sub(span.From)/points, time.Second), span.From, span.To.Add(-time.Millisecond)
	if strings.Contains(expr, "$step") {
		step = max(span.To.Sub(span.From)/steps, time.Second).Truncate(time.Second)
		first, last = span.From.Add(step), span.To // each is of the step before it
		expr = strings.ReplaceAll(expr, "$step", strconv.FormatInt(int64(step/time.Second), 10)+"s")
	}
	return r.ask(ctx, "query_range", url.Values{
		"query": {expr}, "start": {unix(first)}, "end": {unix(last)}, "step": {strconv.FormatFloat(step.Seconds(), 'f', -1, 64)},
	})
}

func unix(at time.Time) string { return strconv.FormatFloat(float64(at.UnixMilli())/1000, 'f', 3, 64) }

// A series is one of an answer: an instant has Value, a range Values; each is a
// time and a number as text.
type series struct {
	Metric map[string]string    `json:"metric"`
	Value  [2]json.RawMessage   `json:"value"`
	Values [][2]json.RawMessage `json:"values"`
}

// numbers are those of the series; what cannot be read as one is NaN, as
// Prometheus writes it.
func (s series) numbers() []float64 {
	points := s.Values
	if s.Value[1] != nil {
		points = append(points, s.Value)
	}
	out := make([]float64, len(points))
	for i, p := range points {
		var text string
		out[i] = math.NaN()
		if json.Unmarshal(p[1], &text) == nil {
			if n, err := strconv.ParseFloat(text, 64); err == nil {
				out[i] = n
			}
		}
	}
	return out
}

func (r *Reader) ask(ctx context.Context, what string, form url.Values) ([]series, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.base.JoinPath("api", "v1", what).String(), strings.NewReader(form.Encode()))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := r.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil || resp.StatusCode >= http.StatusInternalServerError {
		return nil, fmt.Errorf("%w: status %d", ErrUnavailable, resp.StatusCode)
	}
	var answer struct {
		Status string `json:"status"`
		Error  string `json:"error"`
		Data   struct {
			Result []series `json:"result"`
		} `json:"data"`
	}
	switch err := json.Unmarshal(text, &answer); {
	case err != nil || len(text) > maxAnswer || answer.Status == "":
		return nil, fmt.Errorf("%w: status %d", ErrAnswer, resp.StatusCode)
	case answer.Status != "success":
		return nil, fmt.Errorf("%w: %s", ErrQuery, answer.Error)
	}
	return answer.Data.Result, nil
}

// Check says whether a Prometheus answers.
func (r *Reader) Check(ctx context.Context) error {
	_, err := r.ask(ctx, "query", url.Values{"query": {"vector(1)"}})
	return err
}
