package agent

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/domain/secagg"
)

func TestTheRecordIsSealedAndErased(t *testing.T) {
	g := newGroup(t, 3, round.Train, nil)
	g.until(round.StageCheck, 0, 1, 2)
	o := g.sites[0]
	a, err := loadKey(filepath.Join(o.StateDir, keyFile))
	require.NoError(t, err)
	own, err := newRecords(filepath.Join(o.StateDir, roundsDir), a)
	require.NoError(t, err)
	slot := roundOf{Tenant: g.manifest.Tenant, Run: g.manifest.Run, Number: 1, Manifest: artifact.DigestOf([]byte(g.text)), Group: "eu"}
	rec, err := own.open(slot, time.Time{})
	require.NoError(t, err)
	require.Len(t, rec.Secret, secagg.SecretBytes)
	sealed, err := own.unseal(slot.name(), updateFile)
	require.NoError(t, err)
	update, err := readAt(sealed, 0, sealed.Size())
	require.NoError(t, err)
	require.NoError(t, sealed.Close())
	for _, end := range []string{recordFile, updateFile} {
		files := kept(t, o, end)
		require.Len(t, files, 1)
		info, err := os.Stat(files[0])
		require.NoError(t, err)
		require.EqualValues(t, 0o600, info.Mode().Perm())
		content, err := os.ReadFile(files[0])
		require.NoError(t, err)
		require.NotContains(t, string(content), "run-1")
		require.NotContains(t, string(content), "linear")
		require.NotContains(t, string(content), string(rec.Secret))
		require.NotContains(t, string(content), string(update[len(update)-64:]))
	}
	stranger, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	other, err := newRecords(own.dir, stranger)
	require.NoError(t, err)
	_, err = other.open(slot, time.Time{})
	require.ErrorIs(t, err, ErrRecord)

	// A file is not read as another one, nor after a bit was changed.
	record, err := os.ReadFile(own.path(slot, recordFile))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(own.path(slot, updateFile), record, 0o600))
	_, err = own.unseal(slot.name(), updateFile)
	require.ErrorIs(t, err, ErrRecord)
	bad := slices.Clone(record)
	bad[len(bad)-1] ^= 1
	require.NoError(t, os.WriteFile(own.path(slot, recordFile), bad, 0o600))
	require.ErrorIs(t, g.ask(0, g.item(round.StageCheck, g.inbox(round.StageCheck, 0))), ErrRecord)
	require.NoError(t, os.WriteFile(own.path(slot, recordFile), record, 0o600))

	g.sent = map[string][]v1.SubmissionRequest{}
	checks := answers[secagg.Check](g, round.StageCheck, func(i int) any { return g.inbox(round.StageCheck, i) }, 0, 1, 2)
	g.request, _, err = g.secagg.FormUnmask(g.set, checks)
	require.NoError(t, err)
	answers[secagg.Unmasking](g, round.StageUnmask, func(int) any { return g.request }, 0, 1, 2)
	require.Empty(t, kept(t, o, recordFile))
	require.Empty(t, kept(t, o, updateFile))
	stones := kept(t, o, closedFile)
	require.Len(t, stones, 1)
	stone, err := os.ReadFile(stones[0])
	require.NoError(t, err)
	require.Contains(t, string(stone), outcomeDone)
	for _, stage := range secureStages {
		require.ErrorIs(t, g.ask(0, g.item(stage, g.inbox(stage, 0))), ErrClosed, stage)
	}
	g.order(round.Train, func(m *round.Manifest) { m.TraceID = strings.Repeat("1", 32) })
	require.ErrorIs(t, g.ask(0, g.item(round.StageAdvertise, nil)), ErrSecond)
}

// An order that is replaced before anything was masked is let go of.
func TestAnOrderMayBeReplacedUntilAVectorIsMasked(t *testing.T) {
	g := newGroup(t, 3, round.Statistics, nil)
	g.until(round.StageMask, 0, 1, 2)
	first := g.text
	g.order(round.Statistics, func(m *round.Manifest) { m.TraceID = strings.Repeat("1", 32) })
	g.until(round.StageUnmask, 0, 1, 2)
	require.NotZero(t, g.sum(0, 1, 2).Metrics.Examples)
	g.text = first
	require.ErrorIs(t, g.ask(0, g.item(round.StageAdvertise, nil)), ErrSecond)
}

func TestRoundsThatNobodyEndsAreErased(t *testing.T) {
	g := newGroup(t, 3, round.Train, nil)
	g.until(round.StageMask, 0, 1, 2)
	o := g.sites[0]
	key, err := loadKey(filepath.Join(o.StateDir, keyFile))
	require.NoError(t, err)
	own, err := newRecords(filepath.Join(o.StateDir, roundsDir), key)
	require.NoError(t, err)
	slot := roundOf{Tenant: g.manifest.Tenant, Run: g.manifest.Run, Number: 1, Manifest: artifact.DigestOf([]byte(g.text)), Group: "eu"}
	open := time.Duration(g.manifest.Params.DeadlineSeconds) * time.Second * time.Duration(1+g.manifest.Params.Extensions)

	require.NoError(t, own.sweep(time.Now().Add(open+time.Hour), nil))
	require.Len(t, kept(t, o, recordFile), 1, "its stages can still be open")
	require.NoError(t, own.sweep(time.Now().Add(open+2*time.Hour), map[string]bool{slot.name(): true}))
	require.Len(t, kept(t, o, recordFile), 1, "it is on offer")
	require.NoError(t, own.sweep(time.Now().Add(open+2*time.Hour), nil))
	require.Empty(t, kept(t, o, recordFile))
	require.Empty(t, kept(t, o, updateFile))
	require.ErrorIs(t, g.ask(0, g.item(round.StageMask, g.inbox(round.StageMask, 0))), ErrClosed)

	// A crash between the tombstone and the erasure.
	require.NoError(t, own.write(slot, recordFile, []byte(`{}`)))
	require.NoError(t, own.write(slot, updateFile, []byte(`x`)))
	require.NoError(t, own.sweep(time.Now(), nil))
	require.Empty(t, kept(t, o, recordFile))
	require.Empty(t, kept(t, o, updateFile))
}
