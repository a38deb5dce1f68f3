package web

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/approval"
	"github.com/atom-fabric/fabric/domain/artifact"
)

// script is what an attacker would like a page to run.
const script = `<script>alert("x")</script>`

var planDigest = artifact.DigestOf([]byte("plan"))

// ballot is one that waits, for two people.
func ballot(t *testing.T) v1.Ballot {
	t.Helper()
	request := approval.Request{
		Action: approval.Action{ID: "promote-1", Kind: "promotion", Tenant: "onc", Summary: script, Environment: "production", Plan: planDigest, Risk: 71},
		Nonce:  "nonce-1", Need: 2, Requester: "rob", OpenedAt: noon.Add(-time.Hour), TTLSeconds: 86400,
	}
	text, err := artifact.Canonical(request)
	require.NoError(t, err)
	return v1.Ballot{
		ID: "promote-1", Kind: "promotion", Tenant: "onc", Summary: "model " + script + ": 1 -> 2", Environment: "production", PlanDigest: string(planDigest),
		Risk: 71, Reasons: []string{"it is production (71)", "it reaches 50.0 % of the calls (40)"}, Requester: "rob", Need: 2, Missing: 1,
		Seats: []v1.Roles{{"owner"}, {"risk"}}, Nonce: "nonce-1", OpenedAt: noon.Add(-time.Hour), ExpiresAt: noon.Add(23 * time.Hour), Outcome: "pending",
		Votes:   []v1.Vote{{Approver: "bob", Role: "owner", Approve: true, Decision: "approve", Statement: "sha256:" + strings.Repeat("a", 64), At: noon.Add(-time.Minute)}},
		Refused: []v1.Vote{{Approver: "rob", Decision: "approve", Refused: "the requester never votes", At: noon.Add(-2 * time.Minute)}},
		You:     v1.Voter{CanDecide: true}, Request: string(text), RequestDigest: string(artifact.DigestOf(text)),
		Evidence: []v1.Exhibit{{Name: "plan", Digest: string(planDigest)}},
	}
}

const planText = `{"kind":"promotion","tenant":"onc","modelId":"m","environment":"production","regions":["eu","us"],
"observed":{"snapshot":7,"champion":1,"package":"sha256:1111111111111111111111111111111111111111111111111111111111111111","policy":3},
"version":{"number":2,"repository":"r","package":"sha256:2222222222222222222222222222222222222222222222222222222222222222","weights":"","bundle":""},
"diff":[{"what":"model <b>m</b>","from":"1","to":"2"}],
"risk":{"score":71,"reach":500,"reversal":300,"class":300,"uncertain":100,"environ":1000,"loosens":true},"simulated":false}`

const cardText = `{"runs":2,"score":90,"status":"PASS","metrics":[],"meanLossMicros":1,"dimensions":[{"name":"quality","status":"PASS","critical":true,"score":100,
"figures":[{"name":"accuracy","unit":"share","n":900,"value":0.93,"low":0.91,"high":0.95,"limit":0.9,"atLeast":true,"status":"PASS"},
{"name":"drift","unit":"index","n":3,"value":0.1,"status":"INSUFFICIENT"}]}]}`

