//go:build bench

// Command peer is what the router is measured with and beside, each role in a
// process of its own: the runtime behind the proxies, the load before them, and
// the two proxies that are written in Go.
//
// Invariant: every proxy is asked by the same load, byte for byte, and asks the
// same runtime.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "peer:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("want a role: runtime, reverse, gin or load")
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	listen := flags.String("listen", "", "host:port to answer on")
	to := flags.String("to", "", "URL of the runtime, or host:port of who is asked")
	delay := flags.Duration("delay", 0, "that the runtime waits before it answers")
	size := flags.Int("size", 1000, "bytes of the runtime's answer")
	var l load
	flags.StringVar(&l.request, "request", "", "file with the request")
	flags.IntVar(&l.conns, "conns", 1, "connections")
	flags.DurationVar(&l.time, "time", time.Second, "how long")
	flags.IntVar(&l.rate, "rate", 0, "requests a second; 0: the next when the last is answered")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	switch args[0] {
	case "runtime":
		return http.ListenAndServe(*listen, runtime(*delay, *size)) //nolint:gosec // on loopback, for minutes
	case "reverse":
		return http.ListenAndServe(*listen, reverse(*to)) //nolint:gosec // the same
	case "gin":
		return ginProxy(*to).Run(*listen)
	case "load":
		l.address = *to
		out, err := l.run()
		if err != nil {
			return err
		}
		return json.NewEncoder(os.Stdout).Encode(out)
	}
	return fmt.Errorf("no such role: %s", args[0])
}

// runtime answers as a server of the Open Inference Protocol V2 does, with size
// bytes whatever is asked.
func runtime(delay time.Duration, size int) http.Handler {
	const head = `{"model_name":"t1.m1","model_version":"1","outputs":[{"name":"p","shape":[%d],"datatype":"FP64","data":[%s]}]}`
	n := 0
	for ; len(fmt.Sprintf(head, n+1, strings.Repeat("0.5234,", n)+"0.5")) < size; n++ {
		continue
	}
	answer := fmt.Appendf(nil, head, n, strings.TrimSuffix(strings.Repeat("0.5234,", n), ","))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
		if delay > 0 {
			time.Sleep(delay)
		}
		h := w.Header()
		h["Content-Type"] = []string{"application/json"}
		_, _ = w.Write(answer)
	})
}

func transport() *http.Transport {
	return &http.Transport{
		DialContext:         (&net.Dialer{Timeout: time.Second}).DialContext,
		MaxIdleConnsPerHost: 1024, DisableCompression: true,
	}
}

// reverse is net/http/httputil's proxy, with connections that are kept.
func reverse(to string) http.Handler {
	at, err := url.Parse(to)
	if err != nil {
		panic(err)
	}
	return &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(at) }, Transport: transport()}
}

// ginProxy is how a service is often written: decode, ask with an http.Client,
// decode, encode.
func ginProxy(to string) *gin.Engine {
	gin.SetMode(gin.ReleaseMode)
	client := &http.Client{Transport: transport()}
	engine := gin.New()
	engine.POST("/*path", func(c *gin.Context) {
		var body map[string]any
		if err := c.ShouldBindJSON(&body); err != nil {
			c.AbortWithStatus(http.StatusBadRequest)
			return
		}
		answer, err := ask(c.Request.Context(), client, to+c.Request.URL.Path, body)
		if err != nil {
			c.AbortWithStatus(http.StatusBadGateway)
			return
		}
		c.JSON(http.StatusOK, answer)
	})
	return engine
}

func ask(ctx context.Context, client *http.Client, at string, body any) (answer map[string]any, err error) {
	text, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, at, bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return answer, json.NewDecoder(resp.Body).Decode(&answer)
}
