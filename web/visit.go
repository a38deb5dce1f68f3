package web

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/atom-fabric/fabric/api/v1"
)

// A route is one address of the console. Its path is below [Path].
type route struct {
	pattern string // "GET /runs/{id}"
	handle  func(v *visit) error
	open    bool // to those who have not signed in, too
}

// maxForm bounds what a form may send: a signed bundle, and little more.
const maxForm = 1 << 20

// A visit is one request of a browser.
type visit struct {
	c      *Console
	w      http.ResponseWriter
	r      *http.Request
	api    *client // presents the visitor's token; nil on an open route without a session
	who    session // zero on an open route without a session
	signed bool
}

// ctx ends when the browser has gone.
func (v *visit) ctx() context.Context { return v.r.Context() }

// now is the console's clock.
func (v *visit) now() time.Time { return v.c.opts.Now().UTC() }

// path is a part of the address that the route names.
func (v *visit) path(name string) string { return v.r.PathValue(name) }

// query is a parameter of the address.
func (v *visit) query(name string) string { return v.r.URL.Query().Get(name) }

// field is what a form sent.
func (v *visit) field(name string) string { return strings.TrimSpace(v.r.PostFormValue(name)) }

// live says that a script of the page asks, for a part of it.
func (v *visit) live() bool { return v.r.Header.Get("HX-Request") == "true" }

// serve makes a handler of a route: it looks who asks, and makes a page of
// what goes wrong.
func (c *Console) serve(r route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		v := &visit{c: c, w: w, r: req}
		if err := v.answer(r); err != nil {
			v.fail(err)
		}
	})
}

func (v *visit) answer(r route) (err error) {
	if v.who, v.signed = v.c.session(v.r); v.signed {
		if v.api, err = v.c.clientOf(v.who.Token, v.r.RemoteAddr); err != nil {
			return err
		}
	} else if !r.open {
		return errSignedOut
	}
	if v.r.Method == http.MethodPost {
		v.r.Body = http.MaxBytesReader(v.w, v.r.Body, maxForm)
		if err := v.r.ParseForm(); err != nil {
			return fmt.Errorf("%w: %w", errForm, err)
		}
	}
	return r.handle(v)
}

// render answers with a page: templates/<name>.html within the layout.
func (v *visit) render(name, title string, body any) error {
	return v.renderStatus(http.StatusOK, name, title, body)
}

func (v *visit) renderStatus(status int, name, title string, body any) error {
	return v.execute(status, name, "layout", v.page(title, body))
}

// part answers with one template of a page, for a script to put into it. Its
// data is what the page has under .Body.
func (v *visit) part(name, template string, body any) error {
	return v.execute(http.StatusOK, name, template, body)
}

func (v *visit) execute(status int, name, template string, data any) error {
	set, ok := v.c.pages[name]
	if !ok {
		return fmt.Errorf("no page %q", name)
	}
	var out bytes.Buffer
	if err := set.ExecuteTemplate(&out, template, data); err != nil {
		return fmt.Errorf("page %s: %w", name, err) // before a byte was sent
	}
	return v.send(status, "text/html; charset=utf-8", out.Bytes())
}

// send writes an answer, compressed for whoever can read that.
func (v *visit) send(status int, media string, body []byte) error {
	h := v.w.Header()
	h.Set("Content-Type", media)
	h.Add("Vary", "Accept-Encoding")
	h.Add("Vary", "HX-Request")
	if len(body) > 1024 && acceptsGzip(v.r) {
		h.Set("Content-Encoding", "gzip")
		v.w.WriteHeader(status)
		w := gzip.NewWriter(v.w)
		_, err := w.Write(body)
		_ = errors.Join(err, w.Close()) // a reader that left
		return nil
	}
	v.w.WriteHeader(status)
	_, _ = v.w.Write(body)
	return nil
}

// redirect sends a browser on, with a GET.
func (v *visit) redirect(to string) error {
	if v.live() {
		v.w.Header().Set("HX-Redirect", to)
		v.w.WriteHeader(http.StatusNoContent)
		return nil
	}
	http.Redirect(v.w, v.r, to, http.StatusSeeOther)
	return nil
}

// link returns the address of a page: its path below [Path], each part of
// which is escaped.
func link(parts ...string) string {
	escaped := make([]string, len(parts))
	for i, p := range parts {
		escaped[i] = url.PathEscape(p)
	}
	return Path + strings.Join(escaped, "/")
}

// once makes a command of the API one that is carried out once, however often
// the form is sent: its key is the hidden field "key" that the page gave it.
func (v *visit) once() v1.RequestEditorFn {
	key := v.field("key")
	return func(_ context.Context, req *http.Request) error {
		if key != "" && len(key) <= 255 {
			req.Header.Set("Idempotency-Key", key)
		}
		return nil
	}
}
