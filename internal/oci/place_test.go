package oci_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/internal/blob"
	"github.com/atom-fabric/fabric/internal/registry"
)

// A blob that can be put where the registry has it is not sent; one that
// cannot, or was put where the registry does not look, is.
func TestPlacing(t *testing.T) {
	store, err := blob.NewDir(t.TempDir())
	require.NoError(t, err)
	weights, err := store.Put(t.Context(), artifact.MediaTypeWeights, strings.NewReader("weights"))
	require.NoError(t, err)
	elsewhere := t.TempDir()
	_, err = blob.NewDir(elsewhere)
	require.NoError(t, err)
	tests := []struct {
		name  string
		place func(dir string) func(artifact.Digest) error
		sent  int
	}{
		{"a link", func(dir string) func(artifact.Digest) error {
			return func(d artifact.Digest) error { return store.Link(d, registry.Blobs(dir)) }
		}, 0},
		{"a link elsewhere", func(string) func(artifact.Digest) error {
			return func(d artifact.Digest) error { return store.Link(d, elsewhere) }
		}, 1},
		{"no link to be had", func(string) func(artifact.Digest) error {
			return func(artifact.Digest) error { return errors.ErrUnsupported }
		}, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			server, err := registry.Open(dir, slog.New(slog.DiscardHandler))
			require.NoError(t, err)
			defer server.Close()
			r, requests := serve(t, server)
			open := func(ctx context.Context) (io.ReadCloser, error) { return store.Open(ctx, weights.Digest) }
			require.NoError(t, r.Placing(tt.place(dir)).PushBlob(t.Context(), repository, weights, open))
			require.Equal(t, tt.sent, requests.puts)
			content, err := r.Blob(t.Context(), repository, weights.Digest)
			require.NoError(t, err)
			defer content.Close()
			text, err := io.ReadAll(content)
			require.NoError(t, err)
			require.Equal(t, "weights", string(text))
		})
	}
}
