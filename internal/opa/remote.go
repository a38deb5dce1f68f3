package opa

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	"github.com/atom-fabric/fabric/domain/policy"
)

// maxAnswer bounds what is read of an answer: ten thousand reasons fit.
const maxAnswer = 1 << 20

// A remote is an OPA that somebody else runs, asked by its data API.
type remote struct {
	client *http.Client
	url    string
}

func (r remote) ask(ctx context.Context, run policy.Admission) (answer, error) {
	body, err := json.Marshal(struct {
		Input policy.Admission `json:"input"`
	}{run})
	if err != nil {
		return answer{}, fmt.Errorf("%w: %w", ErrUndecided, err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.url, bytes.NewReader(body))
	if err != nil {
		return answer{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := r.client.Do(req)
	if err != nil {
		return answer{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return answer{}, fmt.Errorf("%w: status %d", ErrUnavailable, resp.StatusCode)
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return answer{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	case len(text) > maxAnswer:
		return answer{}, fmt.Errorf("%w: its answer is longer than %d bytes", ErrUndecided, maxAnswer)
	}
	var whole struct {
		Result json.RawMessage `json:"result"` // absent when the rules are not loaded
	}
	if err := json.Unmarshal(text, &whole); err != nil || whole.Result == nil {
		return answer{}, ErrUndecided
	}
	return read(whole.Result)
}
