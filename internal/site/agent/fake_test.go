package agent

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/consent"
	"github.com/atom-fabric/fabric/domain/model"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/examples/tumour"
)

// A world is a fabric in memory: it signs orders, offers each until it is
// answered, and can fail any of its calls before or after their effect.
type world struct {
	key *ecdsa.PrivateKey

	mu       sync.Mutex
	offers   []v1.Work
	blobs    map[artifact.Digest][]byte
	answered map[int][]v1.SubmissionRequest // by number, every one that was recorded
	enrolled []v1.EnrolRequest
	token    string // the one that is good; changes with each enrolment
	polls    int
	calls    int
	fail     func(call int, name string) (before, after error)
	refuse   error // of enrolments
	floors   []v1.ConsentFloor
	runs     []v1.OpenRun
	packs    map[artifact.Digest]string // of grants

	questions []v1.SiteQuestion
	said      []v1.SiteAnswerRequest
}

var errDown = errors.New("connection refused")

func problem(status int, code string) error {
	return &v1.ProblemError{Problem: v1.Problem{Status: status, Code: code, Title: code}}
}

func newWorld(t testing.TB) *world {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return &world{key: key, blobs: map[artifact.Digest][]byte{}, answered: map[int][]v1.SubmissionRequest{},
		fail: func(int, string) (error, error) { return nil, nil }}
}

func (w *world) call(name, token string, effect func() error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls++
	before, after := w.fail(w.calls, name)
	if before != nil {
		return before
	}
	if name != "enrol" && (token == "" || token != w.token) {
		return problem(http.StatusUnauthorized, "token_invalid")
	}
	if err := effect(); err != nil {
		return err
	}
	return after
}

func (w *world) Enrol(_ context.Context, federationToken string, req v1.EnrolRequest) (v1.Enrolment, error) {
	var out v1.Enrolment
	err := w.call("enrol", "", func() error {
		if w.refuse != nil {
			return w.refuse
		}
		if federationToken != "federation" {
			return problem(http.StatusUnauthorized, "federation_token_invalid")
		}
		w.enrolled = append(w.enrolled, req)
		w.token = "token-" + time.Now().Format(time.RFC3339Nano)
		pem, err := artifact.MarshalPublicKey(&w.key.PublicKey)
		if err != nil {
			return err
		}
		out = v1.Enrolment{Token: w.token, TrustedKeys: []string{string(pem)},
			RenewAfter: time.Now().Add(time.Hour), ExpiresAt: time.Now().Add(2 * time.Hour)}
		return nil
	})
	return out, err
}

func (w *world) Work(ctx context.Context, token string, wait time.Duration) (v1.WorkList, error) {
	var out []v1.Work
	err := w.call("work", token, func() error {
		w.polls++
		for _, item := range w.offers {
			if len(w.answered[item.Number]) == 0 {
				out = append(out, item)
			}
		}
		return nil
	})
	if err == nil && len(out) == 0 {
		sleep(ctx, wait)
	}
	return v1.WorkList{Items: out, Floors: w.floors, Questions: w.questions}, err
}

func (w *world) Answer(_ context.Context, token string, req v1.SiteAnswerRequest) error {
	return w.call("answer", token, func() error {
		w.said = append(w.said, req)
		return nil
	})
}

func (w *world) Runs(_ context.Context, token string) (out []v1.OpenRun, err error) {
	err = w.call("runs", token, func() error {
		out = w.runs
		return nil
	})
	return out, err
}

func (w *world) Blob(_ context.Context, token string, digest artifact.Digest, first int64) (io.ReadCloser, error) {
	var out io.Reader
	err := w.call("blob", token, func() error {
		content, ok := w.blobs[digest]
		if !ok {
			return problem(http.StatusNotFound, "not_found")
		}
		out = bytes.NewReader(content[first:])
		return nil
	})
	return io.NopCloser(out), err
}

func (w *world) PutBlob(_ context.Context, token string, digest artifact.Digest, size int64, src io.ReaderAt) error {
	content, err := readAt(src, 0, size)
	if err != nil {
		return err
	}
	return w.call("put", token, func() error {
		if artifact.DigestOf(content) != digest {
			return problem(http.StatusUnprocessableEntity, "digest_differs")
		}
		w.blobs[digest] = content
		return nil
	})
}

func (w *world) Submit(_ context.Context, token, _ string, number int, req v1.SubmissionRequest) error {
	return w.call("submit", token, func() error {
		w.answered[number] = append(w.answered[number], req)
		return nil
	})
}

