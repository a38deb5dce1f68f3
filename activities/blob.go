package activities

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/atom-fabric/fabric/domain/artifact"
)

// maxDocument bounds what is read into memory at once. What has the size of a
// model is read and written in pieces.
const maxDocument = 8 << 20

// ErrTooLong says that a blob is longer than what it is read as may be.
var ErrTooLong = errors.New("longer than allowed")

// read returns a document. Open has compared it with its digest by the time
// the last byte is here.
func read(ctx context.Context, blobs Blobs, digest artifact.Digest) ([]byte, error) {
	content, err := blobs.Open(ctx, digest)
	if err != nil {
		return nil, fmt.Errorf("blob %s: %w", digest.Short(), err)
	}
	defer content.Close()
	document, err := io.ReadAll(io.LimitReader(content, maxDocument+1))
	if err != nil {
		return nil, fmt.Errorf("blob %s: %w", digest.Short(), err)
	}
	if len(document) > maxDocument {
		return nil, fmt.Errorf("blob %s: %w", digest.Short(), ErrTooLong)
	}
	return document, nil
}

// decode reads a document strictly into v. What does not decode now never
// will, so that failure is final and of the given kind; one of the store is not.
func decode(ctx context.Context, blobs Blobs, digest artifact.Digest, kind string, v any) error {
	document, err := read(ctx, blobs, digest)
	if errors.Is(err, ErrTooLong) {
		return permanent(kind, err)
	}
	if err != nil {
		return err
	}
	if err := artifact.DecodeStrict(document, v); err != nil {
		return permanent(kind, fmt.Errorf("blob %s: %w", digest.Short(), err))
	}
	return nil
}

// keep stores v in canonical form: the same value is the same blob, however
// often it is kept.
func keep(ctx context.Context, blobs Blobs, mediaType string, v any) (artifact.Descriptor, error) {
	document, err := artifact.Canonical(v)
	if err != nil {
		return artifact.Descriptor{}, err
	}
	return blobs.Put(ctx, mediaType, bytes.NewReader(document))
}

// readTensors returns the moments of columns.
func readTensors(ctx context.Context, blobs Blobs, digest artifact.Digest) (artifact.Tensors, error) {
	content, err := blobs.Open(ctx, digest)
	if err != nil {
		return nil, fmt.Errorf("blob %s: %w", digest.Short(), err)
	}
	defer content.Close()
	tensors, err := artifact.ReadTensors(content, maxDocument)
	if err != nil {
		return nil, fmt.Errorf("blob %s: %w", digest.Short(), err)
	}
	return tensors, nil
}

// keepTensors stores tensors while they are encoded, without a second copy in
// memory.
func keepTensors(ctx context.Context, blobs Blobs, tensors artifact.Tensors) (artifact.Descriptor, error) {
	return keepWritten(ctx, blobs, func(dst io.Writer) error {
		_, err := tensors.WriteTo(dst)
		return err
	})
}

// keepWritten stores tensors while write writes them. What write fails with is
// what it returns; it has ended by then, so that nothing of its caller is read
// or closed under its hands.
func keepWritten(ctx context.Context, blobs Blobs, write func(dst io.Writer) error) (artifact.Descriptor, error) {
	reader, writer := io.Pipe()
	written := make(chan error, 1)
	go func() {
		err := write(writer)
		writer.CloseWithError(err) // nil ends the content
		written <- err
	}()
	kept, err := blobs.Put(ctx, artifact.MediaTypeWeights, reader)
	reader.CloseWithError(nil) // ends the writer if Put stopped early
	if failed := <-written; failed != nil && (err == nil || !errors.Is(failed, io.ErrClosedPipe)) {
		err = failed
	}
	return kept, err
}
