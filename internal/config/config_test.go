package config_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/internal/config"
)

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "fabric.yaml")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func TestTheEnvironmentWinsOverTheFileAndTheFileOverTheDefault(t *testing.T) {
	path := write(t, "fabric_host: 0.0.0.0\nfabric_port_base: \"9100\"\n")
	c, err := config.Load(path, []string{"FABRIC_PORT_BASE=9200"})
	require.NoError(t, err)
	require.Equal(t, 9200, c.PortBase)
	require.Equal(t, "0.0.0.0", c.Host)
	require.Equal(t, "fabric", c.TemporalNamespace)
	require.Equal(t, config.FromEnv, c.Origin("FABRIC_PORT_BASE"))
	require.Equal(t, config.FromFile, c.Origin("FABRIC_HOST"))
	require.Equal(t, config.FromDefault, c.Origin("TEMPORAL_NAMESPACE"))
}

func TestBadSettingsAreRefusedWithoutTheirValues(t *testing.T) {
	secret := write(t, "hunter2")
	tests := []struct {
		name    string
		file    string
		environ []string
		says    string
	}{
		{"a key that nobody knows", "fabric_hots: x", nil, `unknown key "fabric_hots"`},
		{"a number that is none", "", []string{"FABRIC_PORT_BASE=hunter2"}, "FABRIC_PORT_BASE is not of type int"},
		{"a secret given twice", "", []string{"FABRIC_TOKEN=hunter2", "FABRIC_TOKEN_FILE=" + secret}, "both FABRIC_TOKEN and FABRIC_TOKEN_FILE"},
		{"a secret's file that is missing", "", []string{"FABRIC_TOKEN_FILE=" + secret + ".no"}, "FABRIC_TOKEN_FILE"},
		{"a file that is a list", "- a\n- b\n", nil, "name: text"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := ""
			if tt.file != "" {
				path = write(t, tt.file)
			}
			_, err := config.Load(path, tt.environ)
			require.ErrorIs(t, err, config.ErrSetting)
			require.ErrorContains(t, err, tt.says)
			require.NotContains(t, err.Error(), "hunter2")
		})
	}
}

func TestASecretMayComeFromAFileAndIsNeverShown(t *testing.T) {
	c, err := config.Load("", []string{"FABRIC_TOKEN_FILE=" + write(t, "hunter2\n")})
	require.NoError(t, err)
	require.Equal(t, "hunter2", c.Token.Reveal())

	var logged strings.Builder
	slog.New(slog.NewJSONHandler(&logged, nil)).Info("settings", "all", c.Settings, "one", c.Token)
	asJSON, err := json.Marshal(c.Settings)
	require.NoError(t, err)
	for _, shown := range []string{fmt.Sprint(c), fmt.Sprintf("%+v %#v", c.Settings, c.Token), logged.String(), string(asJSON)} {
		require.NotContains(t, shown, "hunter2")
	}
}

func TestSimulationIsTheOutcomeOfWhatIsMissing(t *testing.T) {
	all := []string{"GLOBAL_REGISTRY_URL=http://r", "POSTGRES_DSN=postgres://p", "COSIGN_KEY_PATH=/k", "FEDERATION_TOKEN=t"}
	tests := []struct {
		name    string
		environ []string
		want    bool
	}{
		{"nothing is set", nil, true},
		{"all is set", all, false},
		{"a transit key serves as well", []string{all[0], all[1], all[3], "VAULT_ADDR=http://v"}, false},
		{"no registry", all[1:], true},
		{"no database", []string{all[0], all[2], all[3]}, true},
		{"no key", []string{all[0], all[1], all[3]}, true},
		{"no federation token", all[:3], true},
		{"forced", append([]string{"SIMULATION_MODE=true"}, all...), true},
		{"production asked for", []string{"SIMULATION_MODE=false"}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := config.Load("", tt.environ)
			require.NoError(t, err)
			require.Equal(t, tt.want, c.Simulation())
		})
	}
}

func TestTheExampleFileNamesEverySettingAndLoads(t *testing.T) {
	content, err := os.ReadFile("../../config.example.yaml")
	require.NoError(t, err)
	require.Equal(t, config.Example(), string(content), "write it anew with: fabric config example > config.example.yaml")
	uncommented := strings.NewReplacer("# fabric_", "fabric_").Replace(string(content))
	_, err = config.Load(write(t, uncommented), nil)
	require.NoError(t, err)
}
