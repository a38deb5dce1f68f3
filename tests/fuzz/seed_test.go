package fuzz

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/approval"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/modelpack"
	"github.com/atom-fabric/fabric/domain/policy"
	"github.com/atom-fabric/fabric/domain/privacy"
	"github.com/atom-fabric/fabric/domain/provenance"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/domain/site"
	"github.com/atom-fabric/fabric/internal/runtime/runtimetest"
)

// tenants share one fabric, and nothing else.
var tenants = []string{"north", "south", "east"}

// bird begins what only its tenant may read: no answer to anybody else holds it.
const bird = "kanarie-"

// canary is a text, and a name, of a tenant's own.
func canary(tenant, what string) string { return bird + tenant + "-" + what }

// allRoles are those of somebody whom everything of their tenant is allowed.
var allRoles = []string{"data-scientist", "operator", "approver", "auditor", "admin"}

// A person presents a credential. Its tenant is the only one whose secrets may
// be in an answer to it.
type person struct {
	name   string
	tenant string
	access string // "token", "site", "enrolment", or "bad": nobody accepts it
	bearer string
	all    bool // has every role
}

// A seeder fills the plane as a tenant would.
type seeder struct {
	testing.TB
	*plane
	tenant, bearer string
}

func (p *plane) seed(t testing.TB) {
	t.Helper()
	for _, tenant := range tenants {
		p.enlist(t, tenant)
	}
	p.outsiders(t)
	for _, tenant := range tenants {
		s := &seeder{t, p, tenant, p.person(tenant + " all").bearer}
		s.people()
		s.features()
		s.model()
		s.run()
		s.statistics()
		s.study()
		s.ballot()
		s.others()
	}
}

// enlist makes the credentials of a tenant.
func (p *plane) enlist(t testing.TB, tenant string) {
	mint := func(name, subject string, all bool, roles ...string) {
		bearer, err := p.issuer.Mint(tenant, subject, roles, 24*time.Hour)
		require.NoError(t, err)
		p.people = append(p.people, person{name, tenant, "token", bearer, all})
	}
	mint(tenant+" all", canary(tenant, "ann"), true, allRoles...)
	mint(tenant+" auditor", canary(tenant, "kim"), false, "auditor")
	mint(tenant+" approver", "bob", false, "approver")
	mint(tenant+" plane", "router", false, "data-plane")
	bearer, _, err := p.issuer.MintSite(tenant, "s-"+tenant, "eu", 24*time.Hour)
	require.NoError(t, err)
	p.people = append(p.people, person{tenant + " site", tenant, "site", bearer, false})
}

// outsiders make credentials that nobody accepts, and the shared one.
func (p *plane) outsiders(t testing.TB) {
	expired, err := p.issuer.Mint("north", "late", allRoles, time.Nanosecond)
	require.NoError(t, err)
	good := p.person("north all").bearer
	p.people = append(p.people,
		person{"enrolment", "", "enrolment", federationToken, false}, person{"expired", "", "bad", expired, false},
		person{"unsigned", "", "bad", good[:strings.LastIndex(good, ".")+1], false}, person{"junk", "", "bad", "junk", false})
}

func (p *plane) person(name string) person {
	return p.people[slices.IndexFunc(p.people, func(one person) bool { return one.name == name })]
}

// must sends a request that is in order and returns the answer, decoded; the
// request itself is one that others are made from.
func (s *seeder) must(op, path string, body any) map[string]any {
	s.Helper()
	var content []byte
	if body != nil {
		var err error
		content, err = json.Marshal(body)
		require.NoError(s, err)
	}
	s.keep(op, "application/json", content)
	return s.send(op, path, "application/json", content, s.bearer)
}

func (s *seeder) keep(op, media string, content []byte) {
	s.bodies[op] = append(s.bodies[op], template{tenant: s.tenant, media: media, body: content, value: parsed(content)})
}

