package agent

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/consent"
	"github.com/atom-fabric/fabric/domain/payload"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/domain/secagg"
	"github.com/atom-fabric/fabric/examples/tumour"
)

// A group is a coordinator in memory with a real [secagg.Group], and the agents
// of its sites. It asks each agent for one stage at a time; every call of
// [group.ask] is answered by an agent that has just been started.
type group struct {
	t        *testing.T
	key      *ecdsa.PrivateKey
	manifest round.Manifest
	text     string
	form     payload.Form
	blobs    map[artifact.Digest][]byte
	sites    []Options
	sent     map[string][]v1.SubmissionRequest // by stage and site, in order
	fail     func(stage round.Stage, call string) (before, after error)
	packs    map[string]string // grants by tenant

	roster  secagg.Roster
	secagg  *secagg.Group
	routing *secagg.Routing
	set     secagg.SurvivorSet
	request secagg.UnmaskRequest
}

// newGroup makes n sites on parts of the tumour table and orders a round.
func newGroup(t *testing.T, n int, kind round.Kind, change func(*round.Manifest)) *group {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	g := &group{t: t, key: key, blobs: map[artifact.Digest][]byte{}, sent: map[string][]v1.SubmissionRequest{},
		fail: func(round.Stage, string) (error, error) { return nil, nil }}
	for i := range n {
		dir := t.TempDir()
		h := tumour.Split()[i]
		data := filepath.Join(dir, "rows.csv")
		require.NoError(t, os.WriteFile(data, h.CSV(), 0o600))
		g.sites = append(g.sites, Options{Tenant: h.Tenant, Site: h.Site, Region: "eu", Data: data, StateDir: filepath.Join(dir, "state"),
			Token: "federation", MinRows: 10, Trust: []*ecdsa.PublicKey{&key.PublicKey}})
	}
	g.order(kind, change)
	return g
}

// order signs the round's manifest.
func (g *group) order(kind round.Kind, change func(*round.Manifest)) {
	w := &world{key: g.key, blobs: g.blobs}
	item := w.order(g.t, 1, kind, func(m *round.Manifest) {
		m.Secured, m.Features = true, nil
		for _, s := range g.sites {
			m.Features = append(m.Features, round.FeatureRef{Tenant: s.Tenant, Feature: "cells", Fingerprint: artifact.DigestOf(nil)})
		}
		m.Cohort = []round.Cohort{{Region: "eu", Sites: len(g.sites)}}
		m.Params.Quorum = 3
		if change != nil {
			change(m)
		}
		params, err := m.Params.Validate()
		require.NoError(g.t, err)
		m.Params = params
		m.Consents, g.packs = nil, map[string]string{}
		for _, s := range g.sites {
			if g.packs[s.Tenant] != "" {
				continue
			}
			own := w.consents(g.t, granted(*m, func(c *consent.Grant) { c.Tenant = s.Tenant }))[0]
			own.Tenant, g.packs[s.Tenant] = s.Tenant, w.packs[own.Grants]
			m.Consents = append(m.Consents, own)
		}
	})
	g.text = item.Manifest
	g.manifest = round.Manifest{}
	require.NoError(g.t, artifact.DecodeStrict([]byte(g.text), &g.manifest))
	if g.manifest.Secured {
		var err error
		g.form, err = payload.For(g.manifest, artifact.DigestOf([]byte(g.text)), "eu")
		require.NoError(g.t, err)
	}
}

// sign returns a bundle of the control plane.
func (g *group) sign(key *ecdsa.PrivateKey, subject artifact.Digest, predicate string) string {
	statement, err := artifact.NewStatement("it", subject, predicate, struct{}{})
	require.NoError(g.t, err)
	bundle, err := artifact.SignStatement(rand.Reader, key, statement)
	require.NoError(g.t, err)
	return string(bundle)
}

// put stores a value as a blob.
func (g *group) put(v any) v1.Descriptor {
	if v == nil {
		return v1.Descriptor{}
	}
	content, err := json.Marshal(v)
	require.NoError(g.t, err)
	d := artifact.Describe(artifact.MediaTypeSecagg, content)
	g.blobs[d.Digest] = content
	return described(d)
}

