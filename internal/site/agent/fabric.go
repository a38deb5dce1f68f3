package agent

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"time"

	v1 "github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/artifact"
)

// A Fabric is the control plane as a site sees it. Every call may be repeated.
// A refusal is a [*v1.ProblemError]; any other error is no answer at all.
type Fabric interface {
	// Enrol presents the federation token and the site's public key.
	Enrol(ctx context.Context, federationToken string, req v1.EnrolRequest) (v1.Enrolment, error)
	// Work returns the open stages that wait for this site, at once when there
	// are some, else after at most wait.
	Work(ctx context.Context, token string, wait time.Duration) ([]v1.Work, error)
	// Blob returns content that was not yet compared with the digest.
	Blob(ctx context.Context, token string, digest artifact.Digest) ([]byte, error)
	// PutBlob stores content under its digest; when it returns nil, it is kept.
	PutBlob(ctx context.Context, token string, digest artifact.Digest, content []byte) error
	// Submit records the site's answer in a stage.
	Submit(ctx context.Context, token, run string, number int, req v1.SubmissionRequest) error
}

// transferTime bounds one upload or download.
const transferTime = 5 * time.Minute

// callTime bounds every other call, on top of what the fabric may wait.
const callTime = 20 * time.Second

// A client is the fabric over HTTP.
type client struct{ api *v1.Client }

// Dial returns the fabric at a base URL. Redirects are not followed: a token
// goes where the operator said, or nowhere. Errors: [ErrOptions].
func Dial(base string, transport http.RoundTripper) (Fabric, error) {
	if u, err := url.Parse(base); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("%w: the fabric's URL is not http(s)://host", ErrOptions)
	}
	httpClient := &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	api, err := v1.NewClient(base, v1.WithHTTPClient(httpClient))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrOptions, err)
	}
	return client{api}, nil
}

func (c client) Enrol(ctx context.Context, federationToken string, req v1.EnrolRequest) (v1.Enrolment, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	return v1.Fetch[v1.Enrolment](answered(c.api.EnrolSite(ctx, req, present(federationToken))))
}

func (c client) Work(ctx context.Context, token string, wait time.Duration) ([]v1.Work, error) {
	ctx, cancel := context.WithTimeout(ctx, wait+callTime)
	defer cancel()
	params := &v1.SiteWorkParams{WaitSeconds: v1.WaitSeconds(wait / time.Second)}
	list, err := v1.Fetch[v1.WorkList](answered(c.api.SiteWork(ctx, params, present(token))))
	return list.Items, err
}

func (c client) Blob(ctx context.Context, token string, digest artifact.Digest) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, transferTime)
	defer cancel()
	return v1.Content(answered(c.api.GetBlob(ctx, string(digest), present(token))))
}

func (c client) PutBlob(ctx context.Context, token string, digest artifact.Digest, content []byte) error {
	if len(content) > maxChunk {
		return c.putPieces(ctx, token, digest, content)
	}
	ctx, cancel := context.WithTimeout(ctx, transferTime)
	defer cancel()
	_, err := v1.Content(answered(c.api.PutBlobWithBody(ctx, string(digest), artifact.MediaTypeWeights, bytes.NewReader(content), present(token))))
	return err
}

func (c client) Submit(ctx context.Context, token, run string, number int, req v1.SubmissionRequest) error {
	ctx, cancel := context.WithTimeout(ctx, transferTime)
	defer cancel()
	_, err := v1.Content(answered(c.api.SubmitUpdate(ctx, run, number, req, present(token))))
	return err
}

// errRedirect is an answer that is none.
var errRedirect = errors.New("the fabric redirects; give its own URL")

func answered(resp *http.Response, err error) (*http.Response, error) {
	if err == nil && resp.StatusCode >= 300 && resp.StatusCode < 400 {
		resp.Body.Close()
		return nil, errRedirect
	}
	return resp, err
}

// present adds the token, and the trace of the order that is worked on.
func present(token string) v1.RequestEditorFn {
	return func(ctx context.Context, r *http.Request) error {
		r.Header.Set("Authorization", "Bearer "+token)
		if trace, ok := ctx.Value(traceKey{}).(string); ok {
			r.Header.Set("Traceparent", fmt.Sprintf("00-%s-%016x-01", trace, rand.Uint64()|1))
		}
		return nil
	}
}

type traceKey struct{}

// traced carries the trace id of an order into the calls that are made for it.
// An id that is not 32 hex digits is left out.
func traced(ctx context.Context, trace string) context.Context {
	if raw, err := hex.DecodeString(trace); err != nil || len(raw) != 16 {
		return ctx
	}
	return context.WithValue(ctx, traceKey{}, trace)
}

// refusal returns the problem document of a refused call.
func refusal(err error) (*v1.ProblemError, bool) {
	var problem *v1.ProblemError
	ok := errors.As(err, &problem)
	return problem, ok
}

// final says whether the same call would be refused again.
func final(err error) bool {
	problem, ok := refusal(err)
	if !ok {
		return false
	}
	switch problem.Status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return false
	}
	return problem.Status >= 400 && problem.Status < 500
}

func unauthorised(err error) bool {
	problem, ok := refusal(err)
	return ok && problem.Status == http.StatusUnauthorized
}
