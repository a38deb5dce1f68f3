package web

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTogether(t *testing.T) {
	first, second := errors.New("first"), errors.New("second")
	met := make(chan struct{})
	require.NoError(t, together())
	require.NoError(t, together(func() error { <-met; return nil }, func() error { close(met); return nil }), "they are asked at the same time")
	gate := make(chan struct{})
	require.ErrorIs(t, together(func() error { <-gate; return first }, func() error { close(gate); return second }), first, "in their order, whoever is first")
	require.ErrorContains(t, together(func() error { panic("x") }), "panicked")
}

// What breaks in a question of a page is a page, as everywhere.
func TestAPanicOfAPartIsAPage(t *testing.T) {
	c := testConsole(t, &fakeAPI{})
	h := c.serve(route{handle: func(*visit) error { return together(func() error { panic("a secret") }) }})
	r := request(t, c, ada(), "GET", "/console/", nil)
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, r)
	require.Equal(t, http.StatusInternalServerError, rec.Code)
	require.NotContains(t, rec.Body.String(), "secret")
}
