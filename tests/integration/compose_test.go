// Package integration checks what only the whole can show: the deployment
// files against the programs, and the running system against the contract.
//
// Invariant: servers are real; what a test starts, it stops.
package integration

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/internal/config"
)

const root = "../.."

// project loads the compose file with every required variable given.
func project(t *testing.T, environ ...string) (*types.Project, error) {
	t.Helper()
	options, err := cli.NewProjectOptions([]string{filepath.Join(root, "docker-compose.yaml")},
		cli.WithWorkingDirectory(root), cli.WithProfiles([]string{"*"}), cli.WithEnv(environ))
	require.NoError(t, err)
	return options.LoadProject(t.Context())
}

// given is a value for every variable that the file demands.
func given(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "infra/docker/compose.env.example"))
	require.NoError(t, err)
	var environ []string
	for line := range strings.Lines(string(text)) {
		if name, _, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(name, "#") {
			environ = append(environ, name+"=given")
		}
	}
	return environ
}

func TestComposeLoadsAndDemandsItsSecrets(t *testing.T) {
	_, err := project(t)
	require.Error(t, err, "a secret that is not given must stop it")
	p, err := project(t, given(t)...)
	require.NoError(t, err)
	require.Greater(t, len(p.Services), 15)
}

// Our own programs, by image, and the commands that they have.
var commands = map[string][]string{
	"fabric:":        {"api", "worker", "migrate"},
	"fabric-router:": {"serve", "runtime"},
	"fabric-site:":   {"run"},
}

func TestComposeVariablesAreOursAndItsCommandsExist(t *testing.T) {
	p, err := project(t, given(t)...)
	require.NoError(t, err)
	known := map[string]bool{}
	for _, f := range config.Fields() {
		known[f.Env] = true
		if f.Secret {
			known[f.Env+"_FILE"] = true
		}
	}
	seen := map[string]bool{}
	for name, service := range p.Services {
		for image, allowed := range commands {
			if !strings.HasPrefix(service.Image, image) {
				continue
			}
			for variable := range service.Environment {
				require.True(t, known[variable], "service %s sets %s, which no process knows", name, variable)
				seen[strings.TrimSuffix(variable, "_FILE")] = true
			}
			require.Contains(t, allowed, service.Command[0], name)
		}
	}
	for _, f := range config.Fields() {
		if f.Critical {
			require.True(t, seen[f.Env], "no service is given %s", f.Env)
		}
	}
}

// regions are those that the file deploys.
var regions = []string{"eu", "us", "apac"}

// Every process knows whose signature counts, by the policy and its pin; every
// region has a witness that the others can ask, and a mirror.
func TestComposeSharesWhatMustBeTheSame(t *testing.T) {
	p, err := project(t, given(t)...)
	require.NoError(t, err)
	get := func(service, variable string) string {
		value := p.Services[service].Environment[variable]
		require.NotNil(t, value, "%s has no %s", service, variable)
		require.NotEmpty(t, *value, "%s has no %s", service, variable)
		return *value
	}
	for name, service := range p.Services {
		if name == "migrate" || !slices.ContainsFunc([]string{"fabric:", "fabric-router:", "fabric-site:"}, func(image string) bool { return strings.HasPrefix(service.Image, image) }) {
			continue
		}
		policy := get(name, "FABRIC_TRUST_POLICY")
		require.NotEmpty(t, get(name, "FABRIC_TRUST_ROOT"))
		require.True(t, mounts(service, filepath.Dir(policy)), "%s cannot read the policy after it was replaced: mount its folder", name)
		require.True(t, mounts(service, "/var/lib/fabric"), "%s forgets what it has seen", name)
	}
	require.Equal(t, get("api", "FABRIC_LOG_KEY_PATH"), get("worker-control", "FABRIC_LOG_KEY_PATH"), "one log, one key")
	for _, name := range []string{"api", "worker-control"} {
		require.Contains(t, secrets(p.Services[name]), "log.key")
	}
	for _, region := range regions {
		worker := "worker-" + region
		require.Equal(t, "/run/secrets/log.pub", get(worker, "FABRIC_LOG_VERIFIER"))
		require.Contains(t, secrets(p.Services[worker]), "log.pub")
		require.Contains(t, secrets(p.Services[worker]), "snapshot.token", "the witness asks the gateway")
		require.Equal(t, "http://api:9000", get(worker, "FABRIC_SNAPSHOT_URL"))
		_, port, _ := strings.Cut(get(worker, "FABRIC_METRICS_LISTEN"), ":")
		require.Contains(t, strings.Split(get(worker, "FABRIC_WITNESS_URL"), ","), region+"=http://"+worker+":"+port)
		require.Contains(t, strings.Split(get(worker, "FABRIC_MIRRORS"), ","), region+"=http://mirror-"+region+":5000")
		require.Contains(t, p.Services, "mirror-"+region)
		for _, private := range []string{"cosign.key", "cosign.password", "log.key", "federation.token"} {
			require.NotContains(t, secrets(p.Services[worker]), private, "a region signs nothing")
		}
		for _, variable := range []string{"COSIGN_KEY_PATH", "COSIGN_PASSWORD_FILE", "FABRIC_LOG_KEY_PATH", "FEDERATION_TOKEN_FILE"} {
			require.NotContains(t, p.Services[worker].Environment, variable)
		}
	}
	require.Equal(t, get("worker-control", "FABRIC_MIRRORS"), get("worker-eu", "FABRIC_MIRRORS"))
	require.NotContains(t, secrets(p.Services["api"]), "cosign.password", "the API has no use for what opens the key")
}

