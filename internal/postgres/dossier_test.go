package postgres

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/approval"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/audit"
	"github.com/atom-fabric/fabric/domain/catalog"
	"github.com/atom-fabric/fabric/domain/promotion"
	"github.com/atom-fabric/fabric/domain/round"
)

// trained leaves a run of t1 with two closed rounds, of which the first gave
// version 1 of m1, and a feature of its owner and of another tenant.
func trained(t *testing.T, db *DB) contract.Subject {
	t.Helper()
	ctx := t.Context()
	for tenant, features := range map[string][]string{"t1": {"age", "bmi"}, "t2": {"age"}} {
		for _, id := range features {
			_, err := db.Catalog().Register(ctx, command(tenant, "", ""), catalog.Feature{Tenant: tenant, ID: id, Schema: []byte("{}")}, reply)
			require.NoError(t, err)
		}
	}
	params := params()
	params.Features = []string{"age"}
	_, err := db.Runs().StartRun(ctx, command("t1", "", "run-1"), api.Run{ID: "run-1", ModelID: "m1", Tenants: []string{"t1", "t2"}, Params: params},
		api.Start{Workflow: "TrainingRun", ID: "run/run-1", Queue: "control", Input: contract.RunInput{Run: "run-1"}, Attributes: api.Attributes{Tenant: "t1"}}, reply)
	require.NoError(t, err)
	cohort := enrol(t, db, "t2", "eu", 1)
	subject := contract.Subject{Tenant: "t1", ModelID: "m1"}
	for number, name := range []string{1: "one", 2: "two"} {
		if name == "" {
			continue
		}
		ref := openRound(t, db, "t1", "run-1", number, cohort)
		require.NoError(t, db.Sites().Submit(ctx, caller("t2"), answer(ref, cohort[0])))
		require.NoError(t, db.Rounds().CloseRound(ctx, contract.CloseRoundInput{Subject: subject, Run: "run-1", Number: number, Weights: blob("weights " + name),
			Provenance: contract.Signed{Bundle: blob("provenance " + name), Statement: digest("statement " + name)}}))
	}
	v, err := db.Versions().Register(ctx, contract.RegisterInput{Subject: subject, Run: "run-1", Number: 1, Bundle: blob("bundle"), Weights: blob("weights one"),
		Candidate: contract.Candidate{Repository: "models/t1/m1", Package: blob("package")}})
	require.NoError(t, err)
	require.Equal(t, 1, v.Number)
	return subject
}

// decided lets bob and a delegate of dan approve promote-1.
func decided(t *testing.T, db *DB) approval.Ballot {
	t.Helper()
	dan := voterOf("dan", "risk")
	enrolVoters(t, db.Approvals(), voterOf("bob", "owner"), dan)
	granted := approval.Granted{ID: digest("delegation"), Delegator: dan, Key: digest("zoe"), Bundle: digest("bundle of the delegation"),
		Delegation: approval.Delegation{Decision: approval.Delegate, From: "dan", To: "zoe", Nonce: "n", ExpiresAt: started().Add(time.Hour)}}
	unused := granted
	unused.ID, unused.Nonce, unused.Bundle = digest("another delegation"), "n2", digest("bundle of another")
	for _, g := range []approval.Granted{granted, unused} {
		_, err := db.Approvals().Delegate(t.Context(), command("t1", "", ""), g, reply)
		require.NoError(t, err)
	}
	bob, zoe := voted("bob", "owner", approval.Approve), voted("zoe", "risk", approval.Approve)
	bob.Bundle, zoe.Bundle = digest("bob's vote"), digest("zoe's vote")
	zoe.For, zoe.Delegation = "dan", granted.ID
	b := approvedBy(t, db.Actions(), asked(t, "promote-1"), bob, zoe)
	require.Equal(t, approval.Approved, b.Outcome)
	return b
}

