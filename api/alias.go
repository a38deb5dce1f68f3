package api

import (
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/modelpack"
	"github.com/atom-fabric/fabric/domain/promotion"
)

// aliases says where the aliases of a model stand, or stood at a time, or how
// they moved.
func (s *Exchange) aliases(c *gin.Context, k call) error {
	ctx, model := c.Request.Context(), c.Param("id")
	var at time.Time
	if text := c.Query("at"); text != "" {
		var err error
		if at, err = time.Parse(time.RFC3339, text); err != nil {
			return invalidRequest.at("query:at", "must be a time of RFC 3339")
		}
	}
	found, err := s.models.Aliases(ctx, k.Caller, model, at)
	if err == nil && c.Query("history") == "true" {
		found, err = s.models.AliasMoves(ctx, k.Caller, model)
	}
	if err != nil {
		return err
	}
	return s.b.send(c, http.StatusOK, v1.AliasList{Items: views(found, aliasView), Simulated: k.Simulated})
}

// move moves an alias by a statement that a trusted key has signed.
func (s *Exchange) move(c *gin.Context, k call) error {
	ctx := c.Request.Context()
	var body v1.AliasMove
	if err := json.Unmarshal(k.body, &body); err != nil {
		return malformed(err)
	}
	version, err := s.models.ModelVersion(ctx, k.Caller, c.Param("id"), body.Version)
	if err != nil {
		return err
	}
	bundle, pkg := []byte(body.Bundle), version.Package.Digest
	predicate, err := s.verifier.VerifyIn(ctx, version.Repository, bundle, artifact.PredicateAlias, pkg)
	if err != nil {
		return judged(err, "no trusted key has signed this as the move of an alias to the package of this version")
	}
	move, err := modelpack.ParseMove(predicate)
	if err != nil {
		return &Problem{Kind: badAlias, Detail: "the statement is not one of alias/v1", Err: err}
	}
	if move.Tenant != k.Tenant || move.Model != c.Param("id") {
		return notFound // of another tenant or model: not even that it verifies is said
	}
	if err := s.movable(c, k, move, version); err != nil {
		return err
	}
	kept, err := put(ctx, s.blobs, artifact.MediaTypeBundle, bundle)
	if err != nil {
		return err
	}
	answer, err := s.models.MoveAlias(ctx, k.command, move, pkg, kept, replying(http.StatusOK, func(a Alias) any { return aliasView(a) }))
	return s.b.done(c, answer, aliasProblem(err))
}

// movable refuses, before anything is kept, a move that may not be made now.
// The transaction that makes it looks again at where the alias stands.
func (s *Exchange) movable(c *gin.Context, k call, move modelpack.Move, version ModelVersion) error {
	if move.Alias == modelpack.Champion {
		return &Problem{Kind: badAlias, Detail: "the champion of an environment moves by a promotion", Err: modelpack.ErrPromotion}
	}
	if err := move.Fresh(s.b.now()); err != nil {
		return &Problem{Kind: unverified, Detail: "the statement was signed more than an hour ago, or in the future", Err: err}
	}
	if !v1.Environment(move.Environment).Valid() {
		return badAlias.because("there is no such environment")
	}
	if move.Version != version.Number {
		return aliasProblem(modelpack.ErrMove)
	}
	if version.Simulated && move.Environment == promotion.Production && !s.b.opts.Simulation {
		return badAlias.because("what was made in simulation never serves production")
	}
	heads, err := s.models.Aliases(c.Request.Context(), k.Caller, move.Model, time.Time{})
	if err != nil {
		return err
	}
	head, _ := headOf(heads, move.Environment, move.Alias)
	return aliasProblem(move.Follows(modelpack.Head{Sequence: head.Sequence, Version: head.Version, Package: head.Package}))
}

// aliasProblem says why an alias does not move.
func aliasProblem(err error) error {
	switch {
	case errors.Is(err, modelpack.ErrSuperseded):
		return &Problem{Kind: aliasMoved, Detail: "sign the move that follows where it stands now", Err: err}
	case errors.Is(err, modelpack.ErrMove):
		return &Problem{Kind: badAlias, Detail: "the statement names another version, or the version has another package", Err: err}
	}
	return err
}

func headOf(heads []Alias, environment, alias string) (Alias, bool) {
	for _, h := range heads {
		if h.Environment == environment && h.Alias == alias {
			return h, true
		}
	}
	return Alias{}, false
}

// resolve returns the version that a request names by number or by alias, the
// newest if by neither.
func (s *Exchange) resolve(c *gin.Context, k call) (ModelVersion, error) {
	ctx, model, number := c.Request.Context(), c.Param("id"), intQuery(c, "version", 0)
	if alias := c.Query("alias"); alias != "" {
		if number != 0 {
			return ModelVersion{}, invalidRequest.at("query:alias", "name a version or an alias, not both")
		}
		heads, err := s.models.Aliases(ctx, k.Caller, model, time.Time{})
		if err != nil {
			return ModelVersion{}, err
		}
		environment := c.Query("environment")
		if environment == "" {
			environment = promotion.Production
		}
		head, ok := headOf(heads, environment, alias)
		if !ok {
			return ModelVersion{}, notFound
		}
		number = head.Version
	}
	return s.models.ModelVersion(ctx, k.Caller, model, number)
}

func aliasView(a Alias) v1.Alias {
	return v1.Alias{
		Tenant: a.Tenant, ModelID: a.ModelID, Environment: v1.Environment(a.Environment), Alias: a.Alias, Sequence: a.Sequence,
		Version: a.Version, Package: string(a.Package), Previous: string(a.Previous), Statement: string(a.Bundle.Digest),
		Actor: a.Actor, Action: a.Action, At: a.At,
	}
}
