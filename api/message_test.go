package api_test

import (
	"crypto/rand"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/domain/secagg"
)

// vectorBytes is the size of a masked vector in these rounds: five counts of three
// elements each, the 2x2 weights and the 2 biases of spec, 4 bytes an element.
const vectorBytes = (5*3 + 6) * 4

// secured1 is a site h1/s1 in a stage of the secured round run-1/1.
func secured1(t testing.TB, stage round.Stage) *siteFixture {
	f := site1(t, round.Train)
	params := round.Params{Model: spec, Rounds: 1, Quorum: 3, LearningRate: 0.1, LocalEpochs: 1, BatchSize: 1, DeadlineSeconds: 60}
	params.Secure = round.Secure{Mode: round.SecureOn, Ring: 32, Range: 1, MaxExamples: 100, StageSeconds: 30, CorruptBP: 1000, DroppedBP: 1000}
	manifest, err := json.Marshal(round.Manifest{
		Run: "run-1", Number: 1, Kind: round.Train, Params: params, Secured: true, Cohort: []round.Cohort{{Region: "eu", Sites: 3}},
	})
	require.NoError(t, err)
	f.work.Manifest = f.fabric.Keep(artifact.MediaTypeManifest, manifest)
	f.work.Stage.Stage = stage
	if stage != round.StageAdvertise {
		f.work.Inbox = f.fabric.Keep(artifact.MediaTypeSecagg, []byte("inbox of s1"))
	}
	f.fabric.WorkItems["h1/s1"] = []api.Work{f.work}
	f.update = make([]byte, vectorBytes)
	_, err = rand.Read(f.update)
	require.NoError(t, err)
	return f
}

// message is what the site says in the stage that it is in.
func (f *siteFixture) message(change func(*secagg.Header)) string {
	f.t.Helper()
	h := secagg.Header{
		Protocol: secagg.Protocol, Run: "run-1", Round: 1, Plan: f.work.Manifest.Digest, Group: "eu",
		Stage: secagg.Stage(f.work.Stage.Stage), Tenant: "h1", Site: "s1",
	}
	if change != nil {
		change(&h)
	}
	key := make([]byte, 32)
	var m any
	switch f.work.Stage.Stage {
	case round.StageAdvertise:
		m = secagg.Advertisement{Header: h, Identity: key, CipherKey: key, MaskKey: key, Commitment: key, Signature: key}
	case round.StageShare:
		m = secagg.Shares{Header: h, Boxes: []secagg.SealedBox{{To: 1, Box: key}}}
	case round.StageMask:
		m = secagg.Masked{Header: h, Vector: artifact.DigestOf(f.update), SizeBytes: int64(len(f.update))}
	case round.StageCheck:
		m = secagg.Check{Header: h, Set: artifact.DigestOf(nil), Signature: key}
	case round.StageUnmask:
		m = secagg.Unmasking{Header: h, Seeds: []secagg.OpenShare{{Of: 1, Share: key}}}
	}
	text, err := json.Marshal(m)
	require.NoError(f.t, err)
	return string(text)
}

// says is the signed request that carries the message.
func (f *siteFixture) says(message string, change func(*v1.SubmissionRequest, *round.Answer)) v1.SubmissionRequest {
	f.t.Helper()
	stage := f.work.Stage.Stage
	req := v1.SubmissionRequest{Stage: v1.Stage(stage), Message: message}
	a := round.Answer{
		Run: "run-1", Number: 1, Kind: round.Train, Tenant: "h1", Site: "s1", Region: "eu", Manifest: f.work.Manifest.Digest,
		Stage: stage, Update: artifact.DigestOf([]byte(message)),
	}
	if stage == round.StageMask {
		a.Update = artifact.DigestOf(f.update)
		req.Update = v1.Descriptor{Digest: string(a.Update), SizeBytes: int64(len(f.update)), MediaType: "application/octet-stream"}
	}
	if change != nil {
		change(&req, &a)
	}
	statement, err := artifact.NewStatement("h1/s1", a.Subject(), artifact.PredicateSubmission, a)
	require.NoError(f.t, err)
	bundle, err := artifact.SignStatement(rand.Reader, f.key, statement)
	require.NoError(f.t, err)
	req.Bundle = string(bundle)
	return req
}

