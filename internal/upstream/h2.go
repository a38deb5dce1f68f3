package upstream

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
)

// upgrade notes that the endpoint speaks HTTP/2.
func (e *Endpoint) upgrade() *http.Transport {
	opts := e.client.opts
	t := &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			ctx, cancel := context.WithTimeout(ctx, opts.Dial)
			defer cancel()
			return opts.DialContext(ctx, network, address)
		},
		TLSClientConfig: e.tls.Clone(), TLSHandshakeTimeout: opts.Dial, ForceAttemptHTTP2: true,
		MaxIdleConnsPerHost: opts.MaxIdle, MaxConnsPerHost: opts.MaxOpen, IdleConnTimeout: opts.Idle,
		DisableCompression: true, MaxResponseHeaderBytes: maxHead,
	}
	if !e.h2.CompareAndSwap(nil, t) {
		return e.h2.Load()
	}
	e.client.mu.Lock()
	e.client.used[e] = struct{}{}
	e.client.mu.Unlock()
	return t
}

// transport asks by HTTP/2.
func (e *Endpoint) transport(ctx context.Context, t *http.Transport, req *Request) (*Answer, error) {
	ctx, cancel := context.WithCancel(ctx)
	fail := func(why error, answered bool, cause error) error {
		err := failure(ctx, why, answered, cause)
		cancel()
		return err
	}
	out, err := http.NewRequestWithContext(ctx, req.Method, e.url.Scheme+"://"+e.host+e.base+req.Path, bytes.NewReader(req.Body))
	if err != nil {
		return nil, fail(ErrRequest, false, nil)
	}
	for i := range req.Header {
		out.Header.Add(req.Header[i].Name, req.Header[i].Value)
	}
	// Tells the transport that it may be sent again, and is never sent itself.
	out.Header["Idempotency-Key"] = nil
	resp, err := t.RoundTrip(out) //nolint:bodyclose // closed with the answer
	if err != nil {
		var dial *net.OpError
		var certificate *tls.CertificateVerificationError
		if errors.As(err, &dial) && dial.Op == "dial" || errors.As(err, &certificate) {
			return nil, fail(ErrUnreachable, false, err)
		}
		return nil, fail(ErrReset, false, err)
	}
	a := &Answer{Status: resp.StatusCode, Header: Header{parsed: resp.Header}, Length: resp.ContentLength}
	a.close = func() { cancel(); _ = resp.Body.Close() } // what was not read is not wanted
	if req.Limit > 0 && a.Length > req.Limit {
		defer a.Close()
		return nil, fail(ErrTooLong, true, nil)
	}
	if a.Length <= int64(req.Whole) && req.Whole > 0 && !streams(a.Header) {
		if a.Body, err = io.ReadAll(io.LimitReader(resp.Body, int64(req.Whole)+1)); err != nil {
			err = fail(ErrReset, true, err)
			a.Close()
			return nil, err
		}
		if len(a.Body) <= req.Whole {
			a.Length = int64(len(a.Body))
			return a, nil
		}
	}
	if req.Limit > 0 && int64(len(a.Body)) > req.Limit {
		defer a.Close()
		return nil, fail(ErrTooLong, true, nil)
	}
	if a.Length != 0 {
		a.Stream = &h2stream{ctx: ctx, body: resp.Body, limit: req.Limit, count: int64(len(a.Body))}
	}
	return a, nil
}

// An h2stream is the rest of a body that comes by HTTP/2.
type h2stream struct {
	ctx          context.Context
	body         io.Reader
	limit, count int64
}

func (s *h2stream) Read(p []byte) (int, error) {
	n, err := s.body.Read(p)
	if s.count += int64(n); s.limit > 0 && s.count > s.limit {
		return 0, failure(s.ctx, ErrTooLong, true, nil)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		err = failure(s.ctx, ErrReset, true, err)
	}
	return n, err
}