// item offers a stage.
func (g *group) item(stage round.Stage, inbox any) v1.Work {
	m := g.manifest
	return v1.Work{
		Run: m.Run, Number: m.Number, Kind: v1.WorkKind(m.Kind), Tenant: m.Tenant, ModelID: m.ModelID, Region: "eu", Stage: v1.Stage(stage),
		Manifest: g.text, Bundle: g.sign(g.key, artifact.DigestOf([]byte(g.text)), artifact.PredicateRoundManifest),
		Base: described(m.Base), Inbox: g.put(inbox),
	}
}

// A port is the group as one site sees it.
type port struct {
	*group
	site  string
	stage round.Stage
}

func (p port) call(name string, effect func() error) error {
	before, after := p.fail(p.stage, name)
	if before != nil {
		return before
	}
	if err := effect(); err != nil {
		return err
	}
	return after
}

func (p port) Enrol(context.Context, string, v1.EnrolRequest) (v1.Enrolment, error) {
	panic("enrolled already")
}

func (p port) Work(context.Context, string, time.Duration) (v1.WorkList, error) { panic("asked") }

func (p port) Runs(context.Context, string) ([]v1.OpenRun, error) { panic("asked") }

func (p port) Answer(context.Context, string, v1.SiteAnswerRequest) error { panic("asked") }

func (p port) Blob(_ context.Context, _ string, digest artifact.Digest, first int64) (io.ReadCloser, error) {
	var content []byte
	err := p.call("blob", func() error {
		var ok bool
		if content, ok = p.blobs[digest]; !ok {
			return problem(http.StatusNotFound, "not_found")
		}
		content = content[first:]
		return nil
	})
	return io.NopCloser(bytes.NewReader(content)), err
}

func (p port) PutBlob(_ context.Context, _ string, digest artifact.Digest, size int64, src io.ReaderAt) error {
	content, err := readAt(src, 0, size)
	if err != nil {
		return err
	}
	return p.call("put", func() error {
		p.blobs[digest] = content
		return nil
	})
}

func (p port) Submit(_ context.Context, _, _ string, _ int, req v1.SubmissionRequest) error {
	return p.call("submit", func() error {
		at := string(p.stage) + " " + p.site
		p.sent[at] = append(p.sent[at], req)
		return nil
	})
}

// ask starts a site's agent, has it perform one offer, and ends it.
func (g *group) ask(i int, item v1.Work) error {
	o := g.sites[i]
	stage := round.Stage(item.Stage)
	item.Grants = g.packs[o.Tenant]
	a, err := New(o, port{g, o.Site, stage}, slog.New(slog.DiscardHandler))
	require.NoError(g.t, err)
	a.id, err = openIdentity(o)
	require.NoError(g.t, err)
	defer a.id.close()
	_, err = a.perform(g.t.Context(), item)
	return err
}

// answers asks the sites and returns their messages, each of which must be what
// the site signed.
func answers[M any](g *group, stage round.Stage, inbox func(i int) any, who ...int) []M {
	var out []M
	for _, i := range who {
		require.NoError(g.t, g.ask(i, g.item(stage, inbox(i))), "stage %s, site %d", stage, i)
		out = append(out, last[M](g, stage, i))
	}
	return out
}

