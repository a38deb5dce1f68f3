package modelpack_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/modelpack"
)

func TestAMoveIsGoodOnceAndForAnHour(t *testing.T) {
	now := time.Date(2026, 3, 3, 12, 0, 0, 0, time.UTC)
	one := artifact.DigestOf([]byte("one"))
	first := modelpack.Head{}.Next("t1", "m", "production", "challenger", 1, now)
	require.NoError(t, first.Follows(modelpack.Head{}))
	require.EqualValues(t, 1, first.Sequence)

	head := modelpack.Head{Sequence: 1, Version: 1, Package: one}
	require.ErrorIs(t, first.Follows(head), modelpack.ErrSuperseded, "replayed")
	second := head.Next("t1", "m", "production", "challenger", 2, now)
	require.NoError(t, second.Follows(head))
	for _, other := range []modelpack.Head{{}, {Sequence: 2, Package: one}, {Sequence: 1, Package: artifact.DigestOf(nil)}} {
		require.ErrorIs(t, second.Follows(other), modelpack.ErrSuperseded)
	}

	for after, fresh := range map[time.Duration]bool{
		0: true, time.Hour: true, time.Hour + time.Second: false, -2 * time.Minute: true, -2*time.Minute - time.Second: false,
	} {
		require.Equal(t, fresh, second.Fresh(now.Add(after)) == nil, "%s after it was signed", after)
	}
}

func TestAPredicateOfAMoveIsReadStrictly(t *testing.T) {
	good := `{"tenant":"t1","model":"m","environment":"dev","alias":"challenger","sequence":1,"version":2,"previous":"","issuedAt":"2026-03-03T12:00:00Z"}`
	m, err := modelpack.ParseMove(json.RawMessage(good))
	require.NoError(t, err)
	require.Equal(t, 2, m.Version)
	for name, text := range map[string]string{
		"two versions":        `{"version":9,` + good[1:],
		"a key in other case": `{"Version":9,` + good[1:],
		"an unknown key":      `{"force":true,` + good[1:],
		"empty":               `{}`,
	} {
		_, err := modelpack.ParseMove(json.RawMessage(text))
		require.ErrorIs(t, err, modelpack.ErrMove, name)
	}
	for name, ok := range map[string]bool{"champion": true, "a-1": true, "": false, "-a": false, "a-": false, "A": false, "a/b": false, "a--b": false, "1a": false} {
		require.Equal(t, ok, modelpack.ValidAlias(name), "%q", name)
	}
}
