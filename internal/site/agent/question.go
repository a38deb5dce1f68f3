package agent

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"time"

	v1 "github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/domain/summary"
	"github.com/atom-fabric/fabric/internal/site/table"
)

// ErrQuestion says that a question is not one to this site that it understands.
var ErrQuestion = errors.New("not a signed question to this site")

// answerFile is the end of the file with what a site has answered about a
// version of a feature.
const answerFile = ".answer"

// answerTime bounds the work on one question.
const answerTime = 10 * time.Minute

// A given answer is kept before it is sent, and for good: another one with
// other noise would tell more than both are charged for. A kill before it is
// kept draws noise anew, and nobody has seen the first.
type given struct {
	Question artifact.Digest `json:"question"`
	Bundle   string          `json:"bundle"`
}

// answerAll works on the questions that were handed out, and says whether there
// was anything to do.
func (a *Agent) answerAll(ctx context.Context, questions []v1.SiteQuestion, offered map[offer]*try) (worked bool) {
	for _, item := range questions {
		of := offer{manifest: artifact.DigestOf([]byte(item.Question)), group: "question"}
		t := a.tries[of]
		if t == nil {
			t = &try{}
		}
		offered[of] = t
		if time.Now().Before(t.after) {
			continue
		}
		worked = true
		a.attemptAnswer(ctx, item, of.manifest, t)
		if ctx.Err() != nil {
			return worked
		}
	}
	return worked
}

func (a *Agent) attemptAnswer(ctx context.Context, item v1.SiteQuestion, question artifact.Digest, t *try) {
	log := a.log.With(slog.String("question", question.Short()))
	bounded, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	said, err := a.answerQuestion(bounded, item)
	switch {
	case ctx.Err() != nil:
	case err == nil && said == "":
		t.after = time.Now().Add(again)
		log.Info("answered with noised statistics")
	case err == nil:
		t.after = time.Now().Add(again)
		log.Warn("declined to give statistics", slog.String("reason", said))
	default:
		t.count++
		t.after = time.Now().Add(delay(t.count))
		level := slog.LevelError
		if t.said == err.Error() {
			level = slog.LevelDebug // once is enough for the operator
		}
		t.said = err.Error()
		log.Log(ctx, level, "a question was not answered", slog.Any("error", err), slog.Int("attempt", t.count))
	}
}

// answerQuestion verifies a question, answers it once, and returns why it gave
// no numbers; empty when it did.
func (a *Agent) answerQuestion(ctx context.Context, item v1.SiteQuestion) (declined string, err error) {
	q, digest, err := a.question(item)
	if err != nil {
		return "", err
	}
	kept, err := a.given(q)
	if err != nil {
		return "", err
	}
	switch kept.Question {
	case digest:
		return "", a.sendAnswer(ctx, kept)
	case "":
	default:
		return summary.Answered, a.decline(ctx, q, summary.Answered)
	}
	if why, err := a.declines(q, item); why != "" || err != nil {
		if err != nil {
			a.log.Warn("statistics are not allowed", slog.Any("reason", err))
		}
		return why, a.decline(ctx, q, why)
	}
	answer, err := a.count(q)
	if err != nil {
		return "", err
	}
	if answer.Refused == summary.NoColumns { // told by the header, and may be mended
		return answer.Refused, a.decline(ctx, q, answer.Refused)
	}
	made, err := a.signAnswer(q, answer)
	if err != nil {
		return "", err
	}
	if err := a.keepGiven(q, made); err != nil {
		return "", err
	}
	return answer.Refused, a.sendAnswer(ctx, made)
}

// question verifies what was handed out.
// Errors: [*artifact.VerifyError], [ErrQuestion].
func (a *Agent) question(item v1.SiteQuestion) (summary.Question, artifact.Digest, error) {
	var q summary.Question
	digest := artifact.DigestOf([]byte(item.Question))
	if _, err := artifact.VerifyBundle(a.id.trust, []byte(item.Bundle), artifact.PredicateStatistics, digest); err != nil {
		return q, digest, err
	}
	if err := artifact.DecodeStrict([]byte(item.Question), &q); err != nil {
		return q, digest, fmt.Errorf("%w: %w", ErrQuestion, err)
	}
	if err := q.Validate(); err != nil {
		return q, digest, fmt.Errorf("%w: %w", ErrQuestion, err)
	}
	if _, own, err := q.Encode(); err != nil || own != digest || q.Tenant != a.opts.Tenant || !slices.Contains(q.Sites, a.opts.Site) {
		return q, digest, ErrQuestion
	}
	return q, digest, nil
}

