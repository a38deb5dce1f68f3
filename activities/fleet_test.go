package activities_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/activities/activitytest"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/dp"
	"github.com/atom-fabric/fabric/domain/payload"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/domain/secagg"
	"github.com/atom-fabric/fabric/domain/site"
)

// identities are made once, so that two worlds have the same sites.
var identities = sync.OnceValue(func() []*ecdsa.PrivateKey {
	keys := make([]*ecdsa.PrivateKey, 5)
	for i := range keys {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			panic(err)
		}
		keys[i] = key
	}
	return keys
})

// A player is a real site in the test.
type player struct {
	config secagg.Config
	site   *secagg.Site
	vector payload.Vector // before it is masked
	gone   round.Stage    // from this stage on it is silent; empty: never
	lies   round.Stage    // whose message it spoils
}

// A fleet is a world with five sites, a secured round begun, and its sites
// ready to answer.
type fleet struct {
	t        *testing.T
	w        *activitytest.World
	now      time.Time
	manifest round.Manifest
	form     payload.Form
	players  []*player
}

func secureParams() round.Params {
	p := params()
	p.Secure = round.Secure{Mode: round.SecureOn, Ring: 32, Range: 8, MaxExamples: 1024, StageSeconds: 10, CorruptBP: 1000, DroppedBP: 1000}
	return p
}

func newFleet(t *testing.T, kind round.Kind, change func(*round.Params)) *fleet {
	t.Helper()
	return newFleetWith(t, kind, 0, change)
}

// newFleetWith is newFleet in a round that clips to a norm, unless that is 0.
func newFleetWith(t *testing.T, kind round.Kind, clip float64, change func(*round.Params)) *fleet {
	t.Helper()
	f := &fleet{t: t, w: activitytest.New(), now: noon}
	with := secureParams()
	if change != nil {
		change(&with)
	}
	f.manifest = round.Manifest{
		Run: "run-1", Number: 1, Kind: kind, Tenant: "clinic", ModelID: "tumour", Params: with, Secured: true,
		Cohort: []round.Cohort{{Region: "eu", Sites: 5}}, Clip: clip,
	}
	encoded, err := artifact.Canonical(f.manifest)
	require.NoError(t, err)
	plan := f.w.Keep(artifact.MediaTypeManifest, encoded)
	f.w.Rounds["run-1/1"] = activitytest.Begun{Manifest: plan, Cohort: f.manifest.Cohort}
	f.form, err = payload.For(f.manifest, plan.Digest, "eu")
	require.NoError(t, err)
	known := map[string]*ecdsa.PublicKey{}
	for i, key := range identities() {
		tenant, id := []string{"clinic", "north", "clinic", "north", "south"}[i], fmt.Sprintf("s%d", i)
		known[tenant+"/"+id] = &key.PublicKey
		pem, err := artifact.MarshalPublicKey(&key.PublicKey)
		require.NoError(t, err)
		f.w.Sites = append(f.w.Sites, site.Site{Tenant: tenant, ID: id, Region: "eu", PublicKey: string(pem)})
		secret := sha256.Sum256(fmt.Appendf(nil, "secret of %d", i))
		p := &player{config: secagg.Config{Spec: f.form.Spec, Tenant: tenant, Name: id, Key: key, Secret: secret[:],
			Directory: func(tenant, site string) (*ecdsa.PublicKey, bool) {
				key, ok := known[tenant+"/"+site]
				return key, ok
			}}}
		p.site, err = secagg.NewSite(p.config, secagg.State{})
		require.NoError(t, err)
		in := contribution(kind, with.Model.Inputs, i)
		if kind == round.Evaluate && with.Measurement.On() {
			in.Counts = tenRows(i)
		}
		if clip > 0 {
			norm, err := dp.Clip(clip, in.Tensors[0].F32, in.Tensors[1].F32)
			require.NoError(t, err)
			in.Within = norm <= clip
		}
		p.vector, _, err = f.form.Encode(in)
		require.NoError(t, err)
		f.players = append(f.players, p)
	}
	f.w.StageOf(f.ref(round.StageAdvertise)).Counts.Selected = len(f.players)
	for _, stage := range []round.Stage{round.StageAdvertise, round.StageShare, round.StageMask, round.StageCheck, round.StageUnmask} {
		f.w.StageOf(f.ref(stage)).Arrives = func(s *activitytest.Stage) {
			f.now = f.now.Add(2 * time.Second)
			f.answer(stage, s)
		}
	}
	return f
}

