package notify_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/approval"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/internal/notify"
)

func request() approval.Request {
	return approval.Request{
		Action: approval.Action{
			ID: "promote-1", Kind: "promotion", Tenant: "clinic", Environment: "production",
			Summary: "serve tumour 3 in eu", Plan: artifact.DigestOf([]byte("plan")), Risk: 71,
		},
		Requester:  "ann",
		Need:       2,
		Roles:      []string{"approver"},
		Approvers:  []approval.Approver{{Name: "bob", Key: artifact.DigestOf([]byte("key"))}},
		OpenedAt:   time.Date(2026, 11, 1, 8, 0, 0, 0, time.UTC),
		TTLSeconds: 3600,
	}
}

func TestANoticeSaysWhatWaitsAndNotWho(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "inbox.jsonl")
	inbox, err := notify.New(path, "")
	require.NoError(t, err)
	require.NoError(t, inbox.Notify(t.Context(), request()))
	require.NoError(t, inbox.Notify(t.Context(), request()))

	written, err := os.ReadFile(path)
	require.NoError(t, err)
	lines := strings.Split(strings.TrimSpace(string(written)), "\n")
	require.Len(t, lines, 2)
	var notice notify.Notice
	require.NoError(t, json.Unmarshal([]byte(lines[0]), &notice))
	require.Equal(t, "promote-1", notice.Action)
	require.Equal(t, 71, notice.Risk)
	require.Equal(t, "fabric approve promote-1", notice.Decide)
	require.Equal(t, time.Date(2026, 11, 1, 9, 0, 0, 0, time.UTC), notice.ExpiresAt)
	for _, person := range []string{"ann", "bob", "http://", "https://"} {
		require.NotContains(t, string(written), person)
	}
}

func TestAWebhookIsPostedTo(t *testing.T) {
	tests := []struct {
		name   string
		status int
		fails  bool
	}{
		{"and takes the notice", http.StatusNoContent, false},
		{"and is not followed elsewhere", http.StatusFound, true},
		{"and refuses", http.StatusForbidden, true},
		{"and is broken", http.StatusInternalServerError, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var methods, keys, bodies []string
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				methods, keys, bodies = append(methods, r.Method), append(keys, r.Header.Get("Idempotency-Key")), append(bodies, string(body))
				w.Header().Set("Location", "/elsewhere")
				w.WriteHeader(tt.status)
			}))
			defer server.Close()
			inbox, err := notify.New(filepath.Join(t.TempDir(), "inbox.jsonl"), server.URL+"/hook-s3cret")
			require.NoError(t, err)
			err = inbox.Notify(t.Context(), request())
			require.Equal(t, []string{"POST"}, methods)
			require.Equal(t, []string{"approval/promote-1"}, keys)
			require.Contains(t, bodies[0], "serve tumour 3 in eu")
			if tt.fails {
				require.ErrorIs(t, err, notify.ErrDelivery)
				require.NotContains(t, err.Error(), "s3cret")
				return
			}
			require.NoError(t, err)
		})
	}
}

func TestAWebhookThatIsAwayIsNotNamedInTheError(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	url := server.URL
	server.Close()
	inbox, err := notify.New(filepath.Join(t.TempDir(), "inbox.jsonl"), url+"/s3cret")
	require.NoError(t, err)
	err = inbox.Notify(t.Context(), request())
	require.ErrorIs(t, err, notify.ErrDelivery)
	require.NotContains(t, err.Error(), "s3cret")
}

func TestAWebhookMustBeAURL(t *testing.T) {
	for _, bad := range []string{"s3cret", "ftp://s3cret/x", "https://", "::s3cret"} {
		_, err := notify.New("inbox", bad)
		require.Error(t, err, bad)
		require.NotContains(t, err.Error(), "s3cret")
	}
}
