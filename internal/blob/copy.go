package blob

import (
	"bufio"
	"context"
	"io"

	"github.com/atom-fabric/fabric/domain/artifact"
)

// copyBuffer is all the memory that a copy takes, whatever its length, and how
// much is written at once, however little comes at once.
const copyBuffer = 256 << 10

// copied copies content and returns what it was.
func copied(ctx context.Context, to io.Writer, mediaType string, content io.Reader) (artifact.Descriptor, error) {
	content, sum := artifact.Hashed(content)
	buffer := bufio.NewWriterSize(to, copyBuffer)
	size, err := io.Copy(buffer, stopWith(ctx, content))
	if err == nil {
		err = buffer.Flush()
	}
	if err != nil {
		return artifact.Descriptor{}, err
	}
	digest := artifact.Summed(sum)
	return artifact.Descriptor{Digest: digest, SizeBytes: size, MediaType: mediaType}, nil
}

// stopWith ends a copy when the context does.
func stopWith(ctx context.Context, r io.Reader) io.Reader { return interrupted{ctx: ctx, r: r} }

type interrupted struct {
	ctx context.Context
	r   io.Reader
}

func (i interrupted) Read(p []byte) (int, error) {
	if err := i.ctx.Err(); err != nil {
		return 0, err
	}
	return i.r.Read(p)
}

// A checked reads content that is compared with its digest. After a Seek it is
// not any more: a part has no digest, and the whole would have to be read for
// it. Whoever asks for parts compares what they make together.
type checked struct {
	io.Reader
	io.Closer
	from io.ReadSeeker
}

func check(from io.ReadSeekCloser, digest artifact.Digest) io.ReadCloser {
	return &checked{Reader: artifact.Expect(from, digest), Closer: from, from: from}
}

// Seek implements io.Seeker.
func (c *checked) Seek(offset int64, whence int) (int64, error) {
	c.Reader = c.from
	return c.from.Seek(offset, whence)
}
