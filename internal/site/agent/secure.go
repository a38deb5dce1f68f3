package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	v1 "github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/dp"
	"github.com/atom-fabric/fabric/domain/measure"
	"github.com/atom-fabric/fabric/domain/payload"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/domain/secagg"
	"github.com/atom-fabric/fabric/internal/site/trainer"
)

// Why a stage of a secured round is not answered, beside what secagg refuses.
var (
	ErrInbox    = errors.New("what opens the stage is not what it should be")
	ErrUntimely = errors.New("this site has not answered the stages before")
)

// maxInbox bounds what opens a stage: for the largest group it is some
// megabytes.
const maxInbox = 32 << 20

// A play is one stage of a secured round, played from what the disk remembers.
// Nothing of a round is kept in memory between two stages, so that a restart is
// what happens every time.
type play struct {
	*Agent
	order
	form  payload.Form
	rec   *record
	pins  *pinboard
	site  *secagg.Site
	masks *secagg.Expander // of the site's own vector, once it has its shares
}

// secured answers one stage of a secured round.
//
// A refusal that shows that the coordinator lies, or that the group has become
// too small, is final: the site stays out of the round, also after a restart.
func (a *Agent) secured(ctx context.Context, o order, item v1.Work) (round.Answer, error) {
	p, err := a.resume(o)
	if err != nil {
		return round.Answer{}, err
	}
	defer clear(p.rec.Secret)
	var inbox []byte
	if o.stage == round.StageAdvertise {
		// All that takes long is done before the first key is shown.
		if err := p.prepare(ctx); err != nil {
			return round.Answer{}, err
		}
	} else {
		if !p.rec.Work {
			return round.Answer{}, ErrUntimely
		}
		inbox, err = a.fetch(ctx, descriptor(item.Inbox), maxInbox)
		switch {
		case errors.Is(err, ErrContent):
			return round.Answer{}, fmt.Errorf("%w: %w", ErrInbox, err)
		case err != nil: // nobody's lie: a stage that closed meanwhile shows its inbox no more
			return round.Answer{}, fmt.Errorf("what opens the stage: %w", err)
		}
	}
	message, vector, err := p.stageOf(inbox)
	// What the stage committed the site to is stored before anything is sent,
	// and also if it came to a refusal.
	if stored := p.store(); stored != nil {
		return round.Answer{}, errors.Join(stored, err)
	}
	if err != nil {
		return round.Answer{}, err
	}
	defer vector.Close()
	return p.send(ctx, message, vector)
}

// resume goes on where the record of the round ends.
func (a *Agent) resume(o order) (*play, error) {
	form, err := payload.For(o.Manifest, o.digest, o.group)
	if err != nil {
		return nil, err
	}
	pins, err := a.id.openPeers(a.opts.Peers)
	if err != nil {
		return nil, err
	}
	rec, err := a.id.records.open(o.slot(), time.Now().Add(o.lasts()))
	if err != nil {
		return nil, err
	}
	p := &play{Agent: a, order: o, form: form, rec: rec, pins: pins}
	p.site, err = secagg.NewSite(secagg.Config{
		Spec: form.Spec, Tenant: a.opts.Tenant, Name: a.opts.Site, Key: a.id.key, Secret: rec.Secret,
		Directory: pins.find, MinSites: a.opts.Floor.MinCohort,
	}, rec.State)
	return p, err
}

// slot names the round of an order.
func (o order) slot() roundOf {
	return roundOf{Tenant: o.Tenant, Run: o.Run, Number: o.Number, Manifest: o.digest, Group: o.group}
}

// lasts is how long all stages of the round can take, and an hour.
func (o order) lasts() time.Duration {
	p := o.Params
	seconds := p.DeadlineSeconds*(1+p.Extensions) + 4*p.Secure.StageSeconds
	return time.Duration(seconds)*time.Second + time.Hour
}

// store keeps what the site has committed itself to. A site that has left the
// round keeps only that it has.
func (p *play) store() error {
	p.rec.State = p.site.State()
	if why := p.rec.State.Aborted; why != "" {
		p.site.Erase()
		return p.id.records.bury(p.rec, "left it: "+why)
	}
	return p.id.records.save(p.rec)
}

