package telemetry_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/atom-fabric/fabric/internal/config"
	"github.com/atom-fabric/fabric/internal/telemetry"
)

// canary is in every secret below; no output may hold it.
const canary = "c4n4ry"

func TestNoOutputHoldsASecret(t *testing.T) {
	type inner struct {
		Password string
		URL      string
		Key      config.Secret
		Count    int64
	}
	jwt := "eyJhbGciOiJFUzI1NiJ9." + canary + "." + canary
	tests := []struct {
		name string
		log  func(*slog.Logger)
		keep string // must still be there: redaction that removes everything proves nothing
	}{
		{"a Secret by its type", func(l *slog.Logger) { l.Info("x", "value", config.Secret(canary)) }, "value"},
		{"a Secret inside a struct", func(l *slog.Logger) { l.Info("x", "config", inner{Key: canary, Count: 9007199254740993}) }, "9007199254740993"},
		{"a Secret in a format verb", func(l *slog.Logger) {
			l.Info(fmt.Sprintf("%v %+v %#v %s", inner{Key: canary}, inner{Key: canary}, inner{Key: canary}, config.Secret(canary)))
		}, "Count"},
		{"a value by its name", func(l *slog.Logger) { l.Info("x", "federation_token", canary, "site", "berlin") }, "berlin"},
		{"a value by its name in a group", func(l *slog.Logger) { l.WithGroup("db").Info("x", "password", canary, "host", "pg") }, "pg"},
		{"a value by its name in With", func(l *slog.Logger) { l.With("api-key", canary, "zone", "eu").Info("x") }, "eu"},
		{"a field of a nested struct by its name", func(l *slog.Logger) { l.Info("x", "c", []inner{{Password: canary, Count: 7}}) }, `"Count":7`},
		{"a URL's password in a nested struct", func(l *slog.Logger) { l.Info("x", "c", inner{URL: "postgres://fabric:" + canary + "@db/x"}) }, "postgres://fabric"},
		{"a bearer token in the message", func(l *slog.Logger) { l.Info("got Authorization: Bearer " + canary + "aaaaaaaa from site") }, "from site"},
		{"a JWT under an innocent name", func(l *slog.Logger) { l.Info("x", "note", "see "+jwt+" there") }, "there"},
		{"a password in an error", func(l *slog.Logger) {
			l.Error("x", "err", fmt.Errorf("dial: %w", errors.New("host=db password="+canary+" user=fabric")))
		}, "user=fabric"},
		{"a private key", func(l *slog.Logger) {
			l.Info("x", "pem", "-----BEGIN EC PRIVATE KEY-----\n"+canary+"\n-----END EC PRIVATE KEY----- after")
		}, "after"},
		{"a vault token", func(l *slog.Logger) { l.Info("x", "note", "hvs."+canary+"AAAAAAAA ok") }, "ok"},
		{"an e-mail address", func(l *slog.Logger) { l.Info("x", "who", canary+"@hospital.example wrote") }, "wrote"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			tel, err := telemetry.New(t.Context(), "test", telemetry.Options{Out: &out})
			require.NoError(t, err)
			tt.log(tel.Log)
			require.NotContains(t, out.String(), canary)
			require.Contains(t, out.String(), tt.keep)
			require.True(t, json.Valid(bytes.TrimSpace(out.Bytes())), out.String())
		})
	}
}

func TestALineNamesItsTrace(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "")
	t.Setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "")
	var out bytes.Buffer
	spans := tracetest.NewInMemoryExporter()
	tel, err := telemetry.New(t.Context(), "test", telemetry.Options{Out: &out, Exporter: spans})
	require.NoError(t, err)

	ctx, span := tel.Tracers.Tracer("test").Start(t.Context(), "step")
	tel.Log.With("a", 1).WithGroup("g").InfoContext(ctx, "inside", "b", 2)
	span.End()
	require.Contains(t, out.String(), `"trace_id":"`+span.SpanContext().TraceID().String()+`"`)

	require.NoError(t, tel.Close(context.WithoutCancel(t.Context())))
}

func TestMetricsNameTheBuildAndTheProcess(t *testing.T) {
	tel, err := telemetry.New(t.Context(), "test", telemetry.Options{Out: &bytes.Buffer{}})
	require.NoError(t, err)
	server := httptest.NewServer(tel.Handler())
	defer server.Close()
	answer, err := http.Get(server.URL)
	require.NoError(t, err)
	defer answer.Body.Close()
	var body bytes.Buffer
	_, err = body.ReadFrom(answer.Body)
	require.NoError(t, err)
	for _, name := range []string{"go_build_info", "process_cpu_seconds_total", "go_goroutines"} {
		require.True(t, strings.Contains(body.String(), name), name)
	}
}