// contribution is what site i has learnt: i+1 rows, and multiples of 1/8.
func contribution(kind round.Kind, inputs, i int) payload.Input {
	v := float32(i+1) / 8
	in := payload.Input{
		Metrics:     round.Metrics{Examples: int64(i + 1), Evaluated: 10, Correct: int64(5 + i), LossMicros: int64(100 * i)},
		RosterSites: 5, Rounding: dp.Seed(sha256.Sum256(fmt.Appendf(nil, "rounding of %d", i))),
	}
	if kind == round.Train {
		weight := make([]float32, 2*inputs)
		for j := range weight {
			weight[j] = v * float32(j%7-3) / 4
		}
		in.Tensors = artifact.Tensors{
			{Name: "linear.bias", DType: artifact.F32, Shape: []int{2}, F32: []float32{v, -v}},
			{Name: "linear.weight", DType: artifact.F32, Shape: []int{inputs, 2}, F32: weight},
		}
	}
	return in
}

func (f *fleet) ref(stage round.Stage) contract.StageRef {
	r := ref(1, f.manifest.Kind, "eu")
	r.Stage = stage
	return r
}

func (f *fleet) clock() time.Time { return f.now }

func (f *fleet) secure() *activities.Secure {
	return &activities.Secure{Blobs: f.w, Rounds: f.w.Rows(), Verifier: f.w, Now: f.clock}
}

var stages = []round.Stage{round.StageAdvertise, round.StageShare, round.StageMask, round.StageCheck, round.StageUnmask}

// silent says whether the player has left by a stage.
func (p *player) silent(stage round.Stage) bool {
	return p.gone != "" && slices.Index(stages, stage) >= slices.Index(stages, p.gone)
}

// answer lets every site that is asked and still there answer once.
func (f *fleet) answer(stage round.Stage, s *activitytest.Stage) {
	for _, p := range f.players {
		inbox, asked := f.inbox(stage, s, p)
		done := slices.ContainsFunc(s.Submissions, func(o activities.Submission) bool { return o.Tenant == p.config.Tenant && o.Site == p.config.Name })
		if !asked || done || p.silent(stage) {
			continue
		}
		f.submit(s, p, f.message(stage, p, inbox))
	}
}

func (f *fleet) submit(s *activitytest.Stage, p *player, sub activities.Submission) {
	sub.Tenant, sub.Site = p.config.Tenant, p.config.Name
	s.Submissions = append(s.Submissions, sub)
	slices.SortFunc(s.Submissions, func(a, b activities.Submission) int {
		return slices.Compare([]string{a.Tenant, a.Site}, []string{b.Tenant, b.Site})
	})
	s.Counts.Accepted++
}

func (f *fleet) inbox(stage round.Stage, s *activitytest.Stage, p *player) (artifact.Digest, bool) {
	if stage == round.StageAdvertise {
		return "", true
	}
	for _, m := range s.Members {
		if m.Tenant == p.config.Tenant && m.Site == p.config.Name {
			return m.Inbox.Digest, true
		}
	}
	return "", false
}

