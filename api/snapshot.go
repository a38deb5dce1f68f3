package api

import (
	"net/http"
	"strconv"

	"github.com/gin-gonic/gin"
)

// Feed gives the data plane what it runs: part of I.1.5. What it gives is
// signed, so a reader trusts the signature, not the connection.
type Feed struct {
	b         *Border
	snapshots Snapshots
}

// NewFeed returns the service.
func NewFeed(b *Border, p Ports) *Feed { return &Feed{b: b, snapshots: p.Snapshots} }

// Mount implements [Service].
func (s *Feed) Mount(r gin.IRouter) { s.b.mount(r, "getSnapshot", s.get) }

// get answers with the exact bytes that were signed: they are put together and
// not encoded again, because one changed escape would break the signature.
func (s *Feed) get(c *gin.Context, _ call) error {
	after, err := int64Query(c, "after")
	if err != nil {
		return err
	}
	ctx, stop := polling(c)
	defer stop()
	signed, version, ok, err := s.snapshots.SignedAfter(ctx, after, seconds(intQuery(c, "wait_seconds", 0)))
	if err = polled(ctx, err); err != nil {
		return err
	}
	c.Header("Cache-Control", "no-store")
	if !ok {
		c.Status(http.StatusNoContent)
		return nil
	}
	body := make([]byte, 0, len(signed.Snapshot)+len(signed.Bundle)+32)
	body = append(append(body, `{"snapshot":`...), signed.Snapshot...)
	body = append(append(body, `,"bundle":`...), signed.Bundle...)
	c.Header("X-Fabric-Snapshot", strconv.FormatInt(version, 10))
	c.Data(http.StatusOK, "application/json", append(body, '}'))
	return nil
}

// int64Query returns a query parameter, 0 if it is absent.
func int64Query(c *gin.Context, name string) (int64, error) {
	text := c.Query(name)
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, invalidRequest.at("query:"+name, "must be an integer")
	}
	return n, nil
}
