package local

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/internal/config"
	"github.com/atom-fabric/fabric/internal/supervise"
)

// value is what a process finds in its environment: the last one wins.
func value(s supervise.Spec, name string) string {
	for _, setting := range slices.Backward(s.Env) {
		if text, ok := strings.CutPrefix(setting, name+"="); ok {
			return text
		}
	}
	return ""
}

// Where transit is, and how it is reached, comes to every process that signs;
// what opens it to the workers of the control plane alone.
func TestWhoIsGivenTheTransitKey(t *testing.T) {
	c, err := config.Load("", []string{"VAULT_ADDR=https://vault:8200", "VAULT_TOKEN=hvs.hush", "VAULT_CACERT=/etc/ca.pem", "VAULT_NAMESPACE=north",
		"FABRIC_NOTIFY_SECRET=0123456789abcdef0123456789abcdef", "FABRIC_NOTIFY_LINK=https://fabric.example"})
	require.NoError(t, err)
	p := Plan{Layout: Layout{Host: "127.0.0.1", Base: 9000, State: "/state"}, Config: c}
	workers := p.Workers()
	control, regional := workers[0], workers[1:]
	for _, s := range []supervise.Spec{control, p.API()} {
		require.Equal(t, "https://vault:8200", value(s, "VAULT_ADDR"), s.Name)
		require.Equal(t, "/etc/ca.pem", value(s, "VAULT_CACERT"), s.Name)
		require.Equal(t, "north", value(s, "VAULT_NAMESPACE"), s.Name)
		require.NotEmpty(t, value(s, "FABRIC_NOTIFY_SECRET"), s.Name)
		require.Equal(t, "https://fabric.example", value(s, "FABRIC_NOTIFY_LINK"), s.Name)
		require.Equal(t, "/state/keys/log.key", value(s, "FABRIC_LOG_KEY_PATH"), s.Name)
	}
	require.Equal(t, "hvs.hush", value(control, "VAULT_TOKEN"))
	require.Empty(t, value(p.API(), "VAULT_TOKEN"))
	require.Len(t, regional, 3)
	for _, s := range regional {
		for _, name := range []string{"VAULT_ADDR", "VAULT_TOKEN", "COSIGN_KEY_PATH", "FABRIC_LOG_KEY_PATH", "FABRIC_NOTIFY_SECRET", "FEDERATION_TOKEN"} {
			require.Empty(t, value(s, name), "%s has %s", s.Name, name)
		}
		require.Equal(t, "/state/keys/log.pub", value(s, "FABRIC_LOG_VERIFIER"))
		require.NotEmpty(t, value(s, "FABRIC_WITNESS_URL"))
	}
}

// The router is in a region: the one that was asked for, else the first.
func TestTheRouterIsInARegion(t *testing.T) {
	tests := []struct {
		name string
		env  []string
		want string
		ok   bool
	}{
		{"by default in the first", nil, "eu", true},
		{"in the first of other regions", []string{"FABRIC_REGIONS= north , south"}, "north", true},
		{"where it was asked for", []string{"FABRIC_REGION=apac"}, "apac", true},
		{"not where nobody serves", []string{"FABRIC_REGION=mars"}, "mars", false},
		{"nowhere without regions", []string{"FABRIC_REGIONS=,"}, "", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := config.Load("", tt.env)
			require.NoError(t, err)
			p := Plan{Layout: Layout{Host: "127.0.0.1", Base: 9000, State: "/state"}, Config: c}
			require.Equal(t, tt.want, value(p.Router(), "FABRIC_REGION"))
			if tt.ok {
				require.NoError(t, p.CheckHome())
				return
			}
			require.ErrorIs(t, p.CheckHome(), config.ErrSetting)
		})
	}
}
