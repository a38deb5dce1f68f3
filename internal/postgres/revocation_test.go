package postgres

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/routing"
)

// Whoever cannot be told what was taken back lets it in until then: that is
// said when it begins, and once, and when it is over.
func TestRevocationsThatAreNotFollowedAreSaid(t *testing.T) {
	db, _ := open(t)
	var said bytes.Buffer
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	calls := 0
	done := make(chan struct{})
	go func() {
		defer close(done)
		db.Revocations().Follow(ctx, slog.New(slog.NewTextHandler(&said, nil)), func(context.Context, []routing.Revocation) error {
			if calls++; calls < 3 {
				return errors.New("the publisher is away")
			}
			time.AfterFunc(1500*time.Millisecond, cancel)
			return nil
		})
	}()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("it did not end with its context")
	}
	require.Equal(t, 3, calls, "tried again until it went through, and then left alone")
	require.Equal(t, 1, strings.Count(said.String(), "not followed"), said.String())
	require.Contains(t, said.String(), "the publisher is away")
	require.Equal(t, 1, strings.Count(said.String(), "followed again"), said.String())
}
