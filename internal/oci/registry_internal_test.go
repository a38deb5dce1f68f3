package oci

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	upstream "github.com/google/go-containerregistry/pkg/registry"
	"github.com/stretchr/testify/require"
	"oras.land/oras-go/v2/registry/remote/auth"

	"github.com/atom-fabric/fabric/domain/artifact"
)

// A process meets any number of repositories and remembers so many of them. The
// one that is in use stays, and one that was forgotten is as good as before.
func TestOnlySoManyRepositoriesAreRemembered(t *testing.T) {
	server := httptest.NewServer(upstream.New(upstream.Logger(log.New(io.Discard, "", 0)), upstream.WithReferrersSupport(true)))
	t.Cleanup(server.Close)
	r, err := New(server.URL, Login{})
	require.NoError(t, err)
	first, err := r.repository("models/first")
	require.NoError(t, err)
	put := func(repository, text string) artifact.Descriptor {
		d := artifact.Describe("text/plain", []byte(text))
		require.NoError(t, r.PushBlob(t.Context(), repository, d, func(context.Context) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil }))
		return d
	}
	blob := put("models/first", "content")

	var all sync.WaitGroup
	for g := range 4 {
		all.Go(func() {
			for i := range maxRepos {
				_, err := r.repository(fmt.Sprintf("models/m%d-%d", g, i))
				if err != nil {
					t.Error(err)
				}
				if i%8 == 0 {
					if used, err := r.repository("models/first"); err != nil || used != first {
						t.Errorf("the repository in use was forgotten: %v", err)
					}
				}
			}
		})
	}
	all.Wait()
	require.Equal(t, maxRepos, r.repos.Len())

	for i := range maxRepos {
		_, err := r.repository(fmt.Sprintf("models/n%d", i))
		require.NoError(t, err)
	}
	require.Equal(t, maxRepos, r.repos.Len())
	again, err := r.repository("models/first")
	require.NoError(t, err)
	require.NotSame(t, first, again)
	content, err := r.Blob(t.Context(), "models/first", blob.Digest)
	require.NoError(t, err)
	defer content.Close()
	text, err := io.ReadAll(content)
	require.NoError(t, err)
	require.Equal(t, "content", string(text))

	_, err = r.repository("No Name")
	require.ErrorIs(t, err, ErrRepository)
	require.Equal(t, maxRepos, r.repos.Len(), "a bad name is not remembered")
}

// A registry that gives a token for each repository is asked once for those
// that are in use, and again for one that was forgotten.
func TestOnlySoManyTokensAreRemembered(t *testing.T) {
	var mu sync.Mutex
	given := map[string]int{}
	var server *httptest.Server
	server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		name, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v2/"), "/blobs/")
		switch {
		case r.URL.Path == "/token":
			scope := r.URL.Query().Get("scope")
			given[scope]++
			fmt.Fprintf(w, `{"token":%q}`, scope)
		case r.Header.Get("Authorization") != "Bearer repository:"+name+":pull":
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s/token",service="s",scope="repository:%s:pull"`, server.URL, name))
			w.WriteHeader(http.StatusUnauthorized)
		default:
			fmt.Fprint(w, "content")
		}
	}))
	t.Cleanup(server.Close)
	r, err := New(server.URL, Login{"fabric", "secret"})
	require.NoError(t, err)
	get := func(repository string) {
		content, err := r.Blob(t.Context(), repository, artifact.DigestOf([]byte("content")))
		require.NoError(t, err)
		_, err = io.ReadAll(content)
		require.NoError(t, err)
		require.NoError(t, content.Close())
	}
	tokens := r.client.(*auth.Client).Cache.(*tokens)
	for i := range 2*maxRepos + 10 {
		get(fmt.Sprintf("m/n%d", i))
		get("m/used")
	}
	require.Equal(t, 2*maxRepos, tokens.known.Len())
	require.Equal(t, 1, given["repository:m/used:pull"])
	get("m/n0")
	require.Equal(t, 2, given["repository:m/n0:pull"], "forgotten, and asked for again")
	require.Equal(t, 1, given[fmt.Sprintf("repository:m/n%d:pull", 2*maxRepos)])
}