// declines says why the site will not look at its rows for a question, and with
// what error. It asks nobody: the grant came with the question, signed.
func (a *Agent) declines(q summary.Question, item v1.SiteQuestion) (string, error) {
	named := order{Manifest: round.Manifest{Consents: []round.TenantConsent{{Tenant: q.Tenant, Epoch: q.Epoch, Grants: q.Grants}}}}
	grants, err := a.opts.granted(named, item.Grants, a.id)
	if err == nil {
		var regions []string
		if a.opts.Region != "" {
			regions = []string{a.opts.Region}
		}
		err = permits(grants, q.Feature, q.Use(regions, time.Now()), a.id.floors)
	}
	if err != nil {
		return summary.NoConsent, err
	}
	if most := a.opts.Floor.MaxEpsilon; most > 0 && q.Epsilon > most {
		return summary.NoLimits, fmt.Errorf("%w: epsilon %.3g, above %.3g", ErrNotAllowed, q.Epsilon, most)
	}
	return "", nil
}

// count answers from the rows as they are now, all of them. Fewer than the
// operator asks for is decided by the noised count, so that the refusal tells
// no more than the count would.
func (a *Agent) count(q summary.Question) (summary.Answer, error) {
	rows, err := table.ReadFile(a.opts.Data)
	if err != nil {
		return summary.Answer{}, fmt.Errorf("the site's rows: %w", err)
	}
	at := make([]int, len(q.Columns))
	for c, column := range q.Columns {
		if at[c] = slices.Index(rows.Columns, column.Name); at[c] < 0 {
			return summary.Refuse(q, a.opts.Site, summary.NoColumns)
		}
	}
	answer, err := summary.Count(q, a.opts.Site, rows.Rows, at, rand.Reader)
	if err == nil && answer.Count < int64(a.opts.MinRows) {
		return summary.Refuse(q, a.opts.Site, summary.FewRows)
	}
	return answer, err
}

func (a *Agent) signAnswer(q summary.Question, answer summary.Answer) (given, error) {
	name := fmt.Sprintf("statistics %s/%s version %d, %s", q.Tenant, q.Feature, q.Version, a.opts.Site)
	statement, err := artifact.NewStatement(name, answer.Question, artifact.PredicateSummary, answer)
	if err != nil {
		return given{}, err
	}
	bundle, err := artifact.SignStatement(nil, a.id.key, statement)
	return given{answer.Question, string(bundle)}, err
}

// decline sends a refusal that nothing of the rows went into. It is not kept:
// the operator may change what it is for.
func (a *Agent) decline(ctx context.Context, q summary.Question, why string) error {
	answer, err := summary.Refuse(q, a.opts.Site, why)
	if err != nil {
		return err
	}
	signed, err := a.signAnswer(q, answer)
	if err != nil {
		return err
	}
	return a.sendAnswer(ctx, signed)
}

func (a *Agent) sendAnswer(ctx context.Context, signed given) error {
	req := v1.SiteAnswerRequest{Question: string(signed.Question), Bundle: signed.Bundle}
	return a.retry(ctx, func() error { return a.fabric.Answer(ctx, a.id.token(), req) })
}

// given returns what the site has answered about the version, if anything.
func (a *Agent) given(q summary.Question) (given, error) {
	var kept given
	content, err := a.id.records.load(givenName(q), answerFile)
	if errors.Is(err, fs.ErrNotExist) {
		return kept, nil
	}
	if err == nil {
		err = json.Unmarshal(content, &kept)
	}
	if err != nil {
		return kept, fmt.Errorf("what was answered about feature %s: %w", q.Feature, err)
	}
	return kept, nil
}

func (a *Agent) keepGiven(q summary.Question, signed given) error {
	content, err := json.Marshal(signed)
	if err != nil {
		return err
	}
	return a.id.records.put(givenName(q), answerFile, content)
}

// givenName is by version: whoever asks about it in another way finds it
// answered.
func givenName(q summary.Question) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "statistics\n%s\n%s\n%d\n", q.Tenant, q.Feature, q.Version))
	return hex.EncodeToString(sum[:16])
}