var secureStages = []round.Stage{round.StageAdvertise, round.StageShare, round.StageMask, round.StageCheck, round.StageUnmask}

func TestASecuredRoundTakesAMessageInEveryStage(t *testing.T) {
	for _, stage := range secureStages {
		t.Run(string(stage), func(t *testing.T) {
			f := secured1(t, stage)
			list := into[v1.WorkList](f.do("GET", "/sites/work", nil, f.auth).is(200))
			require.Equal(t, v1.Stage(stage), list.Items[0].Stage)
			require.Equal(t, string(f.work.Inbox.Digest), list.Items[0].Inbox.Digest)
			if stage != round.StageAdvertise {
				require.Equal(t, "inbox of s1", string(f.do("GET", "/blobs/"+list.Items[0].Inbox.Digest, nil, f.auth).is(200).body))
				f.do("GET", "/blobs/"+list.Items[0].Inbox.Digest, nil, f.asSite("h2", "s1")).is(404, "not_found")
			}
			if stage == round.StageMask {
				f.upload()
			} else {
				f.do("PUT", "/blobs/"+string(artifact.DigestOf(f.update)), f.update, f.auth).is(409, "no_open_stage")
			}
			message := f.message(nil)
			f.do("POST", submissions, f.says(message, nil), f.auth).is(202)
			require.Len(t, f.fabric.Submissions, 1)
			sub := f.fabric.Submissions[0]
			require.Empty(t, sub.Reason)
			require.Equal(t, stage, sub.Stage.Stage)
			require.Equal(t, artifact.Describe(artifact.MediaTypeSecagg, []byte(message)).Digest, sub.Message.Digest)
			require.Equal(t, message, string(f.fabric.Content[sub.Message.Digest]), "byte for byte")
			require.Equal(t, round.Metrics{}, sub.Metrics)
			if stage == round.StageMask {
				require.Equal(t, artifact.Describe(artifact.MediaTypeMasked, f.update), sub.Update)
			} else {
				require.Empty(t, sub.Update)
			}
		})
	}
}

func TestAPlainRoundSaysSo(t *testing.T) {
	f := site1(t, round.Train)
	list := into[v1.WorkList](f.do("GET", "/sites/work", nil, f.auth).is(200))
	require.Equal(t, v1.Update, list.Items[0].Stage)
	require.Empty(t, list.Items[0].Inbox)
	f.upload()
	req := f.answer(nil, f.key)
	req.Stage = v1.Update
	f.do("POST", submissions, req, f.auth).is(202)
	req.Message = "{}"
	f.do("POST", submissions, req, f.auth).is(422, "bad_update")
}