func decisions(t *testing.T, b v1.Ballot) *fakeAPI {
	t.Helper()
	return &fakeAPI{answers: map[string]any{
		"GET /approvals":              v1.BallotPage{Items: []v1.Ballot{b}, Next: "c&1"},
		"GET /approvals/promote-1":    b,
		"GET /approvers":              v1.ApproverList{Items: []v1.Approver{{Name: "ada", Role: "risk", Key: "sha256:" + strings.Repeat("c", 64)}, {Name: "bob", Role: "owner", Key: "sha256:" + strings.Repeat("d", 64)}}},
		"GET /delegations":            v1.DelegationList{},
		"GET /promotions/promote-1":   v1.Action{ID: "promote-1", Kind: "promotion", State: "started", Plan: v1.JSON(planText)},
		"GET /scorecards/m?version=2": v1.Scorecard{ModelID: "m", Card: v1.JSON(cardText)},
		"GET /scorecards/m?version=1": v1.Scorecard{ModelID: "m", Card: v1.JSON(strings.ReplaceAll(cardText, "0.93", "0.92"))},
		"GET /models/m": v1.Model{ID: "m", Versions: []v1.ModelVersion{{Version: 2, ModelID: "m", Run: "run-1", RegisteredAt: noon.Add(-time.Hour), Tainted: []string{"epoch 3"},
			Package: v1.Descriptor{Digest: "sha256:" + strings.Repeat("2", 64)}}}},
		"GET /train/runs/run-1/lineage": v1.LineageEvents{Events: []v1.JSON{v1.JSON(`{"inputs":[{"namespace":"a","name":"feature/f1"}],"run":{"facets":{"fabric_consent":{"grants":[{"tenant":"a","feature":"f1","actions":["train"],"grantDigest":"sha256:` + strings.Repeat("e", 64) + `"}]}}}}`)}},
		"GET /recovery-points":          v1.RecoveryPointPage{Items: []v1.RecoveryPoint{{Sequence: 4, At: noon.Add(-time.Hour)}}},
		"GET /whoami":                   v1.Identity{Subject: "ada", Tenant: "onc", Roles: []string{"approver"}, Token: "token-1", ExpiresAt: noon.Add(time.Hour)},
		"GET /tokens/revocations":       v1.Problem{Status: 403, Title: "no", Detail: "it needs one of the roles auditor, admin", Code: "role_missing"},
		"GET /sites":                    v1.SitePage{Items: []v1.Site{{Site: "s1", Tenant: "onc", Region: "eu", EnrolledAt: noon.Add(-48 * time.Hour), SeenAt: noon.Add(-time.Minute)}, {Site: "s2", Tenant: "onc", Region: "us", EnrolledAt: noon.Add(-48 * time.Hour)}}},
	}}
}

func TestTheInboxHasARowARequest(t *testing.T) {
	b := ballot(t)
	other := b
	other.ID, other.You = "promote-2", v1.Voter{Because: "it is the requester"}
	api := decisions(t, b)
	api.answers["GET /approvals"] = v1.BallotPage{Items: []v1.Ballot{b, other}, Next: "c&1"}
	w := ask(t, testConsole(t, api), ada(), "GET", Path, nil)
	require.Equal(t, http.StatusOK, w.Code)
	golden(t, "inbox", w)
	for _, want := range []string{"71 high", "it is production (71)", "1 of 2", "in 23 h 0 min", "can approve", "it is the requester", "cursor=c%261"} {
		require.Contains(t, w.Body.String(), want)
	}
	require.NotContains(t, w.Body.String(), "<script>alert")
}

func TestARequestShowsWhatIsKnownAndTheButtonsLast(t *testing.T) {
	w := ask(t, testConsole(t, decisions(t, ballot(t))), ada(), "GET", "/console/requests/promote-1", nil)
	require.Equal(t, http.StatusOK, w.Code, w.Body.String())
	golden(t, "request", w)
	page := w.Body.String()
	require.NotContains(t, page, "<script>alert")
	for _, want := range []string{"model &lt;b&gt;m&lt;/b&gt;", "91.00 % to 95.00 %", "92.00 %", "INSUFFICIENT", "50.0 % of the calls", "feature/f1", "learnt from withdrawn data", "the requester never votes", "fabric approve promote-1"} {
		require.Contains(t, page, want)
	}
	require.Less(t, strings.Index(page, "Timeline"), strings.Index(page, `value="approve"`))
	// The text that a vote names is on the page byte for byte.
	text := page[strings.Index(page, `id="request-text" class="wrap">`)+len(`id="request-text" class="wrap">`):]
	text = text[:strings.Index(text, "</pre>")]
	require.Equal(t, ballot(t).Request, strings.NewReplacer("&#34;", `"`, "&lt;", "<", "&gt;", ">", "&#43;", "+", "&amp;", "&", "&#39;", "'").Replace(text))
}

func TestButtonsSayWhyNot(t *testing.T) {
	tests := []struct {
		name   string
		change func(*v1.Ballot, *fakeAPI)
		says   string
	}{
		{"the requester", func(b *v1.Ballot, _ *fakeAPI) { b.You = v1.Voter{Because: "the requester never votes"} }, "The requester never votes"},
		{"decided meanwhile", func(b *v1.Ballot, _ *fakeAPI) { b.Outcome = "rejected" }, "The request is rejected"},
		{"begun", func(b *v1.Ballot, _ *fakeAPI) { b.Outcome, b.BegunAt = "approved", noon }, "The action has begun"},
		{"a stale plan", func(_ *v1.Ballot, f *fakeAPI) {
			f.answers["GET /promotions/promote-1"] = v1.Action{ID: "promote-1", State: "stale", Plan: v1.JSON(planText)}
		}, "The plan is stale"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := ballot(t)
			api := decisions(t, b)
			tt.change(&b, api)
			api.answers["GET /approvals/promote-1"] = b
			w := ask(t, testConsole(t, api), ada(), "GET", "/console/requests/promote-1", nil)
			require.Equal(t, http.StatusOK, w.Code)
			require.Contains(t, w.Body.String(), tt.says)
			require.NotRegexp(t, `value="approve"[^>]*data-may`, w.Body.String())
			sound(t, w)
		})
	}
}

