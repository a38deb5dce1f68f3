package api_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"math"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/compress"
	"github.com/atom-fabric/fabric/domain/round"
)

// newKey returns a key and its public half in PEM.
func newKey(t testing.TB) (*ecdsa.PrivateKey, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	text, err := artifact.MarshalPublicKey(&key.PublicKey)
	require.NoError(t, err)
	return key, string(text)
}

// A siteFixture is a site h1/s1 in the train round run-1/1 of tenant lab.
type siteFixture struct {
	*served
	key    *ecdsa.PrivateKey
	work   api.Work
	update []byte
	auth   request
}

var spec = round.ModelSpec{Trainer: round.TrainerLogistic, Inputs: 2, Classes: 2}

// weights encodes an update of the spec's shape, with one value chosen.
func weights(t testing.TB, value float32) []byte {
	t.Helper()
	text, err := artifact.Tensors{
		{Name: "linear.bias", DType: artifact.F32, Shape: []int{2}, F32: []float32{0, value}},
		{Name: "linear.weight", DType: artifact.F32, Shape: []int{2, 2}, F32: []float32{1, 2, 3, 4}},
	}.Encode()
	require.NoError(t, err)
	return text
}

func site1(t testing.TB, kind round.Kind) *siteFixture {
	s := serve(t)
	f := &siteFixture{served: s, auth: s.asSite("h1", "s1"), update: weights(t, 1)}
	var pem string
	f.key, pem = newKey(t)
	s.do("POST", "/sites/enrol", v1.EnrolRequest{Tenant: "h1", Site: "s1", Region: "eu", PublicKey: pem},
		header("Authorization", "Bearer "+federationToken)).is(200)
	manifest, err := json.Marshal(round.Manifest{Run: "run-1", Number: 1, Kind: kind, Params: round.Params{Model: spec}})
	require.NoError(t, err)
	f.work = api.Work{
		Stage: contract.StageRef{
			Subject: contract.Subject{Tenant: "lab", ModelID: "m"}, Run: "run-1", Number: 1, Kind: kind, Region: "eu",
		},
		Manifest:  s.fabric.Keep(artifact.MediaTypeManifest, manifest),
		Signature: s.fabric.Keep(artifact.MediaTypeBundle, []byte(`{"a":"<b>"}`)),
		Base:      s.fabric.Keep(artifact.MediaTypeWeights, []byte("0123456789")),
		Deadline:  time.Now().Add(time.Hour).UTC(),
	}
	s.fabric.WorkItems["h1/s1"] = []api.Work{f.work}
	return f
}

// answer signs what the site says with key.
func (f *siteFixture) answer(change func(*round.Answer), key *ecdsa.PrivateKey) v1.SubmissionRequest {
	f.t.Helper()
	a := round.Answer{
		Run: "run-1", Number: 1, Kind: f.work.Stage.Kind, Tenant: "h1", Site: "s1", Region: "eu", Manifest: f.work.Manifest.Digest,
		Update: artifact.DigestOf(f.update), Metrics: round.Metrics{Examples: 80, Evaluated: 20, Correct: 19, LossMicros: 5},
	}
	size := int64(len(f.update))
	if f.work.Stage.Kind == round.Evaluate {
		a.Update = ""
	}
	req := v1.SubmissionRequest{
		Examples: a.Metrics.Examples,
		Metrics:  v1.SiteMetrics{Evaluated: a.Metrics.Evaluated, Correct: a.Metrics.Correct, LossMicros: a.Metrics.LossMicros},
	}
	if a.Update != "" {
		req.Update = v1.Descriptor{Digest: string(a.Update), SizeBytes: size, MediaType: artifact.MediaTypeWeights}
	}
	if change != nil {
		change(&a)
	}
	statement, err := artifact.NewStatement("h1/s1", a.Subject(), artifact.PredicateSubmission, a)
	require.NoError(f.t, err)
	bundle, err := artifact.SignStatement(rand.Reader, key, statement)
	require.NoError(f.t, err)
	req.Bundle = string(bundle)
	return req
}

func (f *siteFixture) upload() {
	f.do("PUT", "/blobs/"+string(artifact.DigestOf(f.update)), f.update, f.auth).is(201)
}

const submissions = "/rounds/run-1/1/submissions"