// prepare computes the site's update, once: a program need not compute the
// same twice.
func (p *play) prepare(ctx context.Context) error {
	if p.rec.Work {
		return nil
	}
	work, from, err := p.contribute(ctx, p.order)
	if err != nil {
		return err
	}
	defer work.update.Close()
	if work.update != nil {
		if err := p.id.records.seal(p.rec.roundOf.name(), updateFile, work.update.reader()); err != nil {
			return err
		}
	}
	p.rec.Work, p.rec.Counts, p.rec.From = true, work.metrics, from
	return nil
}

// stageOf plays the stages before this one again, as they were, and then this
// one. It returns the message, and the masked vector where there is one.
func (p *play) stageOf(inbox []byte) (message any, masked *content, err error) {
	switch p.stage {
	case round.StageAdvertise:
		message, err = p.site.Advertise()
		return message, nil, err
	case round.StageShare:
		message, err = p.share(inbox)
		return message, nil, err
	}
	if len(p.rec.Roster) == 0 {
		return nil, nil, ErrUntimely
	}
	if _, err := p.share(p.rec.Roster); err != nil {
		return nil, nil, err
	}
	if p.stage == round.StageMask {
		return p.mask(inbox)
	}
	if len(p.rec.Shares) == 0 || p.rec.State.Vector == "" {
		return nil, nil, ErrUntimely
	}
	if err := p.receive(p.rec.Shares); err != nil {
		return nil, nil, err
	}
	p.masks.Erase()
	if p.stage == round.StageCheck {
		message, err = p.check(inbox)
		return message, nil, err
	}
	var request secagg.UnmaskRequest
	if err := decode(inbox, &request); err != nil {
		return nil, nil, err
	}
	message, err = p.site.Unmask(request)
	return message, nil, err
}

// share takes the roster.
func (p *play) share(inbox []byte) (secagg.Shares, error) {
	var roster secagg.Roster
	if err := decode(inbox, &roster); err != nil {
		return secagg.Shares{}, err
	}
	p.pins.meet(roster)
	shares, err := p.site.Share(roster)
	if err != nil {
		return shares, err
	}
	// A crash after this line leaves keys pinned that the roster vouched for.
	if err := p.pins.keep(); err != nil {
		return shares, err
	}
	p.rec.Roster = inbox
	return shares, nil
}

// receive takes the shares of the others.
func (p *play) receive(inbox []byte) error {
	var shares secagg.ShareInbox
	if err := decode(inbox, &shares); err != nil {
		return err
	}
	masks, err := p.site.Mask(shares)
	if err != nil {
		return err
	}
	p.masks, p.rec.Shares = masks, inbox
	return nil
}

// mask encodes the update and masks it, piece by piece as it is read. Done
// again, it is the same to the bit.
func (p *play) mask(inbox []byte) (secagg.Masked, *content, error) {
	if err := p.receive(inbox); err != nil {
		return secagg.Masked{}, nil, err
	}
	in := payload.Input{Metrics: p.rec.Counts, RosterSites: p.site.Graph().Sites}
	in.Rounding, in.Noise = p.seeds()
	update, err := p.contribution(&in)
	if err != nil {
		p.masks.Erase()
		return secagg.Masked{}, nil, err
	}
	v := &vector{form: p.form, masks: p.masks}
	forget := func() error {
		v.erase()
		if values, ok := in.Values.(*coordinates); ok {
			values.erase()
		}
		return update.Close()
	}
	fail := func(err error) (secagg.Masked, *content, error) {
		return secagg.Masked{}, nil, errors.Join(err, forget())
	}
	if v.encoder, err = p.form.Encoder(in); err != nil {
		return fail(fmt.Errorf("update: %w", err))
	}
	out, err := v.content()
	if err != nil {
		return fail(err)
	}
	out.close = forget
	if v.cut > 0 {
		p.log.Warn("the update left the agreed range and was cut to it", slog.String("run", p.order.Run),
			slog.Int("number", p.Number), slog.Int("coordinates", v.cut))
	}
	masked, err := p.site.Masked(out.Digest, out.SizeBytes)
	if err != nil {
		return fail(err)
	}
	return masked, out, nil
}

