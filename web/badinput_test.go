package web

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/api/apitest"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/approval"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/internal/issuer"
)

// What people do to a console by accident and on purpose, against the API as it
// is, over a fabric in memory: what was applied is counted there.

// A place is a console over a real gateway.
type place struct {
	t      *testing.T
	fabric *apitest.Fabric
	*Console
	issuer *issuer.Issuer
	keys   map[string]*ecdsa.PrivateKey
	plan   artifact.Digest
}

// counted is a ballot's workflow: it judges each vote, one after the other, with
// what judges them in the real one.
type counted struct {
	api.Workflows
	f    *apitest.Fabric
	mu   *sync.Mutex
	cast *int
}

func (w counted) Vote(ctx context.Context, action string, vote contract.SignedVote) (approval.Ballot, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	*w.cast++
	if _, err := w.Workflows.Vote(ctx, action, vote); err != nil {
		return approval.Ballot{}, err
	}
	return w.f.Judge(action, func(b approval.Ballot) approval.Ballot {
		judged, _ := approval.Judge(b.Request, []byte(vote.Bundle), approval.Standing{}, time.Now())
		b, _ = b.Cast(judged) // a vote that does not count is in it, refused
		return b
	}), nil
}

func aPlace(t *testing.T) (*place, *int) {
	t.Helper()
	i, err := issuer.Open(t.TempDir(), "https://dev.invalid/fabric")
	require.NoError(t, err)
	p := &place{t: t, fabric: apitest.New(), issuer: i, keys: map[string]*ecdsa.PrivateKey{}, plan: artifact.DigestOf([]byte("plan"))}
	enrolment, err := api.NewEnrolment("federation-token-of-32-bytes-or-more")
	require.NoError(t, err)
	ports, cast := p.fabric.Ports(), 0
	ports.Workflows = counted{ports.Workflows, p.fabric, &sync.Mutex{}, &cast}
	gateway, err := api.NewGateway(api.Options{
		Version: "test", Simulation: true, Tokens: i.Verifier("fabric", time.Now), SiteTokens: i.Verifier("fabric-site", time.Now), Enrolment: enrolment,
		TrustedKeys: []string{"-----BEGIN PUBLIC KEY-----"}, Regions: []string{"eu"}, Now: time.Now, NewID: uuid.NewString,
		Limits: api.Limits{TenantPerSecond: 100_000, AddrPerSecond: 100_000},
	}, ports)
	require.NoError(t, err)
	p.Console = testConsole(t, gateway.Handler(), func(o *Options) { o.Now = time.Now })
	return p, &cast
}

// person is somebody of the tenant who is signed in.
func (p *place) person(name string, roles ...string) session {
	p.t.Helper()
	token, err := p.issuer.Mint("onc", name, roles, time.Hour)
	require.NoError(p.t, err)
	return session{Subject: name, Tenant: "onc", Roles: roles, Token: token, Began: time.Now(), Ends: time.Now().Add(time.Hour)}
}

// opened puts a ballot there that two people decide, of three who may.
func (p *place) opened(nonce string) {
	p.t.Helper()
	req := approval.Request{
		Action: approval.Action{ID: "promote-1", Kind: "promotion", Tenant: "onc", Summary: "promote", Environment: "production", Plan: p.plan, Risk: 71},
		Nonce:  nonce, Need: 2, Requester: "rob", OpenedAt: time.Now().Add(-time.Minute).UTC(), TTLSeconds: 86400, Roles: []string{"owner"},
	}
	for _, name := range []string{"ada", "bob", "cleo"} {
		if p.keys[name] == nil {
			key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			require.NoError(p.t, err)
			p.keys[name] = key
		}
		text, err := artifact.MarshalPublicKey(&p.keys[name].PublicKey)
		require.NoError(p.t, err)
		req.Approvers = append(req.Approvers, approval.Approver{Name: name, Role: "owner", Key: artifact.KeyID(&p.keys[name].PublicKey), PublicKey: string(text)})
	}
	p.fabric.BallotRows["promote-1"] = approval.Open(req)
}