// message plays the site's part of a stage.
func (f *fleet) message(stage round.Stage, p *player, inbox artifact.Digest) (sub activities.Submission) {
	t := f.t
	var message any
	var err error
	switch stage {
	case round.StageAdvertise:
		message, err = p.site.Advertise()
	case round.StageShare:
		message, err = p.site.Share(read[secagg.Roster](f, inbox))
	case round.StageMask:
		var x *secagg.Expander
		x, err = p.site.Mask(read[secagg.ShareInbox](f, inbox))
		require.NoError(t, err)
		masked, parseErr := f.form.Parse(p.vector.Bytes())
		require.NoError(t, parseErr)
		require.NoError(t, masked.Mask(x, 0))
		sub.Update = f.w.Keep("application/octet-stream", masked.Bytes())
		message, err = p.site.Masked(sub.Update.Digest, sub.Update.SizeBytes)
	case round.StageCheck:
		signed := read[struct {
			Set    secagg.SurvivorSet `json:"set"`
			Bundle string             `json:"bundle"`
		}](f, inbox)
		// A site believes no set that the control plane did not sign.
		set, canonicalErr := artifact.Canonical(signed.Set)
		require.NoError(t, canonicalErr)
		_, verifyErr := artifact.VerifyBundle([]*ecdsa.PublicKey{&f.w.Key.PublicKey}, []byte(signed.Bundle), artifact.PredicateSurvivors, artifact.DigestOf(set))
		require.NoError(t, verifyErr)
		message, err = p.site.Check(signed.Set)
	case round.StageUnmask:
		message, err = p.site.Unmask(read[secagg.UnmaskRequest](f, inbox))
	}
	require.NoError(t, err, "%s of %s", stage, p.config.Name)
	encoded, err := json.Marshal(message)
	require.NoError(t, err)
	if p.lies == stage {
		encoded = []byte(`{"header":{}}`)
	}
	sub.Message = f.w.Keep(artifact.MediaTypeSecagg, encoded)
	return sub
}

func read[T any](f *fleet, digest artifact.Digest) (v T) {
	require.NoError(f.t, artifact.DecodeStrict(f.w.Content[digest], &v))
	return v
}

// times runs an activity so often, as one that was done and not reported, and
// returns its result, which is the same each time.
func times[In, Out any](f *fleet, n int, h contract.Activity[In, Out], run func(In) (Out, error), in In) Out {
	f.t.Helper()
	first, err := run(in)
	require.NoError(f.t, err)
	for range n - 1 {
		again, err := run(in)
		require.NoError(f.t, err)
		require.Equal(f.t, first, again, "%s", h.Name)
	}
	return first
}

func (f *fleet) advance(n int, closes round.Stage, bundle artifact.Descriptor) contract.Advanced {
	f.t.Helper()
	in := contract.AdvanceInput{StageRef: f.ref(closes), Seconds: 10, Signature: bundle}
	return times(f, n, contract.AdvanceStage, func(in contract.AdvanceInput) (contract.Advanced, error) {
		return act(f.t, contract.AdvanceStage, f.secure().AdvanceStage, in)
	}, in)
}

func (f *fleet) commit(n int) contract.Survivors {
	f.t.Helper()
	return times(f, n, contract.CommitSurvivors, func(in contract.StageRef) (contract.Survivors, error) {
		return act(f.t, contract.CommitSurvivors, f.secure().CommitSurvivors, in)
	}, f.ref(round.StageMask))
}

func (f *fleet) sign(set artifact.Descriptor) artifact.Descriptor {
	f.t.Helper()
	signed, err := act(f.t, contract.SignStatement, (&activities.Sign{Blobs: f.w, Signer: f.w}).SignStatement, contract.SignInput{
		Subject: subject(), Name: "survivors", Digest: set.Digest, PredicateType: artifact.PredicateSurvivors,
	})
	require.NoError(f.t, err)
	return signed.Bundle
}

func (f *fleet) aggregate(n int) contract.RegionResult {
	f.t.Helper()
	return times(f, n, contract.AggregateMasked, func(in contract.StageRef) (contract.RegionResult, error) {
		return act(f.t, contract.AggregateMasked, aggregates(f.w).AggregateMasked, in)
	}, f.ref(round.StageUnmask))
}

