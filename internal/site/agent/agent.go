// Package agent is the program beside private rows. It dials out, asks for work,
// obeys signed orders only, and sends updates and counts, never rows.
//
// Invariant: nothing is done for an order before its signature, its place in
// the fabric and the operator's own limits have been checked. Every step may be
// done twice: an update depends on the order and the rows alone, blobs go by
// digest, and a stage counts a site once.
package agent

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"

	v1 "github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/domain/secagg"
	"github.com/atom-fabric/fabric/internal/site/program"
)

// Options say who the site is and what its operator allows.
type Options struct {
	Tenant string
	Site   string
	Region string

	Data     string // CSV file with the rows; read anew for every order
	StateDir string // private to one agent: key, token, trusted keys
	Token    string // FEDERATION_TOKEN, presented to enrol and for nothing else

	// Trust are the keys that orders must be signed with. When empty, those that
	// the first enrolment names are kept in StateDir and stay.
	Trust []*ecdsa.PublicKey

	AllowTenants []string // owners of models to work for; empty allows every owner
	MinRows      int      // fewest rows to train on: a mean over few rows is the rows

	Program *program.Program // what trains when a model asks for "exec"; may be nil
	Floor   Floor            // what a round must offer

	// GrantKeys are the keys with which the tenant itself signs what it allows.
	// When empty, those that sign orders sign grants as well, for the tenant that
	// the fabric has authenticated.
	GrantKeys []*ecdsa.PublicKey

	// MaxModelBytes bounds the weights that the program is given; 0 is
	// [DefaultModelBytes]. A built-in trainer has a bound of its own.
	MaxModelBytes int64

	Peers Peers // identity keys of other sites; empty believes those that are met first
}

// An Agent runs one site.
type Agent struct {
	opts   Options
	fabric Fabric
	log    *slog.Logger
	id     *identity
	tries  map[offer]*try // of those that stand
	swept  time.Time
}

// An offer is one stage of an order.
type offer struct {
	manifest artifact.Digest
	group    string
	stage    round.Stage
}

// A try is how often an offer was worked on in vain, when to do it again, and
// what the log already says about it.
type try struct {
	count int
	after time.Time
	said  string
}

// Waits of the loop.
const (
	pollWait  = 20 * time.Second // how long the fabric may hold a question
	idlePause = time.Second      // when the fabric offers only what must wait
	again     = 30 * time.Second // when it offers what was answered
	sweeping  = 10 * time.Minute // between looks at rounds that are over
)

// DefaultModelBytes is how large weights may be where the operator says nothing:
// a disk holds them three times while a program trains.
const DefaultModelBytes = 4 << 30

// New returns an agent of these options. Errors: [ErrOptions].
func New(opts Options, fabric Fabric, log *slog.Logger) (*Agent, error) {
	if err := opts.check(); err != nil {
		return nil, err
	}
	log = log.With(slog.String("tenant", opts.Tenant), slog.String("site", opts.Site), slog.String("region", opts.Region))
	return &Agent{opts: opts, fabric: fabric, log: log, tries: map[offer]*try{}}, nil
}

// Run works until ctx ends, which is no error, or until the fabric refuses the
// site for good. It survives restarts of the fabric.
// Errors: [ErrLocked], [ErrRefused], a failing disk's.
func (a *Agent) Run(ctx context.Context) error {
	id, err := openIdentity(a.opts)
	if err != nil {
		return err
	}
	defer id.close()
	a.id = id
	if err := id.records.tidy(); err != nil {
		return err
	}
	if a.opts.Program != nil {
		if err := a.opts.Program.Tidy(); err != nil {
			return err
		}
	}
	waiting := backoff{}
	for ctx.Err() == nil {
		err := a.turn(ctx)
		switch {
		case ctx.Err() != nil:
		case errors.Is(err, ErrRefused):
			return err
		case err != nil:
			a.log.Warn("the fabric does not answer", slog.Any("error", err))
			waiting.sleep(ctx)
		default:
			waiting = backoff{}
		}
	}
	a.log.Info("stopped")
	return nil
}

// turn asks once for work and does what it is given.
func (a *Agent) turn(ctx context.Context) error {
	if err := a.enrol(ctx); err != nil {
		return err
	}
	list, err := a.fabric.Work(ctx, a.id.token(), pollWait)
	if unauthorised(err) {
		a.id.forget()
		return err
	}
	if err != nil {
		return err
	}
	if err := a.heed(list.Floors); err != nil {
		return err
	}
	items := list.Items
	worked := false
	a.sweep(ctx, items)
	// What is quick first: others wait for it, and training takes long.
	slices.SortStableFunc(items, func(x, y v1.Work) int { return cmp.Compare(lengthy(x), lengthy(y)) })
	offered := map[offer]*try{}
	worked = a.answerAll(ctx, list.Questions, offered) || worked
	if ctx.Err() != nil {
		return nil
	}
	for _, item := range items {
		of := offer{artifact.DigestOf([]byte(item.Manifest)), item.Region, round.Stage(item.Stage).Or()}
		t := a.tries[of]
		if t == nil {
			t = &try{}
		}
		offered[of] = t
		if time.Now().Before(t.after) {
			continue
		}
		worked = true
		a.attempt(ctx, item, t)
		if ctx.Err() != nil {
			return nil
		}
	}
	a.tries = offered
	if len(items)+len(list.Questions) > 0 && !worked {
		sleep(ctx, jitter(idlePause))
	}
	return nil
}

