package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"time"

	"github.com/gin-gonic/gin"
)

// Proxy passes the router's operations on to its process, I.1.4, so that the
// gateway answers for every service. Applications in a hurry ask the router.
type Proxy struct {
	b     *Border
	proxy *httputil.ReverseProxy
}

// proxyKey carries the call that a proxied request belongs to.
type proxyKey struct{}

// NewProxy returns the service. Without a router's URL it answers 503.
func NewProxy(b *Border) (*Proxy, error) {
	p := &Proxy{b: b}
	if b.opts.RouterURL == "" {
		return p, nil
	}
	router, err := url.Parse(b.opts.RouterURL)
	if err != nil || router.Host == "" || router.Scheme != "http" && router.Scheme != "https" {
		return nil, fmt.Errorf("%w: the router's URL is not one", ErrOptions)
	}
	p.proxy = &httputil.ReverseProxy{
		// Rewrite drops the forwarding headers of the client and adds none: the
		// router trusts nobody's word on where a request came from.
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(router)
			r.Out.Host = router.Host
			if c, ok := r.In.Context().Value(proxyKey{}).(*gin.Context); ok {
				r.Out.Header.Set("traceparent", traceparent(c.Request.Context()))
			}
		},
		ModifyResponse: func(resp *http.Response) error {
			// The gateway has said both already, with the same trace id.
			resp.Header.Del("X-Trace-Id")
			resp.Header.Del("Traceparent")
			return nil
		},
		ErrorHandler: p.failed,
		ErrorLog:     log.New(io.Discard, "", 0), // failed logs
		Transport: &http.Transport{
			DialContext:           (&net.Dialer{Timeout: 2 * time.Second}).DialContext,
			ResponseHeaderTimeout: 30 * time.Second,
			MaxIdleConnsPerHost:   64,
			IdleConnTimeout:       time.Minute,
		},
	}
	return p, nil
}

// Mount implements [Service].
func (p *Proxy) Mount(r gin.IRouter) {
	p.b.mount(r, "invoke", p.pass)
	p.b.mount(r, "routerActive", p.pass)
	p.b.mount(r, "routerDecision", p.pass)
}

func (p *Proxy) pass(c *gin.Context, _ call) error {
	if p.proxy == nil {
		return &Problem{Kind: routerAway, Detail: "no router is configured: set FABRIC_ROUTER_URL", RetryAfter: 5}
	}
	c.Request.Body = http.MaxBytesReader(c.Writer, c.Request.Body, maxBody)
	ctx := context.WithValue(c.Request.Context(), proxyKey{}, c)
	p.proxy.ServeHTTP(c.Writer, c.Request.WithContext(ctx))
	return nil
}

// failed answers for a router that did not.
func (p *Proxy) failed(_ http.ResponseWriter, r *http.Request, err error) {
	c, ok := r.Context().Value(proxyKey{}).(*gin.Context)
	if !ok {
		return // pass has put it there
	}
	var large *http.MaxBytesError
	var dial *net.OpError
	switch {
	case errors.As(err, &large):
		p.b.fail(c, tooLarge.because("a body is at most 1 MiB"))
	case errors.As(err, &dial) && dial.Op == "dial", errors.Is(err, context.Canceled):
		p.b.fail(c, &Problem{Kind: routerAway, RetryAfter: 1, Err: err})
	default:
		p.b.fail(c, &Problem{Kind: routerFailed, Err: err})
	}
}
