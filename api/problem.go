package api

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strconv"

	"github.com/gin-gonic/gin"

	"github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/artifact"
)

// problemTypes is where docs/errors.md is read; a code is an anchor in it.
const problemTypes = "https://github.com/atom-fabric/fabric/blob/main/docs/errors.md#"

// A Kind is one kind of problem. docs/errors.md has a section for each.
type Kind struct {
	Code   string
	Status int
	Title  string
}

// Error makes a kind without further words an error of its own.
func (k Kind) Error() string { return k.Code }

// The kinds of problem. A code, once released, keeps its meaning.
var (
	badRequest        = Kind{"bad_request", 400, "The request is malformed"}
	invalidRequest    = Kind{"invalid_request", 400, "The request does not follow openapi.yaml"}
	keyMissing        = Kind{"idempotency_key_missing", 400, "A POST with a token needs an Idempotency-Key"}
	tenantMissing     = Kind{"tenant_missing", 400, "Name a tenant"}
	tokenMissing      = Kind{"token_missing", 401, "A token is needed"}
	tokenInvalid      = Kind{"token_invalid", 401, "The token is not accepted"}
	roleMissing       = Kind{"role_missing", 403, "None of the caller's roles may do this"}
	simulationRefused = Kind{"simulation_refused", 403, "A simulated caller may not do this"}
	notFound          = Kind{"not_found", 404, "There is no such thing"}
	methodNotAllowed  = Kind{"method_not_allowed", 405, "The method is not allowed here"}
	conflict          = Kind{"conflict", 409, "It conflicts with what exists"}
	keyInProgress     = Kind{"idempotency_key_in_progress", 409, "A request with this key is still running"}
	planStale         = Kind{"plan_stale", 409, "The plan does not hold any more"}
	planMissing       = Kind{"plan_missing", 409, "Nothing was planned with this digest"}
	noApprovers       = Kind{"no_approvers", 409, "Too few people may approve it"}
	budgetExhausted   = Kind{"budget_exhausted", 409, "The privacy budget does not cover it"}
	noSites           = Kind{"no_sites", 409, "Too few sites are enrolled"}
	notRunning        = Kind{"not_running", 409, "It does not run now"}
	notReady          = Kind{"not_ready", 409, "Something must happen first"}
	closed            = Kind{"closed", 409, "It takes no more"}
	noOpenStage       = Kind{"no_open_stage", 409, "No stage waits for this site"}
	aliasMoved        = Kind{"alias_moved", 409, "The alias has moved since"}
	lengthRequired    = Kind{"length_required", 411, "The length of the body must be said"}
	tooLarge          = Kind{"too_large", 413, "The body is too large"}
	mediaType         = Kind{"unsupported_media_type", 415, "The content type is not the one wanted"}
	badRange          = Kind{"range_not_satisfiable", 416, "The range lies outside the content"}
	wrongOffset       = Kind{"wrong_offset", 409, "The piece does not follow what is kept"}
	uploadBusy        = Kind{"upload_in_progress", 409, "A piece of this upload is still being taken"}
	uploadsFull       = Kind{"uploads_full", 429, "There is no room for uploads now"}
	keyReused         = Kind{"idempotency_key_reused", 422, "The key was used for another request"}
	unverified        = Kind{"unverified", 422, "A signature or a digest does not verify"}
	noConsent         = Kind{"no_consent", 422, "Features may not be used"}
	badParams         = Kind{"bad_params", 422, "The parameters do not fit together"}
	badFeature        = Kind{"bad_feature", 422, "The feature cannot be registered"}
	badGrant          = Kind{"bad_grant", 422, "The grant cannot be given"}
	featureBreaks     = Kind{"feature_breaks", 409, "The version would break those who use the feature"}
	badUpdate         = Kind{"bad_update", 422, "The update cannot be aggregated"}
	badPackage        = Kind{"bad_package", 422, "The package cannot be accepted"}
	badAlias          = Kind{"bad_alias", 422, "The alias cannot be moved so"}
	badKey            = Kind{"bad_key", 422, "The public key cannot be used"}
	badPlan           = Kind{"bad_plan", 422, "No plan can be made of this"}
	badVote           = Kind{"bad_vote", 422, "The vote is not a signed statement"}
	badDelegation     = Kind{"bad_delegation", 422, "The delegation cannot be accepted"}
	badRecord         = Kind{"bad_record", 422, "The records are not a router's"}
	badLink           = Kind{"bad_link", 403, "The link does not lead here, or is over"}
	noSigningKey      = Kind{"no_signing_key", 422, "A production round needs a signing key"}
	notAdmitted       = Kind{"not_admitted", 422, "The rules do not admit the run"}
	rateLimited       = Kind{"rate_limited", 429, "Too many requests"}
	internalError     = Kind{"internal", 500, "Something failed; the trace id says where to look"}
	routerFailed      = Kind{"router_failed", 502, "The router gave no answer that can be passed on"}
	unavailable       = Kind{"unavailable", 503, "Something that is needed does not answer now"}
	routerAway        = Kind{"router_away", 503, "The router does not answer"}
)