// lengthy is 1 for a stage that may train and 0 for the others.
func lengthy(item v1.Work) int {
	if stage := round.Stage(item.Stage).Or(); stage == round.StageUpdate || stage == round.StageAdvertise {
		return 1
	}
	return 0
}

// attempt works on one order and decides when it may be tried again.
func (a *Agent) attempt(ctx context.Context, item v1.Work, t *try) {
	log := a.log.With(slog.String("run", item.Run), slog.Int("number", item.Number), slog.String("kind", string(item.Kind)),
		slog.String("stage", string(round.Stage(item.Stage).Or())))
	started := time.Now()
	answer, err := a.perform(ctx, item)
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		t.count++
		t.after = time.Now().Add(delay(t.count))
		if refused(err) {
			// For the operator, once: it will be so until the offer is gone.
			level := slog.LevelError
			if t.said == err.Error() {
				level = slog.LevelDebug
			}
			t.said = err.Error()
			log.Log(ctx, level, "refused", slog.Any("reason", err))
			return
		}
		log.Error("not answered", slog.Any("error", err), slog.Int("attempt", t.count))
		return
	}
	t.after = time.Now().Add(again)
	log.Info("answered", slog.String("manifest", answer.Manifest.Short()), slog.Int64("examples", answer.Metrics.Examples),
		slog.Int64("evaluated", answer.Metrics.Evaluated), slog.Int64("correct", answer.Metrics.Correct),
		slog.Int64("milliseconds", time.Since(started).Milliseconds()))
}

// refused says whether it is this site that will not, and not something that
// went wrong.
func refused(err error) bool {
	var verify *artifact.VerifyError
	var protocol *secagg.SiteError
	for _, why := range []error{ErrOrder, ErrMismatch, ErrNotAllowed, ErrDowngraded, ErrConsent, ErrSecond, ErrClosed, ErrSpent, ErrInbox, secagg.ErrChanged} {
		if errors.Is(err, why) {
			return true
		}
	}
	return errors.As(err, &verify) || errors.As(err, &protocol)
}

// sweep erases rounds and runs that are over, when the agent starts and now and then.
func (a *Agent) sweep(ctx context.Context, items []v1.Work) {
	now := time.Now()
	if now.Sub(a.swept) < sweeping {
		return
	}
	a.swept = now
	offered := map[string]bool{}
	for _, item := range items {
		offered[roundOf{Tenant: item.Tenant, Run: item.Run, Number: item.Number}.name()] = true
	}
	if err := errors.Join(a.id.records.sweep(now, offered), a.id.records.sweepLate(now), a.tidyDownloads(now)); err != nil {
		a.log.Error("rounds that are over could not be erased", slog.Any("error", err))
	}
	if err := a.sweepRuns(ctx, now); err != nil && ctx.Err() == nil {
		a.log.Error("what runs that are over have left could not be erased", slog.Any("error", err))
	}
}

// ErrOptions says that an option is missing or impossible.
var ErrOptions = errors.New("bad option")

func (o Options) check() error {
	for name, value := range map[string]string{"tenant": o.Tenant, "site": o.Site, "region": o.Region} {
		if !named(value) {
			return fmt.Errorf("%w: %s is not a name (lower-case letters, digits, dots, dashes; 1 to 63)", ErrOptions, name)
		}
	}
	switch {
	case o.Data == "":
		return fmt.Errorf("%w: no file with the site's rows", ErrOptions)
	case o.StateDir == "":
		return fmt.Errorf("%w: no state directory", ErrOptions)
	case o.Token == "":
		return fmt.Errorf("%w: no federation token", ErrOptions)
	case o.MaxModelBytes < 0:
		return fmt.Errorf("%w: largest model is below 0", ErrOptions)
	case o.MinRows < 1:
		return fmt.Errorf("%w: fewest rows to train on is below 1", ErrOptions)
	case o.Program != nil && o.Program.Limit <= 0:
		return fmt.Errorf("%w: time limit of the program", ErrOptions)
	}
	return o.Floor.check()
}

// named says whether s has the form of a tenant, a site or a region.
func named(s string) bool {
	for i := range len(s) {
		c := s[i]
		alnum := c >= 'a' && c <= 'z' || c >= '0' && c <= '9'
		if !alnum && (i == 0 || c != '.' && c != '_' && c != '-') {
			return false
		}
	}
	return len(s) >= 1 && len(s) <= 63
}

// A backoff is how often something failed in a row.
type backoff struct{ failures int }

// sleep waits longer after each failure, or until ctx ends.
func (b *backoff) sleep(ctx context.Context) {
	b.failures++
	sleep(ctx, delay(b.failures))
}

// delay returns the pause after the nth failure in a row: half a second,
// doubling up to half a minute, each spread over its upper half so that the
// sites of a fabric that comes back do not all knock at once.
func delay(n int) time.Duration {
	return jitter(min(time.Second<<min(n-1, 6)/2, 30*time.Second))
}

func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d/2+1) }

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
