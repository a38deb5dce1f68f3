package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/internal/token"
)

// maxBody bounds a JSON body, where the document sets no other bound with
// x-max-body. Blobs and packages have bounds of their own.
const maxBody = 1 << 20

// A Border is what every service shares: the document, who may pass, how
// often, and how a refusal reads.
type Border struct {
	opts     Options
	spec     *spec
	recall   Idempotency
	log      *slog.Logger
	metrics  *meters
	byTenant *limiter
	byAddr   *limiter
}

// A call is one request that was admitted and follows the document.
type call struct {
	Caller
	site    *token.Claims // of a token; nil for a simulated caller
	op      *operation
	body    []byte
	command Command // of a POST; its Caller is the call's
}

// A handler serves one operation. An error becomes a problem.
type handler func(c *gin.Context, k call) error

// mount registers the handler of an operation under the method and path that
// the document gives it.
func (b *Border) mount(r gin.IRouter, id string, h handler) {
	o, ok := b.spec.operations[id]
	if !ok {
		panic("openapi.yaml has no operation " + id) // a mistake of this package, found by any test
	}
	r.Handle(o.method, o.route, func(c *gin.Context) {
		k, err := b.enter(c, o)
		if err == nil && k.command.KeyHash != "" && k.Tenant != "" && !o.streams() { // answers are kept by tenant; a router has none
			var replayed bool
			if replayed, err = b.replay(c, k); replayed {
				return
			}
		}
		if err == nil {
			err = h(c, k)
		}
		if err != nil {
			b.fail(c, err)
		}
	})
}

// enter admits a request: who asks, how often, what for, for which tenant.
func (b *Border) enter(c *gin.Context, o *operation) (call, error) {
	caller, claims, err := b.admit(c.Request, o)
	k := call{Caller: caller, site: claims, op: o}
	if err != nil {
		return k, err
	}
	if caller.Simulated {
		c.Header("X-Fabric-Simulated", "true")
	}
	if caller.Tenant != "" && !b.byTenant.allow(caller.Tenant+" "+class(c.Request.Method)) {
		return k, &Problem{Kind: rateLimited, RetryAfter: 1, Detail: "the tenant sends more than it may"}
	}
	path := make(map[string]string, len(c.Params))
	for _, p := range c.Params {
		path[p.Key] = strings.TrimPrefix(p.Value, "/") // gin's, of a parameter that holds slashes
	}
	if err := b.spec.checkParameters(c.Request, o, path); err != nil {
		return k, err
	}
	if k.body, err = b.readBody(c, o, caller); err != nil {
		return k, err
	}
	if o.access == accessToken {
		if err := settle(&k.Caller, o, named(path, c.Query("tenant"), k.body, o, k.Simulated)); err != nil {
			return k, err
		}
	}
	return k, b.command(c, &k)
}

// readBody returns the JSON body of an operation that takes one.
func (b *Border) readBody(c *gin.Context, o *operation, caller Caller) ([]byte, error) {
	if o.access == accessRouter || o.streams() {
		return nil, nil // passed on, or streamed by its handler
	}
	body, err := io.ReadAll(http.MaxBytesReader(c.Writer, c.Request.Body, o.maxBody))
	if err != nil {
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			return nil, tooLarge.because(fmt.Sprintf("a body is at most %d MiB", o.maxBody>>20))
		}
		return nil, &Problem{Kind: badRequest, Detail: "the body ended early", Err: err}
	}
	c.Request.Body = io.NopCloser(bytes.NewReader(body))
	if !o.json {
		if len(body) > 0 && !isEmptyObject(body) {
			return nil, badRequest.because("no body is taken here")
		}
		return nil, nil
	}
	media, _, err := mime.ParseMediaType(c.GetHeader("Content-Type"))
	form := media == "application/x-www-form-urlencoded" || c.GetHeader("Content-Type") == ""
	if (err != nil || media != "application/json") && !(caller.Simulated && form) { // curl -d says it is a form
		return nil, mediaType.because("send Content-Type: application/json")
	}
	return body, checkBody(o.bodySchema(), body)
}

// isEmptyObject lets clients that always send a body send an empty one.
func isEmptyObject(body []byte) bool { return string(bytes.TrimSpace(body)) == "{}" }

// named returns the tenants that a request says it is for. The first of a list
// of participants is meant only where nothing else names the tenant of a
// simulated caller.
func named(path map[string]string, query string, body []byte, o *operation, simulated bool) []string {
	var said struct {
		Tenant  string   `json:"tenant"`
		Tenants []string `json:"tenants"`
	}
	if o.json {
		_ = json.Unmarshal(body, &said) // it followed its schema
	}
	names := []string{path["tenant"], query, said.Tenant}
	if simulated && len(said.Tenants) > 0 && strings.Join(names, "") == "" {
		return said.Tenants[:1]
	}
	return names
}

// command makes the command of a POST: with a token it needs a key.
func (b *Border) command(c *gin.Context, k *call) error {
	if !k.op.writes() || k.op.access != accessToken {
		return nil
	}
	k.command = Command{Caller: k.Caller, Operation: k.op.id}
	key := c.GetHeader("Idempotency-Key")
	if key == "" {
		if !k.Simulated {
			return keyMissing.at("header:Idempotency-Key", "choose one for each thing that is to be done once")
		}
		return nil
	}
	k.command.KeyHash = artifact.DigestOf([]byte(key))
	k.command.Fingerprint = fingerprint(c.Request, k.body, k.Simulated)
	return nil
}

// fingerprint tells two requests apart that claim to be one.
func fingerprint(r *http.Request, body []byte, simulated bool) artifact.Digest {
	text := fmt.Sprintf("%s %s?%s simulated=%t\n", r.Method, r.URL.Path, r.URL.Query().Encode(), simulated)
	return artifact.DigestOf(append([]byte(text), body...))
}

// replay answers as before a command that was done before. It comes before the
// checks of the handler: the world that they would look at has moved since.
func (b *Border) replay(c *gin.Context, k call) (bool, error) {
	answer, found, err := b.recall.Recall(c.Request.Context(), k.command)
	if err != nil || !found {
		return false, err
	}
	b.answer(c, answer)
	return true, nil
}

// answer writes the answer of a command.
func (b *Border) answer(c *gin.Context, a Answer) {
	if a.Replayed {
		c.Header("Idempotency-Replayed", "true")
	}
	c.Header("Cache-Control", "no-store")
	c.Data(a.Status, "application/json", a.Body)
}

// send writes the answer of a query.
func (b *Border) send(c *gin.Context, status int, v any) error {
	text, err := encode(v)
	if err != nil {
		return err
	}
	b.answer(c, Answer{Status: status, Body: text})
	return nil
}

// encode is json.Marshal without the HTML escapes, which would change the
// bytes of documents that are passed on.
func encode(v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), nil
}

// replying returns the reply that answers with a view of what was written.
func replying[T any](status int, view func(T) any) Reply[T] {
	return func(written T) (Answer, error) {
		body, err := encode(view(written))
		return Answer{Status: status, Body: body}, err
	}
}

// done writes the answer of a command that a port carried out.
func (b *Border) done(c *gin.Context, a Answer, err error) error {
	if err == nil {
		b.answer(c, a)
	}
	return err
}

// class is the route class that a tenant's requests are counted in.
func class(method string) string {
	if method == http.MethodGet {
		return "read"
	}
	return "write"
}

// now is the clock in the resolution that rows keep.
func (b *Border) now() time.Time { return b.opts.Now().UTC().Truncate(time.Microsecond) }
