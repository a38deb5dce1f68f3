package activities

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"time"

	"go.temporal.io/sdk/activity"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/consent"
	"github.com/atom-fabric/fabric/domain/site"
	"github.com/atom-fabric/fabric/domain/summary"
)

// Statistics keeps what is asked and published about versions of features.
// Every method is one transaction with its audit leaf.
type Statistics interface {
	// Asking returns an attempt as it was asked for, with what was written since.
	// ErrNotFound.
	Asking(ctx context.Context, in contract.StatisticsInput) (Asking, error)
	// Open writes the question that the sites are to see, once, and wakes them: a
	// second call returns what the first one wrote. ErrRefused when it has ended.
	Open(ctx context.Context, in contract.StatisticsInput, offered Asking) (Asking, error)
	// Counts counts the answers.
	Counts(ctx context.Context, in contract.StatisticsInput) (contract.StatisticsCounts, error)
	// Changed returns when an answer may have arrived, or after wait.
	Changed(ctx context.Context, in contract.StatisticsInput, wait time.Duration) error
	// Shut refuses further answers and returns those that came, by site. Twice
	// returns the same.
	Shut(ctx context.Context, in contract.StatisticsInput) ([]summary.Answer, error)
	// Conclude ends the attempt, once, and returns how it ended. What it has
	// reserved is committed, or given back when learnt is false.
	Conclude(ctx context.Context, in contract.StatisticsInput, end contract.StatisticsResult, learnt bool) (contract.StatisticsResult, error)
}

// An Asking is one attempt to publish: the question, and when it was offered to
// sites, the documents that they see. Before that it has no sites, epoch and
// grants.
type Asking struct {
	Question summary.Question
	Seconds  int
	Document artifact.Descriptor // canonical bytes of the question; empty before it is offered
	Bundle   artifact.Descriptor
}

// A Statistic asks sites and publishes what they answer.
type Statistic struct {
	Blobs      Blobs
	Rounds     Rounds
	Statistics Statistics
	Signer     Signer
	Now        func() time.Time
}

// mediaTypeRelease is that of published statistics.
const mediaTypeRelease = "application/vnd.fabric.statistics.v1+json"

// AskStatistics completes the question, signs it, and lets the tenant's sites
// see it. It was charged with the row that it reads. Idempotent: a question that
// was offered stays as it is. If we crash before it is, the next run makes and
// signs another, and no site has seen the first.
// Final: [contract.NoConsent], when no grant allows it any more;
// [contract.NoSites].
func (s *Statistic) AskStatistics(ctx context.Context, in contract.StatisticsInput) (contract.StatisticsAsked, error) {
	asking, err := s.Statistics.Asking(ctx, in)
	if err != nil {
		return contract.StatisticsAsked{}, s.about(in, settled(err))
	}
	if asking.Document.Digest == "" {
		if asking, err = s.offer(ctx, in, asking); err != nil {
			return contract.StatisticsAsked{}, s.about(in, err)
		}
		if asking, err = s.Statistics.Open(ctx, in, asking); err != nil {
			return contract.StatisticsAsked{}, s.about(in, settled(err))
		}
	}
	return contract.StatisticsAsked{
		StatisticsInput: in, Question: asking.Document.Digest, Sites: len(asking.Question.Sites), Seconds: asking.Seconds,
	}, nil
}

// offer chooses the grant and the sites, and signs the whole.
func (s *Statistic) offer(ctx context.Context, in contract.StatisticsInput, out Asking) (Asking, error) {
	q := out.Question
	have, err := s.Rounds.Grants(ctx, in.Tenant, []string{in.Tenant}, []string{in.Feature})
	if err != nil {
		return out, err
	}
	epochs, err := s.Rounds.Epochs(ctx, []string{in.Tenant})
	if err != nil {
		return out, err
	}
	sites, err := s.Rounds.ActiveSites(ctx, []string{in.Tenant})
	if err != nil {
		return out, err
	}
	grant, asked, err := summary.Allowed(have, q, sites, s.Now())
	switch {
	case errors.Is(err, summary.ErrSites):
		return out, permanent(contract.NoSites, err)
	case err != nil:
		return out, permanent(contract.NoConsent, err)
	}
	q.Epoch, q.Sites = epochs[in.Tenant], namesOf(asked)
	if q.Grants, err = s.pack(ctx, grant); err != nil {
		return out, err
	}
	if err := q.Validate(); err != nil {
		return out, permanent(contract.BadPlan, err)
	}
	text, digest, err := q.Encode()
	if err != nil {
		return out, permanent(contract.BadPlan, err)
	}
	statement, err := artifact.NewStatement(contract.StatisticsID(in.Tenant, in.Feature, in.Version, in.Attempt), digest, artifact.PredicateStatistics, q)
	if err != nil {
		return out, permanent(contract.BadPlan, err)
	}
	bundle, _, err := sign(ctx, s.Signer, statement)
	if err != nil {
		return out, err
	}
	out.Question = q
	if out.Document, err = s.Blobs.Put(ctx, artifact.MediaTypePredicate, bytes.NewReader(text)); err != nil {
		return out, err
	}
	out.Bundle, err = s.Blobs.Put(ctx, artifact.MediaTypeBundle, bytes.NewReader(bundle))
	return out, err
}

