package api

import (
	"context"
	"time"

	"github.com/gin-gonic/gin"
)

// stopKey holds the channel that closes when the server is asked to stop.
type stopKey struct{}

func withStop(ctx context.Context, stop <-chan struct{}) context.Context {
	return context.WithValue(ctx, stopKey{}, stop)
}

// polling returns the context of a long poll, which also ends when the server
// is asked to stop: whoever polls asks again elsewhere, and nothing is lost.
func polling(c *gin.Context) (ctx context.Context, stop context.CancelFunc) {
	ctx, stop = context.WithCancel(c.Request.Context())
	if asked, ok := ctx.Value(stopKey{}).(<-chan struct{}); ok {
		go func() {
			select {
			case <-asked:
				stop()
			case <-ctx.Done():
			}
		}()
	}
	return ctx, stop
}

// polled turns the end of a poll into "nothing yet": only a failure of what
// was polled is one of the request.
func polled(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// seconds returns a duration of whole seconds.
func seconds(n int) time.Duration { return time.Duration(n) * time.Second }
