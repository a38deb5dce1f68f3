package regional_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/internal/regional"
)

var _ activities.Runtime = (*regional.Runtimes)(nil)

func TestARuntimeReportsForItsOwnRegion(t *testing.T) {
	const digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" // of the empty content, FIPS 180-4
	tests := []struct {
		name   string
		region string
		status int
		body   string
		err    error
	}{
		{"and is believed", "eu", 200, `{"region":"eu","snapshot":7,"policy":"` + digest + `","packages":{"t/m/1":"` + digest + `"},"routes":{"t/m/production":1}}`, nil},
		{"and not for another", "eu", 200, `{"region":"us","snapshot":7}`, regional.ErrReport},
		{"and not with a malformed digest", "eu", 200, `{"region":"eu","policy":"sha256:00"}`, regional.ErrReport},
		{"and not with a page that is no report", "eu", 200, `<html>`, regional.ErrReport},
		{"and not while it starts", "eu", 503, `{"region":"eu"}`, regional.ErrReport},
		{"if it is configured", "apac", 200, `{}`, regional.ErrUnknown},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				require.Equal(t, "GET /fabric/active", r.Method+" "+r.URL.Path)
				w.WriteHeader(tt.status)
				_, _ = w.Write([]byte(tt.body))
			}))
			defer server.Close()
			active, err := regional.New(map[string]string{"eu": server.URL + "/"}, nil).Active(t.Context(), tt.region)
			if tt.err != nil {
				require.ErrorIs(t, err, tt.err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, int64(7), active.Snapshot)
			require.Equal(t, 1, active.Routes["t/m/production"])
			require.EqualValues(t, digest, active.Packages["t/m/1"])
		})
	}
}
