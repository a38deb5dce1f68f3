package activities_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/activities/activitytest"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/modelpack"
	"github.com/atom-fabric/fabric/domain/provenance"
	"github.com/atom-fabric/fabric/internal/mirror"
	"github.com/atom-fabric/fabric/internal/oci"
	"github.com/atom-fabric/fabric/internal/registry"
)

// A carrier is an embedded registry behind a switch: it can be made to fail
// after so many blobs, and counts what it is sent.
type carrier struct {
	*oci.Registry
	dir string

	mu      sync.Mutex
	uploads int
	fails   int // at which upload; 0: none
}

func newCarrier(t *testing.T) *carrier {
	t.Helper()
	c := &carrier{dir: t.TempDir()}
	r, err := registry.Open(c.dir, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.Method == http.MethodPost && strings.HasSuffix(req.URL.Path, "/blobs/uploads/") {
			c.mu.Lock()
			c.uploads++
			fails := c.uploads == c.fails
			c.mu.Unlock()
			if fails {
				http.Error(w, "away", http.StatusBadGateway)
				return
			}
		}
		r.ServeHTTP(w, req)
	}))
	t.Cleanup(func() {
		server.Close()
		require.NoError(t, r.Close())
	})
	c.Registry, err = oci.New(server.URL, oci.Login{})
	require.NoError(t, err)
	return c
}

// mirrored is a world with a signed package of two layers in a source, and an
// empty mirror of eu.
type mirrored struct {
	*activitytest.World
	source, mirror *carrier
	in             contract.ReplicaInput
	copies         *activities.MirrorCopy
}

const packageRepository = "models/clinic/tumour"

// weights are longer than what is read between two heartbeats.
var weights = strings.Repeat("0123456789abcdef", 9<<20/16)

func newMirrored(t *testing.T) *mirrored {
	t.Helper()
	m := &mirrored{World: activitytest.New(), source: newCarrier(t), mirror: newCarrier(t)}
	set, err := mirror.New(m.source.Registry, []string{"eu", "us"}, map[string]string{"eu": m.mirror.URL()})
	require.NoError(t, err)
	m.copies = &activities.MirrorCopy{Blobs: m, Mirrors: set, Replicas: m, Verifier: m, Now: clock}
	layer := func(path, mediaType, content string) activities.Layer {
		return activities.Layer{Descriptor: artifact.Describe(mediaType, []byte(content)), Path: path, Open: func(context.Context) (io.ReadCloser, error) {
			return io.NopCloser(strings.NewReader(content)), nil
		}}
	}
	pushed, err := m.source.Registry.Push(t.Context(), packageRepository, activities.Package{
		ArtifactType: artifact.MediaTypePackage, ConfigType: artifact.MediaTypeModel, Config: []byte(`{"descriptor":{"name":"tumour"}}`),
		Layers: []activities.Layer{layer(modelpack.WeightsFile, artifact.MediaTypeWeights, weights), layer(modelpack.CardFile, modelpack.MediaTypeCard, "card")},
	})
	require.NoError(t, err)
	m.in = contract.ReplicaInput{Subject: subject(), Region: "eu", Version: 1, Attempt: 1, Repository: packageRepository, Package: pushed, Weights: artifact.DigestOf([]byte(weights))}
	text, err := m.source.Manifest(t.Context(), packageRepository, pushed.Digest)
	require.NoError(t, err)
	pkg, err := modelpack.ParseManifest(text)
	require.NoError(t, err)
	files, err := modelpack.FilesStatement("tumour", pkg.Files())
	require.NoError(t, err)
	m.attach(t, files)
	for predicateType, predicate := range map[string]any{
		artifact.PredicateModelPackage: provenance.Package{Tenant: "clinic", Model: "tumour", Weights: m.in.Weights, Manifest: pushed.Digest, Simulation: true},
		artifact.PredicateSign:         map[string]any{},
		artifact.PredicatePromotion:    map[string]any{"kind": "promotion"},
	} {
		statement, err := artifact.NewStatement(packageRepository, pushed.Digest, predicateType, predicate)
		require.NoError(t, err)
		m.attach(t, statement)
	}
	return m
}

// attach signs a statement and attaches it to the package at the source.
func (m *mirrored) attach(t *testing.T, statement artifact.Statement) {
	t.Helper()
	encoded, err := statement.Encode()
	require.NoError(t, err)
	bundle, err := m.Sign(t.Context(), encoded)
	require.NoError(t, err)
	require.NoError(t, m.source.Attach(t.Context(), packageRepository, m.in.Package, statement.PredicateType, bundle))
}