// order makes a signed order of the world; change may falsify the manifest
// before it is signed.
func (w *world) order(t testing.TB, number int, kind round.Kind, change func(*round.Manifest)) v1.Work {
	params, err := round.Params{
		Model:     round.ModelSpec{Trainer: round.TrainerLogistic, Inputs: tumour.Inputs, Classes: 2},
		BatchSize: 16, LearningRate: 0.1, Features: []string{"cells"}, Seed: 7,
	}.Validate()
	require.NoError(t, err)
	base, err := model.Initial(params.Model, 7).Encode()
	require.NoError(t, err)
	w.blobs[artifact.DigestOf(base)] = base
	m := round.Manifest{
		Run: "run-1", Number: number, Kind: kind, Tenant: "consortium", ModelID: "tumour",
		Base: artifact.Describe(artifact.MediaTypeWeights, base), Params: params,
		Features: []round.FeatureRef{{Tenant: "hosp-north", Feature: "cells", Fingerprint: artifact.DigestOf(nil)}},
		Cohort:   []round.Cohort{{Region: "eu", Sites: 2}}, CohortRoot: artifact.DigestOf(nil),
		Simulation: true, TraceID: "0123456789abcdef0123456789abcdef",
	}
	m.Consents = w.consents(t, granted(m, nil))
	if change != nil {
		change(&m)
	}
	text, err := json.Marshal(m)
	require.NoError(t, err)
	return w.offer(t, m, string(text))
}

// granted is what the tenant of the site allows the owner of a model.
func granted(m round.Manifest, change func(*consent.Grant)) consent.Grant {
	g := consent.Grant{
		ID: "g000001", Tenant: "hosp-north", Feature: "cells", Grantee: m.Tenant, Epoch: 1,
		Actions: []string{"evaluate", "stats", "train"}, NotBefore: time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC), // a synthetic clock begins in 2000
	}
	if change != nil {
		change(&g)
	}
	return g
}

// consents packs signed grants for an order.
func (w *world) consents(t testing.TB, grants ...consent.Grant) []round.TenantConsent {
	return w.consentsBy(t, w.key, grants...)
}

func (w *world) consentsBy(t testing.TB, key *ecdsa.PrivateKey, grants ...consent.Grant) []round.TenantConsent {
	var bundles []string
	var epoch int64
	for _, g := range grants {
		statement, err := g.Statement()
		require.NoError(t, err)
		bundle, err := artifact.SignStatement(nil, key, statement)
		require.NoError(t, err)
		bundles, epoch = append(bundles, string(bundle)), max(epoch, g.Epoch)
	}
	pack, err := consent.Pack(bundles)
	require.NoError(t, err)
	if w.packs == nil {
		w.packs = map[artifact.Digest]string{}
	}
	w.packs[artifact.DigestOf(pack)] = string(pack)
	return []round.TenantConsent{{Tenant: "hosp-north", Epoch: epoch, Grants: artifact.DigestOf(pack)}}
}

// packOf is what an offer brings along of the grants that its manifest names.
func (w *world) packOf(text string) string {
	var m struct {
		Consents []round.TenantConsent `json:"consents"`
	}
	_ = json.Unmarshal([]byte(text), &m) // a falsified manifest names nothing
	for _, c := range m.Consents {
		return w.packs[c.Grants]
	}
	return ""
}

// offer signs a manifest text and says of it what m says.
func (w *world) offer(t testing.TB, m round.Manifest, text string) v1.Work {
	statement, err := artifact.NewStatement("round", artifact.DigestOf([]byte(text)), artifact.PredicateRoundManifest, struct{}{})
	require.NoError(t, err)
	bundle, err := artifact.SignStatement(rand.Reader, w.key, statement)
	require.NoError(t, err)
	return v1.Work{
		Run: m.Run, Number: m.Number, Kind: v1.WorkKind(m.Kind), Tenant: m.Tenant, ModelID: m.ModelID, Region: "eu",
		Manifest: text, Bundle: string(bundle), Grants: w.packOf(text),
		Base:     v1.Descriptor{Digest: string(m.Base.Digest), SizeBytes: m.Base.SizeBytes, MediaType: m.Base.MediaType},
		Deadline: time.Now().Add(time.Minute),
	}
}

func options(t testing.TB) Options {
	dir := t.TempDir()
	data := filepath.Join(dir, "rows.csv")
	require.NoError(t, os.WriteFile(data, tumour.Split()[0].CSV(), 0o600))
	return Options{Tenant: "hosp-north", Site: "north", Region: "eu", Data: data, StateDir: filepath.Join(dir, "state"),
		Token: "federation", MinRows: 10}
}

func start(t testing.TB, opts Options, fabric Fabric) *Agent {
	a, err := New(opts, fabric, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	return a
}
