package doctor_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/internal/config"
	"github.com/atom-fabric/fabric/internal/doctor"
)

func TestSettingsThatContradict(t *testing.T) {
	const secret = "hush-hush-hush"
	long := strings.Repeat("x", 32)
	for _, test := range []struct {
		name string
		env  []string
		want doctor.Status
		says string // in the detail
		fix  string
	}{
		{"nothing is set", nil, doctor.OK, "none contradicts", ""},
		{"two keys", []string{"COSIGN_KEY_PATH=/k", "FABRIC_PKCS11_URI=pkcs11:x"}, doctor.Fail, "COSIGN_KEY_PATH, FABRIC_PKCS11_URI", "unset all but one"},
		{"a policy without its pin", []string{"FABRIC_TRUST_POLICY=/p"}, doctor.Fail, "not pinned", "FABRIC_TRUST_ROOT"},
		{"a pin without its policy", []string{"FABRIC_TRUST_ROOT=sha256:x"}, doctor.Warn, "pins no policy", "FABRIC_TRUST_POLICY"},
		{"a policy and a key", []string{"FABRIC_TRUST_POLICY=/p", "FABRIC_TRUST_ROOT=x", "FABRIC_TRUST_KEY=/k"}, doctor.Warn, "decides nothing", "unset FABRIC_TRUST_KEY"},
		{"a password of a person's key", []string{"COSIGN_PASSWORD=" + secret}, doctor.OK, "", ""},
		{"a vault without a token", []string{"VAULT_ADDR=http://v"}, doctor.Fail, "no token", "VAULT_TOKEN_FILE"},
		{"a store without credentials", []string{"GLOBAL_S3_ENDPOINT=http://s/b"}, doctor.Fail, "no credentials", "AWS_ACCESS_KEY_ID"},
		{"a bucket of no server", []string{"MODEL_STORE_URL=s3://b"}, doctor.Fail, "of no server", "GLOBAL_S3_ENDPOINT"},
		{"production with the development issuer", []string{"FABRIC_ENV=prod", "FABRIC_LOG_KEY_PATH=/l"}, doctor.Fail, "development issuer", "FABRIC_JWKS"},
		{"production without a log key", []string{"FABRIC_ENV=prod", "FABRIC_JWKS=/j", "FABRIC_ISSUER=i"}, doctor.Fail, "audit log", "fabric audit keygen"},
		{"simulated production", []string{"FABRIC_ENV=prod", "FABRIC_LOG_KEY_PATH=/l", "FABRIC_JWKS=/j", "FABRIC_ISSUER=i", "SIMULATION_MODE=true"}, doctor.Warn, "simulated all the same", "unset SIMULATION_MODE"},
		{"keys of nobody", []string{"FABRIC_JWKS=/j"}, doctor.Fail, "that nothing names", "FABRIC_ISSUER"},
		{"sign-in elsewhere", []string{"FABRIC_OIDC_ISSUER=https://i"}, doctor.Fail, "does not accept", "FABRIC_JWKS"},
		{"half an approval", []string{"FABRIC_PRODUCTION_APPROVAL=/a"}, doctor.Fail, "belong together", "set both"},
		{"replicas of nothing", []string{"POSTGRES_REPLICA_DSNS=" + secret}, doctor.Fail, "no primary", "POSTGRES_DSN"},
		{"no URL", []string{"FABRIC_API_URL=nowhere"}, doctor.Fail, "no URL", "http(s)://"},
		{"another port", []string{"FABRIC_PORT_BASE=12000"}, doctor.Warn, "another port", "export FABRIC_API_URL=http://127.0.0.1:12000"},
		{"the same port", []string{"FABRIC_PORT_BASE=12000", "FABRIC_API_URL=http://localhost:12000"}, doctor.OK, "", ""},
		{"a development issuer for the network", []string{"FABRIC_HOST=0.0.0.0"}, doctor.Warn, "lets the network reach", "FABRIC_JWKS"},
		{"notices that nobody can check", []string{"FABRIC_NOTIFY_URL=http://n"}, doctor.Warn, "not signed", "FABRIC_NOTIFY_SECRET_FILE"},
		{"a short secret", []string{"FABRIC_NOTIFY_SECRET=" + secret}, doctor.Fail, "is short", "openssl rand"},
		{"a short session key", []string{"FABRIC_SESSION_KEY=" + secret}, doctor.Fail, "is short", "openssl rand"},
		{"secrets that are long enough", []string{"FABRIC_SESSION_KEY=" + long, "FABRIC_NOTIFY_SECRET=" + long}, doctor.OK, "", ""},
		{"a region that is not served", []string{"FABRIC_REGION=mars"}, doctor.Fail, "none of FABRIC_REGIONS", "add it"},
		{"a runtime of a region that is not served", []string{"NEURAL_FABRIC_URL=eu=http://a:1,mars=http://b:1"}, doctor.Fail, "names mars", "take it out of NEURAL_FABRIC_URL"},
		{"mirrors that are no list", []string{"FABRIC_MIRRORS=http://a"}, doctor.Fail, "no list", "eu=http://"},
		{"no regions", []string{"FABRIC_REGIONS=,"}, doctor.Fail, "is empty", "FABRIC_REGIONS="},
		{"a queue of no name", []string{"FABRIC_QUEUES=control,sign"}, doctor.Fail, "names sign", "control,signing"},
		{"no budget", []string{"FABRIC_PRIVACY_EPSILON=-1"}, doctor.Fail, "no limit", "above 0"},
		{"no window", []string{"REPL_WINDOW_MS=-1"}, doctor.Warn, "REPL_WINDOW_MS", "500"},
		{"a loop without windows", []string{"FABRIC_LOOP_TENANT=t", "FABRIC_LOOP_WINDOW_SECONDS=-5"}, doctor.Fail, "FABRIC_LOOP_WINDOW_SECONDS", "3600"},
		{"no level", []string{"FABRIC_LOG_LEVEL=loud"}, doctor.Warn, "no level", "info"},
		{"no environment", []string{"FABRIC_ENV=stage"}, doctor.Warn, "neither dev nor prod", "FABRIC_ENV="},
		{"no truth value", []string{"SIMULATION_MODE=no"}, doctor.Warn, "neither true nor false", "unset it"},
		{"the worst of two", []string{"FABRIC_LOG_LEVEL=loud", "VAULT_ADDR=http://v"}, doctor.Fail, "no token; FABRIC_LOG_LEVEL", "VAULT_TOKEN_FILE; set debug"},
	} {
		c, err := config.Load("", test.env)
		require.NoError(t, err, test.name)
		found := doctor.Settings(c)
		require.Equal(t, test.want, found.Status, "%s: %s", test.name, found.Detail)
		require.Contains(t, found.Detail, test.says, test.name)
		require.Contains(t, found.Fix, test.fix, test.name)
		require.Equal(t, test.want != doctor.OK, found.Fix != "", test.name)
		require.NotContains(t, found.Detail+found.Fix, secret, test.name)
	}
}
