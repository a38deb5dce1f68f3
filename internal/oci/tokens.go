package oci

import (
	"context"
	"errors"

	lru "github.com/hashicorp/golang-lru/v2"
	"oras.land/oras-go/v2/errdef"
	"oras.land/oras-go/v2/registry/remote/auth"
)

// tokens keeps what a login was given, for so many repositories: a registry
// gives one for each, and the library's own cache forgets none. What was
// forgotten is asked for again. It is an [auth.Cache].
type tokens struct {
	schemes *lru.Cache[string, auth.Scheme] // by host
	known   *lru.Cache[token, string]
}

type token struct {
	host   string
	scheme auth.Scheme
	key    string // scopes
}

func newTokens() (*tokens, error) {
	schemes, hostsErr := lru.New[string, auth.Scheme](8) // ours, and whom it may point to
	known, err := lru.New[token, string](2 * maxRepos)   // to pull, and to push
	return &tokens{schemes, known}, errors.Join(hostsErr, err)
}

// GetScheme implements [auth.Cache].
func (t *tokens) GetScheme(_ context.Context, host string) (auth.Scheme, error) {
	if scheme, ok := t.schemes.Get(host); ok {
		return scheme, nil
	}
	return auth.SchemeUnknown, errdef.ErrNotFound
}

// GetToken implements [auth.Cache].
func (t *tokens) GetToken(_ context.Context, host string, scheme auth.Scheme, key string) (string, error) {
	if text, ok := t.known.Get(token{host, scheme, key}); ok {
		return text, nil
	}
	return "", errdef.ErrNotFound
}

// Set implements [auth.Cache]. Two who ask at once fetch twice.
func (t *tokens) Set(ctx context.Context, host string, scheme auth.Scheme, key string, fetch func(context.Context) (string, error)) (string, error) {
	text, err := fetch(ctx)
	if err != nil {
		return "", err
	}
	t.schemes.Add(host, scheme)
	t.known.Add(token{host, scheme, key}, text)
	return text, nil
}