func TestWhatTheAPIKeepsFromAVisitorIsSaid(t *testing.T) {
	api := decisions(t, ballot(t))
	api.answers["GET /scorecards/m?version=2"] = v1.Problem{Status: 403, Title: "not with these roles", Code: "role_missing"}
	delete(api.answers, "GET /train/runs/run-1/lineage")
	w := ask(t, testConsole(t, api), ada(), "GET", "/console/requests/promote-1", nil)
	require.Equal(t, http.StatusOK, w.Code)
	require.Contains(t, w.Body.String(), "The scorecard: not with these roles")
	require.Contains(t, w.Body.String(), "The lineage: there is no such thing here")
}

func TestTheStatementIsTheOneOfTheCommandLine(t *testing.T) {
	b := ballot(t)
	c := testConsole(t, decisions(t, b))
	ask := func(form url.Values) (int, map[string]string) {
		w := ask(t, c, ada(), "POST", "/console/requests/promote-1/statement", form)
		require.Equal(t, "application/json", w.Header().Get("Content-Type"))
		var out map[string]string
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &out))
		return w.Code, out
	}
	code, out := ask(url.Values{"decision": {"reject"}, "reason": {"no"}, "confirm": {"promote-1"}})
	require.Equal(t, http.StatusOK, code)
	payload, err := base64.StdEncoding.DecodeString(out["payload"])
	require.NoError(t, err)
	s, err := artifact.ParseStatement(payload)
	require.NoError(t, err)
	require.Equal(t, planDigest, s.Subject)
	require.Equal(t, artifact.PredicateApproval, s.PredicateType)
	var p approval.Predicate
	require.NoError(t, artifact.DecodeStrict(s.Predicate, &p))
	require.Equal(t, approval.Predicate{
		Decision: "reject", Action: "promote-1", Kind: "promotion", Nonce: "nonce-1", Request: artifact.Digest(b.RequestDigest), Approver: "ada", Reason: "no",
		IssuedAt: noon, ExpiresAt: noon.Add(72 * time.Hour),
	}, p)
	var asked approval.Request
	require.NoError(t, artifact.DecodeStrict([]byte(b.Request), &asked))
	require.NoError(t, asked.Accepts(p, "ada", noon))

	for name, form := range map[string]url.Values{
		"no such decision":      {"decision": {"maybe"}, "confirm": {"promote-1"}},
		"no reason":             {"decision": {"reject"}, "confirm": {"promote-1"}},
		"nothing typed at risk": {"decision": {"approve"}},
		"another id typed":      {"decision": {"approve"}, "confirm": {"promote-2"}},
	} {
		code, out := ask(form)
		require.Equal(t, http.StatusUnprocessableEntity, code, name)
		require.NotEmpty(t, out["title"], name)
		require.Empty(t, out["payload"], name)
	}
}

func TestAVoteIsCarriedOnceAndSaysWhetherItCounts(t *testing.T) {
	b := ballot(t)
	api := decisions(t, b)
	c := testConsole(t, api)
	form := url.Values{"bundle": {`{"signed":true}`}, "key": {"key-1"}}

	b.Votes = append(b.Votes, v1.Vote{Approver: "ada", Approve: true})
	api.answers["POST /approvals/promote-1/votes"] = b
	w := ask(t, c, ada(), "POST", "/console/requests/promote-1/votes", form)
	require.Equal(t, "/console/requests/promote-1?done=voted", w.Header().Get("Location"))
	require.Contains(t, api.bodies[len(api.bodies)-1], `{\"signed\":true}`)
	require.Equal(t, "key-1", api.keys[len(api.keys)-1])

	b = ballot(t)
	b.Refused = append(b.Refused, v1.Vote{Approver: "ada", Refused: "its key was revoked"})
	api.answers["POST /approvals/promote-1/votes"] = b
	w = ask(t, c, ada(), "POST", "/console/requests/promote-1/votes", form)
	require.Equal(t, http.StatusConflict, w.Code)
	require.Contains(t, w.Body.String(), "Its key was revoked")

	api.answers["POST /approvals/promote-1/votes"] = v1.Problem{Status: 409, Title: "the ballot is over", Code: "closed"}
	w = ask(t, c, ada(), "POST", "/console/requests/promote-1/votes", form)
	require.Equal(t, http.StatusConflict, w.Code)
	require.Contains(t, w.Body.String(), "The ballot is over")
	sound(t, w)
}

