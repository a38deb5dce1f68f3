package postgres

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/recovery"
)

// What was accepted is known by the digest of its bundle, of whichever of a
// version's three, of a replica or of a recovery point, and by nothing else.
func TestWhenABundleWasAccepted(t *testing.T) {
	t.Parallel()
	db, dsn := open(t, func(o *Options) { o.Regions = []string{"eu"} })
	ctx := t.Context()
	at := func(text string) time.Time {
		when, err := db.Versions().AcceptedAt(ctx, blob(text).Digest)
		require.NoError(t, err)
		return when
	}
	require.Zero(t, at("bundle"), "nothing was accepted yet")

	upload := api.ModelVersion{ModelID: "m1", Repository: "models/t1/m1", Package: blob("package"), Weights: blob("weights"),
		Bundle: blob("bundle"), FilesBundle: blob("files"), Signature: blob("signature")}
	began := time.Now().Add(-time.Second)
	first := body[api.ModelVersion](t, must(db.Models().RegisterUpload(ctx, command("t1", "", ""), upload, reply)), nil)
	accepted := at("bundle")
	require.WithinRange(t, accepted, began, time.Now().Add(time.Second))
	require.Equal(t, accepted, at("files"))
	require.Equal(t, accepted, at("signature"))
	require.Equal(t, time.UTC, accepted.Location())
	for _, other := range []string{"package", "weights", "another bundle"} {
		require.Zero(t, at(other), other)
	}
	leaves := kinds(t, db)

	t.Run("a second signature over the same package is no second identity", func(t *testing.T) {
		again := upload
		again.Bundle, again.FilesBundle, again.Signature = blob("malleated"), blob("malleated files"), blob("malleated signature")
		second := body[api.ModelVersion](t, must(db.Models().RegisterUpload(ctx, command("t1", "", ""), again, reply)), nil)
		require.Equal(t, first.Number, second.Number)
		require.Equal(t, first.Bundle, second.Bundle, "the version keeps what it was accepted with")
		require.Equal(t, leaves, kinds(t, db), "no second leaf")
		for _, text := range []string{"malleated", "malleated files", "malleated signature"} {
			require.Zero(t, at(text), text)
		}
	})
	t.Run("the first time counts where a bundle came in twice", func(t *testing.T) {
		other := upload
		other.ModelID, other.Repository, other.Package = "m2", "models/t1/m2", blob("package 2")
		body[api.ModelVersion](t, must(db.Models().RegisterUpload(ctx, command("t1", "", ""), other, reply)), nil)
		require.Equal(t, accepted, at("bundle"))
	})
	t.Run("the statement of a replica that holds the package", func(t *testing.T) {
		in := contract.ReplicaOutcome{ReplicaInput: contract.ReplicaInput{Subject: contract.Subject{Tenant: "t1", ModelID: "m1"}, Region: "eu", Version: 1, Attempt: 1,
			Repository: upload.Repository, Package: upload.Package, Weights: upload.Weights.Digest}, Outcome: contract.ReplicaFailed, Bundle: blob("replication")}
		other := in
		other.ModelID, other.Package = "m2", blob("package 2")
		require.NoError(t, db.ModelReplicas().RecordReplica(ctx, other))
		require.Zero(t, at("replication"), "one that failed is none")
		in.Outcome = contract.ReplicaHeld
		require.NoError(t, db.ModelReplicas().RecordReplica(ctx, in))
		require.WithinRange(t, at("replication"), accepted, time.Now().Add(time.Second))
	})
	t.Run("the statement of a recovery point", func(t *testing.T) {
		when := time.Date(2026, 3, 3, 9, 0, 0, 0, time.UTC)
		in := contract.RecordPointInput{Point: contract.Point{Point: blob("point")}, Bundle: blob("point's bundle")}
		in.Tenant, in.Action, in.Reason, in.Actor = "t1", "snapshot-1", "test", "ann"
		require.NoError(t, db.RecoveryPoints().RecordPoint(ctx, in, recovery.Point{Sequence: 1, At: when}))
		require.Equal(t, when, at("point's bundle"))
	})
	t.Run("a row that somebody without the right changes stays as it was", func(t *testing.T) {
		app := admin(t, dsn)
		_, err := app.Exec(ctx, `set role fabric_app`)
		require.NoError(t, err)
		_, err = app.Exec(ctx, `update fabric.model_version set registered_at = now() + interval '1 day'`)
		require.Error(t, err)
		require.Equal(t, accepted, at("bundle"))
	})
	_, err := db.Versions().AcceptedAt(ctx, artifact.Digest("no digest"))
	require.NoError(t, err, "what is no digest was never accepted")
}