func TestADossierIsWhatWasWrittenAboutAnAppliedPromotion(t *testing.T) {
	t.Parallel()
	key := newLogKey(t)
	db, _ := open(t, signing(key))
	ctx := t.Context()
	subject := trained(t, db)
	action := api.Action{ID: "promote-1", Kind: api.KindPromotion, ModelID: "m1", Environment: "production", Plan: blob("plan"), Risk: 60, Need: 2}
	_, err := db.Actions().Begin(ctx, command("t1", "", ""), action, api.Start{Workflow: "ModelPromotion", ID: "promotion/promote-1", Queue: "control"}, reply)
	require.NoError(t, err)
	ballot := decided(t, db)
	for version := int64(1); version <= 2; version++ {
		snapshot, signed := signedSnapshot(t, version, "eu")
		require.NoError(t, db.Snapshots().Publish(ctx, "promote-1", map[int64]string{1: "load", 2: "switch"}[version], snapshot, signed))
	}
	_, err = db.Dossiers().Dossier(ctx, "t1", "promote-1", "m1", 1)
	require.ErrorIs(t, err, activities.ErrNotFound, "it was not applied")
	require.NoError(t, db.Actions().RecordOutcome(ctx, contract.OutcomeInput{Subject: subject, Action: "promote-1", Kind: api.KindPromotion, Outcome: contract.Applied,
		Plan: action.Plan.Digest, Snapshot: contract.SnapshotRef{Version: 2}, Bundle: blob("outcome")},
		promotion.Plan{ModelID: "m1", Environment: "production", Version: &promotion.Version{Number: 1}}))

	// Leaves that look as if they were about it, or are another's.
	for _, l := range []audit.Leaf{
		{Kind: "planted", Tenant: "t2", Subject: "promotion/promote-1"},
		{Kind: "planted", Tenant: "t1", Subject: "promotion/promote-11"},
		{Kind: "planted", Tenant: "t1", Subject: "policy/promote-1"},
		{Kind: "planted", Tenant: "t1", Subject: "model/t1/m1/11"},
		{Kind: "planted", Tenant: "t1", Actor: `x","subject":"promotion/promote-1`, Subject: "run/run-9"},
		{Kind: "planted", Tenant: "t1", Subject: "run/run-9", TraceID: `","subject":"promotion/promote-1"`},
	} {
		require.NoError(t, db.Ledger().Append(ctx, l))
	}

	for name, at := range map[string]struct {
		tenant, action, model string
		version               int
	}{
		"another tenant's":       {"t2", "promote-1", "m1", 1},
		"no action":              {"t1", "promote-2", "m1", 1},
		"another model":          {"t1", "promote-1", "m2", 1},
		"a version that is none": {"t1", "promote-1", "m1", 2},
	} {
		_, err := db.Dossiers().Dossier(ctx, at.tenant, at.action, at.model, at.version)
		require.ErrorIs(t, err, activities.ErrNotFound, name)
	}

	d, err := db.Dossiers().Dossier(ctx, "t1", "promote-1", "m1", 1)
	require.NoError(t, err)
	require.Equal(t, blob("outcome").Digest, d.Outcome)
	_, serving := signedSnapshot(t, 2, "eu")
	require.Equal(t, serving, d.Serving)
	require.Equal(t, &ballot.Request, d.Request)
	require.Equal(t, []artifact.Digest{digest("bob's vote"), digest("zoe's vote")}, d.Votes)
	require.Equal(t, []artifact.Digest{digest("bundle of the delegation")}, d.Delegated)
	require.Equal(t, map[int]artifact.Digest{1: blob("provenance one").Digest}, d.Rounds, "up to the round that gave the version")

	point, err := key.Open(d.Note)
	require.NoError(t, err)
	var seen []string
	last := int64(-1)
	for _, l := range d.Leaves {
		require.Greater(t, l.Index, last)
		last = l.Index
		require.NoError(t, audit.VerifyInclusion(l.Index, point.Size, audit.LeafHash([]byte(l.Leaf)), l.Proof, point.Root), l.Leaf)
		leaf, err := audit.Decode([]byte(l.Leaf))
		require.NoError(t, err)
		require.Contains(t, []string{"", "t1"}, leaf.Tenant)
		require.NotEqual(t, "planted", leaf.Kind)
		seen = append(seen, leaf.Kind+" "+leaf.Subject)
	}
	require.Equal(t, strings.Split(strings.TrimSpace(`
feature.registered feature/t1/age
round.begun round/run-1/1
stage.opened round/run-1/1
round.closed round/run-1/1
model.registered model/t1/m1/1
promotion.started promotion/promote-1
ballot.opened approval/promote-1
vote.counted approval/promote-1
vote.counted approval/promote-1
ballot.approved approval/promote-1
snapshot.published snapshot/2
promotion.applied promotion/promote-1`), "\n"), seen)
}