// signed does what the page's script does: it asks for the statement, signs it,
// and returns the form that is sent.
func (p *place) signed(who session) url.Values {
	p.t.Helper()
	w := ask(p.t, p.Console, who, "POST", "/console/requests/promote-1/statement", url.Values{"decision": {"approve"}, "confirm": {"promote-1"}})
	require.Equal(p.t, http.StatusOK, w.Code, w.Body.String())
	var given paper
	require.NoError(p.t, json.Unmarshal(w.Body.Bytes(), &given))
	payload, err := base64.StdEncoding.DecodeString(given.Payload)
	require.NoError(p.t, err)
	s, err := artifact.ParseStatement(payload)
	require.NoError(p.t, err)
	bundle, err := artifact.SignStatement(rand.Reader, p.keys[who.Subject], s)
	require.NoError(p.t, err)
	return url.Values{"bundle": {string(bundle)}, "key": {fresh()}, "decision": {"approve"}}
}

// atOnce sends forms at the same moment.
func (p *place) atOnce(path string, who []session, forms []url.Values) []*httptest.ResponseRecorder {
	var wait sync.WaitGroup
	begin := make(chan struct{})
	answers := make([]*httptest.ResponseRecorder, len(forms))
	for i := range forms {
		r := request(p.t, p.Console, who[i], "POST", path, forms[i])
		answers[i] = httptest.NewRecorder()
		wait.Go(func() { <-begin; p.ServeHTTP(answers[i], r) })
	}
	close(begin)
	wait.Wait()
	return answers
}

const votes = "/console/requests/promote-1/votes"

func TestTwoApproversAtOnce(t *testing.T) {
	p, _ := aPlace(t)
	p.opened("nonce-1")
	ada, bob := p.person("ada", "approver"), p.person("bob", "approver")
	for _, w := range p.atOnce(votes, []session{ada, bob}, []url.Values{p.signed(ada), p.signed(bob)}) {
		require.Equal(t, "/console/requests/promote-1?done=voted", w.Header().Get("Location"), w.Body.String())
	}
	b := p.fabric.BallotRows["promote-1"]
	require.Equal(t, approval.Approved, b.Outcome)
	require.Len(t, b.Votes, 2)
	require.Empty(t, b.Refused)
}

func TestADoubleClick(t *testing.T) {
	p, _ := aPlace(t)
	p.opened("nonce-1")
	ada := p.person("ada", "approver")
	form := p.signed(ada)
	for _, w := range p.atOnce(votes, []session{ada, ada, ada}, []url.Values{form, form, form}) {
		require.Equal(t, "/console/requests/promote-1?done=voted", w.Header().Get("Location"), w.Body.String())
	}
	b := p.fabric.BallotRows["promote-1"]
	require.Len(t, b.Votes, 1)
	require.Empty(t, b.Refused)
	require.Equal(t, approval.Pending, b.Outcome)

	// Any other button, too: the key that the page gave makes the two one.
	eve := p.person("eve", "admin")
	form = url.Values{"subject": {"mallory"}, "reason": {"left"}, "key": {fresh()}}
	for _, w := range p.atOnce("/console/settings/tokens", []session{eve, eve}, []url.Values{form, form}) {
		require.Equal(t, "/console/settings?done=tokens-gone", w.Header().Get("Location"), w.Body.String())
	}
	require.Len(t, p.fabric.Revoked, 1)

	// The same key with another text is no double click.
	form.Set("subject", "somebody-else")
	w := ask(t, p.Console, eve, "POST", "/console/settings/tokens", form)
	require.Equal(t, http.StatusUnprocessableEntity, w.Code, w.Body.String())
	require.Contains(t, w.Body.String(), "Nothing was changed.")
	require.Len(t, p.fabric.Revoked, 1)
	sound(t, w)
}

