// Package notify tells approvers that something waits for them: a line in an
// inbox file, and a POST to whatever the operator names (a chat's webhook, a
// ticket system).
//
// Invariant: a notice only informs. It holds no link, token or button that
// decides; opening it, or fetching anything that it names, approves nothing.
// It holds no name of a person either.
package notify

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/atom-fabric/fabric/domain/approval"
	"github.com/atom-fabric/fabric/domain/artifact"
)

// ErrDelivery says that a webhook did not take a notice.
var ErrDelivery = errors.New("the notice was not taken")

// timeout bounds one delivery; the workflow retries for as long as the ballot
// is open.
const timeout = 10 * time.Second

// A Notice is what an approver is told.
type Notice struct {
	At          time.Time       `json:"at"`
	Action      string          `json:"action"`
	Kind        string          `json:"kind"`
	Tenant      string          `json:"tenant"`
	Environment string          `json:"environment"`
	Summary     string          `json:"summary"`
	Risk        int             `json:"risk"`
	Plan        artifact.Digest `json:"plan"`
	Need        int             `json:"need"`
	Roles       []string        `json:"roles"`
	ExpiresAt   time.Time       `json:"expiresAt"`
	Decide      string          `json:"decide"` // the command that an approver runs with their own key
}

// An Inbox writes notices to a file and posts them to a webhook.
type Inbox struct {
	path    string
	webhook string
	client  *http.Client
	now     func() time.Time
}

// New returns an inbox in the file at path, which is created when it is first
// written. An empty webhook posts nowhere.
func New(path, webhook string) (*Inbox, error) {
	if webhook != "" {
		u, err := url.Parse(webhook)
		if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
			return nil, errors.New("notify: the webhook is not an absolute http or https URL") // not quoted: it may hold a token
		}
	}
	return &Inbox{
		path:    path,
		webhook: webhook,
		client: &http.Client{
			Timeout: timeout,
			// A redirected POST would arrive as a GET, or at a stranger.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		now: time.Now,
	}, nil
}

// Notify tells that a ballot is open. Told twice, an approver reads two lines
// of one action, and the webhook sees one Idempotency-Key twice.
func (i *Inbox) Notify(ctx context.Context, req approval.Request) error {
	line, err := json.Marshal(Notice{
		At:          i.now().UTC(),
		Action:      req.Action.ID,
		Kind:        req.Action.Kind,
		Tenant:      req.Action.Tenant,
		Environment: req.Action.Environment,
		Summary:     req.Action.Summary,
		Risk:        req.Action.Risk,
		Plan:        req.Action.Plan,
		Need:        req.Need,
		Roles:       req.Roles,
		ExpiresAt:   req.Expires().UTC(),
		Decide:      "fabric approve " + req.Action.ID,
	})
	if err != nil {
		return fmt.Errorf("notify: %w", err)
	}
	if err := i.write(append(line, '\n')); err != nil {
		return err
	}
	if i.webhook == "" {
		return nil
	}
	return i.post(ctx, req.Action.ID, line)
}

// write appends one line with one write, so that two processes do not mix
// theirs. A crash here leaves the line or none.
func (i *Inbox) write(line []byte) error {
	if err := os.MkdirAll(filepath.Dir(i.path), 0o700); err != nil {
		return fmt.Errorf("notify: %w", err)
	}
	file, err := os.OpenFile(i.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("notify: %w", err)
	}
	_, err = file.Write(line)
	if err = errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("notify: %w", err)
	}
	return nil
}

func (i *Inbox) post(ctx context.Context, action string, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, i.webhook, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("notify: %w", ErrDelivery)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", "approval/"+action)
	answer, err := i.client.Do(req)
	if err != nil {
		// The error of net/http names the URL, and a webhook's URL is its secret.
		var named *url.Error
		if errors.As(err, &named) {
			err = named.Err
		}
		return fmt.Errorf("notify: %w: %w", ErrDelivery, err)
	}
	defer answer.Body.Close()
	// Read to the end, within bounds, so that the connection can be used again.
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, 64<<10))
	if answer.StatusCode < 200 || answer.StatusCode > 299 {
		return fmt.Errorf("notify: %w: status %d", ErrDelivery, answer.StatusCode)
	}
	return nil
}