// What a site that follows the protocol never sends, and what becomes of it:
// recorded and counted as dropped, or refused before any of it is kept.
func TestWhatASecuredRoundRefuses(t *testing.T) {
	header := func(change func(*secagg.Header)) func(f *siteFixture) v1.SubmissionRequest {
		return func(f *siteFixture) v1.SubmissionRequest { return f.says(f.message(change), nil) }
	}
	request := func(change func(*v1.SubmissionRequest, *round.Answer)) func(f *siteFixture) v1.SubmissionRequest {
		return func(f *siteFixture) v1.SubmissionRequest { return f.says(f.message(nil), change) }
	}
	text := func(of func(string) string) func(f *siteFixture) v1.SubmissionRequest {
		return func(f *siteFixture) v1.SubmissionRequest { return f.says(of(f.message(nil)), nil) }
	}
	every := secureStages
	large := []round.Stage{round.StageShare} // takes long
	mask, others := []round.Stage{round.StageMask}, []round.Stage{round.StageAdvertise, round.StageShare, round.StageCheck, round.StageUnmask}
	tests := []struct {
		name   string
		stages []round.Stage
		send   func(f *siteFixture) v1.SubmissionRequest
		status int
		code   string
		why    string // recorded with; empty: not recorded
	}{
		{"another protocol", every, header(func(h *secagg.Header) { h.Protocol = "fabric-secagg/2" }), 422, "bad_update", "another protocol"},
		{"another run", every, header(func(h *secagg.Header) { h.Run = "run-2" }), 422, "bad_update", "another run"},
		{"another round", every, header(func(h *secagg.Header) { h.Round = 2 }), 422, "bad_update", "another round"},
		{"another plan", every, header(func(h *secagg.Header) { h.Plan = artifact.DigestOf(nil) }), 422, "bad_update", "another plan"},
		{"another group", every, header(func(h *secagg.Header) { h.Group = "us" }), 422, "bad_update", "another group"},
		{"another site's", every, header(func(h *secagg.Header) { h.Site = "s2" }), 422, "bad_update", "another site"},
		{"another tenant's", every, header(func(h *secagg.Header) { h.Tenant = "h2" }), 422, "bad_update", "another site"},
		{"how old its update is", every, request(func(r *v1.SubmissionRequest, a *round.Answer) { r.From, a.From = 1, 1 }), 422, "bad_update", ""},
		{"one of another stage", every, header(func(h *secagg.Header) { h.Stage = "later" }), 422, "bad_update", "another stage"},
		{"no JSON", every, text(func(string) string { return "hello" }), 422, "bad_update", "malformed JSON"},
		{"an unknown member", every, text(func(m string) string { return `{"more":1,` + m[1:] }), 422, "bad_update", "unknown key"},
		{"a member twice", every, text(func(m string) string { return m[:len(m)-1] + `,` + m[1:] }), 422, "bad_update", "key occurs twice"},
		{"something after the end", every, text(func(m string) string { return m + "{}" }), 422, "bad_update", "data after the end"},
		{"no message", every, text(func(string) string { return "" }), 422, "bad_update", ""},
		{"a message that is too large", large, text(func(m string) string { return m + strings.Repeat(" ", 4<<20) }), 400, "invalid_request", ""},
		{"a message of too many bytes", large, text(func(m string) string { return m + strings.Repeat("é", 3<<20) }), 413, "too_large", ""},
		{"a body that is too large", large, text(func(m string) string { return m + strings.Repeat(" ", 8<<20) }), 413, "too_large", ""},
		{"a count in clear", every, request(func(r *v1.SubmissionRequest, a *round.Answer) { r.Examples, a.Metrics.Examples = 80, 80 }), 422, "bad_update", ""},
		{"metrics in clear", every, request(func(r *v1.SubmissionRequest, a *round.Answer) {
			r.Metrics = v1.SiteMetrics{Evaluated: 20, Correct: 19, LossMicros: 5}
			a.Metrics = round.Metrics{Evaluated: 20, Correct: 19, LossMicros: 5}
		}), 422, "bad_update", ""},
		{"metrics that were signed and not sent", every, request(func(_ *v1.SubmissionRequest, a *round.Answer) { a.Metrics.Evaluated = 20 }), 422, "unverified", ""},
		{"another message than was signed", others, request(func(r *v1.SubmissionRequest, _ *round.Answer) { r.Message += " " }), 422, "unverified", ""},
		{"a statement of another stage", every, request(func(_ *v1.SubmissionRequest, a *round.Answer) { a.Stage = "" }), 422, "unverified", ""},
		{"a stage that is not open", every, request(func(r *v1.SubmissionRequest, _ *round.Answer) { r.Stage = v1.Update }), 404, "not_found", ""},
		{"a vector where none is asked for", others, request(func(r *v1.SubmissionRequest, _ *round.Answer) {
			r.Update = v1.Descriptor{Digest: string(artifact.DigestOf(nil)), MediaType: "x"}
		}), 422, "bad_update", ""},
		{"a message about another vector", mask, request(func(r *v1.SubmissionRequest, a *round.Answer) {
			a.Update = artifact.DigestOf(nil)
			r.Update.Digest = string(a.Update)
		}), 422, "bad_update", "another masked vector"},
		{"no vector", mask, request(func(r *v1.SubmissionRequest, a *round.Answer) { r.Update, a.Update = v1.Descriptor{}, "" }), 422, "bad_update", "is missing"},
		{"another length than the vector's", mask, request(func(r *v1.SubmissionRequest, _ *round.Answer) { r.Update.SizeBytes-- }), 422, "bad_update", "bytes that the round fixes"},
		{"a vector that is too short", mask, func(f *siteFixture) v1.SubmissionRequest {
			f.update = f.update[4:]
			f.fabric.Keep(artifact.MediaTypeMasked, f.update)
			return f.says(f.message(nil), nil)
		}, 422, "bad_update", "bytes that the round fixes"},
		{"a vector that is longer than it says", mask, func(f *siteFixture) v1.SubmissionRequest {
			message, size := f.message(nil), len(f.update)
			f.update = append(f.update, 0, 0, 0, 0)
			f.fabric.Keep(artifact.MediaTypeMasked, f.update)
			var m secagg.Masked
			require.NoError(f.t, json.Unmarshal([]byte(message), &m))
			m.Vector = artifact.DigestOf(f.update)
			text, err := json.Marshal(m)
			require.NoError(f.t, err)
			return f.says(string(text), func(r *v1.SubmissionRequest, _ *round.Answer) { r.Update.SizeBytes = int64(size) })
		}, 422, "bad_update", "bytes that the round fixes"},
		{"a vector that was not uploaded", mask, func(f *siteFixture) v1.SubmissionRequest {
			f.update = make([]byte, vectorBytes)
			return f.says(f.message(nil), nil)
		}, 422, "bad_update", ""},
	}
	for _, tt := range tests {
		for _, stage := range tt.stages {
			t.Run(tt.name+"/"+string(stage), func(t *testing.T) {
				f := secured1(t, stage)
				f.fabric.Keep(artifact.MediaTypeMasked, f.update)
				blobs := len(f.fabric.Content)
				p := into[v1.Problem](f.do("POST", submissions, tt.send(f), f.auth).is(tt.status, tt.code))
				if tt.why == "" {
					require.Empty(t, f.fabric.Submissions)
					require.LessOrEqual(t, len(f.fabric.Content), blobs, "something of it was kept")
					return
				}
				require.Contains(t, p.Detail, tt.why)
				require.Len(t, f.fabric.Submissions, 1)
				require.Contains(t, f.fabric.Submissions[0].Reason, tt.why)
				require.Equal(t, round.Metrics{}, f.fabric.Submissions[0].Metrics)
			})
		}
	}
}