// A page is stale when the request that it shows was replaced meanwhile: what
// was signed names the old one, and counts nowhere.
func TestAStalePage(t *testing.T) {
	p, _ := aPlace(t)
	p.opened("nonce-1")
	ada := p.person("ada", "approver")
	old := p.signed(ada)
	p.opened("nonce-2")
	w := ask(t, p.Console, ada, "POST", votes, old)
	require.Equal(t, http.StatusConflict, w.Code, w.Body.String())
	require.Contains(t, w.Body.String(), "Your vote does not count")
	require.Empty(t, p.fabric.BallotRows["promote-1"].Votes)
	sound(t, w)

	p.plan = artifact.DigestOf([]byte("another plan"))
	p.opened("nonce-1")
	w = ask(t, p.Console, ada, "POST", votes, old)
	require.Equal(t, http.StatusConflict, w.Code, w.Body.String())
	require.Empty(t, p.fabric.BallotRows["promote-1"].Votes)
}

// Who asked gives up, or somebody rejects, while the page is open.
func TestAWithdrawnRequest(t *testing.T) {
	p, cast := aPlace(t)
	p.opened("nonce-1")
	ada := p.person("ada", "approver")
	form := p.signed(ada)
	p.fabric.BallotRows["promote-1"] = p.fabric.BallotRows["promote-1"].Abandon()
	w := ask(t, p.Console, ada, "POST", votes, form)
	require.Equal(t, http.StatusConflict, w.Code, w.Body.String())
	require.Contains(t, w.Body.String(), "Nothing was changed.")
	require.LessOrEqual(t, *cast, 1)
	require.Empty(t, p.fabric.BallotRows["promote-1"].Votes)
	sound(t, w)

	w = ask(t, p.Console, ada, "GET", "/console/requests/promote-1", nil)
	require.Equal(t, http.StatusOK, w.Code)
	require.NotRegexp(t, `value="approve"[^>]*data-may`, w.Body.String())
	require.Contains(t, w.Body.String(), "The request is")
	delete(p.fabric.BallotRows, "promote-1")
	w = ask(t, p.Console, ada, "POST", votes, form)
	require.Equal(t, http.StatusNotFound, w.Code, "one that is gone altogether")
	sound(t, w)
}

func TestAnExpiredSession(t *testing.T) {
	p, cast := aPlace(t)
	p.opened("nonce-1")
	ada := p.person("ada", "approver")
	form := p.signed(ada)
	late := ada
	late.Ends = time.Now().Add(-time.Second)
	gone := ada
	gone.Token = "of another issuer" // it was revoked, or its key is no more
	for name, who := range map[string]session{"the session is over": late, "its token is refused": gone} {
		r := request(t, p.Console, who, "POST", votes, form)
		r.Header.Set("Referer", p.opts.URL+"/console/requests/promote-1")
		w := send(t, p.Console, r)
		require.Equal(t, http.StatusUnauthorized, w.Code, name)
		require.Contains(t, w.Body.String(), "Nothing was changed.", name)
		require.Contains(t, w.Body.String(), "/console/signin?to=%2Fconsole%2Frequests%2Fpromote-1", name)
		sound(t, w)
		w = ask(t, p.Console, who, "GET", "/console/requests/promote-1", nil)
		require.Equal(t, http.StatusSeeOther, w.Code, name)
		require.NotContains(t, w.Body.String(), "promote-1</code>", "nothing is shown")
	}
	require.Zero(t, *cast)
}

func TestAForgedVote(t *testing.T) {
	p, cast := aPlace(t)
	p.opened("nonce-1")
	ada := p.person("ada", "approver")
	form := p.signed(ada)
	for header, value := range map[string]string{"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.invalid"} {
		r := request(t, p.Console, ada, "POST", votes, form)
		r.Header.Del("Sec-Fetch-Site")
		r.Header.Set(header, value)
		w := send(t, p.Console, r)
		require.Equal(t, http.StatusForbidden, w.Code, header)
		require.Contains(t, w.Body.String(), "sent from another site")
		sound(t, w)
	}
	require.Zero(t, *cast)

	// A genuine form with somebody else's vote is theirs, if it counts at all.
	mallory, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	p.keys["ada"], mallory = mallory, p.keys["ada"]
	w := ask(t, p.Console, ada, "POST", votes, p.signed(ada))
	require.Equal(t, http.StatusConflict, w.Code)
	require.Contains(t, w.Body.String(), "Your vote does not count")
	require.Empty(t, p.fabric.BallotRows["promote-1"].Votes)
	p.keys["ada"] = mallory
}
