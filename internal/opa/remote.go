package opa

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
)

// maxAnswer bounds what is read of an answer: ten thousand reasons fit.
const maxAnswer = 1 << 20

// A remote is an OPA that somebody else runs, asked by its data API.
type remote struct {
	client *http.Client
	base   *url.URL
}

// ask returns the answer and the revision of the bundle that the engine says it
// decided by; 0 when it says none, or not one.
func (r remote) ask(ctx context.Context, question string, input []byte) (answer, int64, error) {
	body, err := json.Marshal(struct {
		Input json.RawMessage `json:"input"`
	}{input})
	if err != nil {
		return answer{}, 0, fmt.Errorf("%w: %w", ErrUndecided, err)
	}
	at := r.base.JoinPath("v1", "data", "fabric", question)
	at.RawQuery = "provenance=true"
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, at.String(), bytes.NewReader(body))
	if err != nil {
		return answer{}, 0, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := r.client.Do(req)
	if err != nil {
		return answer{}, 0, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return answer{}, 0, fmt.Errorf("%w: status %d", ErrUnavailable, resp.StatusCode)
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return answer{}, 0, fmt.Errorf("%w: %w", ErrUnavailable, err)
	case len(text) > maxAnswer:
		return answer{}, 0, fmt.Errorf("%w: its answer is longer than %d bytes", ErrUndecided, maxAnswer)
	}
	var whole struct {
		Result     json.RawMessage `json:"result"` // absent when the rules are not loaded
		Provenance struct {
			Revision string `json:"revision"`
			Bundles  map[string]struct {
				Revision string `json:"revision"`
			} `json:"bundles"`
		} `json:"provenance"`
	}
	if err := json.Unmarshal(text, &whole); err != nil || whole.Result == nil {
		return answer{}, 0, ErrUndecided
	}
	revision, said := int64(0), whole.Provenance.Revision
	for _, b := range whole.Provenance.Bundles {
		said = b.Revision
	}
	if n, err := strconv.ParseInt(said, 10, 64); err == nil && len(whole.Provenance.Bundles) <= 1 {
		revision = n
	}
	a, err := read(whole.Result)
	return a, revision, err
}
