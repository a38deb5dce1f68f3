// Package apitest is a fabric in memory: every port of the API over plain maps,
// for tests of whatever speaks HTTP.
//
// Invariant: it obeys the comments of the ports as the real adapters do: rows
// belong to tenants, a command with a key is done once, what fails changes
// nothing.
package apitest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/approval"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/canary"
	"github.com/atom-fabric/fabric/domain/catalog"
	"github.com/atom-fabric/fabric/domain/consent"
	"github.com/atom-fabric/fabric/domain/policy"
	"github.com/atom-fabric/fabric/domain/privacy"
	"github.com/atom-fabric/fabric/domain/routing"
	"github.com/atom-fabric/fabric/domain/site"
)

// Epoch is when everything in a test fabric happens.
var Epoch = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// A Fabric holds everything. Fields may be set before it is used.
type Fabric struct {
	mu sync.Mutex

	Features     map[string]catalog.Feature // "tenant/id"
	Grants       []consent.Record
	Withdrawals  []api.Withdrawal
	Accesses     []api.Access
	Ended        map[string][]consent.Floor    // what withdrawals have ended, by tenant
	RunRows      map[string]api.Run            // id
	Progressed   map[string]api.RunProgress    // by run
	Endpoints    map[string][]api.EndpointLoad // by tenant
	SiteRows     map[string]site.Site          // "tenant/id"
	WorkItems    map[string][]api.Work         // "tenant/id" -> open stages
	OpenRuns     map[string][]api.OpenRun      // "tenant/id" -> runs that have asked the site
	ClosedItems  map[string][]api.Work         // "tenant/id" -> closed stages
	Submissions  []api.Submission
	ModelRows    map[string]api.Model  // "tenant/id"
	AliasRows    []api.Alias           // in the order of the moves
	ActionRows   map[string]api.Action // id
	Revisions    []api.PolicyRevision  // newest first
	BallotRows   map[string]approval.Ballot
	Persons      map[string][]approval.Approver // tenant
	Stands       approval.Standing
	Reconsidered []string // ballots that were told
	Snapshot     routing.Snapshot
	Signed       routing.Signed
	Entries      []api.AuditEntry
	TrialRows    map[string][]api.Trial // "tenant/model"
	StudyRows    map[string]api.Study
	Ledgers      map[string]privacy.Ledger // "tenant/feature"
	Content      map[artifact.Digest][]byte
	Registry     map[artifact.Digest][]byte

	Starts       []api.Start // the outbox
	Leaves       []string    // kinds of audit leaves, in order
	Votes        []contract.SignedVote
	Stops        []string
	RolloutFacts map[string][]canary.Fact // by promotion
	Load         map[string]int64         // calls by region
	Lacking      string                   // what the scorecard of every version lacks
	Ran          api.Ran
	Steered      []contract.Steer
	Copies       map[string][]api.Replica // "tenant/model/version"
	Asked        []string                 // replications, "tenant/model/version region"
	Points       map[string][]api.RecoveryPoint
	Pauses       []contract.PauseRequest
	Decided      []api.Decision
	VerdictRows  []policy.Decision
	Proposed     []api.KeptProposal
	RegionRows   map[string][]api.RegionState // by action
	Observed     []api.Observation
	Revoked      []api.Revocation
	Checkpoints  map[string]api.Checkpoint // "tenant/run/number"
	Fail         error                     // what every port answers with, when set
	Against      []string                  // reasons of the rules engine against every run

	Published map[string]api.FeatureStatistics // "tenant/feature", the newest attempt
	Said      map[string]api.SiteAnswer        // "question/site"

	answers map[string]stored
	pieces  map[api.Upload][]byte
}

type stored struct {
	fingerprint artifact.Digest
	answer      api.Answer
}

// New returns an empty fabric.
func New() *Fabric {
	return &Fabric{
		Features: map[string]catalog.Feature{}, RunRows: map[string]api.Run{}, SiteRows: map[string]site.Site{},
		WorkItems: map[string][]api.Work{}, ModelRows: map[string]api.Model{}, ActionRows: map[string]api.Action{},
		BallotRows: map[string]approval.Ballot{}, Persons: map[string][]approval.Approver{}, TrialRows: map[string][]api.Trial{}, StudyRows: map[string]api.Study{},
		Content: map[artifact.Digest][]byte{}, Registry: map[artifact.Digest][]byte{}, answers: map[string]stored{}, Ledgers: map[string]privacy.Ledger{}, Checkpoints: map[string]api.Checkpoint{},
		Published: map[string]api.FeatureStatistics{}, Said: map[string]api.SiteAnswer{},
	}
}

