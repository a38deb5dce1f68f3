//go:build operations

package operations

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/internal/pgserver"
	"github.com/atom-fabric/fabric/tests/harness"
)

// A container is a process of a system in an image of ours.
type container struct {
	name, program, id, mount string
	*harness.Process
}

// A berth is where the containers of one system run.
type berth struct {
	builder
	state   string // mounted where it is
	recipes map[string]harness.Recipe
	all     []container
}

// containers starts a system from the images: what fabric up runs as processes
// of the machine, with the same settings, each in a container of its own and as
// the user that the image names, on a schema that a container has made. It
// counts as failure when a process does not answer its health check, when a
// model is not trained over every site and served, or when a container has
// written outside its state directory.
func containers(t *testing.T, b builder) {
	place, err := shortDir(t)
	require.NoError(t, err)
	server := cluster(t, filepath.Join(place, "a"))
	dsn := overTCP(t, server.DSN("postgres", pgserver.Superuser))
	// This makes keys, the trust policy and the hospitals' rows, and shows how each process is run.
	s := harness.Up(t, harness.State(t), harness.FreeBase(t), "POSTGRES_DSN="+dsn)
	at := &berth{builder: b, state: s.State, recipes: map[string]harness.Recipe{}}
	for name := range s.Children(t) {
		at.recipes[name] = s.Recipe(t, name)
	}
	s.Stop()
	t.Cleanup(func() {
		for _, c := range at.all {
			if t.Failed() && c.Process != nil {
				t.Logf("%s said: %s", c.name, short(c.Output()))
			}
		}
	})
	empty(t, dsn, s)
	at.recipes["temporal"].Run(t)
	delete(at.recipes, "temporal")
	answers(t, s.TemporalUI()+"/")

	migration := at.make(t, "migrate", "fabric")
	said := b.must(t, at.command(migration, at.recipes["api"], "migrate")...)
	t.Logf("fabric migrate says: %q", said)
	began := time.Now()
	at.start(t, "registry", "mirror-eu", "mirror-us", "mirror-apac")
	answers(t, s.Registry()+"/v2/")
	at.start(t, "api")
	answers(t, s.Gateway()+"/health")
	at.start(t, "worker-control", "worker-eu", "worker-us", "worker-apac")
	for i := range 4 {
		answers(t, s.URL(60+i)+"/health")
	}
	at.start(t, "runtime-eu", "runtime-us", "runtime-apac", "router")
	var sites []string
	for name := range at.recipes {
		require.True(t, strings.HasPrefix(name, "site-"), "%s is in no container", name)
		sites = append(sites, name)
	}
	slices.Sort(sites)
	at.start(t, sites...)
	for n := range 7 {
		answers(t, s.Service(n)+"/health")
	}
	for i := range 3 {
		answers(t, s.Runtime(i)+"/v2/health/ready")
	}
	t.Logf("%5.2f s  %d containers have started and answer", time.Since(began).Seconds(), len(at.all)-1)
	t.Logf("the image's own check: %q", b.must(t, "run", "--isolation", "chroot", "--env", "FABRIC_PORT_BASE="+strconv.Itoa(s.Base), migration.id, "--", "/fabric", "healthcheck"))

	began = time.Now()
	s.Consent(t)
	lead := s.Lead(t)
	harness.Watch(t, lead, s.Train(t, lead, harness.Request(1)), 5*time.Minute, harness.Completed)
	t.Logf("%5.2f s  a run over %d sites, all in containers", time.Since(began).Seconds(), len(sites))
	for _, c := range slices.Backward(at.all) {
		if c.Process != nil {
			c.Stop()
		}
		require.Equal(t, []string{"/" + c.program, "/var/lib/fabric"}, inside(t, c.mount), "%s wrote outside its state directory", c.name)
	}
}

