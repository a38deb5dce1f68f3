package web

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/atom-fabric/fabric/api/v1"
)

// Why there is no page.
var (
	errNoPage    = errors.New("there is no such page")
	errSignedOut = errors.New("nobody is signed in")
	errForged    = errors.New("the form was sent from another site")
	errForm      = errors.New("the form cannot be read")
)

// A refusal is something that the console itself says no to, with what to do.
type refusal struct {
	status        int
	title, detail string
}

func (e *refusal) Error() string { return e.title + ": " + e.detail }

// A problem is what an error page shows.
type problem struct {
	Status        int
	Title, Detail string
	Items         []string
	Trace         string // to find it in the log by
	Write         bool   // it was a form
	Back          string
	SignIn        string
}

// fail answers with a page about an error. What is inside of the process stays
// there: the page shows what the API said to the visitor, or a reference.
func (v *visit) fail(err error) {
	p := v.explain(err)
	if p.Status == http.StatusUnauthorized && !p.Write {
		_ = v.redirect(p.SignIn)
		return
	}
	if p.Status >= http.StatusInternalServerError {
		v.c.opts.Log.Warn("console", "path", v.r.Pattern, "error", err.Error(), "trace", p.Trace)
	}
	if err := v.renderStatus(p.Status, "problem", p.Title, p); err != nil {
		v.c.opts.Log.Error("console", "error", err.Error())
		http.Error(v.w, "The page cannot be shown.", http.StatusInternalServerError)
	}
}

func (v *visit) explain(err error) problem {
	p := problem{Status: http.StatusInternalServerError, Title: "Something went wrong", Detail: "The log of the API says more.", Write: v.r.Method != http.MethodGet, Back: v.from()}
	var said *v1.ProblemError
	var no *refusal
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &said):
		p.Status, p.Title, p.Detail, p.Trace = said.Status, sentence(said.Title), sentence(said.Detail), said.Instance
		for _, item := range said.Errors {
			p.Items = append(p.Items, item.Pointer+": "+item.Detail)
		}
		if p.Status == http.StatusUnauthorized {
			v.c.forget(v.w, v.r, sessionCookie, 0)
			v.signed = false
		}
	case errors.As(err, &no):
		p.Status, p.Title, p.Detail = no.status, no.title, no.detail
	case errors.Is(err, errSignedOut):
		p.Status, p.Title, p.Detail = http.StatusUnauthorized, "You are not signed in", "Your session has ended."
	case errors.Is(err, errNoPage):
		p.Status, p.Title, p.Detail = http.StatusNotFound, "There is no such page", "The address may be mistyped, or of another version."
	case errors.Is(err, errForged):
		p.Status, p.Title, p.Detail, p.Back = http.StatusForbidden, "This form was sent from another site", "The console takes forms from its own pages only.", Path
	case errors.As(err, &large):
		p.Status, p.Title, p.Detail = http.StatusRequestEntityTooLarge, "The form is too large", "A form may send one mebibyte."
	case errors.Is(err, errForm):
		p.Status, p.Title, p.Detail = http.StatusBadRequest, "The form cannot be read", "Load the page anew and try again."
	case errors.Is(err, context.DeadlineExceeded):
		p.Status, p.Title, p.Detail = http.StatusServiceUnavailable, "The answer took too long", "Try again in a moment."
	}
	if p.Status == http.StatusUnauthorized {
		p.SignIn = signInLink(v.back())
	}
	return p
}

// back is the page that a visitor is led back to after signing in: this one,
// or, where a form was sent, the one that it was on.
func (v *visit) back() string {
	if v.r.Method == http.MethodGet && !v.live() {
		return v.r.URL.RequestURI()
	}
	return v.from()
}

// from is the page of the console that led here.
func (v *visit) from() string {
	for _, name := range []string{"HX-Current-URL", "Referer"} {
		if u, err := url.Parse(v.r.Header.Get(name)); err == nil && u.Host == v.r.Host {
			return ownPage(u.RequestURI())
		}
	}
	return Path
}

// ownPage is an address that leads nowhere but into the console: a text that
// does not is replaced. It may come from anybody.
func ownPage(to string) string {
	u, err := url.Parse(to)
	if err != nil || u.IsAbs() || u.Host != "" || !strings.HasPrefix(u.Path, Path) || strings.ContainsAny(to, "\\\r\n") || strings.Contains(u.Path, "..") {
		return Path
	}
	if strings.HasPrefix(u.Path, Path+"signin") || strings.HasPrefix(u.Path, Path+"auth") {
		return Path
	}
	return to
}

func signInLink(to string) string { return Path + "signin" + toQuery(to) }

// sentence makes one of what the API says without a capital and a stop.
func sentence(s string) string {
	if s == "" {
		return ""
	}
	s = strings.ToUpper(s[:1]) + s[1:]
	if strings.HasSuffix(s, ".") || len(s) < 40 {
		return s
	}
	return s + "."
}

// toQuery is the part of an address that says where to go afterwards.
func toQuery(to string) string {
	if to == Path {
		return ""
	}
	return "?to=" + url.QueryEscape(to)
}