// Ports returns the fabric as the API wants it.
func (f *Fabric) Ports() api.Ports {
	return api.Ports{
		Idempotency: idempotency{f}, Catalog: features{f}, Consents: consents{f}, Runs: runs{f}, Sites: sites{f}, Models: models{f}, Actions: actions{f},
		Approvals: approvals{f}, Workflows: workflows{f}, Snapshots: snapshots{f}, AuditLog: auditLog{f}, Scorecards: scorecards{f},
		Blobs: blobs{f}, Uploads: uploads{f}, Verifier: verifier{}, Packages: packages{f}, SiteTokens: siteTokens{}, Rules: rules{f}, Budgets: budgets{f},
		Replicas: replicas{f}, Recoveries: recoveries{f}, Decisions: decisions{f}, Rollouts: rollouts{f}, Revocations: revocations{f},
		Verdicts: verdicts{f}, Replayer: replayer{}, Proposals: proposals{f}, Studies: studies{f},
		Statistics: statistics{f},
	}
}

// Keep stores content as a blob and returns its descriptor.
func (f *Fabric) Keep(mediaType string, content []byte) artifact.Descriptor {
	d := artifact.Describe(mediaType, content)
	f.Content[d.Digest] = content
	return d
}

// enter is called by every port: it locks, and fails if the test wants so.
func (f *Fabric) enter() (leave func(), err error) {
	f.mu.Lock()
	return f.mu.Unlock, f.Fail
}

// Judge lets a ballot move, as its workflow does, while nobody reads it.
func (f *Fabric) Judge(action string, move func(approval.Ballot) approval.Ballot) approval.Ballot {
	f.mu.Lock()
	defer f.mu.Unlock()
	b := move(f.BallotRows[action])
	f.BallotRows[action] = b
	return b
}

// command runs do once for the key of cmd.
func command[T any](f *Fabric, cmd api.Command, leaf string, reply api.Reply[T], do func() (T, error)) (api.Answer, error) {
	leave, err := f.enter()
	defer leave()
	if err != nil {
		return api.Answer{}, err
	}
	if answer, ok, err := f.recall(cmd); ok || err != nil {
		return answer, err
	}
	written, err := do()
	if err != nil {
		return api.Answer{}, err
	}
	answer, err := reply(written)
	if err != nil {
		return answer, err
	}
	f.Leaves = append(f.Leaves, leaf)
	f.remember(cmd, answer)
	return answer, nil
}

func key(cmd api.Command) string { return cmd.Tenant + " " + cmd.Operation + " " + string(cmd.KeyHash) }

func (f *Fabric) recall(cmd api.Command) (api.Answer, bool, error) {
	s, ok := f.answers[key(cmd)]
	switch {
	case cmd.KeyHash == "" || !ok:
		return api.Answer{}, false, nil
	case s.fingerprint != cmd.Fingerprint:
		return api.Answer{}, false, api.ErrKeyReuse
	}
	s.answer.Replayed = true
	return s.answer, true, nil
}

func (f *Fabric) remember(cmd api.Command, answer api.Answer) {
	if cmd.KeyHash != "" {
		f.answers[key(cmd)] = stored{cmd.Fingerprint, answer}
	}
}

// after pages sorted items by key.
func after[T any](items []T, p api.Page, key func(T) string, down bool) []T {
	slices.SortFunc(items, func(a, b T) int {
		if down {
			a, b = b, a
		}
		return strings.Compare(key(a), key(b))
	})
	out := items[:0:0]
	for _, item := range items {
		beyond := key(item) > p.After
		if down {
			beyond = key(item) < p.After
		}
		if (p.After == "" || beyond) && len(out) < p.Limit {
			out = append(out, item)
		}
	}
	return out
}

type idempotency struct{ f *Fabric }