// Every file under /run/secrets that a variable names is given to the service.
func TestComposeGivesTheSecretsThatItNames(t *testing.T) {
	p, err := project(t, given(t)...)
	require.NoError(t, err)
	for name, service := range p.Services {
		for variable, value := range service.Environment {
			if value == nil {
				continue
			}
			if secret, ok := strings.CutPrefix(*value, "/run/secrets/"); ok {
				require.Contains(t, secrets(service), secret, "service %s, %s", name, variable)
			}
		}
	}
}

func mounts(s types.ServiceConfig, target string) bool {
	return slices.ContainsFunc(s.Volumes, func(v types.ServiceVolumeConfig) bool { return v.Target == target })
}

func secrets(s types.ServiceConfig) []string {
	var names []string
	for _, secret := range s.Secrets {
		names = append(names, secret.Source)
	}
	return names
}

func TestComposeIsSafeToStart(t *testing.T) {
	p, err := project(t, given(t)...)
	require.NoError(t, err)
	tagged := regexp.MustCompile(`:[^:/]*[0-9][^:/]*$`)
	for name, service := range p.Services {
		require.Regexp(t, tagged, service.Image, "%s: an image without a version", name)
		require.False(t, service.Privileged, name)
		for _, port := range service.Ports {
			require.Equal(t, "127.0.0.1", port.HostIP, "%s: port %s is open to the network", name, port.Published)
		}
		for other, need := range service.DependsOn {
			if need.Condition == types.ServiceConditionHealthy {
				require.NotNil(t, p.Services[other].HealthCheck, "%s waits for the health of %s, which has no check", name, other)
			}
		}
		for _, v := range service.Volumes {
			if v.Type == types.VolumeTypeBind && !strings.Contains(v.Source, ".fabric") {
				_, err := os.Stat(v.Source)
				require.NoError(t, err, "%s mounts what is not there", name)
			}
		}
	}
}

func TestDockerfileHasATargetForEachProcess(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "infra/docker/Dockerfile"))
	require.NoError(t, err)
	var targets []string
	for _, m := range regexp.MustCompile(`(?m)^FROM \S+ AS (\S+)$`).FindAllStringSubmatch(string(text), -1) {
		targets = append(targets, m[1])
	}
	p, err := project(t, given(t)...)
	require.NoError(t, err)
	for name, service := range p.Services {
		if service.Build != nil {
			require.True(t, slices.Contains(targets, service.Build.Target), "%s builds target %s, which the Dockerfile lacks", name, service.Build.Target)
		}
	}
}
