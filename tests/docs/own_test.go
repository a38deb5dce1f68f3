//go:build docs

package docs

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/internal/pgserver"
	"github.com/atom-fabric/fabric/tests/harness"
)

// around is what a page's own server is tried with: the whole system, and a
// round of one site on it.
const around = `
fabric up > up.log 2>&1 &
up=$!
for i in $(seq 240); do fabric healthcheck > health.log 2>&1 && break; sleep 0.5; kill -0 $up || { cat up.log; exit 1; }; done
until grep -q "ready in" up.log; do sleep 0.5; kill -0 $up || { cat up.log; exit 1; }; done
export FABRIC_TOKEN=$(fabric token --tenant hosp-north --subject ann --role data-scientist,operator,admin)
export FABRIC_TRUST_KEY=${FABRIC_TRUST_KEY:-$FABRIC_STATE_DIR/keys/fabric.pub}
fabric feature register wdbc --tenant hosp-north --consented --schema "$CHECKOUT/examples/tumour/schema.json"
fabric round start try --tenants hosp-north --features wdbc --rounds 1 --quorum 1 --watch
`

// TestOwnServers runs each page that has blocks marked `own`: those, then the
// system with a federated round on it, then the blocks marked `then`.
func TestOwnServers(t *testing.T) {
	ran := 0
	for _, p := range pages(t) {
		before, after := marked(t, p.path, "own"), marked(t, p.path, "then")
		if before == "" {
			continue
		}
		ran++
		t.Run(filepath.Base(p.path), func(t *testing.T) {
			base, folder := harness.FreeBase(t), t.TempDir()
			scrape(t, p, folder, base)
			settings := []string{
				"FABRIC_STATE_DIR=" + harness.State(t), fmt.Sprintf("FABRIC_PORT_BASE=%d", base), fmt.Sprintf("FABRIC_API_URL=http://127.0.0.1:%d", base),
			}
			if strings.Contains(before, "$PGHOST") {
				settings = append(settings, "PGHOST="+someonesPostgres(t), "PGUSER="+pgserver.Superuser)
			}
			script := "trap 'kill $(jobs -p) 2> kill.log; wait' EXIT\n" + before + around + after
			out, err := execute(t, folder, script, 5*time.Minute, settings...)
			t.Log(out)
			require.NoError(t, err)
		})
	}
	require.GreaterOrEqual(t, ran, 7)
}

// scrape writes a page's YAML beside its script as prometheus.yml, with the ports
// that a system at 9000 has moved to where this one is.
func scrape(t *testing.T, p page, folder string, base int) {
	t.Helper()
	found, _ := p.split()
	for _, b := range found {
		if b.language() == "yaml" {
			text := regexp.MustCompile(`127\.0\.0\.1:\d+`).ReplaceAllStringFunc(b.text(), func(address string) string {
				port, err := strconv.Atoi(address[strings.Index(address, ":")+1:])
				require.NoError(t, err)
				return fmt.Sprintf("127.0.0.1:%d", base+port-9000)
			})
			require.NoError(t, os.WriteFile(filepath.Join(folder, "prometheus.yml"), []byte(text), 0o600))
		}
	}
}

// someonesPostgres starts a server and returns the folder of its socket.
func someonesPostgres(t *testing.T) string {
	state := harness.State(t)
	harness.Run(t, filepath.Join(harness.Programs(t), "fabric"), []string{"postgres"}, "FABRIC_STATE_DIR="+state)
	dir, err := pgserver.Place(filepath.Join(state, "pg"))
	require.NoError(t, err)
	socket := filepath.Join(dir, "run")
	require.Eventually(t, func() bool {
		found, err := filepath.Glob(filepath.Join(socket, ".s.PGSQL.*"))
		return err == nil && len(found) > 0
	}, time.Minute, 100*time.Millisecond, "PostgreSQL did not start")
	return socket
}
