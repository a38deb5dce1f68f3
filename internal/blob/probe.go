package blob

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// ErrProbe says that a store gave back something else than was put.
var ErrProbe = errors.New("the store gave back something else than was put")

// Probe puts, reads and deletes an object of its own. It makes no bucket.
// Errors: [ErrEndpoint], [ErrProbe]; what the server says.
func Probe(ctx context.Context, config S3Config) error {
	endpoint, err := url.Parse(config.Endpoint)
	if err != nil || endpoint.Host == "" {
		return ErrEndpoint
	}
	client, err := minio.New(endpoint.Host, &minio.Options{
		Creds: credentials.NewStaticV4(config.AccessKey, config.SecretKey, ""), Secure: endpoint.Scheme == "https", Region: config.Region, MaxRetries: 1,
	})
	if err != nil {
		return fmt.Errorf("s3 %s: %w", endpoint.Host, err)
	}
	name, content := path.Join(config.Prefix, "probe-"+rand.Text()), []byte(rand.Text())
	if _, err := client.PutObject(ctx, config.Bucket, name, bytes.NewReader(content), int64(len(content)), minio.PutObjectOptions{}); err != nil {
		return fmt.Errorf("s3 bucket %s: put: %w", config.Bucket, err)
	}
	object, err := client.GetObject(ctx, config.Bucket, name, minio.GetObjectOptions{})
	if err != nil {
		return fmt.Errorf("s3 bucket %s: get: %w", config.Bucket, err)
	}
	got, err := io.ReadAll(io.LimitReader(object, int64(len(content))+1))
	err = errors.Join(err, object.Close())
	if gone := client.RemoveObject(ctx, config.Bucket, name, minio.RemoveObjectOptions{}); gone != nil {
		err = errors.Join(err, fmt.Errorf("s3 bucket %s: delete: %w", config.Bucket, gone))
	}
	if err == nil && !bytes.Equal(got, content) {
		err = ErrProbe
	}
	return err
}