// contribution adds what the site says in the round. The update that it may
// return is read as long as the vector is, and is to be closed then.
func (p *play) contribution(in *payload.Input) (*sealedFile, error) {
	var err error
	if in.Staleness, err = p.spend(); err != nil || (p.Kind == round.Evaluate && !p.Params.Measurement.On()) {
		return nil, err
	}
	update, err := p.id.records.unseal(p.rec.roundOf.name(), updateFile)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRecord, err)
	}
	switch p.Kind {
	case round.Statistics:
		in.Tensors, err = artifact.ReadTensors(io.NewSectionReader(update, 0, update.Size()), update.Size())
	case round.Evaluate:
		var counts artifact.Tensors
		if counts, err = artifact.ReadTensors(io.NewSectionReader(update, 0, update.Size()), update.Size()); err == nil {
			in.Counts, err = measure.FromTensors(counts, p.Params.Measurement.Len())
		}
	default:
		err = p.coordinates(in, update, update.Size())
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%w: %w", ErrRecord, err), update.Close())
	}
	return update, nil
}

// coordinates are those of the update, clipped where the site is the unit of
// privacy.
func (o order) coordinates(in *payload.Input, update io.ReaderAt, size int64) error {
	values, err := coordinatesOf(update, size)
	if err != nil {
		return err
	}
	in.Values = values
	if !o.clips() {
		return nil
	}
	norm, err := values.clip(o.ClipNorm())
	if err != nil {
		values.erase() // nobody else will
		return err
	}
	in.Within = norm <= o.ClipNorm()
	return nil
}

// seeds returns those of rounding and of noise. Where nothing hangs on them,
// equal runs round equally, so that one can be held against the other.
func (p *play) seeds() (rounding, noise dp.Seed) {
	secret := dp.Seed(p.rec.Secret)
	if p.Params.Privacy.On() {
		return dp.Derive(secret, "rounding"), dp.Derive(secret, "noise")
	}
	return trainer.NewSeed(p.Params.Seed, p.Number, p.opts.Tenant, p.opts.Site).Rounding(), dp.Derive(secret, "noise")
}

// survivors is what opens stage check: the one set, and the control plane's
// signature over it.
type survivors struct {
	Set    secagg.SurvivorSet `json:"set"`
	Bundle string             `json:"bundle"`
}

// check signs a survivor set that the control plane has signed: a set that
// somebody else made up, a worker of a region say, is not looked at.
func (p *play) check(inbox []byte) (secagg.Check, error) {
	var in survivors
	if err := decode(inbox, &in); err != nil {
		return secagg.Check{}, err
	}
	set, err := artifact.Canonical(in.Set)
	if err != nil {
		return secagg.Check{}, fmt.Errorf("%w: %w", ErrInbox, err)
	}
	if _, err := artifact.VerifyBundle(p.id.trust, []byte(in.Bundle), artifact.PredicateSurvivors, artifact.DigestOf(set)); err != nil {
		return secagg.Check{}, err
	}
	signed, err := p.site.Check(in.Set)
	if err != nil {
		return signed, err
	}
	// The site is in the sum now, whether or not it lives to open it.
	return signed, p.counted(p.order)
}

// send uploads the vector and submits the message. After the last one nothing
// is left to keep.
func (p *play) send(ctx context.Context, message any, vector *content) (round.Answer, error) {
	text, err := json.Marshal(message)
	if err != nil {
		return round.Answer{}, err
	}
	answer := p.signs(p.order)
	answer.Region, answer.Stage, answer.Update = p.group, p.stage, artifact.DigestOf(text)
	req := v1.SubmissionRequest{Message: string(text)}
	req.Stage = v1.Stage(p.stage)
	if vector != nil {
		answer.Update, req.Update = vector.Digest, described(vector.Descriptor)
		if err := p.upload(ctx, vector); err != nil {
			return answer, err
		}
	}
	if err := p.submit(ctx, p.order, answer, req); err != nil {
		return answer, err
	}
	if p.stage == round.StageUnmask {
		p.site.Erase()
		return answer, p.id.records.bury(p.rec, outcomeDone)
	}
	return answer, nil
}

// decode reads what opens a stage.
func decode(inbox []byte, v any) error {
	if err := artifact.DecodeStrict(inbox, v); err != nil {
		return fmt.Errorf("%w: %w", ErrInbox, err)
	}
	return nil
}