func (s *seeder) send(op, path, media string, content []byte, bearer string) map[string]any {
	s.Helper()
	method := s.ops[slices.IndexFunc(s.ops, func(o *operation) bool { return o.id == op })].method
	req, err := http.NewRequestWithContext(s.Context(), method, s.url+path, bytes.NewReader(content))
	require.NoError(s, err)
	req.Header.Set("Content-Type", media)
	req.Header.Set("Authorization", "Bearer "+bearer)
	req.Header.Set("Idempotency-Key", uuid.NewString())
	resp, err := http.DefaultClient.Do(req)
	require.NoError(s, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(s, err)
	assert.Less(s, resp.StatusCode, 300, "%s: %s", op, text) // so that one run shows all
	var out map[string]any
	require.NoError(s, json.Unmarshal(text, &out))
	for _, name := range []string{"id", "access_request_id"} {
		if id, ok := out[name].(string); ok {
			s.knows(id)
		}
	}
	if plan, ok := out["plan_digest"].(string); ok {
		s.digests[s.tenant] = append(s.digests[s.tenant], plan)
	}
	return out
}

// knows notes what others will try to get at.
func (s *seeder) knows(ids ...string) { s.ids[s.tenant] = append(s.ids[s.tenant], ids...) }

func (s *seeder) name(prefix string) string { return prefix + "-" + s.tenant }

func (s *seeder) pem() string {
	text, err := artifact.MarshalPublicKey(&runtimetest.NewKey(s).PublicKey)
	require.NoError(s, err)
	return string(text)
}

// people are approvers with keys, a delegation between two of them, and
// revoked tokens.
func (s *seeder) people() {
	key := runtimetest.NewKey(s)
	public, err := artifact.MarshalPublicKey(&key.PublicKey)
	require.NoError(s, err)
	s.must("addApprover", "/approvers", map[string]any{"name": "bob", "role": "owner", "public_key": string(public)})
	s.must("addApprover", "/approvers", map[string]any{"name": canary(s.tenant, "cyd"), "role": "risk", "public_key": s.pem()})
	s.must("addApprover", "/approvers", map[string]any{"name": "dan", "role": "security", "public_key": s.pem()})
	s.must("revokeApprover", "/approvers/dan/revoke", map[string]any{"reason": canary(s.tenant, "left")})
	s.must("revokeTokens", "/tokens/revocations", map[string]any{"token": canary(s.tenant, "jti"), "reason": canary(s.tenant, "lost")})
	s.votes(key)
}

// votes are statements that bob signs about the ballot that will be opened.
func (s *seeder) votes(key *ecdsa.PrivateKey) {
	req := s.asked(key)
	_, err := s.db.Actions().OpenBallot(s.Context(), req)
	require.NoError(s, err)
	digest, err := req.Digest()
	require.NoError(s, err)
	for _, decision := range []string{"approve", "reject"} {
		bundle := runtimetest.Sign(s, key, req.Action.Plan, artifact.PredicateApproval, approval.Predicate{
			Decision: decision, Action: req.Action.ID, Kind: req.Action.Kind, Nonce: req.Nonce, Request: digest, Approver: "bob", Reason: canary(s.tenant, "why"),
			IssuedAt: time.Now().UTC().Truncate(time.Second), ExpiresAt: req.Expires(),
		})
		text, err := json.Marshal(map[string]any{"bundle": string(bundle)})
		require.NoError(s, err)
		s.keep("castVote", "application/json", text)
	}
}

func (s *seeder) asked(key *ecdsa.PrivateKey) approval.Request {
	public, err := artifact.MarshalPublicKey(&key.PublicKey)
	require.NoError(s, err)
	id := s.name("promote-seed")
	req, err := approval.NewRequest(approval.Ask{
		Action:    approval.Action{ID: id, Kind: "promotion", Tenant: s.tenant, Summary: canary(s.tenant, "summary"), Environment: "dev", Plan: artifact.DigestOf([]byte(id)), Risk: 10},
		Requester: "ann", Approvers: []approval.Approver{{Name: "bob", Role: "owner", Key: artifact.KeyID(&key.PublicKey), PublicKey: string(public)}},
		Rules: approval.DefaultRules(), Nonce: canary(s.tenant, "nonce"), OpenedAt: time.Now().UTC().Truncate(time.Second), TTL: 24 * time.Hour,
	})
	require.NoError(s, err)
	s.knows(id)
	b := approval.Open(req)
	s.memory.BallotRows[id] = b
	return req
}

// features are registered, granted, budgeted, asked for and withdrawn.
func (s *seeder) features() {
	for _, id := range []string{s.name("f"), s.name("g")} {
		s.must("registerFeature", "/features/register", map[string]any{"tenant": s.tenant, "feature_id": id, "consented": true, "description": "rows", "tags": []string{"rows"},
			"schema":    map[string]any{"type": "object", "description": canary(s.tenant, "schema"), "properties": map[string]any{"age": map[string]any{"type": "number"}}},
			"semantics": map[string]any{"columns": map[string]any{"age": map[string]any{"unit": canary(s.tenant, "unit")}}}})
	}
	feature := s.name("f")
	s.must("setPrivacyBudget", "/privacy/budgets/"+s.name("g"), map[string]any{"epsilon": 3})
	s.must("grantConsent", "/consents", map[string]any{"feature_id": feature, "grantee": canary(s.tenant, "friend"), "actions": []string{"train"}, "constraints": map[string]any{"regions": []string{"eu"}}})
	withdrawn := s.must("withdrawGrants", "/consents/withdrawals", map[string]any{"feature_id": s.name("g"), "apply": true, "reason": canary(s.tenant, "regret")})
	require.NotEmpty(s, withdrawn)
	next := tenants[0] // whose feature is registered already
	if next != s.tenant {
		s.must("requestAccess", "/access-requests", map[string]any{"owner": next, "feature_id": "f-" + next, "purpose": "GRU", "actions": []string{"train"}, "days": 3, "reason": "a study"})
	}
}

// model uploads two packages, one of a model whose name is nobody else's to
// know, and moves an alias.
func (s *seeder) model() {
	for _, id := range []string{s.name("m"), canary(s.tenant, "model")} {
		media, form, manifest := s.form(id)
		s.send("uploadModel", "/models/upload", media, form, s.bearer)
		s.keep("uploadModel", media, form)
		move := modelpack.Move{Tenant: s.tenant, Model: id, Environment: "dev", Alias: "best", Sequence: 1, Version: 1, IssuedAt: time.Now().UTC().Truncate(time.Second)}
		bundle := runtimetest.Sign(s, s.key, manifest, artifact.PredicateAlias, move)
		s.must("moveAlias", "/models/"+id+"/aliases", map[string]any{"version": 1, "bundle": string(bundle)})
		s.must("replicateModel", "/models/"+id+"/replicas", map[string]any{"version": 1})
		s.digests[s.tenant] = append(s.digests[s.tenant], string(manifest))
	}
	s.knows(s.name("m"), s.name("f"), s.name("g"), s.name("s"), "bob")
}

// form is a signed package as an upload carries it.
func (s *seeder) form(model string) (media string, body []byte, pkg artifact.Digest) {
	weights := runtimetest.Logistic(s, float32(len(s.tenant)))
	card, err := artifact.Canonical(map[string]string{"secret": canary(s.tenant, "card")})
	require.NoError(s, err)
	layer, described := artifact.Describe(artifact.MediaTypeWeights, weights), artifact.Describe(modelpack.MediaTypeCard, card)
	config, err := modelpack.NewConfig(model, s.tenant, "logistic", "float32", layer.Digest, described.Digest)
	require.NoError(s, err)
	manifest, err := modelpack.NewManifest(artifact.Describe(artifact.MediaTypeModel, config), layer, described, nil)
	require.NoError(s, err)
	parsed, err := modelpack.ParseManifest(manifest)
	require.NoError(s, err)
	files, err := modelpack.FilesStatement(model, parsed.Files())
	require.NoError(s, err)
	oms, err := artifact.SignStatement(rand.Reader, s.key, files)
	require.NoError(s, err)
	pkg = artifact.DigestOf(manifest)
	var buffer bytes.Buffer
	w := multipart.NewWriter(&buffer)
	for _, part := range []struct {
		name string
		text []byte
	}{
		{"manifest", manifest}, {"bundle", runtimetest.Sign(s, s.key, pkg, artifact.PredicateModelPackage, provenance.Package{Tenant: s.tenant, Model: model, Weights: layer.Digest})},
		{"oms", oms}, {"signature", runtimetest.Sign(s, s.key, pkg, artifact.PredicateSign, map[string]any{})}, {"config", config}, {"weights", weights}, {"card", card},
	} {
		field, err := w.CreateFormFile(part.name, part.name)
		require.NoError(s, err)
		_, err = field.Write(part.text)
		require.NoError(s, err)
	}
	require.NoError(s, w.Close())
	return w.FormDataContentType(), buffer.Bytes(), pkg
}

// run enrols a site and starts a run that it is in the middle of.
func (s *seeder) run() {
	at := site.Site{Tenant: s.tenant, ID: s.name("s"), Region: "eu", PublicKey: s.pem()}
	for _, id := range []string{at.ID, canary(s.tenant, "site")} {
		body := map[string]any{"tenant": s.tenant, "site": id, "region": "eu", "public_key": s.pem()}
		if id == at.ID {
			body["public_key"] = at.PublicKey
		}
		text, err := json.Marshal(body)
		require.NoError(s, err)
		s.send("enrolSite", "/sites/enrol", "application/json", text, federationToken)
		s.keep("enrolSite", "application/json", text)
	}
	accepted := s.must("startRun", "/train/round", map[string]any{"model_id": s.name("m"), "tenants": []string{s.tenant},
		"params": map[string]any{"rounds": 3, "features": []string{s.name("f")}, "model": map[string]any{"trainer": "logistic", "inputs": 2, "classes": 2}}})
	id, _ := accepted["id"].(string)
	base, err := s.blobs.Put(s.Context(), artifact.MediaTypeWeights, bytes.NewReader(append([]byte(canary(s.tenant, "weights")), make([]byte, 64)...)))
	require.NoError(s, err)
	subject := contract.Subject{Tenant: s.tenant, ModelID: s.name("m"), TraceID: "0af7651916cd43dd8448eb211c80319c"}
	in := contract.RoundInput{Subject: subject, Run: id, Number: 1, Kind: round.Train, Base: base}
	manifest, err := s.blobs.Put(s.Context(), "application/json", strings.NewReader(`{"round":"`+canary(s.tenant, "manifest")+`"}`))
	require.NoError(s, err)
	bundle, err := s.blobs.Put(s.Context(), "application/json", strings.NewReader(`{}`))
	require.NoError(s, err)
	_, err = s.db.Rounds().BeginRound(s.Context(), in, manifest, round.Plain([]site.Site{at}), privacy.Request{})
	require.NoError(s, err)
	require.NoError(s, s.db.Rounds().OpenStage(s.Context(), contract.RegionInput{Subject: subject, Run: id, Number: 1, Kind: round.Train, Region: "eu", Sites: 1, Manifest: manifest, Signature: bundle},
		round.StageUpdate, time.Now().Add(24*time.Hour)))
	s.digests[s.tenant] = append(s.digests[s.tenant], string(base.Digest), string(manifest.Digest))
}

// ballot asks for a promotion of the model, and of a policy, up to the plan.
func (s *seeder) ballot() {
	promote := map[string]any{"version": 1, "environment": "dev", "canary": map[string]any{"none": true}}
	planned := s.must("promoteModel", "/models/"+s.name("m")+"/promotions", promote)
	promote["apply"], promote["plan_digest"] = true, planned["plan_digest"]
	s.must("promoteModel", "/models/"+s.name("m")+"/promotions", promote)
	propose := map[string]any{"document": map[string]any{"revision": 2, "threshold": 2, "rules": []any{map[string]any{"name": "default", "tenant": "*", "model": "*", "regions": []string{"*"}, "kinds": []string{"neural"}}},
		"weights": map[string]any{"latency": 400, "cost": 200, "fabric": 200, "locality": 200}}}
	planned = s.must("proposePolicy", "/policies/proposals", propose)
	propose["apply"], propose["plan_digest"] = true, planned["plan_digest"]
	s.must("proposePolicy", "/policies/proposals", propose)
}

// others are observations, decisions of the rules and of routers, and a
// recovery point that is asked for.
func (s *seeder) others() {
	s.must("recordObservations", "/policies/observations", map[string]any{"items": []any{map[string]any{"metric": "drift", "target": canary(s.tenant, "target"), "at": time.Now().UTC().Format(time.RFC3339), "value": 1}}})
	s.must("evaluatePolicy", "/policies/evaluations", map[string]any{"window_seconds": 60, "baseline_windows": 3})
	s.must("takeRecoveryPoint", "/recovery-points", map[string]any{"reason": canary(s.tenant, "point")})
	require.NoError(s, s.db.Verdicts().Record(s.Context(), policy.Decision{ID: uuid.NewString(), At: time.Now().UTC(), TraceID: "0af7651916cd43dd8448eb211c80319c", Tenant: s.tenant,
		Question: "start", Input: json.RawMessage(fmt.Sprintf(`{"model":%q}`, canary(s.tenant, "verdict"))), Reasons: []string{canary(s.tenant, "reason")}}))
	n := slices.Index(tenants, s.tenant) + 1
	id := fmt.Sprintf("%032x-%016x", n, n)
	_, err := s.db.Decisions().Record(s.Context(), api.DecisionBatch{Router: fmt.Sprintf("%032x", n), Region: "eu", Digest: artifact.DigestOf([]byte(id)), Decisions: []api.Decision{{
		Sequence: 1, ID: id, At: time.Now().UTC(), Caller: s.tenant, Owner: s.tenant, Model: s.name("m"), Environment: "dev", Status: 200, TraceID: canary(s.tenant, "trace"), Endpoint: canary(s.tenant, "endpoint")}}})
	require.NoError(s, err)
	s.knows(id)
}