func TestAPackIsKeptOnce(t *testing.T) {
	t.Parallel()
	db, _ := open(t)
	ctx := t.Context()
	action := api.Action{ID: "promote-1", Kind: api.KindPromotion, ModelID: "m1", Environment: "dev"}
	_, err := db.Actions().Begin(ctx, command("t1", "", ""), action, api.Start{Workflow: "W", ID: "promote-1", Queue: "control"}, reply)
	require.NoError(t, err)
	keep := contract.KeepInput{Subject: contract.Subject{Tenant: "t1"}, Action: "promote-1", Pack: blob("pack"), Bundle: blob("bundle")}
	require.NoError(t, db.Dossiers().KeepPack(ctx, keep))
	second := keep
	second.Pack, second.Bundle = blob("a longer log's pack"), blob("its bundle")
	for _, again := range []contract.KeepInput{keep, second} {
		require.NoError(t, db.Dossiers().KeepPack(ctx, again))
		kept, err := db.Actions().Action(ctx, caller("t1"), api.KindPromotion, "promote-1")
		require.NoError(t, err)
		require.Equal(t, keep.Pack, kept.Pack)
		require.Equal(t, keep.Bundle, kept.PackBundle)
		require.Equal(t, []string{"promotion.started", "promotion.evidenced"}, kinds(t, db))
	}
	for _, other := range []struct{ tenant, action string }{{"t1", "promote-2"}, {"t2", "promote-1"}} {
		keep.Tenant, keep.Action = other.tenant, other.action
		require.ErrorIs(t, db.Dossiers().KeepPack(ctx, keep), activities.ErrNotFound)
	}
}

func TestWhatSitesSignedForAndWhatWasSaidOfIt(t *testing.T) {
	t.Parallel()
	db, dsn := open(t)
	ctx := t.Context()
	startRun(t, db, "t1", "run-1", "t1", "t2")
	cohort := append(enrol(t, db, "t2", "eu", 3), enrol(t, db, "t1", "us", 1)...)
	ref := openRound(t, db, "t1", "run-1", 1, cohort)
	us := ref
	us.Region = "us"
	refused := answer(ref, cohort[1])
	refused.Reason, refused.Update = "NaN in linear.weight", artifact.Descriptor{}
	for _, a := range []api.Submission{answer(ref, cohort[2]), refused, answer(ref, cohort[0]), answer(us, cohort[3])} {
		require.NoError(t, db.Sites().Submit(ctx, caller(a.Tenant), a))
	}
	before := time.Now()
	answers, began, err := db.Rounds().Answers(ctx, "t1", "run-1", 1)
	require.NoError(t, err)
	require.WithinDuration(t, before, began, time.Minute)
	want := []activities.Answer{
		{Group: "us", Tenant: "t1", Site: "s0", Bundle: blob("bundle of s0").Digest},
		{Group: "eu", Tenant: "t2", Site: "s0", Bundle: blob("bundle of s0").Digest},
		{Group: "eu", Tenant: "t2", Site: "s2", Bundle: blob("bundle of s2").Digest},
	}
	require.Equal(t, want, answers, "taken ones, by tenant and site")
	for _, at := range []struct {
		tenant, run string
		number      int
	}{{"t2", "run-1", 1}, {"t1", "run-2", 1}, {"t1", "run-1", 2}} {
		_, _, err = db.Rounds().Answers(ctx, at.tenant, at.run, at.number)
		require.ErrorIs(t, err, activities.ErrNotFound)
	}
	_, _, err = db.Rounds().Answers(ctx, "", "run-1", 1)
	require.ErrorIs(t, err, errNoTenant)

	end := contract.CloseRoundInput{Subject: ref.Subject, Run: "run-1", Number: 1, Weights: blob("weights"), Metrics: round.Metrics{Evaluated: 1},
		Provenance: contract.Signed{Bundle: blob("provenance"), Statement: digest("statement")}}
	require.NoError(t, db.Rounds().CloseRound(ctx, end))
	end.Provenance = contract.Signed{Bundle: blob("of a second end"), Statement: digest("of a second end")}
	require.NoError(t, db.Rounds().CloseRound(ctx, end))
	conn := admin(t, dsn)
	require.Equal(t, 1, count(t, conn, `select count(*) from fabric.round where provenance ->> 'digest' = $1 and statement = $2`, blob("provenance").Digest, digest("statement")))
	require.Equal(t, 1, count(t, conn, `select count(*) from fabric.audit_leaf where convert_from(body, 'UTF8')::jsonb @> $1`,
		map[string]any{"kind": "round.closed", "digest": blob("weights").Digest, "statement": digest("statement")}), "and the log names the statement")
	after, same, err := db.Rounds().Answers(ctx, "t1", "run-1", 1)
	require.NoError(t, err)
	require.Equal(t, want, after, "its end changes nothing")
	require.Equal(t, began, same)
}
