package api

import (
	"bytes"
	"encoding/base64"
	"strconv"

	"github.com/gin-gonic/gin"
)

// defaultLimit is how much a page holds when nobody says.
const defaultLimit = 50

// page returns the page that a request asks for, with one item more than fits:
// it says whether there is a next page.
func page(c *gin.Context) (Page, error) {
	after, err := base64.RawURLEncoding.DecodeString(c.Query("cursor"))
	if err != nil || bytes.ContainsFunc(after, unprintable) {
		return Page{}, invalidRequest.at("query:cursor", "is none that a page gave")
	}
	return Page{After: string(after), Limit: intQuery(c, "limit", defaultLimit) + 1}, nil
}

// intQuery returns a query parameter that the document says is an integer.
func intQuery(c *gin.Context, name string, absent int) int {
	if n, err := strconv.Atoi(c.Query(name)); err == nil {
		return n
	}
	return absent
}

// paged cuts the item too many off and returns the cursor that it stands for.
func paged[T any](p Page, items []T, key func(T) string) (page []T, next string) {
	if len(items) < p.Limit {
		return items, ""
	}
	items = items[:p.Limit-1]
	return items, base64.RawURLEncoding.EncodeToString([]byte(key(items[len(items)-1])))
}

// views maps items to what is shown of them; no items are an empty list.
func views[T, V any](items []T, view func(T) V) []V {
	out := make([]V, 0, len(items))
	for _, item := range items {
		out = append(out, view(item))
	}
	return out
}