// pack keeps the signed grant as sites are handed it.
func (s *Statistic) pack(ctx context.Context, grant consent.Record) (artifact.Digest, error) {
	keeper := Round{Blobs: s.Blobs, Rounds: s.Rounds, Signer: s.Signer}
	bundles, err := keeper.signed(ctx, &grant)
	if err != nil {
		return "", err
	}
	text, err := consent.Pack(bundles)
	if err != nil {
		return "", permanent(contract.BadPlan, err)
	}
	kept, err := s.Blobs.Put(ctx, mediaTypeGrants, bytes.NewReader(text))
	return kept.Digest, err
}

func namesOf(sites []site.Site) []string {
	names := make([]string, len(sites))
	for i, one := range sites {
		names[i] = one.ID
	}
	slices.Sort(names)
	return names
}

// AwaitStatistics returns when every site has answered, or the time is up.
// Idempotent, and a worker that dies does not restart the clock.
func (s *Statistic) AwaitStatistics(ctx context.Context, in contract.StatisticsAsked) (contract.StatisticsCounts, error) {
	state := wait{Deadline: deadline(ctx, s.Now, in.Seconds)}
	for {
		counts, err := s.Statistics.Counts(ctx, in.StatisticsInput)
		if err != nil {
			return counts, s.about(in.StatisticsInput, settled(err))
		}
		activity.RecordHeartbeat(ctx, state)
		left := state.Deadline.Sub(s.Now())
		if counts.Answered+counts.Refused >= in.Sites || left <= 0 {
			return counts, nil
		}
		if err := s.Statistics.Changed(ctx, in.StatisticsInput, min(left, beat)); err != nil {
			return counts, s.about(in.StatisticsInput, err)
		}
		if err := ctx.Err(); err != nil {
			return counts, s.about(in.StatisticsInput, err)
		}
	}
}

// PublishStatistics takes no more answers, makes figures of those that came, and
// ends the attempt. Idempotent: the first end stays, and the same answers make
// the same figures. Withdrawn meanwhile is not published.
func (s *Statistic) PublishStatistics(ctx context.Context, in contract.StatisticsEnd) (contract.StatisticsResult, error) {
	answers, err := s.Statistics.Shut(ctx, in.StatisticsInput)
	if err != nil {
		return contract.StatisticsResult{}, s.about(in.StatisticsInput, settled(err))
	}
	end := contract.StatisticsResult{State: summary.StateFailed, Cause: in.Cause}
	if end.Cause == "" {
		if end, err = s.publish(ctx, in.StatisticsInput, answers); err != nil {
			return end, s.about(in.StatisticsInput, err)
		}
	}
	end, err = s.Statistics.Conclude(ctx, in.StatisticsInput, end, summary.Learnt(answers))
	return end, s.about(in.StatisticsInput, settled(err))
}

func (s *Statistic) publish(ctx context.Context, in contract.StatisticsInput, answers []summary.Answer) (contract.StatisticsResult, error) {
	failed := func(err error) contract.StatisticsResult {
		return contract.StatisticsResult{State: summary.StateFailed, Cause: err.Error()}
	}
	asking, err := s.Statistics.Asking(ctx, in)
	if err != nil {
		return contract.StatisticsResult{}, settled(err)
	}
	have, err := s.Rounds.Grants(ctx, in.Tenant, []string{in.Tenant}, []string{in.Feature})
	if err != nil {
		return contract.StatisticsResult{}, err
	}
	if _, err := consent.Choose(have, in.Tenant, in.Feature, asking.Question.Use(nil, s.Now()), consent.ActionStats); err != nil {
		return failed(err), nil
	}
	release, err := summary.Publish(asking.Question, answers)
	if err != nil {
		return failed(summary.Explain(err, answers, len(asking.Question.Sites))), nil
	}
	kept, err := keep(ctx, s.Blobs, mediaTypeRelease, release)
	if err != nil {
		return contract.StatisticsResult{}, err
	}
	end := contract.StatisticsResult{State: summary.StatePublished, Release: kept}
	if release.Status == summary.Insufficient {
		end.State, end.Cause = summary.StateInsufficient, release.Reason
	}
	return end, nil
}

func (s *Statistic) about(in contract.StatisticsInput, err error) error {
	return within(err, "statistics of %s/%s version %d", in.Tenant, in.Feature, in.Version)
}