func TestASiteEnrolsOnce(t *testing.T) {
	s := serve(t)
	_, one := newKey(t)
	_, two := newKey(t)
	enrol := func(change func(*v1.EnrolRequest), token string) answer {
		in := v1.EnrolRequest{Tenant: "h1", Site: "s1", Region: "eu", PublicKey: one}
		if change != nil {
			change(&in)
		}
		return s.do("POST", "/sites/enrol", in, header("Authorization", "Bearer "+token))
	}
	enrol(nil, "not-the-federation-token-but-long-enough").is(401, "token_invalid")
	s.do("POST", "/sites/enrol", v1.EnrolRequest{Tenant: "h1", Site: "s1", Region: "eu", PublicKey: one}).is(401, "token_missing")
	require.Empty(t, s.fabric.SiteRows)

	e := into[v1.Enrolment](enrol(nil, federationToken).is(200))
	s.do("GET", "/sites/work", nil, header("Authorization", "Bearer "+e.Token)).is(200)
	require.True(t, e.RenewAfter.After(time.Now()) && e.RenewAfter.Before(e.ExpiresAt))
	enrol(nil, federationToken).is(200) // again: a fresh token
	enrol(func(in *v1.EnrolRequest) { in.PublicKey = two }, federationToken).is(409, "conflict")
	enrol(func(in *v1.EnrolRequest) { in.PublicKey = "garbage" }, federationToken).is(422, "bad_key")
	enrol(func(in *v1.EnrolRequest) { in.Region = "mars" }, federationToken).is(422, "bad_params")
	page := into[v1.SitePage](s.do("GET", "/sites", nil, s.as("h1", "operator")).is(200))
	require.Len(t, page.Items, 1)
	require.NotContains(t, s.log.String(), e.Token)
	require.NotContains(t, s.log.String(), federationToken)
}

func TestASiteIsGivenExactlyWhatWasSigned(t *testing.T) {
	f := site1(t, round.Train)
	list := into[v1.WorkList](f.do("GET", "/sites/work?wait_seconds=20", nil, f.auth).is(200))
	require.Len(t, list.Items, 1)
	require.Equal(t, artifact.DigestOf([]byte(list.Items[0].Manifest)), f.work.Manifest.Digest)
	require.Equal(t, `{"a":"<b>"}`, list.Items[0].Bundle) // not escaped on the way

	base := "/blobs/" + string(f.work.Base.Digest)
	a := f.do("GET", base, nil, f.auth).is(200)
	require.Equal(t, "0123456789", string(a.body))
	require.Equal(t, `"`+string(f.work.Base.Digest)+`"`, a.Header.Get("ETag"))
	require.Equal(t, "345", string(f.do("GET", base, nil, f.auth, header("Range", "bytes=3-5")).is(206).body))
	require.Equal(t, "89", string(f.do("GET", base, nil, f.auth, header("Range", "bytes=-2")).is(206).body))
	f.do("GET", base, nil, f.auth, header("Range", "bytes=99-")).is(416, "range_not_satisfiable")
	f.do("GET", "/blobs/"+string(f.work.Manifest.Digest), nil, f.auth).is(404, "not_found") // a blob, but not its base
	f.do("GET", base, nil, f.asSite("h2", "s1")).is(404, "not_found")
	f.do("GET", "/blobs/sha256:xyz", nil, f.auth).is(400, "invalid_request")
}

func TestAPollEndsWhenTheServerStops(t *testing.T) {
	s := serve(t)
	auth := s.asSite("h1", "s1")
	began := time.Now()
	ended := make(chan answer, 1)
	go func() { ended <- s.do("GET", "/sites/work?wait_seconds=60", nil, auth) }()
	time.Sleep(100 * time.Millisecond) // the poll is under way, or will be refused a connection
	s.stop()
	a := <-ended
	a.is(200)
	require.Empty(t, into[v1.WorkList](a).Items)
	require.Less(t, time.Since(began), 10*time.Second)
}

func TestAnUpdateIsKeptOnlyAsItsDigestSays(t *testing.T) {
	f := site1(t, round.Train)
	path := "/blobs/" + string(artifact.DigestOf(f.update))
	f.do("PUT", path, append(f.update, 'x'), f.auth).is(422, "unverified")
	f.do("PUT", path, f.update[:10], f.auth).is(422, "unverified")
	f.do("PUT", path, string(f.update), f.auth).is(415, "unsupported_media_type")
	f.do("PUT", path, f.update, f.asSite("h2", "s1")).is(409, "no_open_stage")
	require.NotContains(t, f.fabric.Content, artifact.DigestOf(f.update))
	large := func(r *http.Request) { r.ContentLength = 65 << 20 }
	req := func() answer { return f.do("PUT", path, make([]byte, 65<<20), f.auth, large) }
	req().is(413, "too_large")
	f.upload()
	f.upload() // twice is once
	require.Contains(t, f.fabric.Content, artifact.DigestOf(f.update))
}