func (p idempotency) Recall(_ context.Context, cmd api.Command) (api.Answer, bool, error) {
	leave, err := p.f.enter()
	defer leave()
	if err == nil && cmd.Tenant == "" {
		err = fmt.Errorf("no tenant given") // as the database says
	}
	if err != nil {
		return api.Answer{}, false, err
	}
	return p.f.recall(cmd)
}

func (p idempotency) Keep(_ context.Context, cmd api.Command, answer api.Answer) (api.Answer, error) {
	return command(p.f, cmd, "kept", func(a api.Answer) (api.Answer, error) { return a, nil }, func() (api.Answer, error) { return answer, nil })
}

type blobs struct{ f *Fabric }

func (p blobs) Put(_ context.Context, mediaType string, content io.Reader) (artifact.Descriptor, error) {
	text, err := io.ReadAll(content)
	if err != nil {
		return artifact.Descriptor{}, err
	}
	leave, err := p.f.enter()
	defer leave()
	if err != nil {
		return artifact.Descriptor{}, err
	}
	return p.f.Keep(mediaType, text), nil
}

func (p blobs) Open(_ context.Context, digest artifact.Digest) (io.ReadCloser, error) {
	leave, err := p.f.enter()
	defer leave()
	if err != nil {
		return nil, err
	}
	text, ok := p.f.Content[digest]
	if !ok {
		return nil, api.ErrNotFound
	}
	return io.NopCloser(bytes.NewReader(text)), nil
}

type packages struct{ f *Fabric }

func (p packages) PushBlob(ctx context.Context, _ string, blob artifact.Descriptor, open func(context.Context) (io.ReadCloser, error)) error {
	content, err := open(ctx)
	if err != nil {
		return err
	}
	defer content.Close()
	text, err := io.ReadAll(content)
	if err != nil {
		return err
	}
	return p.put(blob.Digest, text)
}

func (p packages) put(digest artifact.Digest, text []byte) error {
	leave, err := p.f.enter()
	defer leave()
	if err == nil {
		p.f.Registry[digest] = text
	}
	return err
}

func (p packages) PushManifest(_ context.Context, _, _ string, manifest []byte) error {
	return p.put(artifact.DigestOf(manifest), manifest)
}

func (p packages) Attach(_ context.Context, _ string, _ artifact.Descriptor, _ string, bundle []byte) error {
	return p.put(artifact.DigestOf(bundle), bundle)
}

func (p packages) Manifest(_ context.Context, _ string, digest artifact.Digest) ([]byte, error) {
	leave, err := p.f.enter()
	defer leave()
	text, ok := p.f.Registry[digest]
	if err == nil && !ok {
		err = api.ErrNotFound
	}
	return text, err
}

func (p packages) Blob(ctx context.Context, repository string, digest artifact.Digest) (io.ReadCloser, error) {
	text, err := p.Manifest(ctx, repository, digest)
	return io.NopCloser(bytes.NewReader(text)), err
}

// Vouch returns what the test verifier takes for a bundle: the predicate that
// is said of a subject.
func Vouch(predicateType string, subject artifact.Digest, predicate any) []byte {
	text, err := json.Marshal(map[string]any{"type": predicateType, "subject": subject, "predicate": predicate})
	if err != nil {
		panic(err) // predicates of tests marshal
	}
	return text
}

// verifier believes bundles of [Vouch].
type verifier struct{}

func (verifier) Verify(_ context.Context, bundle []byte, predicateType string, subject artifact.Digest) (json.RawMessage, error) {
	var said struct {
		Type      string          `json:"type"`
		Subject   artifact.Digest `json:"subject"`
		Predicate json.RawMessage `json:"predicate"`
	}
	if err := json.Unmarshal(bundle, &said); err != nil || said.Type != predicateType || said.Subject != subject {
		return nil, &artifact.VerifyError{PredicateType: predicateType, Subject: subject, Err: api.ErrUnverified}
	}
	return said.Predicate, nil
}

func (v verifier) VerifyIn(ctx context.Context, _ string, bundle []byte, predicateType string, subject artifact.Digest) (json.RawMessage, error) {
	return v.Verify(ctx, bundle, predicateType, subject)
}

// siteTokens mints texts that say what they are for.
type siteTokens struct{}

func (siteTokens) MintSite(tenant, site, region string, ttl time.Duration) (string, time.Time, error) {
	return strings.Join([]string{"site", tenant, site, region}, " "), Epoch.Add(ttl), nil
}
