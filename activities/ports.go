// Package activities acts: each method does one effect, and may be run again
// at any line of it.
//
// Invariant: every activity is idempotent. Blobs are addressed by digest, rows
// by natural key, and an effect that was done but not reported is found done.
package activities

import (
	"context"
	"encoding/json"
	"io"
	"time"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/approval"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/audit"
	"github.com/atom-fabric/fabric/domain/catalog"
	"github.com/atom-fabric/fabric/domain/consent"
	"github.com/atom-fabric/fabric/domain/privacy"
	"github.com/atom-fabric/fabric/domain/promotion"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/domain/routing"
	"github.com/atom-fabric/fabric/domain/site"
)

// Blobs keeps content by digest. Put of the same content twice is one blob;
// Open compares the digest while it is read and fails the last Read when it
// differs. A blob that Put has returned for survives a crash.
type Blobs interface {
	Put(ctx context.Context, mediaType string, content io.Reader) (artifact.Descriptor, error)
	Open(ctx context.Context, digest artifact.Digest) (io.ReadCloser, error) // ErrNotFound
}

// Rounds keeps runs, rounds, stages and submissions. Every method is one
// transaction and adds its audit leaf in it; tenant scopes the rows.
type Rounds interface {
	// ConsentedFeatures returns the named features of the tenants, with consent
	// as grantee would see it now. A feature that is not registered is absent.
	ConsentedFeatures(ctx context.Context, grantee string, tenants, features []string) ([]catalog.Feature, error)
	// ActiveSites returns the enrolled sites of the tenants, by tenant and id.
	ActiveSites(ctx context.Context, tenants []string) ([]site.Site, error)
	// Grants returns the grants of the features that grantee holds, with how
	// often each was used; those that ended too.
	Grants(ctx context.Context, grantee string, tenants, features []string) ([]consent.Record, error)
	// KeepGrant writes who signed a grant, once, and returns what is written.
	KeepGrant(ctx context.Context, tenant, id string, bundle artifact.Descriptor) (artifact.Descriptor, error)
	// Epochs returns the consent epoch of each of the tenants.
	Epochs(ctx context.Context, tenants []string) (map[string]int64, error)
	// Foreign says whether another run of the tenant left these weights.
	Foreign(ctx context.Context, tenant, run string, weights artifact.Digest) (bool, error)
	// Halted returns the tenants that a withdrawal leaves out of a group. When
	// the group's last stage is closed, nobody is added.
	Halted(ctx context.Context, ref contract.StageRef) ([]string, error)
	// BeginRound writes the round with its cohort once, and reserves what it
	// costs from the privacy budget of each feature that it reads, or refuses
	// with a [*privacy.RefusalError] and writes nothing. A second call returns
	// the manifest that the first one wrote. A grant that it is under and that was
	// withdrawn meanwhile makes it fail: planned anew, it is refused.
	BeginRound(ctx context.Context, in contract.RoundInput, manifest artifact.Descriptor, cohort []round.Seat, cost privacy.Request, under ...consent.Record) (artifact.Descriptor, error)
	// Begun returns the manifest of a round that was begun.
	Begun(ctx context.Context, tenant, run string, number int) (manifest artifact.Descriptor, cohort []round.Cohort, ok bool, err error)
	// OpenStage opens a group's first stage, update or advertise: its sites see
	// the round, and those that wait are woken. A stage that is open is left as
	// it is, its deadline too.
	OpenStage(ctx context.Context, in contract.RegionInput, stage round.Stage, deadline time.Time) error
	// OpenNext opens the stage that ref names for the members alone, each with
	// what it is given, and wakes them. The members of the first call win, and
	// so does its deadline: a later call changes nothing.
	OpenNext(ctx context.Context, ref contract.StageRef, members []Member, deadline time.Time) error
	// Members returns whom OpenNext has opened the stage for, by ascending
	// tenant and site; none when it is not open.
	Members(ctx context.Context, ref contract.StageRef) ([]Member, error)
	// CommitSurvivors writes the group's survivor set, once, and returns the one
	// that is written: of two calls with different sets both return the first.
	// ref.Stage does not matter.
	CommitSurvivors(ctx context.Context, ref contract.StageRef, set artifact.Descriptor) (artifact.Descriptor, error)
	// Survivors returns the set that was written.
	Survivors(ctx context.Context, ref contract.StageRef) (set artifact.Descriptor, ok bool, err error)
	// StageCounts counts the submissions of the stage. Selected is how many are
	// asked in it.
	StageCounts(ctx context.Context, ref contract.StageRef) (round.Counts, error)
	// StageChanged returns when a submission may have arrived, or after wait.
	StageChanged(ctx context.Context, ref contract.StageRef, wait time.Duration) error
	// CloseStage refuses further submissions and returns those that came, the
	// refused ones with their Reason, by ascending tenant and site. Closing twice
	// returns the same.
	CloseStage(ctx context.Context, ref contract.StageRef) ([]Submission, error)
	// Answers returns what was taken in the stage that carries updates, of every
	// group, and when the round began; the same from when its stages are closed.
	Answers(ctx context.Context, tenant, run string, number int) ([]Answer, time.Time, error)
	// CloseRound and CloseRun write the ends, once. What an ended round has
	// reserved is committed, or refunded if nothing can have been learnt in it.
	CloseRound(ctx context.Context, in contract.CloseRoundInput) error
	CloseRun(ctx context.Context, in contract.CloseRunInput) error
}

