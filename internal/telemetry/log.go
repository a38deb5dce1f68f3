package telemetry

import (
	"context"
	"io"
	"log/slog"

	"go.opentelemetry.io/otel/trace"
)

// newLogger returns a logger that writes one JSON object a line to out, with
// the service's name, the trace of the context, and without secrets.
func newLogger(out io.Writer, service string, level slog.Leveler) *slog.Logger {
	lines := slog.NewJSONHandler(out, &slog.HandlerOptions{Level: level, ReplaceAttr: newRedactor().attr})
	return slog.New(traced{lines}).With(slog.String("service", service))
}

// traced adds the trace that a line belongs to, so that one id finds the lines
// of every process that took part.
type traced struct{ slog.Handler }

func (h traced) Handle(ctx context.Context, record slog.Record) error {
	if span := trace.SpanContextFromContext(ctx); span.IsValid() {
		record.AddAttrs(
			slog.String("trace_id", span.TraceID().String()),
			slog.String("span_id", span.SpanID().String()),
		)
	}
	return h.Handler.Handle(ctx, record)
}

func (h traced) WithAttrs(attrs []slog.Attr) slog.Handler {
	return traced{h.Handler.WithAttrs(attrs)}
}

func (h traced) WithGroup(name string) slog.Handler {
	return traced{h.Handler.WithGroup(name)}
}
