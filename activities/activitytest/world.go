// Package activitytest is the world that activities act on, in memory: every
// port, real signatures, and a fault for any call that a test names.
//
// Invariant: a port keeps here the promise that its doc makes. What is written
// once is written once, content is compared with its digest, and a call that
// fails after its effect leaves the effect behind.
package activitytest

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"sync"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/approval"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/catalog"
	"github.com/atom-fabric/fabric/domain/consent"
	"github.com/atom-fabric/fabric/domain/privacy"
	"github.com/atom-fabric/fabric/domain/promotion"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/domain/routing"
	"github.com/atom-fabric/fabric/domain/site"
)

// ErrFault is what a call returns that was told to fail.
var ErrFault = errors.New("injected fault")

// A World implements every port of the activities.
type World struct {
	mu sync.Mutex

	// Calls counts the calls of ports. FailAt is the number of the call that
	// fails, from 1; with After it fails when its effect is done.
	Calls  int
	FailAt int
	After  bool

	Key     *ecdsa.PrivateKey // signs, and is trusted
	Content map[artifact.Digest][]byte

	Features  []catalog.Feature
	Ungranted map[string]bool        // "tenant/feature" whose consent is in Given alone
	Given     []consent.Record       // beside what the features' consent amounts to
	Halts     map[string][]string    // tenants that a withdrawal leaves out, by "run/number/group"
	Left      map[string]round.Stage // from which stage on, by "run/number/group tenant"
	Taints    map[string]string      // why a version may not be promoted, by "tenant/model/version"
	Withdrew  []contract.WithdrawalRecord
	Reach     consent.Report
	Sites     []site.Site
	Rounds    map[string]Begun      // "run/number"
	Exhausted *privacy.RefusalError // what a budget says to a round that begins
	Stages    map[string]*Stage
	Sets      map[string]artifact.Descriptor // survivors by "run/number/group"
	Told      []Told                         // every call that opens a stage for members, also one that came too late
	Closed    []contract.CloseRoundInput
	Ended     []contract.CloseRunInput

	Models    []Model
	History   []routing.Snapshot // by ascending version
	Signed    []routing.Signed
	Steps     map[string]contract.SnapshotRef // "action step"
	Admitted  []string
	Voters    []approval.Approver
	Ballots   map[string]approval.Ballot
	Stands    approval.Standing
	Trained   string            // by whom
	Uses      map[string]string // of an action's approval
	Outcomes  map[string]contract.OutcomeInput
	Finished  []activities.Trial
	Packages  map[artifact.Digest][]byte   // manifests
	Referrers map[artifact.Digest][][]byte // bundles by subject
	Pushed    map[artifact.Digest][]byte   // layers
	Reports   []activities.Active          // one an answer, the last one again and again
	Notices   []string

	Copies   map[string][]activities.Replica // "tenant/model/version"; nil: every region holds everything
	Asked    []string                        // "tenant/model/version region"
	Recorded []TakenPoint
	Tips     map[string][]byte // heads
}

// Begun is a round that was begun.
type Begun struct {
	Manifest artifact.Descriptor
	Cohort   []round.Cohort
	Cost     privacy.Request
}

// Told is what somebody wanted to tell the members of a stage.
type Told struct {
	Ref     contract.StageRef
	Members []activities.Member
}

// A Stage is a stage that was opened.
type Stage struct {
	Opened      int
	Closed      bool
	Counts      round.Counts
	Members     []activities.Member
	Submissions []activities.Submission
	held        []activities.Submission // when it was closed
	// Arrives is called for every wait, to let a submission arrive in it.
	Arrives func(*Stage)
}

// A Model is a registered version.
type Model struct {
	Tenant, Model string
	Version       promotion.Version
	Metrics       round.Metrics
}

var (
	_ activities.Blobs     = (*World)(nil)
	_ activities.Rounds    = (*Rounds)(nil)
	_ activities.Versions  = (*World)(nil)
	_ activities.Snapshots = (*World)(nil)
	_ activities.Actions   = (*World)(nil)
	_ activities.Registry  = (*World)(nil)
	_ activities.Signer    = (*World)(nil)
	_ activities.Verifier  = (*World)(nil)
	_ activities.Runtime   = (*World)(nil)
	_ activities.Notifier  = (*World)(nil)
)

// New returns an empty world with a key.
func New() *World {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err) // no randomness on this machine
	}
	return &World{
		Key:       key,
		Content:   map[artifact.Digest][]byte{},
		Rounds:    map[string]Begun{},
		Stages:    map[string]*Stage{},
		Sets:      map[string]artifact.Descriptor{},
		Steps:     map[string]contract.SnapshotRef{},
		Ballots:   map[string]approval.Ballot{},
		Uses:      map[string]string{},
		Outcomes:  map[string]contract.OutcomeInput{},
		Packages:  map[artifact.Digest][]byte{},
		Referrers: map[artifact.Digest][][]byte{},
		Pushed:    map[artifact.Digest][]byte{},
		Tips:      map[string][]byte{},
	}
}

// call does one effect of a port, or fails before or after it.
func (w *World) call(effect func() error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.Calls++
	fails := w.Calls == w.FailAt
	if fails && !w.After {
		return ErrFault
	}
	if err := effect(); err != nil {
		return err
	}
	if fails {
		return ErrFault
	}
	return nil
}

// Keep stores content without counting as a call.
func (w *World) Keep(mediaType string, content []byte) artifact.Descriptor {
	d := artifact.Describe(mediaType, content)
	w.Content[d.Digest] = content
	return d
}

