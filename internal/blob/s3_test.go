package blob_test

import (
	"bytes"
	"context"
	"net/http/httptest"
	"path"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/internal/blob"
	"github.com/atom-fabric/fabric/internal/blob/blobtest"
)

const bucket = "fabric"

func TestS3(t *testing.T) {
	blobtest.Run(t, func(t *testing.T) blobtest.Subject {
		backend := s3mem.New()
		server := httptest.NewServer(gofakes3.New(backend).Server())
		t.Cleanup(server.Close)
		store, err := blob.NewS3(context.Background(), blob.S3Config{
			Endpoint: server.URL, Region: "us-east-1", Bucket: bucket, Prefix: "blobs", AccessKey: "key", SecretKey: "secret",
		})
		require.NoError(t, err)
		return blobtest.Subject{
			Store: store,
			Corrupt: func(t *testing.T, digest artifact.Digest, content []byte) {
				_, err := backend.PutObject(bucket, path.Join("blobs/sha256", digest.Hex()[:2], digest.Hex()), map[string]string{}, bytes.NewReader(content), int64(len(content)), nil)
				require.NoError(t, err)
			},
			Count: func(t *testing.T) int {
				list, err := backend.ListBucket(bucket, nil, gofakes3.ListBucketPage{})
				require.NoError(t, err)
				return len(list.Contents)
			},
		}
	})
}

func TestS3BucketIsReopened(t *testing.T) {
	server := httptest.NewServer(gofakes3.New(s3mem.New()).Server())
	t.Cleanup(server.Close)
	config := blob.S3Config{Endpoint: server.URL, Region: "us-east-1", Bucket: bucket, AccessKey: "key", SecretKey: "secret"}
	for range 2 {
		_, err := blob.NewS3(context.Background(), config)
		require.NoError(t, err)
	}
}

func TestS3Endpoint(t *testing.T) {
	for _, endpoint := range []string{"", "localhost:9000", "ftp://host", "http://", "http://host/bucket", "://"} {
		_, err := blob.NewS3(context.Background(), blob.S3Config{Endpoint: endpoint, Bucket: bucket})
		require.ErrorIs(t, err, blob.ErrEndpoint, endpoint)
	}
}
