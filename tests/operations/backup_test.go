//go:build operations

package operations

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	v1 "github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/internal/demo"
	"github.com/atom-fabric/fabric/internal/pgserver"
	"github.com/atom-fabric/fabric/tests/harness"
)

// cluster starts a PostgreSQL server of its own in a folder.
func cluster(t *testing.T, dir string) *pgserver.Server {
	t.Helper()
	s, err := pgserver.Start(t.Context(), pgserver.Options{Dir: dir, Fast: true})
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Stop(context.Background()) }) // it may be destroyed already
	return s
}

// shortDir makes a folder with a path that is short enough for a socket, and
// that the user of PostgreSQL may enter.
func shortDir(t *testing.T) (string, error) {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "fo")
	if err != nil {
		return "", err
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir, os.Chmod(dir, 0o755)
}

// held is what must be the same after a restore.
type held struct {
	Size     int64
	Root     string
	Manifest string
	Weights  string
	Answer   string
}

func holds(t *testing.T, s *harness.System, lead *v1.Client, at terminal, folder string) held {
	t.Helper()
	point, err := v1.Fetch[v1.Checkpoint](lead.AuditCheckpoint(t.Context()))
	require.NoError(t, err)
	require.NotEmpty(t, point.Note, "the head is signed")
	model, err := v1.Fetch[v1.Model](lead.GetModel(t.Context(), demo.Model, &v1.GetModelParams{}))
	require.NoError(t, err)
	require.Len(t, model.Versions, 1)
	version := model.Versions[0]
	at.run(t, "the package, verified", `fabric model pull "$MODEL" --dir `+folder)
	var answer v1.Invocation
	require.Eventually(t, func() bool {
		answer, err = v1.Fetch[v1.Invocation](lead.Invoke(t.Context(), v1.InvokeRequest{Tenant: demo.Consortium, ModelID: demo.Model, Input: harness.Rows(t)}))
		return err == nil
	}, 3*time.Minute, time.Second, "nothing serves: %v", err)
	return held{Size: point.Size, Root: point.Root, Manifest: version.Package.Digest, Weights: version.Weights.Digest, Answer: string(answer.Output)}
}

// TestBackupDestroyRestore follows docs/operations/backup.md on a running system
// with a trained and promoted model: back up, destroy the database and the state
// directory, restore, and compare; then docs/operations/upgrade.md, on the same
// rows as the release before the newest migration had them. It counts as failure
// when a command of a page fails, when the audit log's size or root, the package's
// digest, its weights or an answer differ, or when the log does not extend the
// checkpoint that was kept.
func TestBackupDestroyRestore(t *testing.T) {
	state, vault, base := harness.State(t), t.TempDir(), harness.FreeBase(t)
	place, err := shortDir(t)
	require.NoError(t, err)
	first := cluster(t, filepath.Join(place, "a"))
	admin, err := pgx.Connect(t.Context(), first.DSN("postgres", pgserver.Superuser))
	require.NoError(t, err)
	_, err = admin.Exec(t.Context(), "create database fabric")
	require.NoError(t, err)
	require.NoError(t, admin.Close(t.Context()))
	s := harness.Up(t, state, base, "POSTGRES_DSN="+first.DSN("fabric", pgserver.Superuser))
	s.Consent(t)
	lead := s.Lead(t)
	one, two := s.Enrol(t, lead, "vera", "owner"), s.Enrol(t, lead, "wim", "risk")
	harness.Watch(t, lead, s.Train(t, lead, harness.Request(1)), 5*time.Minute, harness.Completed)
	id := promote(t, lead, 1, "production", one, two)
	require.Equal(t, "applied", ended(t, lead, id).State)

	rows := filepath.Join(vault, "rows.json")
	require.NoError(t, os.WriteFile(rows, harness.Rows(t), 0o600))
	backup := filepath.Join(vault, "backup")
	at := desk(t, s).with("BACKUP="+backup, "MODEL="+demo.Model, "ROWS="+rows)
	before := holds(t, s, lead, at, filepath.Join(vault, "before"))
	t.Logf("before: %+v", before)

	kept := settled(t, first.DSN("fabric", pgserver.Superuser))
	began := time.Now()
	at.with("POSTGRES_DSN="+first.DSN("fabric", pgserver.Superuser)).follow(t, "backup", "backup")
	t.Logf("backed up in %.1f s", time.Since(began).Seconds())

	s.KillAll(t)
	require.NoError(t, first.Stop(context.Background()))
	require.NoError(t, os.Rename(s.Path("sites"), filepath.Join(place, "sites"))) // they are the hospitals'
	require.NoError(t, os.RemoveAll(state))
	t.Log("destroyed: every process killed, the state directory removed, the database's cluster left")

	second := cluster(t, filepath.Join(place, "b"))
	began = time.Now()
	at = at.with("POSTGRES_DSN=" + second.DSN("fabric", pgserver.Superuser))
	at.with("ADMIN_DSN="+second.DSN("postgres", pgserver.Superuser)).follow(t, "backup", "restore")
	t.Logf("restored in %.1f s", time.Since(began).Seconds())
	restored := head(t, second.DSN("fabric", pgserver.Superuser))
	t.Logf("the head of the audit log: %s when the backup was taken, %s when it was restored", kept, restored)
	require.Equal(t, kept, restored)
	require.NoError(t, os.Rename(filepath.Join(place, "sites"), s.Path("sites")))
	require.NoError(t, os.Chmod(state, 0o755)) // PostgreSQL's user need not pass here, the harness's sites do
	s = harness.Up(t, state, base, "POSTGRES_DSN="+second.DSN("fabric", pgserver.Superuser))
	lead = s.Person(t, demo.Consortium, "mira", "data-scientist", "operator", "admin")
	at = at.with("FABRIC_TOKEN=" + s.Token(t, demo.Consortium, "mira", "data-scientist", "operator", "admin", "auditor"))

	after := holds(t, s, lead, at, filepath.Join(vault, "after"))
	t.Logf("after:  %+v", after)
	// What starts adds leaves of its own; that they extend the old ones is proven below.
	require.GreaterOrEqual(t, after.Size, before.Size)
	before.Size, before.Root, after.Size, after.Root = 0, "", 0, ""
	require.Equal(t, before, after)
	at.follow(t, "backup", "proof")

	upgraded(t, s, second, at.with("BACKUP="+vault), lead, before)
}

// settled waits until a system that nobody asks for anything adds no more leaves,
// for two looks of its own, and returns the head: what the backup must hold.
func settled(t *testing.T, dsn string) string {
	t.Helper()
	last, since := head(t, dsn), time.Now()
	require.Eventually(t, func() bool {
		if now := head(t, dsn); now != last {
			last, since = now, time.Now()
		}
		return time.Since(since) > 15*time.Second
	}, 3*time.Minute, time.Second, "the log goes on")
	return last
}

// head is the size and the root of the audit log in a database.
func head(t *testing.T, dsn string) (found string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	require.NoError(t, err)
	require.NoError(t, conn.QueryRow(t.Context(), "select size || ' leaves, root ' || encode(root, 'hex') from fabric.audit_state").Scan(&found))
	require.NoError(t, conn.Close(t.Context()))
	return found
}