// A Member is a site that is asked in a stage, and what it is given for it.
type Member struct {
	Tenant string
	Site   string
	Inbox  artifact.Descriptor
}

// An Answer is what a site of a group has signed for.
type Answer struct {
	Group  string
	Tenant string
	Site   string
	Bundle artifact.Digest
}

// A Submission is a site's answer in a stage. Update is empty in a round that
// only evaluates, and in the stages of a secured round but mask, where it is
// the masked vector. Message is what the site says to the protocol of a secured
// round. Reason is set for one that was refused.
type Submission struct {
	Tenant  string
	Site    string
	Update  artifact.Descriptor
	Metrics round.Metrics
	Message artifact.Descriptor
	Reason  string
	From    int // train round whose weights a late update started from; 0 is the one that it is sent in
}

// Versions is the index of record of model versions.
type Versions interface {
	// Register gives the package the next number of its model, once per package.
	Register(ctx context.Context, in contract.RegisterInput) (contract.Version, error)
	// Tainted says why a version may not be promoted: it learnt from what was
	// withdrawn since, and nobody has decided that it stays. Empty: it may.
	Tainted(ctx context.Context, tenant, model string, number int) (string, error)
	// Version returns a registered version, or ErrNotFound.
	Version(ctx context.Context, tenant, model string, number int) (promotion.Version, round.Metrics, error)
}

// Snapshots is the history of what the data plane runs.
type Snapshots interface {
	// Latest returns the newest snapshot; version 0 when there is none.
	Latest(ctx context.Context) (routing.Snapshot, error)
	// At returns the snapshot of a version, for the way back to it. ErrNotFound.
	At(ctx context.Context, version int64) (routing.Snapshot, error)
	// Publish stores a signed snapshot if its version is one above the newest,
	// and wakes those that wait for it. ErrStale otherwise. It returns the
	// stored one when action already published in this phase.
	Publish(ctx context.Context, action, phase string, snapshot routing.Snapshot, signed routing.Signed) error
	// Published returns the snapshot that action published in a phase.
	Published(ctx context.Context, action, phase string) (contract.SnapshotRef, bool, error)
	// Callers returns the tenants that a model's routes admit beside its owner.
	Callers(ctx context.Context, tenant, model string) ([]string, error)
}

