package web

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"

	"github.com/atom-fabric/fabric/api/v1"
)

// client is the typed client of the API that a page asks.
type client = v1.Client

// inProcess returns what makes clients of an API that this process serves
// itself: a request goes through the same handler, with the same checks, as
// one that comes over the network.
func inProcess(api http.Handler) func(token, remote string) (*client, error) {
	return func(token, remote string) (*client, error) {
		return v1.New("http://console.invalid", token, &http.Client{Transport: here{api, remote}})
	}
}

// here carries a request to a handler of this process. remote is the address
// of the browser, by which the API counts requests.
type here struct {
	handler http.Handler
	remote  string
}

// RoundTrip implements http.RoundTripper. The body of the answer is read while
// the handler writes it; closing it ends the handler.
func (h here) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(req.Context())
	asked := req.Clone(ctx)
	asked.RemoteAddr, asked.RequestURI = h.remote, req.URL.RequestURI()
	if asked.Body == nil {
		asked.Body = http.NoBody
	}
	read, write := io.Pipe()
	a := &answer{header: http.Header{}, body: write, begun: make(chan struct{})}
	go func() {
		defer func() {
			err := io.EOF
			if v := recover(); v != nil {
				err = fmt.Errorf("the handler panicked: %T", v)
			}
			a.WriteHeader(http.StatusOK) // if nobody has
			write.CloseWithError(err)
		}()
		h.handler.ServeHTTP(a, asked)
	}()
	select {
	case <-a.begun:
	case <-ctx.Done():
		cancel()
		read.CloseWithError(ctx.Err())
		return nil, ctx.Err()
	}
	return &http.Response{
		Status: fmt.Sprintf("%d %s", a.status, http.StatusText(a.status)), StatusCode: a.status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, ContentLength: -1,
		Header: a.sent, Body: &answerBody{read, cancel}, Request: req,
	}, nil
}

// answerBody tells the handler that nobody reads on.
type answerBody struct {
	*io.PipeReader
	cancel context.CancelFunc
}

func (b *answerBody) Close() error {
	err := b.PipeReader.CloseWithError(errors.New("the page has read enough"))
	b.cancel()
	return err
}

// An answer is what a handler writes.
type answer struct {
	header http.Header
	sent   http.Header
	status int
	body   *io.PipeWriter
	once   sync.Once
	begun  chan struct{}
}

func (a *answer) Header() http.Header { return a.header }

func (a *answer) WriteHeader(status int) {
	if status < http.StatusOK {
		return // not the answer yet
	}
	a.once.Do(func() {
		a.status, a.sent = status, a.header.Clone()
		close(a.begun)
	})
}

func (a *answer) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.body.Write(p)
}

// Flush implements http.Flusher: whatever was written has been read.
func (a *answer) Flush() { a.WriteHeader(http.StatusOK) }