// empty takes away what the processes of the machine have left, and gives the
// rest to the user of the images.
func empty(t *testing.T, dsn string, s *harness.System) {
	t.Helper()
	admin, err := pgx.Connect(t.Context(), dsn)
	require.NoError(t, err)
	_, err = admin.Exec(t.Context(), "drop schema fabric cascade; drop table public.goose_db_version")
	require.NoError(t, err)
	require.NoError(t, admin.Close(t.Context()))
	for _, made := range []string{"temporal.db", "blobs", "registry", "mirrors", "router", "runtime-eu", "runtime-us", "runtime-apac", "witness-eu", "witness-us", "witness-apac"} {
		require.NoError(t, os.RemoveAll(s.Path(made)))
	}
	found, err := filepath.Glob(s.Path("sites", "*", "*"))
	require.NoError(t, err)
	for _, file := range found {
		if filepath.Base(file) != "rows.csv" {
			require.NoError(t, os.RemoveAll(file))
		}
	}
	out, err := exec.CommandContext(t.Context(), "chown", "-R", "65532:65532", s.State).CombinedOutput()
	require.NoError(t, err, "%s", out)
}

// make makes a container from the image of a program.
func (b *berth) make(t *testing.T, name, program string) container {
	t.Helper()
	id := b.must(t, "from", "--pull-never", tag(program))
	c := container{name: name, program: program, id: id, mount: b.must(t, "mount", id)}
	b.all = append(b.all, c)
	return c
}

// command is how a container is run with the settings of a process. The
// machine's own (PATH, HOME) are none of them.
func (b *berth) command(c container, r harness.Recipe, args ...string) []string {
	line := []string{"run", "--isolation", "chroot", "--volume", b.state + ":" + b.state}
	_, env := r.Settings()
	for _, setting := range env {
		if name, _, _ := strings.Cut(setting, "="); name != "PATH" && name != "HOME" && name != "TMPDIR" {
			line = append(line, "--env", setting)
		}
	}
	return append(append(line, c.id, "--", "/"+c.program), args...)
}

// start runs processes in containers.
func (b *berth) start(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		recipe, ok := b.recipes[name]
		require.True(t, ok, "fabric up runs no %s", name)
		delete(b.recipes, name)
		c := b.make(t, name, filepath.Base(recipe.Program()))
		args, _ := recipe.Settings()
		b.all[len(b.all)-1].Process = harness.Run(t, b.path, b.with(b.command(c, recipe, args...)...))
	}
}

// answers waits until a URL answers 200.
func answers(t *testing.T, address string) {
	t.Helper()
	said := ""
	for until := time.Now().Add(2 * time.Minute); time.Now().Before(until); time.Sleep(100 * time.Millisecond) {
		answer, err := http.Get(address)
		if err != nil {
			said = err.Error()
			continue
		}
		body, err := io.ReadAll(io.LimitReader(answer.Body, 1<<16))
		require.NoError(t, answer.Body.Close())
		if err == nil && answer.StatusCode == http.StatusOK {
			return
		}
		said = fmt.Sprintf("%s %s", answer.Status, body)
	}
	require.Fail(t, "no answer", "%s does not answer 200: %s", address, said)
}

// overTCP leads a port of this machine to the socket of a server of ours, whose
// folder admits one user only, and returns the connection string by that port.
func overTCP(t *testing.T, dsn string) string {
	t.Helper()
	found, err := url.Parse(dsn)
	require.NoError(t, err)
	socket := filepath.Join(found.Query().Get("host"), ".s.PGSQL.5432")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return // closed
			}
			go func() {
				far, err := net.Dial("unix", socket)
				if err != nil {
					_ = near.Close()
					return
				}
				go func() {
					_, _ = io.Copy(far, near)
					_ = far.Close()
				}()
				_, _ = io.Copy(near, far)
				_ = near.Close()
			}()
		}
	}()
	found.Host, found.RawQuery = listener.Addr().String(), "sslmode=disable"
	return found.String()
}
