package api

import (
	"context"
	"time"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/summary"
)

// Statistics keeps what is asked and published about versions of features.
type Statistics interface {
	// AskStatistics charges the budget of a feature of cmd.Tenant for the
	// statistics of its version in use and starts the workflow that publishes
	// them, both or neither. What is published or under way already is returned
	// as it is and charges nothing; an attempt that failed may be followed by
	// another. ErrNotFound without the feature; errors of [summary.Columns] and
	// [summary.Allowed]; [*privacy.RefusalError].
	// Leaf: statistics.asked, "feature/<tenant>/<id>".
	AskStatistics(ctx context.Context, cmd Command, wish StatisticsWish, reply Reply[FeatureStatistics]) (Answer, error)
	// FeatureStatistics returns the newest attempt of a version (0: the one in use)
	// of owner's feature. It crosses tenants on purpose: another than the owner
	// is given what is published, and that only under a grant in force that
	// allows it stats. ErrNotFound.
	FeatureStatistics(ctx context.Context, caller Caller, owner, feature string, version int) (FeatureStatistics, error)
	// Questions returns what is open and waits for the site.
	Questions(ctx context.Context, tenant, site string) ([]FeatureStatistics, error)
	// Question returns an open question to the site, answered or not. ErrNotFound;
	// ErrClosed when no more answers are taken.
	Question(ctx context.Context, tenant, site string, question artifact.Digest) (FeatureStatistics, error)
	// AnswerQuestion writes a site's answer once. The same statement again is a
	// success, another one ErrConflict; ErrClosed. Leaf: statistics.answered or
	// statistics.declined, digest of the question.
	AnswerQuestion(ctx context.Context, caller Caller, in SiteAnswer) error
}

// A StatisticsWish is what the owner of a feature asks for.
type StatisticsWish struct {
	Feature string
	Epsilon float64
	Columns []summary.Wish
	Bins    int
	Purpose string
	Seconds int // that sites have
}

// FeatureStatistics is an attempt to publish, and what came of it.
type FeatureStatistics struct {
	Question summary.Question
	Attempt  int
	State    string // of summary
	Cause    string
	Seconds  int
	Document artifact.Descriptor
	Bundle   artifact.Descriptor
	Release  artifact.Descriptor
	Answers  int // of sites, so far
	AskedAt  time.Time
	Deadline time.Time // zero before sites see it
	EndedAt  time.Time
	Before   bool // it was there when it was asked for: nothing was charged
}

// A SiteAnswer is what a site says, and has signed.
type SiteAnswer struct {
	Of        FeatureStatistics
	Answer    summary.Answer
	Text      string // as signed
	Statement artifact.Digest
	Bundle    artifact.Descriptor
}
