package api

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/gin-gonic/gin"

	"github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/consent"
	"github.com/atom-fabric/fabric/domain/privacy"
	"github.com/atom-fabric/fabric/domain/summary"
)

// Publications are statistics of features under differential privacy, I.1.1.
type Publications struct {
	b     *Border
	stats Statistics
	blobs Blobs
}

// NewPublications returns the service.
func NewPublications(b *Border, p Ports) *Publications {
	return &Publications{b: b, stats: p.Statistics, blobs: p.Blobs}
}

// Mount implements [Service].
func (s *Publications) Mount(r gin.IRouter) {
	s.b.mount(r, "publishFeatureStatistics", s.publish)
	s.b.mount(r, "getFeatureStatistics", s.get)
}

// answerSeconds is how long sites have when nobody says.
const answerSeconds = 300

func (s *Publications) publish(c *gin.Context, k call) error {
	var in v1.StatisticsRequest
	if err := decode(k.body, &in); err != nil {
		return err
	}
	if in.Purpose != "" && !consent.ValidPurpose(in.Purpose) {
		return badParams.at("/purpose", consent.ErrPurpose.Error())
	}
	wish := StatisticsWish{
		Feature: c.Param("feature_id"), Epsilon: in.Epsilon, Bins: cmp.Or(in.Bins, summary.DefaultBins),
		Purpose: in.Purpose, Seconds: cmp.Or(in.Seconds, answerSeconds),
	}
	for _, column := range in.Columns {
		wish.Columns = append(wish.Columns, summary.Wish{Name: column.Name, Low: column.Low, High: column.High})
	}
	ctx := c.Request.Context()
	answer, err := s.stats.AskStatistics(ctx, k.command, wish, func(written FeatureStatistics) (Answer, error) {
		view, err := s.view(ctx, written)
		if err != nil {
			return Answer{}, err
		}
		view.Simulated, view.Before = k.Simulated, written.Before
		status := http.StatusAccepted
		if written.Before {
			status = http.StatusOK
		}
		return replying(status, func(v1.FeatureStatistics) any { return view })(view)
	})
	return s.b.done(c, answer, statisticsProblem(in, err))
}

// statisticsProblem says what keeps statistics from being computed, and what to
// do. Nothing was charged then.
func statisticsProblem(in v1.StatisticsRequest, err error) error {
	var column *summary.ColumnError
	var refused *consent.Refusal
	var budget *privacy.RefusalError
	switch {
	case errors.As(err, &column):
		pointer := "/columns"
		for i, c := range in.Columns {
			if c.Name == column.Column {
				pointer = "/columns/" + strconv.Itoa(i)
			}
		}
		return badParams.at(pointer, column.Error())
	case errors.Is(err, summary.ErrNone), errors.Is(err, summary.ErrColumns):
		return badParams.at("/columns", err.Error())
	case errors.Is(err, summary.ErrBins):
		return badParams.at("/bins", summary.ErrBins.Error())
	case errors.Is(err, summary.ErrEpsilon), errors.Is(err, summary.ErrNoise):
		return badParams.at("/epsilon", summary.ErrEpsilon.Error())
	case errors.As(err, &refused):
		return noConsent.because(refused.Error() + ": statistics were not computed and nothing was charged")
	case errors.Is(err, summary.ErrSites):
		return noSites.because(summary.ErrSites.Error() + "; nothing was charged")
	case errors.As(err, &budget):
		problem := budgetExhausted.at("/epsilon", budget.Error())
		problem.Detail = fmt.Sprintf("%v; nothing was computed and nothing was charged", budget)
		return problem
	}
	return err
}

func (s *Publications) get(c *gin.Context, k call) error {
	ctx := c.Request.Context()
	found, err := s.stats.FeatureStatistics(ctx, k.Caller, cmp.Or(c.Query("owner"), k.Tenant), c.Param("feature_id"), intQuery(c, "version", 0))
	if errors.Is(err, ErrNotFound) { // said alike of what is not there and of what is not for the caller
		return &Problem{Kind: notFound, Detail: "nothing is published about such a feature that the caller may see; its owner publishes it with fabric feature statistics FEATURE --epsilon E", Err: err}
	}
	if err != nil {
		return err
	}
	view, err := s.view(ctx, found)
	if err != nil {
		return err
	}
	view.Simulated = k.Simulated
	return s.b.send(c, http.StatusOK, view)
}

// maxRelease bounds what is published about a version.
const maxRelease = 1 << 20

