//go:build operations

package operations

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// images are the targets of the Dockerfile, with the program in each and the
// commands by which compose and the chart run the services.
var images = []struct {
	target, program string
	version         []string
	services        []string
}{
	{"fabric", "fabric", []string{"--version"}, []string{"api", "worker", "migrate", "registry"}},
	{"fabric-router", "fabric-router", []string{"version"}, []string{"serve", "runtime"}},
	{"fabric-site", "fabric-site", []string{"version"}, []string{"run"}},
}

// A builder is buildah with a store of its own.
type builder struct {
	path string
	args []string
}

func newBuilder(t *testing.T) builder {
	t.Helper()
	path, err := exec.LookPath("buildah")
	require.NoError(t, err, "sh infra/setup/debian.sh images")
	store, err := os.MkdirTemp("", "images")
	require.NoError(t, err)
	b := builder{path, []string{"--root", filepath.Join(store, "root"), "--runroot", filepath.Join(store, "run"), "--storage-driver", "vfs"}}
	t.Cleanup(func() {
		out, err := exec.Command(b.path, b.with("rm", "--all")...).CombinedOutput()
		require.NoError(t, err, "%s", out)
		require.NoError(t, os.RemoveAll(store))
	})
	return b
}

// with returns buildah's arguments for a command.
func (b builder) with(more ...string) []string {
	return append(b.args[:len(b.args):len(b.args)], more...)
}

func (b builder) run(t *testing.T, more ...string) (string, error) {
	t.Helper()
	began := time.Now()
	out, err := exec.CommandContext(t.Context(), b.path, b.with(more...)...).CombinedOutput()
	t.Logf("%5.2f s  buildah %s", time.Since(began).Seconds(), strings.Join(more, " "))
	return string(out), err
}

func (b builder) must(t *testing.T, more ...string) string {
	t.Helper()
	out, err := b.run(t, more...)
	require.NoError(t, err, out)
	return strings.TrimSpace(out)
}

// tag is what the image of a target is called.
func tag(target string) string { return "localhost/" + target + ":test" }

// TestImages builds the image of each program without a registry or a network,
// from static programs: as who it runs, what is in it, what it says. Then it
// starts a whole system from them.
func TestImages(t *testing.T) {
	b, context := newBuilder(t), static(t)
	for _, image := range images {
		t.Run(image.target, func(t *testing.T) {
			b.must(t, "bud", "--isolation", "chroot", "--format", "docker", "--target", image.target+"-prebuilt", "-f", filepath.Join(root, "infra/docker/Dockerfile"), "-t", tag(image.target), context)

			var config struct {
				OCIv1 struct {
					Config struct {
						User       string
						Entrypoint []string
						Volumes    map[string]struct{}
					} `json:"config"`
				}
			}
			require.NoError(t, json.Unmarshal([]byte(b.must(t, "inspect", "--type", "image", tag(image.target))), &config))
			require.Equal(t, "65532:65532", config.OCIv1.Config.User)
			require.Equal(t, []string{"/" + image.program}, config.OCIv1.Config.Entrypoint)
			require.Contains(t, config.OCIv1.Config.Volumes, "/var/lib/fabric")

			container := b.must(t, "from", "--pull-never", tag(image.target))
			mount := b.must(t, "mount", container)
			require.Equal(t, []string{"/" + image.program, "/var/lib/fabric"}, inside(t, mount), "nothing else is in the image: no shell, no package")

			said := b.must(t, append([]string{"run", "--isolation", "chroot", container, "--", "/" + image.program}, image.version...)...)
			require.Contains(t, said, "9.0.0-phaseI.1")
			t.Logf("%s says: %s", image.program, said)
			for _, service := range image.services {
				help := b.must(t, "run", "--isolation", "chroot", container, "--", "/"+image.program, service, "--help")
				require.Contains(t, help, image.program+" "+service, "service %s", service)
			}
			_, err := b.run(t, "run", "--isolation", "chroot", container, "--", "/bin/sh", "-c", "true")
			require.Error(t, err, "there is a shell")
			if image.program == "fabric" {
				out, err := b.run(t, "run", "--isolation", "chroot", container, "--", "/fabric", "healthcheck")
				var exit *exec.ExitError
				require.True(t, errors.As(err, &exit), out)
				require.Contains(t, out, "connection refused", "a gateway that is not there is not healthy")
			}
			require.Equal(t, "65532 65532", owner(t, filepath.Join(mount, "var/lib/fabric")))
		})
	}
	t.Run("a system", func(t *testing.T) { containers(t, b) })
}

// static builds the programs without cgo, as the image's build target does, into
// a folder that the Dockerfile's prebuilt targets take them from.
func static(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "state"), 0o755))
	began := time.Now()
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", dir+"/", "./cmd/fabric", "./cmd/fabric-router", "./cmd/fabric-site")
	cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	t.Logf("%5.2f s  go build, without cgo", time.Since(began).Seconds())
	return dir
}

// inside lists what a file system holds, folders only where they are empty.
// What the builder mounts into a container for itself is not the image's.
func inside(t *testing.T, dir string) []string {
	t.Helper()
	var names []string
	cmd := exec.CommandContext(t.Context(), "tar", "-C", dir, "-cf", "-", ".")
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	for r := tar.NewReader(out); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		name := strings.TrimSuffix(strings.TrimPrefix(h.Name, "."), "/")
		switch strings.Split(name, "/")[min(1, strings.Count(name, "/"))] {
		case "", "proc", "sys", "dev", "etc", "run", "tmp":
			continue
		}
		if h.Typeflag == tar.TypeDir && name != "/var/lib/fabric" {
			continue
		}
		names = append(names, name)
	}
	require.NoError(t, cmd.Wait())
	slices.Sort(names)
	return names
}

func owner(t *testing.T, path string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "stat", "-c", "%u %g", path).CombinedOutput()
	require.NoError(t, err, string(out))
	return strings.TrimSpace(string(out))
}