// Actions keeps promotions, rollouts, tunings and their ballots.
type Actions interface {
	// Approvers returns who may vote for the tenant, by name.
	Approvers(ctx context.Context, tenant string) ([]approval.Approver, error)
	// OpenBallot writes the request of its action once, and returns what the
	// first call wrote: nonce and opening time are those of the first.
	OpenBallot(ctx context.Context, req approval.Request) (approval.Request, error)
	// RecordBallot brings the ballot up to date, with a leaf for every vote,
	// counted or not, that has none yet.
	RecordBallot(ctx context.Context, ballot approval.Ballot) error
	// Standing returns whose registration and which delegation of the tenant was
	// revoked, and how many broken glasses wait for their review.
	Standing(ctx context.Context, tenant string) (approval.Standing, error)
	// BeginBallot uses the approval that the ballot holds, in one transaction
	// with the check that every voter still may vote, and with the opening of
	// review, if one is given. It writes nothing and returns Losses when some may
	// not. The same use again returns what the first one did; another is
	// ErrRefused.
	BeginBallot(ctx context.Context, in contract.BeginInput, review *approval.Request, now time.Time) (contract.Begun, error)
	// Trainer returns who asked for the run that made a version; empty for an
	// uploaded one.
	Trainer(ctx context.Context, tenant, model string, number int) (string, error)
	// RecordOutcome ends an action, once, and moves what the outcome moves: the
	// champion of a model, the policy revision, a tuned parameter.
	RecordOutcome(ctx context.Context, in contract.OutcomeInput, plan promotion.Plan) error
	// Trials returns the closed runs of a model, oldest first, for tuning.
	Trials(ctx context.Context, tenant, model string) ([]Trial, error)
}

// A Trial is a finished run with what it was given and what came of it.
type Trial struct {
	Run     string
	Params  round.Params
	Metrics round.Metrics
	Status  string
}

// A Registry carries packages. Push is addressed by content: twice is once.
type Registry interface {
	// URL returns the base URL that the data plane pulls from.
	URL() string
	// Push uploads a config, layers and their manifest, and returns the manifest.
	Push(ctx context.Context, repository string, pkg Package) (artifact.Descriptor, error)
	// Attach adds a bundle as a referrer of subject, once.
	Attach(ctx context.Context, repository string, subject artifact.Descriptor, predicateType string, bundle []byte) error
	// Bundles returns the bundles that refer to subject, at most 64 of at most
	// 1 MiB. Errors: ErrRefused when there are more.
	Bundles(ctx context.Context, repository string, subject artifact.Digest, predicateType string) ([][]byte, error)
	// Manifest and Blob return content that was compared with its digest.
	Manifest(ctx context.Context, repository string, digest artifact.Digest) ([]byte, error)
	Blob(ctx context.Context, repository string, digest artifact.Digest) (io.ReadCloser, error)
}

// A Package is what is pushed: layers are streamed from blobs of the fabric.
type Package struct {
	ArtifactType string
	ConfigType   string
	Config       []byte
	Layers       []Layer
	Annotations  map[string]string
}

// A Layer is one file of a package.
type Layer struct {
	Descriptor artifact.Descriptor
	Path       string // annotation org.cncf.model.filepath
	Open       func(ctx context.Context) (io.ReadCloser, error)
}

// A Signer signs in-toto statements with the fabric's key.
type Signer interface {
	Sign(ctx context.Context, statement []byte) (bundle []byte, err error)
}

// A Verifier accepts a bundle only for exactly this predicate type and subject,
// with exactly one signature by a trusted key, and returns the predicate.
type Verifier interface {
	Verify(ctx context.Context, bundle []byte, predicateType string, subject artifact.Digest) (json.RawMessage, error)
	// VerifyIn is Verify for a subject that is kept in a repository: whose
	// signature counts there may differ from elsewhere.
	VerifyIn(ctx context.Context, repository string, bundle []byte, predicateType string, subject artifact.Digest) (json.RawMessage, error)
}

// A Runtime is a region's runtime as its own region sees it.
type Runtime interface {
	// Active returns what the runtime says it runs.
	Active(ctx context.Context, region string) (Active, error)
}

// Active is a runtime's own report.
type Active struct {
	Region   string                     `json:"region"`
	Snapshot int64                      `json:"snapshot"`
	Policy   artifact.Digest            `json:"policy"`
	Packages map[string]artifact.Digest `json:"packages"` // "tenant/model/version" -> manifest digest, loaded
	Routes   map[string]int             `json:"routes"`   // "tenant/model/environment" -> version

	Delivered int64 `json:"delivered"` // newest snapshot that it has received; 0 from one that does not say
	Verified  int64 `json:"verified"`  // of these, the newest that it has verified
}

// A Notifier tells approvers, and whoever asked, how a ballot stands.
type Notifier interface {
	Notify(ctx context.Context, in contract.TellInput) error
}

// A Ledger appends to the audit log outside another port's transaction.
type Ledger interface {
	Append(ctx context.Context, leaf audit.Leaf) error
}
