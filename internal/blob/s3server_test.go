package blob_test

import (
	"bytes"
	"context"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/internal/blob"
	"github.com/atom-fabric/fabric/internal/blob/blobtest"
)

// gateway is a real S3 server, from this folder. `make conformance` builds it;
// where it was not built, these tests run against the in-process server alone.
const gateway = "../../bin/versitygw"

// An s3server is a server that keeps objects as files.
type s3server struct {
	url  string
	root string
}

// servers returns what every test of the bucket runs against: the fake in this
// process, and the real server when it was built.
func servers(t *testing.T) map[string]func(*testing.T) blob.S3Config {
	t.Helper()
	all := map[string]func(*testing.T) blob.S3Config{}
	if _, err := os.Stat(gateway); err == nil {
		all["versitygw"] = func(t *testing.T) blob.S3Config { return start(t).config() }
	} else if os.Getenv("FABRIC_CONFORMANCE") != "" {
		t.Fatalf("%s was not built", gateway)
	}
	return all
}

func (s s3server) config() blob.S3Config {
	return blob.S3Config{Endpoint: s.url, Region: "us-east-1", Bucket: bucket, Prefix: "blobs", AccessKey: "key", SecretKey: "secret-secret"}
}

// client speaks to the server behind the store's back.
func client(t *testing.T, c blob.S3Config) *minio.Client {
	t.Helper()
	m, err := minio.New(strings.TrimPrefix(c.Endpoint, "http://"), &minio.Options{Creds: credentials.NewStaticV4(c.AccessKey, c.SecretKey, ""), Region: c.Region})
	require.NoError(t, err)
	return m
}

// start runs the server on a free port until the test ends.
func start(t *testing.T) s3server {
	t.Helper()
	program, err := filepath.Abs(gateway)
	require.NoError(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := listener.Addr().String()
	require.NoError(t, listener.Close())
	s := s3server{url: "http://" + address, root: t.TempDir()}
	var out bytes.Buffer
	cmd := exec.Command(program, "--port", address, "--health", "/health", "posix", s.root)
	cmd.Env = []string{"ROOT_ACCESS_KEY=key", "ROOT_SECRET_KEY=secret-secret", "HOME=" + t.TempDir()}
	cmd.Stdout, cmd.Stderr = &out, &out
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
		if t.Failed() {
			t.Log(out.String())
		}
	})
	require.Eventually(t, func() bool {
		answer, err := http.Get(s.url + "/health")
		if err != nil {
			return false
		}
		defer answer.Body.Close()
		return answer.StatusCode == http.StatusOK
	}, 20*time.Second, 20*time.Millisecond, "versitygw does not answer")
	return s
}

// The contract of every store holds on the real server.
func TestConformanceS3ServerKeepsTheContract(t *testing.T) {
	if _, built := servers(t)["versitygw"]; !built {
		t.Log("the real server was not built: make conformance builds it, and fails without it")
		return
	}
	blobtest.Run(t, func(t *testing.T) blobtest.Subject {
		s := start(t)
		store, err := blob.NewS3(t.Context(), s.config())
		require.NoError(t, err)
		return blobtest.Subject{
			Store: store,
			Corrupt: func(t *testing.T, digest artifact.Digest, content []byte) {
				_, err := client(t, s.config()).PutObject(t.Context(), bucket, "blobs/sha256/"+digest.Hex()[:2]+"/"+digest.Hex(), bytes.NewReader(content), int64(len(content)),
					minio.PutObjectOptions{DisableContentSha256: len(content) == 0})
				require.NoError(t, err)
			},
			Count: func(t *testing.T) int {
				n := 0
				require.NoError(t, filepath.WalkDir(filepath.Join(s.root, bucket), func(_ string, d fs.DirEntry, err error) error {
					if err == nil && !d.IsDir() {
						n++
					}
					return err
				}))
				return n
			},
		}
	})
}