// last returns the message that a site sent last in a stage.
func last[M any](g *group, stage round.Stage, i int) (m M) {
	o := g.sites[i]
	list := g.sent[string(stage)+" "+o.Site]
	require.NotEmpty(g.t, list)
	req := list[len(list)-1]
	require.Equal(g.t, v1.Stage(stage), req.Stage)
	require.Zero(g.t, req.Examples)
	require.Zero(g.t, req.Metrics)
	require.NoError(g.t, artifact.DecodeStrict([]byte(req.Message), &m))
	subject := artifact.DigestOf([]byte(req.Message))
	if stage == round.StageMask {
		subject = artifact.Digest(req.Update.Digest)
		require.Len(g.t, g.blobs[subject], int(g.form.Spec.SizeBytes()))
	}
	verified, err := artifact.VerifyBundle([]*ecdsa.PublicKey{g.public(i)}, []byte(req.Bundle), artifact.PredicateSubmission, subject)
	require.NoError(g.t, err)
	var answer round.Answer
	require.NoError(g.t, artifact.DecodeStrict(verified.Predicate, &answer))
	require.Equal(g.t, round.Answer{Run: g.manifest.Run, Number: g.manifest.Number, Kind: g.manifest.Kind, Tenant: o.Tenant, Site: o.Site,
		Region: "eu", Manifest: artifact.DigestOf([]byte(g.text)), Update: subject, Stage: stage}, answer)
	return m
}

// public returns a site's identity key.
func (g *group) public(i int) *ecdsa.PublicKey {
	key, err := loadKey(filepath.Join(g.sites[i].StateDir, keyFile))
	require.NoError(g.t, err)
	return &key.PublicKey
}

func (g *group) directory(tenant, site string) (*ecdsa.PublicKey, bool) {
	for i, o := range g.sites {
		if o.Tenant == tenant && o.Site == site {
			return g.public(i), true
		}
	}
	return nil, false
}

func nothing(int) any { return nil }

func (g *group) index(i int) int { return g.secagg.Index(g.sites[i].Tenant, g.sites[i].Site) }

// until plays the stages up to one, and not that one, with these sites.
func (g *group) until(end round.Stage, who ...int) {
	t := g.t
	if end == round.StageAdvertise {
		return
	}
	var dropped []*secagg.SiteError
	var err error
	g.roster, dropped, err = secagg.FormRoster(g.form.Spec, answers[secagg.Advertisement](g, round.StageAdvertise, nothing, who...), g.directory)
	require.NoError(t, err)
	require.Empty(t, dropped)
	g.secagg, err = secagg.OpenGroup(g.form.Spec, g.roster)
	require.NoError(t, err)
	if end == round.StageShare {
		return
	}
	g.routing, dropped, err = g.secagg.FormShares(answers[secagg.Shares](g, round.StageShare, func(int) any { return g.roster }, who...))
	require.NoError(t, err)
	require.Empty(t, dropped)
	if end == round.StageMask {
		return
	}
	masked := answers[secagg.Masked](g, round.StageMask, func(i int) any { return g.routing.Inbox(g.index(i)) }, who...)
	g.set, dropped, err = g.secagg.FormSurvivors(g.routing.Participants, masked)
	require.NoError(t, err)
	require.Empty(t, dropped)
	if end == round.StageCheck {
		return
	}
	g.request, dropped, err = g.secagg.FormUnmask(g.set, answers[secagg.Check](g, round.StageCheck, func(int) any { return g.signed(g.set) }, who...))
	require.NoError(t, err)
	require.Empty(t, dropped)
}

// signed is what opens stage check.
func (g *group) signed(set secagg.SurvivorSet) survivors {
	text, err := artifact.Canonical(set)
	require.NoError(g.t, err)
	return survivors{Set: set, Bundle: g.sign(g.key, artifact.DigestOf(text), artifact.PredicateSurvivors)}
}

// sum plays the last stage and opens the sum.
func (g *group) sum(who ...int) payload.Sum {
	x, dropped, err := g.secagg.Reconstruct(g.set, answers[secagg.Unmasking](g, round.StageUnmask, func(int) any { return g.request }, who...))
	require.NoError(g.t, err)
	require.Empty(g.t, dropped)
	total := g.form.NewSum()
	for i := range g.sites {
		if slices.Contains(g.set.Survivors, g.index(i)) {
			list := g.sent[fmt.Sprintf("%s %s", round.StageMask, g.sites[i].Site)]
			require.NoError(g.t, total.AddAt(0, g.blobs[artifact.Digest(list[0].Update.Digest)]))
		}
	}
	require.NoError(g.t, total.Mask(x, 0))
	sum, err := g.form.Decode(total, len(g.set.Survivors))
	require.NoError(g.t, err)
	return sum
}
