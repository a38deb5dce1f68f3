package prom_test

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/feedback"
	"github.com/atom-fabric/fabric/internal/prom"
)

var spans = []feedback.Span{{From: time.Unix(1000, 0), To: time.Unix(1060, 0)}}

func answering(t *testing.T, status int, body string) *prom.Reader {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}))
	t.Cleanup(s.Close)
	r, err := prom.New(s.URL, nil, nil)
	require.NoError(t, err)
	return r
}

func TestWhatDoesNotAnswerIsNoEmptyWindow(t *testing.T) {
	tests := []struct {
		name   string
		status int
		body   string
		want   error
	}{
		{"it fails", 503, "", prom.ErrUnavailable},
		{"something else answers", 200, "<html>", prom.ErrAnswer},
		{"JSON of something else", 200, "{}", prom.ErrAnswer},
		{"it refuses the query", 400, `{"status":"error","error":"parse error"}`, prom.ErrQuery},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := answering(t, tt.status, tt.body)
			_, err := r.Windows(t.Context(), "t", "drift", spans)
			require.ErrorIs(t, err, tt.want)
			require.ErrorIs(t, r.Check(t.Context()), tt.want)
		})
	}
	gone := httptest.NewServer(nil)
	gone.Close()
	r, err := prom.New(gone.URL, nil, nil)
	require.NoError(t, err)
	_, err = r.Windows(t.Context(), "t", "drift", spans)
	require.ErrorIs(t, err, prom.ErrUnavailable)
	for _, bad := range []string{"", "host:9090", "ftp://x", "http://user:secret@x"} {
		_, err := prom.New(bad, nil, nil)
		require.ErrorIs(t, err, prom.ErrURL)
		require.NotContains(t, err.Error(), "secret")
	}
}

func TestWhatIsNoNumberStaysNone(t *testing.T) {
	r := answering(t, 200, `{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"region":"eu"},"values":[[1000,"1"],[1001,"NaN"],[1002,"+Inf"]]}]}}`)
	found, err := r.Windows(t.Context(), "t", "drift", spans)
	require.NoError(t, err)
	got := found["eu"][0].Values
	require.Len(t, got, 3)
	require.True(t, math.IsNaN(got[1]))
	require.True(t, math.IsInf(got[2], 1))
	require.ErrorIs(t, found["eu"][0].Check(feedback.MannWhitney), feedback.ErrNumber)

	none := answering(t, 200, `{"status":"success","data":{"resultType":"matrix","result":[]}}`)
	found, err = none.Windows(t.Context(), "t", "drift", spans)
	require.NoError(t, err)
	require.Empty(t, found)
	found, err = none.Windows(t.Context(), "t", "another", spans)
	require.NoError(t, err)
	require.Empty(t, found)
	for _, metric := range feedback.Metrics() {
		_, ok := prom.Queries()[metric]
		require.Equal(t, metric != "site_refused", ok, metric)
	}
}

// tables answer for what Prometheus is not asked.
type tables struct{}

func (tables) Windows(_ context.Context, tenant, metric string, _ []feedback.Span) (map[string][]feedback.Window, error) {
	return map[string][]feedback.Window{tenant + " " + metric: nil}, nil
}

// No metric names a site: whose answers are refused is read from our own rows.
func TestTheRestIsAskedElsewhere(t *testing.T) {
	r := answering(t, 200, `{"status":"success","data":{"resultType":"matrix","result":[]}}`).Else(tables{})
	found, err := r.Windows(t.Context(), "t", "site_refused", spans)
	require.NoError(t, err)
	require.Contains(t, found, "t site_refused")
	found, err = r.Windows(t.Context(), "t", "drift", spans)
	require.NoError(t, err)
	require.Empty(t, found)
}
