package postgres

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/modelpack"
	"github.com/atom-fabric/fabric/domain/promotion"
)

// twoVersions registers versions 1 and 2 of model m1 of tenant t1.
func twoVersions(t *testing.T, db *DB) (one, two artifact.Digest) {
	t.Helper()
	for n, name := range []string{"one", "two"} {
		upload := api.ModelVersion{ModelID: "m1", Repository: "models/t1/m1", Package: blob(name), Bundle: blob("b" + name), Weights: blob("w"),
			FilesBundle: blob("files of " + name), Signature: blob("signature of " + name)}
		answer, err := db.Models().RegisterUpload(t.Context(), command("t1", "", ""), upload, reply[api.ModelVersion])
		require.NoError(t, err)
		v := body[api.ModelVersion](t, answer, nil)
		require.Equal(t, n+1, v.Number)
		require.Equal(t, blob("files of "+name), v.FilesBundle)
		require.Equal(t, blob("signature of "+name), v.Signature)
	}
	return blob("one").Digest, blob("two").Digest
}

// inUTC makes times comparable: the wire and the database each have their zone.
func inUTC(aliases []api.Alias) []api.Alias {
	for i := range aliases {
		aliases[i].At = aliases[i].At.UTC()
	}
	return aliases
}

func TestAliasMovesAreCountedAndNeverLost(t *testing.T) {
	db, _ := open(t)
	one, two := twoVersions(t, db)
	move := func(h modelpack.Head, version int, pkg artifact.Digest) (api.Alias, error) {
		m := h.Next("t1", "m1", "production", "challenger", version, time.Now())
		answer, err := db.Models().MoveAlias(t.Context(), command("t1", "", ""), m, pkg, blob("statement"), reply[api.Alias])
		if err != nil {
			return api.Alias{}, err
		}
		return inUTC([]api.Alias{body[api.Alias](t, answer, nil)})[0], nil
	}
	first, err := move(modelpack.Head{}, 1, one)
	require.NoError(t, err)
	require.EqualValues(t, 1, first.Sequence)
	require.Equal(t, blob("statement"), first.Bundle)
	second, err := move(modelpack.Head{Sequence: 1, Version: 1, Package: one}, 2, two)
	require.NoError(t, err)
	require.Equal(t, one, second.Previous)

	_, err = move(modelpack.Head{}, 1, one)
	require.ErrorIs(t, err, modelpack.ErrSuperseded, "an older statement, replayed")
	_, err = move(modelpack.Head{Sequence: 2, Package: two}, 1, two)
	require.ErrorIs(t, err, modelpack.ErrMove, "the package of another version")
	_, err = move(modelpack.Head{Sequence: 2, Package: two}, 3, two)
	require.ErrorIs(t, err, api.ErrNotFound)

	at := func(when time.Time) []api.Alias {
		found, err := db.Models().Aliases(t.Context(), caller("t1"), "m1", when)
		require.NoError(t, err)
		return inUTC(found)
	}
	require.Equal(t, []api.Alias{second}, at(time.Time{}))
	require.Equal(t, []api.Alias{first}, at(second.At.Add(-time.Microsecond)), "where it stood")
	require.Empty(t, at(first.At.Add(-time.Microsecond)))
	moves, err := db.Models().AliasMoves(t.Context(), caller("t1"), "m1")
	require.NoError(t, err)
	require.Equal(t, []api.Alias{second, first}, inUTC(moves))
	_, err = db.Models().Aliases(t.Context(), caller("t2"), "m1", time.Time{})
	require.ErrorIs(t, err, api.ErrNotFound)
	others, err := db.Models().AliasMoves(t.Context(), caller("t2"), "m1")
	require.NoError(t, err)
	require.Empty(t, others)
	require.Equal(t, []string{"model.uploaded", "model.uploaded", "alias.moved", "alias.moved"}, kinds(t, db))
}

func TestOfMovesAtOnceOneIsMade(t *testing.T) {
	db, _ := open(t)
	one, _ := twoVersions(t, db)
	errs := make([]error, 8)
	together(len(errs), func(i int) {
		m := modelpack.Head{}.Next("t1", "m1", "dev", "challenger", 1, time.Now())
		_, errs[i] = db.Models().MoveAlias(t.Context(), command("t1", "", ""), m, one, blob("statement"), reply[api.Alias])
	})
	made := 0
	for _, err := range errs {
		if err == nil {
			made++
			continue
		}
		require.ErrorIs(t, err, modelpack.ErrSuperseded)
	}
	require.Equal(t, 1, made)
}

func TestAPromotionMovesTheChampionOfItsEnvironment(t *testing.T) {
	db, _ := open(t)
	one, two := twoVersions(t, db)
	for i, pkg := range []artifact.Digest{one, two} {
		id := []string{"promote-1", "promote-2"}[i]
		action := api.Action{ID: id, Kind: api.KindPromotion, ModelID: "m1", Environment: "production", Plan: blob("plan " + id)}
		_, err := db.Actions().SavePlan(t.Context(), command("t1", "", ""), action, reply[api.Action])
		require.NoError(t, err)
		plan := promotion.Plan{Kind: promotion.KindPromotion, Tenant: "t1", ModelID: "m1", Environment: "production",
			Version: &promotion.Version{Number: i + 1, Package: pkg}}
		in := contract.OutcomeInput{Subject: contract.Subject{Tenant: "t1", ModelID: "m1"}, Action: id, Kind: api.KindPromotion,
			Plan: blob("plan " + id).Digest, Outcome: contract.Applied, Bundle: blob("bundle of " + id)}
		for range 2 { // an activity may run twice
			require.NoError(t, db.Actions().RecordOutcome(t.Context(), in, plan))
		}
	}
	found, err := db.Models().Aliases(t.Context(), caller("t1"), "m1", time.Time{})
	require.NoError(t, err)
	require.Len(t, found, 1)
	champion := found[0]
	require.Equal(t, "champion", champion.Alias)
	require.EqualValues(t, 2, champion.Sequence, "once for each promotion")
	require.Equal(t, one, champion.Previous)
	require.Equal(t, two, champion.Package)
	require.Equal(t, "promote-2", champion.Action)
	require.Equal(t, blob("bundle of promote-2"), champion.Bundle)
	model, err := db.Models().Model(t.Context(), caller("t1"), "m1")
	require.NoError(t, err)
	require.Equal(t, map[string]int{"production": 2}, model.Champions)
}