// until plays the round up to the step that closes a stage, which is left to do.
func (f *fleet) until(closes round.Stage) (bundle artifact.Descriptor) {
	f.t.Helper()
	f.answer(round.StageAdvertise, f.w.StageOf(f.ref(round.StageAdvertise)))
	for _, stage := range stages[:slices.Index(stages, closes)] {
		if stage == round.StageMask {
			survivors := f.commit(1)
			require.Empty(f.t, survivors.Cause)
			bundle = f.sign(survivors.Set)
		}
		require.Empty(f.t, f.advance(1, stage, bundle).Cause)
	}
	return bundle
}

// play runs the whole round, each activity n times, and returns what stopped
// it, or the region's result.
func (f *fleet) play(n int) (contract.RegionResult, string) {
	f.t.Helper()
	f.answer(round.StageAdvertise, f.w.StageOf(f.ref(round.StageAdvertise)))
	var bundle artifact.Descriptor
	for _, stage := range stages[:4] {
		if stage == round.StageMask {
			survivors := f.commit(n)
			if survivors.Cause != "" {
				return contract.RegionResult{}, survivors.Cause
			}
			bundle = f.sign(survivors.Set)
		}
		if next := f.advance(n, stage, bundle); next.Cause != "" {
			return contract.RegionResult{}, next.Cause
		}
	}
	result := f.aggregate(n)
	return result, result.Cause
}

// plain is the sum of the named sites' vectors as they were before the masks.
func (f *fleet) plain(sites ...int) payload.Sum {
	f.t.Helper()
	sum := f.form.NewSum()
	for _, i := range sites {
		require.NoError(f.t, sum.AddAt(0, f.players[i].vector.Bytes()))
	}
	decoded, err := f.form.Decode(sum, len(sites))
	require.NoError(f.t, err)
	return decoded
}

// requireSum compares a result with the plain sum, bit by bit.
func (f *fleet) requireSum(got contract.RegionResult, sites ...int) {
	f.t.Helper()
	want := f.plain(sites...)
	require.Empty(f.t, got.Cause)
	require.Equal(f.t, len(sites), got.Counts.Accepted)
	require.Equal(f.t, 5, got.Counts.Selected)
	require.Equal(f.t, want.Metrics, got.Metrics)
	require.Equal(f.t, want.Weight, got.Weight)
	if len(want.Tensors) == 0 {
		require.Empty(f.t, got.Partial)
		return
	}
	encoded, err := want.Tensors.Encode()
	require.NoError(f.t, err)
	require.Equal(f.t, encoded, f.w.Content[got.Partial.Digest])
}

// requireOneStory reads everything that anybody ever tried to tell a site, and
// fails if that were two survivor sets, or both kinds of share of one site.
func (f *fleet) requireOneStory() {
	f.t.Helper()
	seeds, keys, inboxes := map[int]bool{}, map[int]bool{}, map[string]map[artifact.Digest]bool{}
	for _, told := range f.w.Told {
		for _, m := range told.Members {
			at := string(told.Ref.Stage) + " " + m.Tenant + "/" + m.Site
			if inboxes[at] == nil {
				inboxes[at] = map[artifact.Digest]bool{}
			}
			inboxes[at][m.Inbox.Digest] = true
			require.Len(f.t, inboxes[at], 1, "%s is told two things", at)
			if told.Ref.Stage != round.StageUnmask {
				continue
			}
			request := read[secagg.UnmaskRequest](f, m.Inbox.Digest)
			for _, i := range request.Seeds {
				seeds[i] = true
			}
			for _, i := range request.Keys {
				keys[i] = true
			}
		}
	}
	for i := range seeds {
		require.False(f.t, keys[i], "both kinds of share of member %d are asked", i)
	}
}