func TestSettings(t *testing.T) {
	api := decisions(t, ballot(t))
	c := testConsole(t, api)
	w := ask(t, c, ada(), "GET", "/console/settings", nil)
	require.Equal(t, http.StatusOK, w.Code, w.Body.String())
	golden(t, "settings", w)
	require.Contains(t, w.Body.String(), "never heard of")
	require.Contains(t, w.Body.String(), "It needs one of the roles auditor, admin")
	require.NotContains(t, w.Body.String(), "Revoke the key")

	root := ada()
	root.Roles = []string{"admin"}
	api.answers["GET /tokens/revocations"] = v1.TokenRevocationPage{Items: []v1.TokenRevocation{{Subject: "eve", Actor: "root", Reason: script, Before: noon}}}
	w = ask(t, c, root, "GET", "/console/settings", nil)
	golden(t, "settings-admin", w)
	require.NotContains(t, w.Body.String(), "<script>alert")

	w = ask(t, c, root, "POST", "/console/settings/tokens", url.Values{"subject": {" "}, "reason": {"x"}})
	require.Equal(t, http.StatusUnprocessableEntity, w.Code, "an empty name would be everybody's")
}

func TestAKeyIsRegisteredOnTheWordOfItsHolder(t *testing.T) {
	api := decisions(t, ballot(t))
	api.answers["POST /approvers"] = v1.Approver{Name: "ada"}
	c := testConsole(t, api)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	text, err := artifact.MarshalPublicKey(&key.PublicKey)
	require.NoError(t, err)
	id := artifact.KeyID(&key.PublicKey)

	w := ask(t, c, ada(), "POST", "/console/settings/statement", url.Values{"key": {string(id)}})
	var out paper
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &out))
	payload, err := base64.StdEncoding.DecodeString(out.Payload)
	require.NoError(t, err)
	s, err := artifact.ParseStatement(payload)
	require.NoError(t, err)
	proof, err := artifact.SignStatement(rand.Reader, key, s)
	require.NoError(t, err)
	_, err = approval.Enrol(proof, string(text), "onc", "ada", noon)
	require.NoError(t, err)

	page := "/console/settings/enrol?" + url.Values{"name": {"ada"}, "key": {string(text)}, "proof": {string(proof)}}.Encode()
	root := ada()
	root.Subject, root.Roles = "root", []string{"admin"}
	w = ask(t, c, root, "GET", page, nil)
	require.Equal(t, http.StatusOK, w.Code, w.Body.String())
	require.Contains(t, w.Body.String(), string(id))
	sound(t, w)
	w = ask(t, c, ada(), "GET", page, nil)
	require.NotContains(t, w.Body.String(), "<form method=\"post\" action=\"/console/settings/approvers\"")

	other := root
	other.Tenant = "cardio"
	for name, change := range map[string]struct {
		who  session
		path string
	}{
		"another name":   {root, strings.Replace(page, "name=ada", "name=eve", 1)},
		"another tenant": {other, page},
		"no key":         {root, "/console/settings/enrol?name=ada"},
	} {
		require.Equal(t, http.StatusUnprocessableEntity, ask(t, c, change.who, "GET", change.path, nil).Code, name)
	}
	late := testConsole(t, api, func(o *Options) { o.Now = func() time.Time { return noon.Add(8 * 24 * time.Hour) } })
	root.Ends = noon.Add(9 * 24 * time.Hour)
	require.Equal(t, http.StatusUnprocessableEntity, ask(t, late, root, "GET", page, nil).Code, "too late")

	w = ask(t, c, root, "POST", "/console/settings/approvers", url.Values{"name": {"ada"}, "role": {"risk"}, "public_key": {string(text)}, "proof": {string(proof)}, "key": {"k"}})
	require.Equal(t, "/console/settings?done=enrolled", w.Header().Get("Location"))
	require.True(t, bytes.Contains([]byte(api.bodies[len(api.bodies)-1]), []byte(`"proof"`)))
}
