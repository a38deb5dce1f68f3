package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	v1 "github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/artifact"
)

const (
	maxChunk = 8 << 20 // of one piece, as openapi.yaml has it
	maxStuck = 5       // answers in a row that bring an upload no further
	maxPause = time.Minute
)

// ErrUpload says that the fabric's answers bring an upload no further.
var ErrUpload = errors.New("the upload gets no further")

// putPieces uploads content piece by piece. It begins by asking what is kept:
// a site that was killed, or a call that is repeated, goes on from there. It
// waits when the fabric has no room, and takes the fabric's word for where to
// go on, as long as that leads anywhere.
func (c client) putPieces(ctx context.Context, token string, digest artifact.Digest, total int64, content io.ReaderAt) error {
	reached, stuck := int64(-1), 0
	next, asks := int64(0), true
	for {
		a, err := c.putPiece(ctx, token, digest, total, content, next, asks)
		switch {
		case err != nil || a.done:
			return err
		case a.kept > reached:
			reached, stuck = a.kept, 0
		case a.pause == 0: // waiting for room ends with ctx
			stuck++
		}
		if a.kept > total || stuck > maxStuck {
			return fmt.Errorf("%w: %d of %d bytes are said to be kept", ErrUpload, a.kept, total)
		}
		// After a pause the other sender may have come further; and what is kept
		// whole waits only to be given its name.
		next, asks = a.kept, a.pause > 0 || a.kept == total
		if err := pause(ctx, a.pause); err != nil {
			return err
		}
	}
}

// An advance is what an answer says of an upload.
type advance struct {
	done  bool
	kept  int64
	pause time.Duration // before the next call
}

// putPiece sends the piece that begins at byte next, or only asks.
func (c client) putPiece(ctx context.Context, token string, digest artifact.Digest, total int64, content io.ReaderAt, next int64, asks bool) (advance, error) {
	body, span := []byte(nil), fmt.Sprintf("bytes */%d", total)
	if !asks {
		var err error
		if body, err = readAt(content, next, min(maxChunk, total-next)); err != nil {
			return advance{}, err
		}
		span = fmt.Sprintf("bytes %d-%d/%d", next, next+int64(len(body))-1, total)
	}
	ctx, cancel := context.WithTimeout(ctx, transferTime)
	defer cancel()
	ranged := func(_ context.Context, r *http.Request) error {
		r.Header.Set("Content-Range", span)
		if !asks {
			r.Header.Set("Expect", "100-continue") // a piece that is refused is not sent
		}
		return nil
	}
	resp, err := c.api.PutBlobWithBody(ctx, string(digest), "application/octet-stream", bytes.NewReader(body), present(token), ranged)
	if err != nil {
		return advance{}, err
	}
	switch resp.StatusCode {
	case http.StatusPermanentRedirect:
		if resp.Header.Get("Location") != "" {
			break // a redirect after all
		}
		kept, err := keptIn(resp.Header)
		return advance{kept: kept}, errors.Join(err, resp.Body.Close())
	case http.StatusConflict, http.StatusTooManyRequests:
		_, err := v1.Content(resp, nil)
		problem, ok := refusal(err)
		if !ok {
			return advance{}, err
		}
		switch problem.Code {
		case "wrong_offset":
			kept, err := keptIn(resp.Header)
			return advance{kept: kept}, err
		case "upload_in_progress", "uploads_full", "rate_limited":
			return advance{kept: next, pause: retryAfter(resp.Header)}, nil
		}
		return advance{}, err
	}
	_, err = v1.Content(answered(resp, nil))
	return advance{done: err == nil}, err
}

// keptIn reads how much is kept from "bytes=0-LAST"; without a Range nothing is.
func keptIn(header http.Header) (int64, error) {
	text := header.Get("Range")
	if text == "" {
		return 0, nil
	}
	last, ok := strings.CutPrefix(text, "bytes=0-")
	n, err := strconv.ParseUint(last, 10, 62)
	if !ok || err != nil {
		return 0, fmt.Errorf("%w: the answer's Range is not bytes=0-LAST", v1.ErrAnswer)
	}
	return int64(n) + 1, nil
}

// retryAfter reads for how long the fabric wants to be left alone: a second
// when it does not say.
func retryAfter(header http.Header) time.Duration {
	n, err := strconv.ParseUint(header.Get("Retry-After"), 10, 16)
	if err != nil || n == 0 {
		return time.Second
	}
	return min(time.Duration(n)*time.Second, maxPause)
}

func pause(ctx context.Context, d time.Duration) error {
	if d == 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
