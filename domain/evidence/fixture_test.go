package evidence

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/approval"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/audit"
	"github.com/atom-fabric/fabric/domain/canary"
	"github.com/atom-fabric/fabric/domain/modelpack"
	"github.com/atom-fabric/fabric/domain/policy"
	"github.com/atom-fabric/fabric/domain/promotion"
	"github.com/atom-fabric/fabric/domain/provenance"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/domain/routing"
	"github.com/atom-fabric/fabric/domain/trust"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// A world is a promotion of a small model that two people approved, with every
// key that signed for it.
type world struct {
	t      testing.TB
	fabric *ecdsa.PrivateKey
	people []*ecdsa.PrivateKey
	log    ed25519.PrivateKey
	tree   audit.Tree
	nodes  map[audit.Place]audit.Hash
	Material
	pending []audit.Leaf

	turn func(*canary.Record) // what becomes of a rollout's record before it is kept
	plan promotion.Plan
	pkg  provenance.Package
	req  approval.Request
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return key
}

func digest(text string) artifact.Digest { return artifact.DigestOf([]byte(text)) }

// sign returns a bundle and the identity of what it says.
func (w *world) sign(key *ecdsa.PrivateKey, predicateType string, subject artifact.Digest, predicate any) ([]byte, artifact.Digest) {
	s, err := artifact.NewStatement("x", subject, predicateType, predicate)
	require.NoError(w.t, err)
	payload, err := s.Encode()
	require.NoError(w.t, err)
	bundle, err := artifact.SignStatement(rand.Reader, key, s)
	require.NoError(w.t, err)
	return bundle, artifact.StatementID(artifact.PayloadType, payload)
}

func (w *world) note(kind, subject string, about, statement artifact.Digest) {
	w.pending = append(w.pending, audit.Leaf{V: 1, At: noon, Kind: kind, Tenant: "owner", Actor: "fabric", Subject: subject, Digest: about, Statement: statement})
}

// seal writes the leaves and signs the head.
func (w *world) seal() {
	for i, l := range w.pending {
		body, err := l.Encode()
		require.NoError(w.t, err)
		var done []audit.Node
		w.tree, done = w.tree.Append(audit.LeafHash(body))
		for _, n := range done {
			w.nodes[n.Place] = n.Hash
		}
		w.nodes[audit.Place{Level: 0, Index: int64(i)}] = audit.LeafHash(body)
		w.Leaves = append(w.Leaves, Proved{Index: int64(i), Leaf: string(body)})
	}
	for i := range w.Leaves {
		var err error
		w.Leaves[i].Proof, err = audit.ProveInclusion(int64(i), w.tree.Size, func(places []audit.Place) ([]audit.Hash, error) {
			var out []audit.Hash
			for _, p := range places {
				out = append(out, w.nodes[p])
			}
			return out, nil
		})
		require.NoError(w.t, err)
	}
	var err error
	w.Note, err = audit.Checkpoint{Origin: "log.test/fabric", Size: w.tree.Size, Root: w.tree.Root()}.Sign(w.log)
	require.NoError(w.t, err)
}

func (w *world) trust() Trust {
	judge, err := trust.Pin(&w.fabric.PublicKey)
	require.NoError(w.t, err)
	return Trust{Keys: judge, Log: audit.Verifier{Origin: "log.test/fabric", Key: w.log.Public().(ed25519.PublicKey)}, Now: noon}
}

// newWorld returns the material of a promotion to production; change may alter
// what is signed before it is.
func newWorld(t testing.TB, change func(*world)) *world {
	w := &world{t: t, fabric: newKey(t), nodes: map[audit.Place]audit.Hash{}}
	var err error
	_, w.log, err = ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	w.Promotion = "promote-1"
	w.rounds()
	w.version()
	w.decision()
	if change != nil {
		change(w)
	}
	w.votes()
	w.served()
	w.seal()
	return w
}