// What only a server can show: an object that is there is not written again, a
// blob of several parts, and ranges of it.
func TestConformanceS3ServerParts(t *testing.T) {
	for name, open := range servers(t) {
		t.Run(name, func(t *testing.T) {
			ctx, config := t.Context(), open(t)
			store, err := blob.NewS3(ctx, config)
			require.NoError(t, err)
			behind := client(t, config)

			seed := rand.NewChaCha8([32]byte{1})
			content := make([]byte, 70<<20) // parts are of 64 MiB
			_, err = seed.Read(content)
			require.NoError(t, err)
			kept, err := store.Put(ctx, "application/octet-stream", bytes.NewReader(content))
			require.NoError(t, err)
			require.Equal(t, artifact.DigestOf(content), kept.Digest)
			key := "blobs/sha256/" + kept.Digest.Hex()[:2] + "/" + kept.Digest.Hex()
			first, err := behind.StatObject(ctx, bucket, key, minio.StatObjectOptions{})
			require.NoError(t, err)
			require.EqualValues(t, len(content), first.Size)
			require.Contains(t, first.ETag, "-2", "it went in two parts")

			again, err := store.Put(ctx, "application/octet-stream", bytes.NewReader(content))
			require.NoError(t, err)
			require.Equal(t, kept, again)
			second, err := behind.StatObject(ctx, bucket, key, minio.StatObjectOptions{})
			require.NoError(t, err)
			require.Equal(t, first.LastModified, second.LastModified, "it was not written again")

			opts := minio.PutObjectOptions{}
			opts.SetMatchETagExcept("*")
			_, err = behind.PutObject(ctx, bucket, key, strings.NewReader("other"), 5, opts)
			require.Equal(t, http.StatusPreconditionFailed, minio.ToErrorResponse(err).StatusCode)

			const from, to = 64<<20 - 3, 64<<20 + 4 // over the seam of the parts
			part := minio.GetObjectOptions{}
			require.NoError(t, part.SetRange(from, to))
			object, err := behind.GetObject(ctx, bucket, key, part)
			require.NoError(t, err)
			got, err := io.ReadAll(object)
			require.NoError(t, err)
			require.NoError(t, object.Close())
			require.Equal(t, content[from:to+1], got)
		})
	}
}

// heads are the stores of heads; both keep one contract.
func heads(t *testing.T) map[string]func(*testing.T) activities.Heads {
	t.Helper()
	all := map[string]func(*testing.T) activities.Heads{
		"a directory": func(t *testing.T) activities.Heads {
			d, err := blob.NewDir(t.TempDir())
			require.NoError(t, err)
			return d
		},
	}
	for name, open := range servers(t) {
		all[name] = func(t *testing.T) activities.Heads {
			s, err := blob.NewS3(context.Background(), open(t))
			require.NoError(t, err)
			return s
		}
	}
	return all
}

func TestConformanceHeads(t *testing.T) {
	for name, open := range heads(t) {
		t.Run(name, func(t *testing.T) {
			ctx, store := t.Context(), open(t)
			const head = "recovery/north"
			_, _, err := store.Head(ctx, head)
			require.ErrorIs(t, err, activities.ErrNotFound)
			require.ErrorIs(t, store.Swap(ctx, head, "stale", []byte("1")), activities.ErrStale, "there is none to replace")
			require.NoError(t, store.Swap(ctx, head, "", []byte("1")))
			require.ErrorIs(t, store.Swap(ctx, head, "", []byte("2")), activities.ErrStale, "there is one already")
			content, one, err := store.Head(ctx, head)
			require.NoError(t, err)
			require.Equal(t, "1", string(content))
			require.NoError(t, store.Swap(ctx, head, one, []byte("2")))
			require.ErrorIs(t, store.Swap(ctx, head, one, []byte("3")), activities.ErrStale, "it has moved")
			content, _, err = store.Head(ctx, head)
			require.NoError(t, err)
			require.Equal(t, "2", string(content))
			for _, bad := range []string{"", "/", "../x", "a/../b", "A", "a//b", "a/b/c/d/e", ".lock"} {
				_, _, err := store.Head(ctx, bad)
				require.ErrorIs(t, err, blob.ErrHead, "%q", bad)
				require.ErrorIs(t, store.Swap(ctx, bad, "", nil), blob.ErrHead, "%q", bad)
			}
		})
		t.Run(name+", of many at once one wins each turn", func(t *testing.T) {
			ctx, store := t.Context(), open(t)
			const writers, turns = 8, 5
			var mu sync.Mutex
			var all sync.WaitGroup
			won := 0
			for w := range writers {
				all.Go(func() {
					for range turns {
						content, tag, err := store.Head(ctx, "h")
						if err != nil {
							content, tag = []byte("0"), ""
						}
						n, err := strconv.Atoi(string(content))
						if err != nil {
							t.Errorf("writer %d read %q", w, content)
							return
						}
						if store.Swap(ctx, "h", tag, strconv.AppendInt(nil, int64(n+1), 10)) == nil {
							mu.Lock()
							won++
							mu.Unlock()
						}
					}
				})
			}
			all.Wait()
			content, _, err := store.Head(ctx, "h")
			require.NoError(t, err)
			require.Equal(t, strconv.Itoa(won), string(content), "each that won had read what the one before it wrote")
		})
	}
}
