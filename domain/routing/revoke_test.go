package routing_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/routing"
)

func TestRevokedTokens(t *testing.T) {
	set := routing.NewRevoked([]routing.Revocation{
		{Tenant: "t1", Token: "j1", Before: 100}, {Tenant: "t1", Subject: "ann", Before: 200}, {Tenant: "t1", Subject: "ann", Before: 150},
		{Tenant: "t2", Before: 50},
	})
	for _, tt := range []struct {
		name                   string
		tenant, token, subject string
		issued                 int64
		want                   bool
	}{
		{"the token", "t1", "j1", "bob", 100, true},
		{"another token of its subject", "t1", "j2", "bob", 100, false},
		{"the same id in another tenant", "t3", "j1", "bob", 100, false},
		{"a token of the subject", "t1", "j9", "ann", 200, true},
		{"one that was issued later", "t1", "j9", "ann", 201, false},
		{"a token without an id", "t1", "", "ann", 10, true},
		{"a subject that is called like a token", "t1", "ann", "j1", 10, false},
		{"everything of a tenant", "t2", "x", "y", 50, true},
		{"but what is newer", "t2", "x", "y", 51, false},
		{"the empty subject is nobody", "t1", "", "", 10, false},
	} {
		require.Equal(t, tt.want, set.Has(tt.tenant, tt.token, tt.subject, time.Unix(tt.issued, 0)), tt.name)
	}
	require.False(t, routing.NewRevoked(nil).Has("t1", "j1", "ann", time.Unix(0, 0)))
}

func TestRevokeAddsWhatIsMissingAndLetsGoWhatIsOver(t *testing.T) {
	at := time.Unix(1000, 0)
	old := routing.Revocation{Tenant: "t1", Token: "old", Before: 1, Until: 999}
	held := routing.Revocation{Tenant: "t1", Token: "held", Before: 1, Until: 2000}
	fresh := routing.Revocation{Tenant: "t1", Subject: "ann", Before: 900, Until: 3000}
	first, changed := routing.Snapshot{Version: 4}.Revoke([]routing.Revocation{old, held}, time.Unix(10, 0))
	require.True(t, changed)
	require.EqualValues(t, 5, first.Version)

	same, changed := first.Revoke([]routing.Revocation{held}, at)
	require.False(t, changed, "what it has stays until something is added")
	require.Equal(t, first, same)

	second, changed := first.Revoke([]routing.Revocation{fresh}, at)
	require.True(t, changed)
	require.Equal(t, []routing.Revocation{fresh, held}, second.Revocations)
	require.Equal(t, []routing.Revocation{held, old}, first.Revocations, "the one before is not touched")
}
