package upstream

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/atom-fabric/fabric/internal/socket"
)

// A Client makes endpoints that share its options.
type Client struct {
	opts  Options
	pools pools

	mu   sync.Mutex
	used map[*Endpoint]struct{} // those that keep connections
}

// New returns a client.
func New(opts Options) *Client {
	opts.Dial = cmp.Or(opts.Dial, time.Second)
	opts.Idle = cmp.Or(opts.Idle, 90*time.Second)
	opts.MaxIdle = cmp.Or(opts.MaxIdle, 256)
	opts.MaxOpen = cmp.Or(opts.MaxOpen, 2048)
	if opts.DialContext == nil {
		opts.DialContext = (&net.Dialer{KeepAlive: 15 * time.Second}).DialContext
	}
	return &Client{opts: opts, used: map[*Endpoint]struct{}{}}
}

// CloseIdleConnections closes the connections on which nothing is under way.
func (c *Client) CloseIdleConnections() {
	c.mu.Lock()
	used := make([]*Endpoint, 0, len(c.used))
	for e := range c.used {
		used = append(used, e)
	}
	c.mu.Unlock()
	for _, e := range used {
		e.closeIdle(time.Now().Add(time.Hour))
		if h := e.h2.Load(); h != nil {
			h.CloseIdleConnections()
		}
	}
}

// An Endpoint is a server and the connections to it. Its methods may be called
// by many goroutines at once.
type Endpoint struct {
	client *Client
	host   string // of the Host field
	addr   string // host:port
	base   string // path of the URL, without a slash at the end
	url    *url.URL
	tls    *tls.Config // nil: plain
	h2     atomic.Pointer[http.Transport]

	open atomic.Int64

	mu    sync.Mutex
	idle  []*conn // the one used last is at the end, and is taken first
	timer *time.Timer
}

// Endpoint returns the endpoint of an http or https URL.
func (c *Client) Endpoint(base string) (*Endpoint, error) {
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || u.User != nil || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("%w: %q is not an http or https URL", ErrRequest, base)
	}
	e := &Endpoint{client: c, host: u.Host, addr: u.Host, base: strings.TrimRight(u.EscapedPath(), "/"), url: u}
	if !valid(e.host) || !valid(e.base) {
		return nil, fmt.Errorf("%w: %q", ErrRequest, base)
	}
	port := "80"
	if u.Scheme == "https" {
		port = "443"
		e.tls = &tls.Config{MinVersion: tls.VersionTLS12}
		if c.opts.TLS != nil {
			e.tls = c.opts.TLS.Clone()
		}
		e.tls.NextProtos = []string{"h2", "http/1.1"}
		e.tls.ServerName = cmp.Or(e.tls.ServerName, u.Hostname())
	}
	if u.Port() == "" {
		e.addr = net.JoinHostPort(u.Hostname(), port)
	}
	return e, nil
}

// take returns a kept connection, or nil.
func (e *Endpoint) take(now time.Time) *conn {
	for {
		e.mu.Lock()
		n := len(e.idle)
		if n == 0 {
			e.mu.Unlock()
			return nil
		}
		c := e.idle[n-1]
		e.idle[n-1] = nil
		e.idle = e.idle[:n-1]
		e.mu.Unlock()
		if now.Sub(c.since) < quietAfter || c.quiet() {
			return c
		}
		c.close() // the other side closed it, or spoke unasked
	}
}

// keep keeps a connection, unless there are enough.
func (e *Endpoint) keep(c *conn, now time.Time) {
	c.since = now
	e.mu.Lock()
	if len(e.idle) >= e.client.opts.MaxIdle {
		e.mu.Unlock()
		c.close()
		return
	}
	e.idle = append(e.idle, c)
	arm := e.timer == nil
	if arm {
		e.timer = time.AfterFunc(e.client.opts.Idle, e.reap)
	}
	e.mu.Unlock()
	if arm {
		e.client.mu.Lock()
		e.client.used[e] = struct{}{}
		e.client.mu.Unlock()
	}
}

// reap closes what was idle for too long, and comes again while anything is kept.
func (e *Endpoint) reap() { e.closeIdle(time.Now().Add(-e.client.opts.Idle)) }

func (e *Endpoint) closeIdle(before time.Time) {
	e.mu.Lock()
	old := 0
	for old < len(e.idle) && !e.idle[old].since.After(before) {
		old++
	}
	closing := append([]*conn(nil), e.idle[:old]...)
	e.idle = append(e.idle[:0], e.idle[old:]...)
	clear(e.idle[len(e.idle):cap(e.idle)])
	empty := len(e.idle) == 0
	switch {
	case empty && e.timer != nil:
		e.timer.Stop()
		e.timer = nil
	case e.timer != nil:
		e.timer.Reset(e.client.opts.Idle)
	}
	if empty && e.h2.Load() == nil {
		e.client.mu.Lock()
		delete(e.client.used, e)
		e.client.mu.Unlock()
	}
	e.mu.Unlock()
	for _, c := range closing {
		c.close()
	}
}

// errHTTP2 says that the server negotiated HTTP/2.
var errHTTP2 = errors.New("it speaks HTTP/2")

// dial connects.
func (e *Endpoint) dial(ctx context.Context) (*conn, error) {
	if e.open.Add(1) > int64(e.client.opts.MaxOpen) {
		e.open.Add(-1)
		return nil, &Error{Err: ErrFull}
	}
	ctx, cancel := context.WithTimeout(ctx, e.client.opts.Dial)
	defer cancel()
	raw, err := e.client.opts.DialContext(ctx, "tcp", e.addr)
	if err != nil {
		e.open.Add(-1)
		return nil, err
	}
	c := &conn{endpoint: e, raw: raw, Conn: raw, out: raw}
	c.past = func() { _ = c.raw.SetDeadline(time.Unix(1, 0)) }
	if e.tls == nil {
		if c.sys, err = socket.Of(raw); err != nil {
			c.close()
			return nil, err
		}
		if c.sys != nil {
			c.out = socket.NewWriter(c.sys)
		}
		return c, nil
	}
	secure := tls.Client(raw, e.tls)
	if err := secure.HandshakeContext(ctx); err != nil {
		c.close()
		return nil, err
	}
	if secure.ConnectionState().NegotiatedProtocol == "h2" {
		c.close()
		return nil, errHTTP2
	}
	c.Conn, c.out = secure, secure
	return c, nil
}
