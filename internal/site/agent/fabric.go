package agent

import (
	"bytes"
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
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
	// are some, else after at most wait, and what its tenant has withdrawn.
	Work(ctx context.Context, token string, wait time.Duration) (v1.WorkList, error)
	// Runs returns the runs that are not over and have asked this site.
	Runs(ctx context.Context, token string) ([]v1.OpenRun, error)
	// Blob returns content from byte first on, to be read and closed. It was not
	// compared with the digest, and may break off.
	Blob(ctx context.Context, token string, digest artifact.Digest, first int64) (io.ReadCloser, error)
	// PutBlob stores content of so many bytes under its digest; when it returns
	// nil, it is kept. A call that is repeated goes on where the last one was cut.
	PutBlob(ctx context.Context, token string, digest artifact.Digest, size int64, content io.ReaderAt) error
	// Answer records the site's answer to a question about its rows.
	Answer(ctx context.Context, token string, req v1.SiteAnswerRequest) error
	// Submit records the site's answer in a stage.
	Submit(ctx context.Context, token, run string, number int, req v1.SubmissionRequest) error
}

// transferTime bounds the upload of one piece; stillTime is how long a download
// may stand still.
const (
	transferTime = 5 * time.Minute
	stillTime    = time.Minute
)

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

func (c client) Work(ctx context.Context, token string, wait time.Duration) (v1.WorkList, error) {
	ctx, cancel := context.WithTimeout(ctx, wait+callTime)
	defer cancel()
	params := &v1.SiteWorkParams{WaitSeconds: v1.WaitSeconds(wait / time.Second)}
	return v1.Fetch[v1.WorkList](answered(c.api.SiteWork(ctx, params, present(token))))
}

func (c client) Runs(ctx context.Context, token string) ([]v1.OpenRun, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	list, err := v1.Fetch[v1.OpenRuns](answered(c.api.SiteRuns(ctx, present(token))))
	return list.Items, err
}

func (c client) Blob(ctx context.Context, token string, digest artifact.Digest, first int64) (io.ReadCloser, error) {
	ctx, cancel := context.WithCancel(ctx)
	ranged := func(_ context.Context, r *http.Request) error {
		if first > 0 {
			r.Header.Set("Range", fmt.Sprintf("bytes=%d-", first))
		}
		return nil
	}
	// A download may take long; it may not stand still.
	still := time.AfterFunc(stillTime, cancel)
	resp, err := answered(c.api.GetBlob(ctx, string(digest), present(token), ranged))
	body, err := v1.Stream(resp, err)
	if err != nil {
		still.Stop()
		cancel()
		return nil, err
	}
	d := &download{body, still, cancel}
	if first > 0 && resp.StatusCode != http.StatusPartialContent { // whoever is in between knows no ranges
		if _, err := io.CopyN(io.Discard, d, first); err != nil {
			return nil, errors.Join(err, d.Close())
		}
	}
	return d, nil
}

// A download is cancelled when nothing comes for a while.
type download struct {
	io.ReadCloser
	still  *time.Timer
	cancel context.CancelFunc
}

func (d *download) Read(p []byte) (int, error) {
	d.still.Reset(stillTime)
	return d.ReadCloser.Read(p)
}

func (d *download) Close() error {
	d.still.Stop()
	d.cancel()
	return d.ReadCloser.Close()
}

func (c client) PutBlob(ctx context.Context, token string, digest artifact.Digest, size int64, content io.ReaderAt) error {
	if size > maxChunk {
		return c.putPieces(ctx, token, digest, size, content)
	}
	ctx, cancel := context.WithTimeout(ctx, transferTime)
	defer cancel()
	body, err := readAt(content, 0, size)
	if err != nil {
		return err
	}
	_, err = v1.Content(answered(c.api.PutBlobWithBody(ctx, string(digest), "application/octet-stream", bytes.NewReader(body), present(token))))
	return err
}

// readAt returns bytes of what is uploaded: at most a piece is in memory.
func readAt(content io.ReaderAt, first, n int64) ([]byte, error) {
	buffer := make([]byte, n)
	if got, err := content.ReadAt(buffer, first); int64(got) < n {
		return nil, fmt.Errorf("what is to be uploaded: %w", cmp.Or(err, io.ErrUnexpectedEOF))
	}
	return buffer, nil
}

func (c client) Answer(ctx context.Context, token string, req v1.SiteAnswerRequest) error {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	_, err := v1.Content(answered(c.api.AnswerQuestion(ctx, req, present(token))))
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
