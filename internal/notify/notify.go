// Package notify tells approvers that something waits for them: a line in an
// inbox file, and a POST to whatever the operator names (a chat's webhook, a
// ticket system).
//
// Invariant: a notice only informs. It holds no link, token or button that
// decides; opening it, or fetching anything that it names, approves nothing.
// It holds no name of a person either. With a secret, what is posted is signed,
// and so is the link to the ballot, which is over with the ballot.
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
	"slices"
	"strings"
	"time"

	"github.com/atom-fabric/fabric/contract"
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
	Event       string          `json:"event"` // "opened", "escalated", "reminded", "ended"
	Outcome     string          `json:"outcome"`
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
	Decide      string          `json:"decide"`         // the command that an approver runs with their own key
	Link        string          `json:"link,omitempty"` // to look at the ballot
}

// An Inbox writes notices to a file and posts them to a webhook.
type Inbox struct {
	path    string
	webhook string
	base    string // of links; empty: none
	secret  []byte
	client  *http.Client
	now     func() time.Time
}

// Options of an [Inbox].
type Options struct {
	Path    string           // of the file, which is created when it is first written
	Webhook string           // empty posts nowhere
	Base    string           // URL of the page or API that links lead to; used with a secret only
	Secret  []byte           // signs notices and links; empty signs nothing
	Now     func() time.Time // nil: the clock
}

// New returns an inbox.
func New(o Options) (*Inbox, error) {
	webhook := o.Webhook
	if webhook != "" {
		u, err := url.Parse(webhook)
		if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
			return nil, errors.New("notify: the webhook is not an absolute http or https URL") // not quoted: it may hold a token
		}
	}
	if len(o.Secret) > 0 && len(o.Secret) < approval.MinSecret {
		return nil, fmt.Errorf("notify: the secret has %d bytes; want %d or more", len(o.Secret), approval.MinSecret)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Inbox{
		path:    o.Path,
		webhook: webhook,
		base:    strings.TrimSuffix(o.Base, "/"),
		secret:  o.Secret,
		client: &http.Client{
			Timeout: timeout,
			// A redirected POST would arrive as a GET, or at a stranger.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		now: o.Now,
	}, nil
}

// Notify tells how a ballot stands. Told twice, an approver reads two lines
// of one action, and the webhook sees one Idempotency-Key twice.
func (i *Inbox) Notify(ctx context.Context, in contract.TellInput) error {
	req := in.Ballot.Request
	roles := req.Roles
	if in.Ballot.Escalated {
		roles = nil
		for _, seat := range req.Widened {
			roles = append(roles, seat...)
		}
		slices.Sort(roles)
		roles = slices.Compact(roles)
	}
	line, err := json.Marshal(Notice{
		Event:       in.Event,
		Outcome:     string(in.Ballot.Outcome),
		Link:        i.link(req),
		At:          i.now().UTC(),
		Action:      req.Action.ID,
		Kind:        req.Action.Kind,
		Tenant:      req.Action.Tenant,
		Environment: req.Action.Environment,
		Summary:     req.Action.Summary,
		Risk:        req.Action.Risk,
		Plan:        req.Action.Plan,
		Need:        req.Need,
		Roles:       roles,
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
	return i.post(ctx, "approval/"+req.Action.ID+"/"+in.Event, line)
}

// link leads to the ballot until it is over. What it names is fetched with a
// GET, which decides nothing.
func (i *Inbox) link(req approval.Request) string {
	if i.base == "" || len(i.secret) == 0 {
		return ""
	}
	token := approval.SignLink(i.secret, req.Action.Tenant, req.Action.ID, req.Expires())
	return i.base + "/approvals/" + url.PathEscape(req.Action.ID) + "?" + url.Values{"tenant": {req.Action.Tenant}, "link": {token}}.Encode()
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

func (i *Inbox) post(ctx context.Context, key string, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, i.webhook, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("notify: %w", ErrDelivery)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", key)
	if len(i.secret) > 0 {
		req.Header.Set("Fabric-Signature", approval.SignNotice(i.secret, body, i.now()))
	}
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