// replicate runs the activities of the workflow, one after the other.
func (m *mirrored) replicate(t *testing.T) (contract.ReplicaOutcome, error) {
	t.Helper()
	out := contract.ReplicaOutcome{ReplicaInput: m.in, Outcome: contract.ReplicaHeld}
	copied, err := act(t, contract.CopyPackage, m.copies.CopyPackage, m.in)
	if err != nil {
		return out, err
	}
	out.Inspected, err = act(t, contract.InspectReplica, m.copies.InspectReplica, contract.InspectInput{ReplicaInput: m.in, Referrers: copied.Referrers})
	if err != nil {
		return out, err
	}
	signed, err := act(t, contract.SignStatement, (&activities.Sign{Blobs: m, Signer: m}).SignStatement, contract.SignInput{
		Subject: subject(), Name: packageRepository, Digest: m.in.Package.Digest, PredicateType: artifact.PredicateReplication, Predicate: out.Inspected.Predicate})
	require.NoError(t, err)
	out.Bundle = signed.Bundle
	if _, err := act(t, contract.AttachReplica, m.copies.AttachReplica, contract.AttachReplicaInput{ReplicaInput: m.in, Predicate: out.Inspected.Predicate, Bundle: signed.Bundle}); err != nil {
		return out, err
	}
	_, err = act(t, contract.RecordReplica, m.copies.RecordReplica, out)
	return out, err
}

func TestAPackageIsCopiedWithAllThatRefersToIt(t *testing.T) {
	m := newMirrored(t)
	out, err := m.replicate(t)
	require.NoError(t, err)
	require.Equal(t, 3, out.Inspected.Layers, "the config is one")
	require.Equal(t, 4, out.Inspected.Referrers)
	require.EqualValues(t, 32+len(weights)+4, out.Inspected.SizeBytes)
	require.Equal(t, m.mirror.URL(), out.Inspected.Registry)

	want, err := m.source.Manifest(t.Context(), packageRepository, m.in.Package.Digest)
	require.NoError(t, err)
	got, err := m.mirror.Manifest(t.Context(), packageRepository, m.in.Package.Digest)
	require.NoError(t, err)
	require.Equal(t, want, got, "the same bytes: the same digest")
	statements, err := m.mirror.Bundles(t.Context(), packageRepository, m.in.Package.Digest, artifact.PredicateReplication)
	require.NoError(t, err)
	require.Len(t, statements, 1)
	predicate, err := m.Verify(t.Context(), statements[0], artifact.PredicateReplication, m.in.Package.Digest)
	require.NoError(t, err)
	var said activities.ReplicaStatement
	require.NoError(t, artifact.DecodeStrict(predicate, &said))
	require.Equal(t, "eu", said.Region)
	require.Len(t, said.Layers, 3)
	require.Len(t, said.Referrers, 4)
	theirs, err := m.source.Bundles(t.Context(), packageRepository, m.in.Package.Digest, artifact.PredicateReplication)
	require.NoError(t, err)
	require.Empty(t, theirs, "a region's statement is about that region")

	_, err = act(t, contract.VerifyHeld, m.copies.VerifyHeld, contract.HeldInput{Subject: subject(), Region: "eu", Version: 1, Package: m.in.Package.Digest})
	require.NoError(t, err)
	_, err = act(t, contract.VerifyHeld, m.copies.VerifyHeld, contract.HeldInput{Subject: subject(), Region: "us", Version: 1, Package: m.in.Package.Digest})
	require.Equal(t, contract.NotHeld, kind(err), "no replication to it has ended: %v", err)

	before := m.mirror.uploads
	m.in.Attempt = 2
	_, err = m.replicate(t)
	require.NoError(t, err)
	require.Equal(t, before, m.mirror.uploads, "nothing is sent again")
	statements, err = m.mirror.Bundles(t.Context(), packageRepository, m.in.Package.Digest, artifact.PredicateReplication)
	require.NoError(t, err)
	require.Len(t, statements, 1, "and nothing stated twice")
}

func TestACopyGoesOnWhereItWasCut(t *testing.T) {
	for cut := 1; cut <= 8; cut++ {
		m := newMirrored(t)
		m.mirror.fails = cut
		_, err := act(t, contract.CopyPackage, m.copies.CopyPackage, m.in)
		require.Error(t, err)
		require.Empty(t, kind(err), "it is tried again")
		sent := m.mirror.uploads
		out, err := m.replicate(t)
		require.NoError(t, err)
		require.Equal(t, 4, out.Inspected.Referrers)
		whole := newMirrored(t)
		_, err = whole.replicate(t)
		require.NoError(t, err)
		require.Equal(t, whole.mirror.uploads+1, m.mirror.uploads, "cut at upload %d after %d: only that one is sent again", cut, sent)
	}
}

