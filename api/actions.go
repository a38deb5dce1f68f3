package api

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/contract"
)

// actionAt writes a time so that it sorts as text, to the microsecond that the
// database keeps.
const actionAt = "2006-01-02T15:04:05.000000Z"

// ActionKey is the key of an action in a list by time.
func ActionKey(a Action) string { return a.CreatedAt.UTC().Format(actionAt) + " " + a.ID }

// ActionAfter reads a key; the empty one is no time.
func ActionAfter(key string) (at *time.Time, id string, err error) {
	if key == "" {
		return nil, "", nil
	}
	text, id, ok := strings.Cut(key, " ")
	then, err := time.Parse(actionAt, text)
	if !ok || err != nil {
		return nil, "", invalidRequest.at("query:cursor", "is none that a page gave")
	}
	return &then, id, nil
}

// list answers with promotions; a plan is shown by getPromotion alone.
func (s *Promotions) list(c *gin.Context, k call) error {
	p, err := page(c)
	if err != nil {
		return err
	}
	if _, _, err := ActionAfter(p.After); err != nil {
		return err
	}
	found, err := s.actions.Actions(c.Request.Context(), k.Caller, KindPromotion, p)
	if err != nil {
		return fmt.Errorf("promotions: %w", err)
	}
	found, next := paged(p, found, ActionKey)
	return s.b.send(c, http.StatusOK, v1.ActionPage{Items: views(found, func(a Action) v1.Action { return actionView(k, a, contract.PromotionID(a.ID)) }), Next: next, Simulated: k.Simulated})
}