func (w *world) rounds() {
	w.Rounds = map[int][]byte{}
	feature := round.FeatureRef{Tenant: "owner", Feature: "scans", Fingerprint: digest("scans")}
	other := round.FeatureRef{Tenant: "clinic", Feature: "scans", Fingerprint: digest("theirs")}
	w.note("feature.registered", "feature/owner/scans", feature.Fingerprint, "")
	var previous artifact.Digest
	for n := range 4 {
		kind, base, after := round.Train, fmt.Sprint("weights", n-1), fmt.Sprint("weights", n)
		switch n {
		case 0:
			kind = round.Statistics
		case 3:
			kind, after = round.Evaluate, base
		}
		r := provenance.Round{
			Tenant: "owner", Model: "tumour", Run: "run-1", Number: n, Kind: kind, Previous: previous, Manifest: digest(fmt.Sprint("order", n)), Base: digest(base),
			Aggregation:  provenance.Aggregation{Strategy: "fedavg", Secured: true, Ring: 32, Groups: 1},
			Participants: provenance.Participants{Enrolled: 4, Selected: 4, Accepted: 4, Answers: 4, Commitment: provenance.Commit(nil)},
			Features:     []round.FeatureRef{other, feature}, Metrics: round.Metrics{Evaluated: 100, Correct: 93}, StartedAt: noon.Add(-time.Hour),
		}
		if kind == round.Train {
			r.Privacy = &provenance.Privacy{Mechanism: "discrete_gaussian", Unit: "example", ClipNorm: "0.5", NoiseMultiplier: "5", Epsilon: "0.26", Delta: "1e-05", Accountant: "rdp"}
		}
		w.Rounds[n], previous = w.sign(w.fabric, artifact.PredicateRound, digest(after), r)
		w.note("round.closed", fmt.Sprintf("round/run-1/%d", n), digest(after), previous)
	}
	w.pkg = provenance.Package{Tenant: "owner", Model: "tumour", Run: "run-1", Round: 3, Weights: digest("weights2"), Manifest: digest("order3"), Provenance: previous, Metrics: round.Metrics{Evaluated: 100, Correct: 93}}
}

func (w *world) version() {
	w.Card = []byte(`{"model":"tumour"}`)
	config, err := modelpack.NewConfig("tumour", "owner", "logistic", "float32", w.pkg.Weights, artifact.DigestOf(w.Card))
	require.NoError(w.t, err)
	w.Manifest, err = modelpack.NewManifest(artifact.Describe(artifact.MediaTypeModel, config),
		artifact.Descriptor{Digest: w.pkg.Weights, SizeBytes: 64, MediaType: artifact.MediaTypeWeights}, artifact.Describe(modelpack.MediaTypeCard, w.Card), nil)
	require.NoError(w.t, err)
	w.Package, _ = w.sign(w.fabric, artifact.PredicateModelPackage, artifact.DigestOf(w.Manifest), w.pkg)
	w.note("model.registered", "model/owner/tumour/2", artifact.DigestOf(w.Manifest), "")
	w.Scorecard = []byte(`{"status":"PASS","score":93}`)
	w.note(judgedKind, "model/owner/tumour/2", digest(`{"status":"FAIL"}`), "") // an earlier one
	w.note(judgedKind, "model/owner/tumour/2", artifact.DigestOf(w.Scorecard), "")
}