// Put stores content under its digest.
func (w *World) Put(_ context.Context, mediaType string, content io.Reader) (artifact.Descriptor, error) {
	all, err := io.ReadAll(content)
	if err != nil {
		return artifact.Descriptor{}, err
	}
	var d artifact.Descriptor
	err = w.call(func() error {
		d = w.Keep(mediaType, all)
		return nil
	})
	return d, err
}

// Open returns content, and fails its last read when it was altered.
func (w *World) Open(_ context.Context, digest artifact.Digest) (io.ReadCloser, error) {
	var content []byte
	err := w.call(func() error {
		var ok bool
		if content, ok = w.Content[digest]; !ok {
			return activities.ErrNotFound
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if artifact.DigestOf(content) != digest {
		return io.NopCloser(io.MultiReader(bytes.NewReader(content[:len(content)-1]), broken{})), nil
	}
	return io.NopCloser(bytes.NewReader(content)), nil
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("content differs from its digest") }

// Sign signs with the world's key.
func (w *World) Sign(_ context.Context, statement []byte) ([]byte, error) {
	var bundle []byte
	err := w.call(func() error {
		parsed, err := artifact.ParseStatement(statement)
		if err != nil {
			return err
		}
		bundle, err = artifact.SignStatement(rand.Reader, w.Key, parsed)
		return err
	})
	return bundle, err
}

// Verify accepts what the world's key has signed.
func (w *World) Verify(_ context.Context, bundle []byte, predicateType string, subject artifact.Digest) (json.RawMessage, error) {
	verified, err := artifact.VerifyBundle([]*ecdsa.PublicKey{&w.Key.PublicKey}, bundle, predicateType, subject)
	return verified.Predicate, err
}

// VerifyIn is Verify: the world's key may sign for every repository.
func (w *World) VerifyIn(ctx context.Context, _ string, bundle []byte, predicateType string, subject artifact.Digest) (json.RawMessage, error) {
	return w.Verify(ctx, bundle, predicateType, subject)
}

// Active answers with the next report.
func (w *World) Active(_ context.Context, region string) (activities.Active, error) {
	var active activities.Active
	err := w.call(func() error {
		if len(w.Reports) == 0 {
			return errors.New("the runtime does not answer")
		}
		active = w.Reports[0]
		if len(w.Reports) > 1 {
			w.Reports = w.Reports[1:]
		}
		active.Region = region
		return nil
	})
	return active, err
}

// Notify notes whom a notice was about.
func (w *World) Notify(_ context.Context, in contract.TellInput) error {
	return w.call(func() error {
		w.Notices = append(w.Notices, in.Ballot.Request.Action.ID)
		return nil
	})
}

// URL is where the data plane would pull from.
func (w *World) URL() string { return "http://registry.invalid" }

// Push stores a package under the digest of its manifest.
func (w *World) Push(ctx context.Context, _ string, pkg activities.Package) (artifact.Descriptor, error) {
	layers := make([]map[string]any, len(pkg.Layers))
	contents := make([][]byte, len(pkg.Layers))
	for i, layer := range pkg.Layers {
		content, err := layer.Open(ctx)
		if err != nil {
			return artifact.Descriptor{}, err
		}
		contents[i], err = io.ReadAll(content)
		if err = errors.Join(err, content.Close()); err != nil {
			return artifact.Descriptor{}, err
		}
		layers[i] = map[string]any{"mediaType": layer.Descriptor.MediaType, "digest": layer.Descriptor.Digest, "size": layer.Descriptor.SizeBytes,
			"annotations": map[string]any{"org.cncf.model.filepath": layer.Path}}
	}
	manifest, err := artifact.Canonical(map[string]any{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "artifactType": pkg.ArtifactType,
		"config": map[string]any{"mediaType": pkg.ConfigType, "digest": artifact.DigestOf(pkg.Config), "size": len(pkg.Config)},
		"layers": layers, "annotations": pkg.Annotations,
	})
	if err != nil {
		return artifact.Descriptor{}, err
	}
	d := artifact.Describe("application/vnd.oci.image.manifest.v1+json", manifest)
	return d, w.call(func() error {
		w.Packages[d.Digest] = manifest
		for i, layer := range pkg.Layers {
			w.Pushed[layer.Descriptor.Digest] = contents[i]
		}
		return nil
	})
}

// Attach adds a bundle to the subject's referrers, once.
func (w *World) Attach(_ context.Context, _ string, subject artifact.Descriptor, _ string, bundle []byte) error {
	return w.call(func() error {
		for _, b := range w.Referrers[subject.Digest] {
			if bytes.Equal(b, bundle) {
				return nil
			}
		}
		w.Referrers[subject.Digest] = append(w.Referrers[subject.Digest], bundle)
		return nil
	})
}

// Bundles lists the subject's referrers, whatever they are, and refuses more
// than 64.
func (w *World) Bundles(_ context.Context, _ string, subject artifact.Digest, _ string) ([][]byte, error) {
	var bundles [][]byte
	err := w.call(func() error {
		if bundles = slices.Clone(w.Referrers[subject]); len(bundles) > 64 {
			return activities.ErrRefused
		}
		return nil
	})
	return bundles, err
}

// Manifest returns a package's manifest.
func (w *World) Manifest(_ context.Context, _ string, digest artifact.Digest) ([]byte, error) {
	var manifest []byte
	err := w.call(func() error {
		var ok bool
		if manifest, ok = w.Packages[digest]; !ok {
			return activities.ErrNotFound
		}
		return nil
	})
	return manifest, err
}

// Blob returns a layer.
func (w *World) Blob(_ context.Context, _ string, digest artifact.Digest) (io.ReadCloser, error) {
	var content []byte
	err := w.call(func() error {
		var ok bool
		if content, ok = w.Pushed[digest]; !ok {
			return activities.ErrNotFound
		}
		return nil
	})
	return io.NopCloser(bytes.NewReader(content)), err
}
