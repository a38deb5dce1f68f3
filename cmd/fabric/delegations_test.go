package main

import (
	"crypto/ecdsa"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/approval"
	"github.com/atom-fabric/fabric/domain/artifact"
)

// Whoever delegated signs that it ends, and the statement ends exactly that
// delegation; an administrator gives a reason instead.
func TestADelegationEndsByItsMakersSignature(t *testing.T) {
	d := council(t)
	delegate, err := readPublicKey(d.path("cyd.pub"))
	require.NoError(t, err)
	granted := approval.Granted{
		ID: artifact.DigestOf([]byte("delegation")), Delegation: approval.Delegation{Decision: approval.Delegate, From: "ann", To: "cyd", Nonce: "n", ExpiresAt: time.Now().Add(time.Hour)},
		Delegator: approval.Approver{Name: "ann"}, Key: artifact.KeyID(delegate),
	}
	var got v1.DelegationRevocation
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		view := v1.Delegation{ID: string(granted.ID), From: granted.From, To: granted.To, Key: string(granted.Key), Nonce: granted.Nonce, ExpiresAt: granted.ExpiresAt}
		switch r.Method + " " + r.URL.Path {
		case "GET /delegations":
			_ = json.NewEncoder(w).Encode(v1.DelegationList{Items: []v1.Delegation{view}})
		case "POST /delegations/" + string(granted.ID) + "/revoke":
			if err := json.NewDecoder(r.Body).Decode(&got); err != nil {
				w.WriteHeader(http.StatusBadRequest)
				return
			}
			view.RevokedAt = time.Now()
			_ = json.NewEncoder(w).Encode(view)
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	defer server.Close()
	d = d.with("FABRIC_API_URL=" + server.URL)
	id := string(granted.ID)
	sign := func(key, to string) []string {
		return []string{"approvals", "undelegate", id, "--key", d.path(key + ".key"), "--as", key, "--to-key", d.path(to + ".pub")}
	}

	require.Contains(t, d.ok(sign("ann", "cyd")...), "revoked")
	require.Empty(t, got.Reason)
	public, err := readPublicKey(d.path("ann.pub"))
	require.NoError(t, err)
	verified, err := artifact.VerifyBundle([]*ecdsa.PublicKey{public}, []byte(got.Bundle), artifact.PredicateDelegation, granted.Key)
	require.NoError(t, err)
	var said approval.Delegation
	require.NoError(t, artifact.DecodeStrict(verified.Predicate, &said))
	require.NoError(t, said.Ends(granted, approval.Approver{Name: "ann"}))
	require.ErrorIs(t, said.Ends(granted, approval.Approver{Name: "bob"}), approval.ErrDelegator)

	d.fails(exitUsage, "the delegation is to", sign("ann", "bob")...)
	d.fails(exitUsage, "no such file", "approvals", "undelegate", id, "--key", d.path("ann.key"), "--as", "ann", "--to-key", d.path("none.pub"))
	d.fails(exitUsage, "they must all be set", "approvals", "undelegate", id, "--key", d.path("ann.key"))
	d.fails(exitNotFound, "fabric approvals delegations", "approvals", "undelegate", "sha256:0", "--key", d.path("ann.key"), "--as", "ann", "--to-key", d.path("cyd.pub"))

	got = v1.DelegationRevocation{}
	d.ok("approvals", "undelegate", id, "--reason", "cyd has left")
	require.Equal(t, v1.DelegationRevocation{Reason: "cyd has left"}, got)
}

// Withdrawing consent shows first what it would reach; only --apply withdraws.
func TestAWithdrawalIsADryRunFirst(t *testing.T) {
	d := newDesk(t)
	var asked []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body struct{ Apply bool }
		if r.ContentLength > 0 && json.NewDecoder(r.Body).Decode(&body) != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		asked = append(asked, r.Method+" "+r.URL.Path+map[bool]string{true: " apply"}[body.Apply])
		if r.URL.Path == "/features/t1/wdbc/withdraw" {
			_ = json.NewEncoder(w).Encode(v1.Feature{Tenant: "t1", FeatureID: "wdbc"})
			return
		}
		_ = json.NewEncoder(w).Encode(v1.Withdrawal{Preview: !body.Apply, Markdown: "run r1 would lose a site", FeatureID: "wdbc"})
	}))
	defer server.Close()
	d = d.with("FABRIC_API_URL="+server.URL, "FABRIC_TENANT=t1")
	for _, command := range []string{"feature", "consent"} {
		asked = nil
		out := d.ok(command, "withdraw", "wdbc")
		require.Contains(t, out, "run r1 would lose a site")
		require.Contains(t, out, "Nothing was changed. To withdraw: fabric "+command+" withdraw wdbc --apply")
		require.Equal(t, []string{"POST /consents/withdrawals"}, asked, command)
	}
	asked = nil
	d.ok("feature", "withdraw", "wdbc", "--apply")
	require.Equal(t, []string{"POST /features/t1/wdbc/withdraw"}, asked)
	asked = nil
	d.ok("consent", "withdraw", "wdbc", "--apply")
	require.Equal(t, []string{"POST /consents/withdrawals apply"}, asked)
}
