package transit

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// A TokenState is what the server says of the token that is presented.
type TokenState struct {
	Left     time.Duration // 0: it does not expire
	Policies []string
}

// Token asks what the token may, and for how long.
// Errors: [ErrServer], [ErrAnswer].
func (e *Engine) Token(ctx context.Context) (TokenState, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var out TokenState
	secret, err := e.client.Logical().ReadWithContext(ctx, "auth/token/lookup-self")
	if err != nil {
		return out, e.refused(err)
	}
	if secret == nil {
		return out, fmt.Errorf("%w: nothing about the token", ErrAnswer)
	}
	if ttl, ok := secret.Data["ttl"].(json.Number); ok {
		seconds, err := ttl.Int64()
		if err != nil {
			return out, fmt.Errorf("%w: ttl", ErrAnswer)
		}
		out.Left = time.Duration(seconds) * time.Second
	}
	policies, _ := secret.Data["policies"].([]any)
	for _, p := range policies {
		if name, ok := p.(string); ok {
			out.Policies = append(out.Policies, name)
		}
	}
	return out, nil
}