func (s *Publications) view(ctx context.Context, f FeatureStatistics) (v1.FeatureStatistics, error) {
	q := f.Question
	view := v1.FeatureStatistics{
		Tenant: q.Tenant, FeatureID: q.Feature, Version: q.Version, Content: string(q.Content), Attempt: f.Attempt,
		State: v1.FeatureStatisticsState(f.State), Cause: f.Cause, Mechanism: v1.StatisticsNoise, Epsilon: q.Epsilon, Delta: q.Delta,
		NoiseMultiplier: q.NoiseMultiplier, Level: summary.Level, SitesAsked: len(q.Sites), SitesAnswered: f.Answers,
		Columns: views(q.Columns, func(c summary.Column) v1.ColumnStatistics {
			return v1.ColumnStatistics{Name: c.Name, Low: c.Low, High: c.High}
		}),
		AskedAt: f.AskedAt, Deadline: f.Deadline, EndedAt: f.EndedAt, Digest: string(f.Release.Digest),
		WorkflowID: contract.StatisticsID(q.Tenant, q.Feature, q.Version, f.Attempt),
	}
	if f.Release.Digest == "" {
		return view, nil
	}
	text, err := read(ctx, s.blobs, f.Release.Digest, maxRelease)
	if err != nil {
		return view, err
	}
	var release summary.Release
	if err := json.Unmarshal(text, &release); err != nil {
		return view, fmt.Errorf("statistics %s: %w", f.Release.Digest.Short(), err)
	}
	view.SitesAsked, view.SitesAnswered = release.SitesAsked, release.SitesAnswered
	view.Count = figureView(release.Count)
	for i, c := range release.Columns {
		view.Columns[i] = v1.ColumnStatistics{
			Name: c.Name, Low: c.Low, High: c.High, Mean: figureView(c.Mean), Variance: figureView(c.Variance), Bins: c.Bins, BinStddev: c.BinStddev,
			Quantiles: views(c.Quantiles, func(q summary.Quantile) v1.StatisticsQuantile {
				return v1.StatisticsQuantile{Share: q.Share, Value: q.Value, Low: q.Low, High: q.High}
			}),
		}
	}
	return view, nil
}

func figureView(f summary.Figure) v1.StatisticsFigure {
	return v1.StatisticsFigure{Value: f.Value, Low: f.Low, High: f.High, Stddev: f.Stddev}
}

// questions hands out what is open with the exact text of what was signed.
func (s *Fleet) questions(ctx context.Context, k call) ([]v1.SiteQuestion, error) {
	open, err := s.stats.Questions(ctx, k.Tenant, k.site.Site)
	if err != nil || len(open) == 0 {
		return nil, err
	}
	out := make([]v1.SiteQuestion, len(open))
	for i, f := range open {
		for _, part := range []struct {
			digest artifact.Digest
			to     *string
		}{{f.Document.Digest, &out[i].Question}, {f.Bundle.Digest, &out[i].Bundle}, {f.Question.Grants, &out[i].Grants}} {
			text, err := read(ctx, s.blobs, part.digest, maxPack)
			if err != nil {
				return nil, fmt.Errorf("question about %s: %w", f.Question.Feature, err)
			}
			*part.to = string(text)
		}
		out[i].Deadline = f.Deadline
	}
	return out, nil
}

// answer takes what a site says to a question, once, if the key that it
// enrolled with has signed it.
func (s *Fleet) answer(c *gin.Context, k call) error {
	var in v1.SiteAnswerRequest
	if err := decode(k.body, &in); err != nil {
		return err
	}
	ctx := c.Request.Context()
	open, err := s.stats.Question(ctx, k.Tenant, k.site.Site, artifact.Digest(in.Question))
	if err != nil {
		return err
	}
	enrolled, err := s.sites.Site(ctx, k.Tenant, k.site.Site)
	if err != nil {
		return err
	}
	key, err := artifact.ParsePublicKey([]byte(enrolled.PublicKey))
	if err != nil {
		return fmt.Errorf("key of site %s/%s: %w", k.Tenant, k.site.Site, err)
	}
	verified, err := artifact.VerifyBundle([]*ecdsa.PublicKey{key}, []byte(in.Bundle), artifact.PredicateSummary, artifact.Digest(in.Question))
	if err != nil {
		return &Problem{Kind: unverified, Detail: "the bundle is not this site's statement about this question", Err: err}
	}
	said := SiteAnswer{Of: open, Text: string(verified.Predicate), Statement: verified.Statement}
	if err := artifact.DecodeStrict(verified.Predicate, &said.Answer); err != nil {
		return &Problem{Kind: unverified, Detail: "the statement's predicate is not an answer", Err: err}
	}
	if err := said.Answer.Check(open.Question); err != nil || said.Answer.Site != k.site.Site {
		return badUpdate.because("the answer does not fit the question, or is another site's")
	}
	if said.Bundle, err = put(ctx, s.blobs, artifact.MediaTypeBundle, []byte(in.Bundle)); err != nil {
		return err
	}
	if err := s.stats.AnswerQuestion(ctx, k.Caller, said); err != nil {
		return err
	}
	return s.b.send(c, http.StatusAccepted, v1.SiteAnswerAccepted{Question: in.Question, Site: k.site.Site, Statement: string(said.Statement)})
}