func TestAClosedStageTakesNoMessage(t *testing.T) {
	f := secured1(t, round.StageShare)
	f.fabric.ClosedItems = map[string][]api.Work{"h1/s1": {f.work}}
	f.fabric.WorkItems["h1/s1"] = nil
	f.do("POST", submissions, f.says(f.message(nil), nil), f.auth).is(409, "closed")
	require.Empty(t, f.fabric.Submissions)
}

func TestAMaskedVectorIsKeptOnlyAtItsSize(t *testing.T) {
	f := secured1(t, round.StageMask)
	put := func(content []byte, changes ...request) answer {
		return f.do("PUT", "/blobs/"+string(artifact.DigestOf(content)), content, append(changes, f.auth)...)
	}
	put(f.update[4:]).is(422, "bad_update")
	put(append(f.update, 0, 0, 0, 0)).is(413, "too_large")
	put(make([]byte, vectorBytes)).is(201)
	require.NotContains(t, f.fabric.Content, artifact.DigestOf(f.update[4:]))
	// A site that is asked for an update of any size in another round may send one.
	plain := f.work
	plain.Stage.Run, plain.Stage.Stage, plain.Inbox = "run-2", "", artifact.Descriptor{}
	f.fabric.WorkItems["h1/s1"] = append(f.fabric.WorkItems["h1/s1"], plain)
	put(f.update[4:]).is(201)
}