func TestWhatAMirrorDoesNotHold(t *testing.T) {
	inspect := func(t *testing.T, m *mirrored, referrers []artifact.Digest) error {
		t.Helper()
		_, err := act(t, contract.InspectReplica, m.copies.InspectReplica, contract.InspectInput{ReplicaInput: m.in, Referrers: referrers})
		return err
	}
	t.Run("a referrer that was lost on the way", func(t *testing.T) {
		m := newMirrored(t)
		_, err := m.replicate(t)
		require.NoError(t, err)
		err = inspect(t, m, []artifact.Digest{artifact.DigestOf([]byte("lost"))})
		require.ErrorContains(t, err, activities.ErrLostReferrer.Error())
		require.Empty(t, kind(err), "the copy is made again")
	})
	t.Run("a package that nobody trusted has signed", func(t *testing.T) {
		m := newMirrored(t)
		m.Key = activitytest.New().Key
		_, err := act(t, contract.CopyPackage, m.copies.CopyPackage, m.in)
		require.Equal(t, contract.BadPackage, kind(err), "%v", err)
		require.Zero(t, m.mirror.uploads, "nothing is kept before it verifies")
	})
	t.Run("a package of another model", func(t *testing.T) {
		m := newMirrored(t)
		m.in.ModelID = "other"
		_, err := act(t, contract.CopyPackage, m.copies.CopyPackage, m.in)
		require.Equal(t, contract.BadPackage, kind(err), "%v", err)
		require.Zero(t, m.mirror.uploads)
	})
	t.Run("a statement that was signed for another region", func(t *testing.T) {
		m := newMirrored(t)
		out, err := m.replicate(t)
		require.NoError(t, err)
		us := out
		us.Region = "us"
		require.NoError(t, m.RecordReplica(t.Context(), us))
		_, err = act(t, contract.VerifyHeld, m.copies.VerifyHeld, contract.HeldInput{Subject: subject(), Region: "us", Version: 1, Package: m.in.Package.Digest})
		require.Equal(t, contract.BadPackage, kind(err), "%v", err)
	})
	t.Run("a mirror that was emptied since", func(t *testing.T) {
		m := newMirrored(t)
		_, err := m.replicate(t)
		require.NoError(t, err)
		set, err := mirror.New(m.source.Registry, []string{"eu"}, map[string]string{"eu": newCarrier(t).URL()})
		require.NoError(t, err)
		m.copies.Mirrors = set
		_, err = act(t, contract.VerifyHeld, m.copies.VerifyHeld, contract.HeldInput{Subject: subject(), Region: "eu", Version: 1, Package: m.in.Package.Digest})
		require.Equal(t, contract.BadPackage, kind(err), "%v", err)
	})
}

func TestNoRegionIsGivenARouteToWhatItDoesNotHold(t *testing.T) {
	w, plan := promotable(t)
	key := "clinic/tumour/1"
	held := activities.Replica{State: contract.ReplicaHeld, Package: plan.Version.Package, Registry: "http://mirror.invalid"}
	eu, us := held, held
	eu.Region, us.Region = "eu", "us"
	publish := func() (contract.SnapshotRef, error) {
		return act(t, contract.PublishSnapshot, snapshots(w).PublishSnapshot, publishing(plan, contract.PhaseLoad, "eu", "us"))
	}

	w.Copies = map[string][]activities.Replica{key: {eu}}
	_, err := publish()
	require.ErrorContains(t, err, activities.ErrNotHeld.Error())
	require.Empty(t, kind(err), "it is on its way")
	require.Equal(t, []string{key + " us"}, w.Asked, "it is asked for where it is lacking")
	require.Len(t, w.History, 1)

	other := us
	other.Package = artifact.DigestOf([]byte("another package"))
	w.Copies[key] = []activities.Replica{eu, other}
	_, err = publish()
	require.ErrorContains(t, err, activities.ErrNotHeld.Error())

	failed := us
	failed.State, failed.Cause = contract.ReplicaFailed, "layer differs from its digest"
	w.Copies[key] = []activities.Replica{eu, failed}
	_, err = publish()
	require.Equal(t, contract.BadPackage, kind(err))
	require.ErrorContains(t, err, failed.Cause)

	w.Copies[key] = []activities.Replica{eu, us}
	_, err = publish()
	require.NoError(t, err)
	loaded := w.History[1].Packages[0]
	require.Equal(t, "http://mirror.invalid", loaded.From("us"))
	require.Equal(t, w.URL(), loaded.From("elsewhere"))
	require.False(t, errors.Is(err, activities.ErrNotHeld))
	require.False(t, bytes.Equal(loaded.Bundle, nil))
}
