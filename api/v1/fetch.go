// Package v1 is the HTTP API as Go: the types of openapi.yaml, a client for
// every operation, and what turns an answer into a value or a problem.
//
// Invariant: the types are generated from openapi.yaml and never edited; an
// answer that is not of the contract is an error, not a zero value.
package v1

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/google/uuid"
)

// ErrAnswer says that an answer is not what the contract promises.
var ErrAnswer = errors.New("the answer is not of the contract")

// maxAnswer bounds what a client reads of one answer into memory.
const maxAnswer = 64 << 20

// A ProblemError is an RFC 9457 problem document as an error. Code is stable.
type ProblemError struct{ Problem }

func (e *ProblemError) Error() string {
	text := e.Title
	if e.Detail != "" {
		text += ": " + e.Detail
	}
	for _, item := range e.Errors {
		text += fmt.Sprintf("\n  %s: %s", item.Pointer, item.Detail)
	}
	return fmt.Sprintf("%s (%s, trace %s)", text, e.Code, e.Instance)
}

// Fetch reads the answer of a [Client] call as a T, or as a *ProblemError:
//
//	run, err := v1.Fetch[v1.Run](client.GetRun(ctx, id, nil))
func Fetch[T any](resp *http.Response, err error) (T, error) {
	var out T
	body, err := Content(resp, err)
	if err != nil {
		return out, err
	}
	if err := json.Unmarshal(body, &out); err != nil {
		return out, fmt.Errorf("%w: %s: %w", ErrAnswer, resp.Request.URL.Path, err)
	}
	return out, nil
}

// Content reads the answer's body as it is, or a *ProblemError.
func Content(resp *http.Response, err error) ([]byte, error) {
	body, err := Stream(resp, err)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return whole(resp, body)
}

// Stream returns the answer's body to be read and closed, however long it is,
// or a *ProblemError.
func Stream(resp *http.Response, err error) (io.ReadCloser, error) {
	if err != nil {
		return nil, err
	}
	if resp.StatusCode < http.StatusBadRequest {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	body, err := whole(resp, resp.Body)
	if err != nil {
		return nil, err
	}
	var p ProblemError
	if err := json.NewDecoder(bytes.NewReader(body)).Decode(&p.Problem); err != nil || p.Code == "" {
		return nil, fmt.Errorf("%w: %s: %s without a problem document", ErrAnswer, resp.Request.URL.Path, resp.Status)
	}
	return nil, &p
}

// whole reads a body that is to be in memory.
func whole(resp *http.Response, body io.Reader) ([]byte, error) {
	content, err := io.ReadAll(io.LimitReader(body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", resp.Request.URL.Path, err)
	case len(content) > maxAnswer:
		return nil, fmt.Errorf("%w: %s: longer than %d bytes", ErrAnswer, resp.Request.URL.Path, maxAnswer)
	}
	return content, nil
}

// WithToken presents a token with every call; an empty one presents none.
func WithToken(token string) ClientOption {
	return WithRequestEditorFn(func(_ context.Context, req *http.Request) error {
		if token != "" {
			req.Header.Set("Authorization", "Bearer "+token)
		}
		return nil
	})
}

// WithFreshKeys gives every POST that has none an Idempotency-Key of its own.
// A caller that retries a POST sets the key itself, the same one each time.
func WithFreshKeys() ClientOption {
	return WithRequestEditorFn(func(_ context.Context, req *http.Request) error {
		if req.Method == http.MethodPost && req.Header.Get("Idempotency-Key") == "" {
			req.Header.Set("Idempotency-Key", uuid.NewString())
		}
		return nil
	})
}

// New returns a client of the gateway that presents a token, gives each POST a
// key, and leaves out of a query what was not said.
func New(server, token string, client *http.Client) (*Client, error) {
	return NewClient(server, WithHTTPClient(client), WithToken(token), WithFreshKeys(), WithRequestEditorFn(leaveOut))
}

// leaveOut drops the query parameters that were not given: generated code
// writes the zero value of an optional parameter, which for these is no value.
func leaveOut(_ context.Context, req *http.Request) error {
	query := req.URL.Query()
	for name, values := range query {
		zero := values[0] == "0" && (name == "limit" || name == "version" || name == "size" || name == "before")
		zero = zero || values[0] == "false" && name == "own"
		zero = zero || values[0] == "0001-01-01T00:00:00Z"
		if values[0] == "" || zero {
			query.Del(name)
		}
	}
	req.URL.RawQuery = query.Encode()
	return nil
}
