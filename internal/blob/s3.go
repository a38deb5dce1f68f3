package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path"
	"strings"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/domain/artifact"
)

// ErrEndpoint says that a text does not name an S3 server.
var ErrEndpoint = errors.New("not an S3 endpoint: want http:// or https://, a host, and nothing more")

// partSize is the size of the parts of an upload, and above it there are several.
const partSize = 64 << 20

// S3Config says where a bucket is and who asks.
type S3Config struct {
	Endpoint  string // "https://host:port"
	Region    string
	Bucket    string
	Prefix    string // of every key; may be empty
	AccessKey string
	SecretKey string
}

// An S3 keeps blobs as objects <prefix>/sha256/<two digits>/<all digits>. It is
// an [activities.Blobs].
type S3 struct {
	client *minio.Client
	bucket string
	prefix string
}

var _ activities.Blobs = (*S3)(nil)

// NewS3 opens the bucket and makes it if it is missing.
// Errors: [ErrEndpoint]; what the server says.
func NewS3(ctx context.Context, config S3Config) (*S3, error) {
	endpoint, err := url.Parse(config.Endpoint)
	if err != nil || endpoint.Host == "" || strings.Trim(endpoint.Path, "/") != "" || (endpoint.Scheme != "http" && endpoint.Scheme != "https") {
		return nil, ErrEndpoint
	}
	client, err := minio.New(endpoint.Host, &minio.Options{
		Creds:  credentials.NewStaticV4(config.AccessKey, config.SecretKey, ""),
		Secure: endpoint.Scheme == "https",
		Region: config.Region,
	})
	if err != nil {
		return nil, fmt.Errorf("s3 %s: %w", endpoint.Host, err)
	}
	exists, err := client.BucketExists(ctx, config.Bucket)
	if err != nil {
		return nil, fmt.Errorf("s3 bucket %s: %w", config.Bucket, err)
	}
	if !exists {
		err := client.MakeBucket(ctx, config.Bucket, minio.MakeBucketOptions{Region: config.Region})
		if err != nil && minio.ToErrorResponse(err).Code != minio.BucketAlreadyOwnedByYou { // another process was faster
			return nil, fmt.Errorf("s3 bucket %s: %w", config.Bucket, err)
		}
	}
	return &S3{client: client, bucket: config.Bucket, prefix: config.Prefix}, nil
}

func (s *S3) key(digest artifact.Digest) string {
	return path.Join(s.prefix, "sha256", digest.Hex()[:2], digest.Hex())
}

// Put stores the content under its digest, once: an object that is there is
// not written again. The content is spooled to a temporary file first, since
// its name is known only at its end. When content fails to be read nothing is
// stored.
func (s *S3) Put(ctx context.Context, mediaType string, content io.Reader) (artifact.Descriptor, error) {
	spool, err := os.CreateTemp("", "fabric-blob-*")
	if err != nil {
		return artifact.Descriptor{}, fmt.Errorf("put blob: %w", err)
	}
	defer os.Remove(spool.Name())
	defer spool.Close()
	out, err := copied(ctx, spool, mediaType, content)
	if err != nil {
		return artifact.Descriptor{}, fmt.Errorf("put blob: %w", err)
	}
	if _, err := spool.Seek(0, io.SeekStart); err != nil {
		return artifact.Descriptor{}, fmt.Errorf("put blob: %w", err)
	}
	if out.SizeBytes > partSize && s.has(ctx, out) {
		return out, nil
	}
	opts := minio.PutObjectOptions{
		ContentType:          mediaType,
		PartSize:             partSize,
		DisableContentSha256: out.SizeBytes == 0, // a signed stream of nothing is sent without a length
	}
	opts.SetMatchETagExcept("*") // If-None-Match: create, never replace
	_, err = s.client.PutObject(ctx, s.bucket, s.key(out.Digest), spool, out.SizeBytes, opts)
	if err != nil && minio.ToErrorResponse(err).StatusCode != http.StatusPreconditionFailed {
		return artifact.Descriptor{}, fmt.Errorf("put blob %s: %w", out.Digest.Short(), err)
	}
	return out, nil
}

// has says whether the object is there whole. Not every server looks at
// If-None-Match when an upload in parts ends, and a gibibyte that is there is
// not to be sent again only to be refused.
func (s *S3) has(ctx context.Context, want artifact.Descriptor) bool {
	info, err := s.client.StatObject(ctx, s.bucket, s.key(want.Digest), minio.StatObjectOptions{})
	return err == nil && info.Size == want.SizeBytes
}

// Open returns the content. Its last Read fails with [artifact.ErrContent]
// when the object is not what its key says.
// Errors: [activities.ErrNotFound].
func (s *S3) Open(ctx context.Context, digest artifact.Digest) (io.ReadCloser, error) {
	if _, err := artifact.ParseDigest(string(digest)); err != nil { // it becomes a key
		return nil, fmt.Errorf("open blob: %w", err)
	}
	object, err := s.client.GetObject(ctx, s.bucket, s.key(digest), minio.GetObjectOptions{})
	if err != nil {
		return nil, fmt.Errorf("open blob %s: %w", digest.Short(), err)
	}
	if _, err := object.Stat(); err != nil { // the first request to the server
		closed := object.Close()
		if minio.ToErrorResponse(err).StatusCode == http.StatusNotFound {
			return nil, errors.Join(fmt.Errorf("open blob %s: %w", digest.Short(), absent{}), closed)
		}
		return nil, errors.Join(fmt.Errorf("open blob %s: %w", digest.Short(), err), closed)
	}
	return check(object, digest), nil
}