// decision is the plan, and who is to decide on it.
func (w *world) decision() {
	w.plan = promotion.Plan{
		Kind: promotion.KindPromotion, Tenant: "owner", ModelID: "tumour", Environment: "production", Regions: []string{"eu"},
		Observed: promotion.Observed{Snapshot: 7, Champion: 1, Package: digest("before"), Policy: 1},
		Version:  &promotion.Version{Number: 2, Repository: "models/owner/tumour", Package: artifact.DigestOf(w.Manifest), Weights: w.pkg.Weights, Bundle: artifact.DigestOf(w.Package)},
		Diff:     []promotion.Change{}, Risk: promotion.Risk{Score: 65},
	}
	w.req = approval.Request{
		Action:    approval.Action{ID: w.Promotion, Kind: approval.KindPromotion, Tenant: "owner", Environment: "production", Risk: 65},
		Requester: "rae", Need: 2, Roles: []string{approval.RoleOwner, approval.RoleRisk}, Seats: [][]string{{approval.RoleOwner}, {approval.RoleRisk}},
		Nonce: "nonce-1", OpenedAt: noon.Add(-time.Minute), TTLSeconds: 3600,
	}
	for _, who := range []approval.Approver{{Name: "ann", Role: approval.RoleOwner}, {Name: "bo", Role: approval.RoleRisk}} {
		key := newKey(w.t)
		w.people = append(w.people, key)
		public, err := artifact.MarshalPublicKey(&key.PublicKey)
		require.NoError(w.t, err)
		who.Key, who.PublicKey = artifact.KeyID(&key.PublicKey), string(public)
		w.req.Approvers = append(w.req.Approvers, who)
	}
}

func (w *world) votes() {
	var err error
	w.Plan, err = artifact.Canonical(w.plan)
	require.NoError(w.t, err)
	w.req.Action.Plan = artifact.DigestOf(w.Plan)
	w.req.Evidence = []approval.Exhibit{{Name: "plan", Digest: w.req.Action.Plan}, {Name: "weights", Digest: w.pkg.Weights}, {Name: "bundle over the package", Digest: w.plan.Version.Bundle}}
	w.Request = &w.req
	asked, err := w.req.Digest()
	require.NoError(w.t, err)
	for i, key := range w.people {
		bundle, id := w.sign(key, artifact.PredicateApproval, w.req.Action.Plan, approval.Predicate{
			Decision: approval.Approve, Action: w.Promotion, Kind: approval.KindPromotion, Nonce: w.req.Nonce, Request: asked,
			Approver: w.req.Approvers[i].Name, IssuedAt: noon.Add(-time.Minute), ExpiresAt: noon.Add(time.Hour),
		})
		w.Votes = append(w.Votes, bundle)
		w.note("vote.counted", "approval/"+w.Promotion, w.req.Action.Plan, id)
	}
	w.Outcome, _ = w.sign(w.fabric, artifact.PredicatePromotion, w.plan.Version.Package, w.plan)
}

func (w *world) served() {
	document := policy.Default()
	text, err := document.Encode()
	require.NoError(w.t, err)
	s := routing.Snapshot{
		Version: 9, IssuedAt: noon, Regions: []routing.Region{{Name: "eu", Policy: document.Revision, PolicyDigest: artifact.DigestOf(text)}},
		Endpoints: []routing.Endpoint{}, Policies: []policy.Document{document},
		Packages: []routing.Package{{Tenant: "owner", Model: "tumour", Version: 2, Registry: "http://r", Repository: "models/owner/tumour", Manifest: w.plan.Version.Package, Bundle: []byte("{}"), Regions: []string{"eu"}}},
		Routes:   []routing.Route{{Tenant: "owner", Model: "tumour", Environment: "production", Version: 2, Regions: []string{"eu"}, Callers: []string{"owner"}}},
	}
	w.Serving.Snapshot, err = artifact.Canonical(s)
	require.NoError(w.t, err)
	about := artifact.DigestOf(w.Serving.Snapshot)
	w.Serving.Bundle, _ = w.sign(w.fabric, artifact.PredicateSnapshot, about, map[string]int64{"version": 9})
	w.note("snapshot.published", "snapshot/9", about, "")
	if w.plan.Canary != nil {
		w.climbed()
	}
	w.note("promotion.applied", "promotion/"+w.Promotion, artifact.DigestOf(w.Plan), "")
}

func (w *world) pack() Pack {
	p, err := w.Build()
	require.NoError(w.t, err)
	return p
}
