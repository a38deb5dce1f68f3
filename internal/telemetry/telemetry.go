// Package telemetry is how a process shows what it does: log lines, traces and
// metrics, each of them safe to hand to somebody else.
//
// Invariant: no secret and no personal value leaves through it. A value is
// redacted by its type (config.Secret), by its name or by its look, before it is
// written; labels are bounded sets, never ids of tenants, runs or people.
package telemetry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	otelprom "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// Options refine [New]; the zero value is right for a process.
type Options struct {
	Out      io.Writer             // of log lines; nil means standard error
	Level    slog.Leveler          // nil means Info
	Exporter sdktrace.SpanExporter // of spans; nil means OTLP where the environment names a collector, else none
}

// A Telemetry is the log, the traces and the metrics of one process.
type Telemetry struct {
	Log      *slog.Logger
	Registry *prometheus.Registry
	Tracers  trace.TracerProvider
	Meters   metric.MeterProvider // for libraries that count with OpenTelemetry; read by the Registry

	spans  *sdktrace.TracerProvider
	counts *sdkmetric.MeterProvider
}

// New makes the telemetry of a service. Spans are made, so that trace ids
// exist and travel, even where nothing collects them; they are exported only
// if OTEL_EXPORTER_OTLP_ENDPOINT (or its _TRACES_ form) is set.
func New(ctx context.Context, service string, opts Options) (*Telemetry, error) {
	if opts.Out == nil {
		opts.Out = os.Stderr
	}
	exporter := opts.Exporter
	if exporter == nil && collector() {
		var err error
		if exporter, err = otlptracehttp.New(ctx); err != nil {
			return nil, fmt.Errorf("telemetry: trace exporter: %w", err)
		}
	}
	settings := []sdktrace.TracerProviderOption{
		sdktrace.WithResource(resource.NewSchemaless(attribute.String("service.name", service))),
	}
	if exporter != nil {
		settings = append(settings, sdktrace.WithBatcher(exporter))
	}
	spans := sdktrace.NewTracerProvider(settings...)

	registry := prometheus.NewRegistry()
	err := errors.Join(
		registry.Register(collectors.NewGoCollector()),
		registry.Register(collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})),
		registry.Register(collectors.NewBuildInfoCollector()),
	)
	if err != nil {
		return nil, fmt.Errorf("telemetry: collectors: %w", err)
	}
	counts, err := meters(registry)
	if err != nil {
		return nil, err
	}
	return &Telemetry{
		Log:      newLogger(opts.Out, service, opts.Level),
		Registry: registry,
		Tracers:  spans,
		Meters:   counts,
		spans:    spans,
		counts:   counts,
	}, nil
}

// Handler answers GET /metrics, with exemplars for who asks for OpenMetrics.
func (t *Telemetry) Handler() http.Handler {
	return promhttp.HandlerFor(t.Registry, promhttp.HandlerOpts{EnableOpenMetrics: true, Registry: t.Registry})
}

// Close sends the spans that are still held.
func (t *Telemetry) Close(ctx context.Context) error {
	if err := errors.Join(t.spans.Shutdown(ctx), t.counts.Shutdown(ctx)); err != nil {
		return fmt.Errorf("telemetry: %w", err)
	}
	return nil
}

// Propagator carries a trace between processes: W3C traceparent and baggage.
func Propagator() propagation.TextMapPropagator {
	return propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})
}

// meters lets the registry read what OpenTelemetry counts. Its own histogram
// bounds begin at five, in seconds: every fast call would be in one bucket.
func meters(registry *prometheus.Registry) (*sdkmetric.MeterProvider, error) {
	reader, err := otelprom.New(
		otelprom.WithRegisterer(registry),
		otelprom.WithoutScopeInfo(),
		otelprom.WithoutTargetInfo(),
	)
	if err != nil {
		return nil, fmt.Errorf("telemetry: meters: %w", err)
	}
	return sdkmetric.NewMeterProvider(
		sdkmetric.WithReader(reader),
		sdkmetric.WithView(sdkmetric.NewView(
			sdkmetric.Instrument{Kind: sdkmetric.InstrumentKindHistogram},
			sdkmetric.Stream{Aggregation: sdkmetric.AggregationExplicitBucketHistogram{Boundaries: Buckets()}},
		)),
	), nil
}

// Buckets of durations in seconds, from a row lookup to a stage's deadline.
func Buckets() []float64 {
	return []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300}
}

func collector() bool {
	return os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != "" || os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") != ""
}
