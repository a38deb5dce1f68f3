package api

import (
	"context"
	"crypto/rand"

	"go.opentelemetry.io/otel/trace"
)

// traced returns a context that has a span: that of the tracer, or, without a
// tracer, one that is made up so that every request has a global trace id.
func traced(ctx context.Context) context.Context {
	if trace.SpanContextFromContext(ctx).IsValid() {
		return ctx
	}
	var id trace.TraceID
	var span trace.SpanID
	_, _ = rand.Read(id[:]) // never fails
	_, _ = rand.Read(span[:])
	return trace.ContextWithSpanContext(ctx, trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: id, SpanID: span, TraceFlags: trace.FlagsSampled,
	}))
}

// traceID returns the global trace id of a request.
func traceID(ctx context.Context) string {
	return trace.SpanContextFromContext(ctx).TraceID().String()
}

// traceparent returns the W3C header of a request's span.
func traceparent(ctx context.Context) string {
	s := trace.SpanContextFromContext(ctx)
	return "00-" + s.TraceID().String() + "-" + s.SpanID().String() + "-" + s.TraceFlags().String()
}