func TestAnAnswerIsTakenOnce(t *testing.T) {
	f := site1(t, round.Train)
	req := f.answer(nil, f.key)
	f.do("POST", submissions, req, f.auth).is(422, "bad_update") // nothing uploaded: not recorded
	require.Empty(t, f.fabric.Submissions)
	f.upload()
	got := into[v1.SubmissionAccepted](f.do("POST", submissions, req, f.auth).is(202))
	f.do("POST", submissions, req, f.auth).is(202)
	require.Len(t, f.fabric.Submissions, 1)
	sub := f.fabric.Submissions[0]
	require.Empty(t, sub.Reason)
	require.Equal(t, "lab", sub.Stage.Tenant)
	require.InDelta(t, normOf(t, f.update), sub.Norm, 1e-12)
	require.Equal(t, got.Statement, string(sub.Statement))
	require.Equal(t, req.Bundle, string(f.fabric.Content[sub.Bundle.Digest]))
	require.Equal(t, round.Metrics{Examples: 80, Evaluated: 20, Correct: 19, LossMicros: 5}, sub.Metrics)
	f.do("POST", "/rounds/run-1/2/submissions", req, f.auth).is(404, "not_found")
	f.do("POST", submissions, req, f.asSite("h2", "s9")).is(404, "not_found")
}

// normOf is the norm of an update of the model of these tests, from its tensors.
func normOf(t *testing.T, update []byte) float64 {
	t.Helper()
	tensors, err := artifact.ParseTensors(update)
	require.NoError(t, err)
	var sum float64
	for _, tensor := range tensors {
		for _, v := range tensor.F32 {
			sum += float64(v) * float64(v)
		}
	}
	require.Positive(t, sum)
	return math.Sqrt(sum)
}

// In a run with a codec the update is read by it: what it stands for counts, and
// a whole update is none.
func TestAnUpdateIsReadByTheRunsCodec(t *testing.T) {
	f := site1(t, round.Train)
	m := round.Manifest{Run: "run-1", Number: 1, Kind: round.Train, Params: round.Params{Model: spec, Compression: round.Compression{Codec: round.CodecInt8}}}
	manifest, err := json.Marshal(m)
	require.NoError(t, err)
	f.work.Manifest = f.fabric.Keep(artifact.MediaTypeManifest, manifest)
	f.fabric.WorkItems["h1/s1"] = []api.Work{f.work}
	f.upload()
	f.do("POST", submissions, f.answer(nil, f.key), f.auth).is(422, "bad_update")
	require.Contains(t, f.fabric.Submissions[0].Reason, compress.ErrForm.Error())
	f.fabric.Submissions = nil

	wire, ok := compress.Of(m)
	require.True(t, ok)
	tensors, err := artifact.ParseTensors(f.update)
	require.NoError(t, err)
	var content bytes.Buffer
	require.NoError(t, wire.Encode(&content, compress.FlatOf(tensors)))
	f.update = content.Bytes()
	put := into[v1.Descriptor](f.do("PUT", "/blobs/"+string(artifact.DigestOf(f.update)), f.update, f.auth, header("Content-Type", "application/octet-stream")).is(201))
	require.Equal(t, "application/vnd.fabric.update.int8.v1", put.MediaType)
	f.do("POST", submissions, f.answer(nil, f.key), f.auth).is(202)
	require.Empty(t, f.fabric.Submissions[0].Reason)
	require.Equal(t, artifact.Describe("application/vnd.fabric.update.int8.v1", f.update), f.fabric.Submissions[0].Update)

	// While two stages wait for updates of two forms, what is put is either.
	other := f.work
	m.Params.Compression.Codec = round.CodecTopK
	manifest, err = json.Marshal(m)
	require.NoError(t, err)
	other.Manifest = f.fabric.Keep(artifact.MediaTypeManifest, manifest)
	f.fabric.WorkItems["h1/s1"] = []api.Work{f.work, other}
	put = into[v1.Descriptor](f.do("PUT", "/blobs/"+string(artifact.DigestOf(f.update)), f.update, f.auth, header("Content-Type", "application/octet-stream")).is(201))
	require.Equal(t, "application/octet-stream", put.MediaType)
}