// Codes returns every code with its status: docs/errors.md explains each.
func Codes() map[string]int {
	codes := map[string]int{}
	for _, k := range []Kind{
		badRequest, invalidRequest, keyMissing, tenantMissing, tokenMissing, tokenInvalid, roleMissing, simulationRefused,
		notFound, methodNotAllowed, conflict, keyInProgress, planStale, planMissing, noApprovers, budgetExhausted, noSites, notRunning,
		notReady, closed, noOpenStage, tooLarge, mediaType, badRange, keyReused, unverified, noConsent, badParams,
		badFeature, badGrant, featureBreaks, badUpdate, badPackage, badKey, badPlan, badVote, badDelegation, badRecord, badLink, noSigningKey, notAdmitted, rateLimited, internalError, wrongOffset, uploadBusy, uploadsFull,
		routerFailed, unavailable, routerAway, aliasMoved, lengthRequired, badAlias,
	} {
		codes[k.Code] = k.Status
	}
	return codes
}

// A Problem is an error that the caller may read: no value that the caller
// sent, no internal text. Err is the cause, for our log only.
type Problem struct {
	Kind
	Detail     string
	Items      []v1.ProblemItem
	RetryAfter int // seconds; 0: not said
	Err        error
}

func (p *Problem) Error() string {
	if p.Err != nil {
		return p.Code + ": " + p.Err.Error()
	}
	return p.Code + ": " + p.Detail
}
func (p *Problem) Unwrap() error { return p.Err }

// because returns a problem of this kind with a detail in words.
func (k Kind) because(detail string) *Problem { return &Problem{Kind: k, Detail: detail} }

// at returns a problem of this kind about one part of the request.
func (k Kind) at(pointer, detail string) *Problem {
	return &Problem{Kind: k, Items: []v1.ProblemItem{{Pointer: pointer, Detail: detail}}}
}

// problemOf returns the problem that an error is answered with. What has no
// kind here is internal.
func problemOf(err error) *Problem {
	var p *Problem
	var kind Kind
	var large *http.MaxBytesError
	wrap := func(k Kind) *Problem { return &Problem{Kind: k, Err: err} }
	switch {
	case errors.As(err, &p):
		return p
	case errors.As(err, &kind):
		return &Problem{Kind: kind}
	case errors.As(err, &large):
		return wrap(tooLarge)
	case errors.Is(err, ErrNotFound):
		return wrap(notFound)
	case errors.Is(err, ErrConflict):
		return wrap(conflict)
	case errors.Is(err, ErrInProgress):
		return &Problem{Kind: keyInProgress, RetryAfter: 1, Err: err}
	case errors.Is(err, ErrKeyReuse):
		return wrap(keyReused)
	case errors.Is(err, ErrStale):
		return wrap(planStale)
	case errors.Is(err, ErrClosed):
		return wrap(closed)
	case errors.Is(err, ErrUnverified):
		return wrap(unverified)
	case errors.Is(err, ErrUnavailable), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return &Problem{Kind: unavailable, RetryAfter: 1, Err: err}
	}
	return wrap(internalError)
}

// fail answers with the problem of err, once, and ends the request.
func (b *Border) fail(c *gin.Context, err error) {
	p := problemOf(err)
	level := slog.LevelInfo
	if p.Status >= 500 && c.Request.Context().Err() == nil { // nobody waits for what a caller left
		level = slog.LevelError
	}
	b.log.LogAttrs(c.Request.Context(), level, "request refused",
		slog.String("code", p.Code), slog.String("route", c.FullPath()), slog.Any("cause", p.Err))
	c.Abort()
	if c.Writer.Written() {
		return // a body is on its way; only the connection can say so
	}
	body := v1.Problem{
		Type:     problemTypes + p.Code,
		Title:    p.Title,
		Status:   p.Status,
		Code:     p.Code,
		Detail:   p.Detail,
		Instance: traceID(c.Request.Context()),
		Errors:   p.Items,
	}
	if len(body.Errors) > 100 {
		body.Errors = body.Errors[:100]
	}
	header := c.Writer.Header()
	header.Del("ETag") // what was meant for the answer that did not come
	header.Del("Content-Length")
	header.Set("Content-Type", "application/problem+json")
	header.Set("Cache-Control", "no-store")
	if p.Status == http.StatusUnauthorized {
		header.Set("WWW-Authenticate", "Bearer")
	}
	if p.RetryAfter > 0 {
		header.Set("Retry-After", strconv.Itoa(p.RetryAfter))
	}
	text, err := json.Marshal(body)
	if err != nil { // plain strings and numbers marshal
		c.Writer.WriteHeader(http.StatusInternalServerError)
		return
	}
	c.Writer.WriteHeader(p.Status)
	if c.Request.Method == http.MethodHead {
		c.Writer.WriteHeaderNow() // else gin takes it for unanswered, and describes a text of its own
		return
	}
	_, _ = c.Writer.Write(text) // a caller that left does not read it
}

// judged makes a problem of a bundle that a verifier refused. A verifier that
// could not judge, because what it asks was away, has refused nothing.
func judged(err error, detail string) error {
	if !errors.As(err, new(*artifact.VerifyError)) {
		return err
	}
	return &Problem{Kind: unverified, Detail: detail, Err: err}
}
