package notify_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/approval"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/internal/notify"
)

func request() contract.TellInput {
	return contract.TellInput{Event: "opened", Ballot: approval.Open(approval.Request{
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
	})}
}

func secret() []byte  { return []byte("0123456789abcdef0123456789abcdef") }
func noon() time.Time { return time.Date(2026, 11, 1, 8, 30, 0, 0, time.UTC) }

func TestANoticeSaysWhatWaitsAndNotWho(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "inbox.jsonl")
	inbox, err := notify.New(notify.Options{Path: path})
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
	for _, person := range []string{"ann", "bob", "http://", "https://"} { // without a secret there is no link
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
			var methods, keys, bodies, signatures []string
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				methods, keys, bodies = append(methods, r.Method), append(keys, r.Header.Get("Idempotency-Key")), append(bodies, string(body))
				signatures = append(signatures, r.Header.Get("Fabric-Signature"))
				w.Header().Set("Location", "/elsewhere")
				w.WriteHeader(tt.status)
			}))
			defer server.Close()
			inbox, err := notify.New(notify.Options{Path: filepath.Join(t.TempDir(), "inbox.jsonl"), Webhook: server.URL + "/hook-s3cret", Base: "https://fabric.example", Secret: secret(), Now: func() time.Time { return noon() }})
			require.NoError(t, err)
			err = inbox.Notify(t.Context(), request())
			require.Equal(t, []string{"POST"}, methods)
			require.Equal(t, []string{"approval/promote-1/opened"}, keys)
			require.Contains(t, bodies[0], "serve tumour 3 in eu")
			mac := hmac.New(sha256.New, secret()) // as a receiver computes it
			fmt.Fprintf(mac, "%d.%s", noon().Unix(), bodies[0])
			require.Equal(t, fmt.Sprintf("t=%d,v1=%x", noon().Unix(), mac.Sum(nil)), signatures[0])
			var notice notify.Notice
			require.NoError(t, json.Unmarshal([]byte(bodies[0]), &notice))
			link, err2 := url.Parse(notice.Link)
			require.NoError(t, err2)
			require.Equal(t, "https://fabric.example/approvals/promote-1", link.Scheme+"://"+link.Host+link.Path)
			token := link.Query().Get("link")
			require.NoError(t, approval.CheckLink(secret(), "clinic", "promote-1", token, noon()))
			require.ErrorIs(t, approval.CheckLink(secret(), "clinic", "promote-1", token, noon().Add(31*time.Minute)), approval.ErrLink, "over with the ballot")
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
	away := server.URL
	server.Close()
	inbox, err := notify.New(notify.Options{Path: filepath.Join(t.TempDir(), "inbox.jsonl"), Webhook: away + "/s3cret"})
	require.NoError(t, err)
	err = inbox.Notify(t.Context(), request())
	require.ErrorIs(t, err, notify.ErrDelivery)
	require.NotContains(t, err.Error(), "s3cret")
}

func TestAWebhookMustBeAURL(t *testing.T) {
	for _, bad := range []string{"s3cret", "ftp://s3cret/x", "https://", "::s3cret"} {
		_, err := notify.New(notify.Options{Path: "inbox", Webhook: bad})
		require.Error(t, err, bad)
		require.NotContains(t, err.Error(), "s3cret")
	}
}