func TestAnEvaluationHasNoUpdate(t *testing.T) {
	f := site1(t, round.Evaluate)
	f.do("POST", submissions, f.answer(nil, f.key), f.auth).is(202)
	require.Empty(t, f.fabric.Submissions[0].Update)
}

func TestAnAnswerThatTheSiteDidNotSignIsNone(t *testing.T) {
	f := site1(t, round.Train)
	f.upload()
	other, _ := newKey(t)
	tests := []struct {
		name string
		req  v1.SubmissionRequest
	}{
		{"another key", f.answer(nil, other)},
		{"another round", f.answer(func(a *round.Answer) { a.Number = 2 }, f.key)},
		{"another run", f.answer(func(a *round.Answer) { a.Run = "run-2" }, f.key)},
		{"another site", f.answer(func(a *round.Answer) { a.Site = "s2" }, f.key)},
		{"another manifest", f.answer(func(a *round.Answer) { a.Manifest = artifact.DigestOf(nil) }, f.key)},
		{"another update", f.answer(func(a *round.Answer) { a.Update = artifact.DigestOf(nil) }, f.key)},
		{"other metrics", f.answer(func(a *round.Answer) { a.Metrics.Correct-- }, f.key)},
		{"more examples", f.answer(func(a *round.Answer) { a.Metrics.Examples++ }, f.key)},
		{"no bundle", func() v1.SubmissionRequest { r := f.answer(nil, f.key); r.Bundle = "{}"; return r }()},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f.in(t).do("POST", submissions, tt.req, f.auth).is(422, "unverified")
			require.Empty(t, f.fabric.Submissions)
		})
	}
}

func TestAnUpdateThatCannotBeSummedCountsAsAnswered(t *testing.T) {
	shape, err := artifact.Tensors{{Name: "linear.bias", DType: artifact.F32, Shape: []int{3}, F32: make([]float32, 3)}}.Encode()
	require.NoError(t, err)
	tests := []struct {
		name   string
		update []byte
		change func(*v1.SubmissionRequest, *round.Answer)
		why    string
	}{
		{"NaN", weights(t, float32(math.NaN())), nil, "NaN"},
		{"an infinity", weights(t, float32(math.Inf(-1))), nil, "NaN or an infinity"},
		{"another shape", shape, nil, "tensors"},
		{"no safetensors", []byte("garbage that is long enough to be read"), nil, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := site1(t, round.Train)
			f.update = tt.update
			f.upload()
			p := into[v1.Problem](f.do("POST", submissions, f.answer(nil, f.key), f.auth).is(422, "bad_update"))
			require.Contains(t, p.Detail, tt.why)
			require.Len(t, f.fabric.Submissions, 1)
			require.NotEmpty(t, f.fabric.Submissions[0].Reason)
		})
	}
	t.Run("the wrong size", func(t *testing.T) {
		f := site1(t, round.Train)
		f.upload()
		req := f.answer(nil, f.key)
		req.Update.SizeBytes++
		f.do("POST", submissions, req, f.auth).is(422, "bad_update")
		require.Empty(t, f.fabric.Submissions)
	})
}

// A site is told the open runs that have asked it, and no other caller is.
func TestASiteIsToldItsOpenRuns(t *testing.T) {
	s := serve(t)
	s.fabric.OpenRuns = map[string][]api.OpenRun{"h1/s1": {{Tenant: "lab", Run: "run-1"}, {Tenant: "lab", Run: "run-2"}}, "h2/s1": {{Tenant: "lab", Run: "run-3"}}}
	got := into[v1.OpenRuns](s.do("GET", "/sites/runs", nil, s.asSite("h1", "s1")).is(200))
	require.Equal(t, []v1.OpenRun{{Tenant: "lab", Run: "run-1"}, {Tenant: "lab", Run: "run-2"}}, got.Items)
	require.Empty(t, into[v1.OpenRuns](s.do("GET", "/sites/runs", nil, s.asSite("h1", "s2")).is(200)).Items)
	s.do("GET", "/sites/runs", nil, s.as("h1", "admin", "operator")).is(401, "token_invalid")
}
