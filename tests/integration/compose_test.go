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
