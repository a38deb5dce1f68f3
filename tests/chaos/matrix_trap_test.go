//go:build chaos

package chaos

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/internal/pgserver"
	"github.com/atom-fabric/fabric/tests/harness"
)

// Moments of a kill.
const (
	before = "before" // its transaction has written, and has not committed
	after  = "after"  // its transaction is durable, and nobody has been told
)

// Events that a trap waits for: what a transaction of a round writes.
const (
	eventBegin  = "begin"  // the round's row; the control plane's worker
	eventOpen   = "open"   // a stage's row with its members; the group's worker
	eventSubmit = "submit" // a site's answer; the API
	eventClose  = "close"  // a stage takes no more answers; the group's worker
	eventCommit = "commit" // the survivor set; the group's worker
	eventEnd    = "end"    // the round's result; the control plane's worker
)

// A spot is one transaction of a round. An empty site is whichever is first.
type spot struct {
	event  string
	number int
	stage  string
	site   string
}

func (s spot) String() string {
	text := s.event
	if s.stage != "" {
		text += " of " + s.stage
	}
	text += fmt.Sprintf(" in round %d", s.number)
	if s.site != "" {
		text += " by " + s.site
	}
	return text
}

// A trap stops one transaction of the product at a moment that the test
// chooses, while the test's session holds a lock: with that session, or with
// the server, every trap is gone, so that none is sprung twice.
//
// Before the commit the transaction waits for the lock. After it, it waits for
// a standby that does not exist: the commit record is on the disk, but neither
// another session nor the client knows.
type trap struct {
	dsn  string
	conn *pgx.Conn
}

const (
	trapLock  = `70901, 1` // the test's, while the trap is armed
	firstLock = `70901, 2` // of who is caught: one at a time
	setUp     = `
create schema chaos;
create table chaos.armed (event text, number int, stage text, site text, moment text);
create function chaos.trap() returns trigger language plpgsql security definer as $$
declare
  a chaos.armed;
  r jsonb := to_jsonb(new);
begin
  select * into a from chaos.armed t
    where t.event = tg_argv[0] and t.number = (r ->> 'number')::int
      and t.stage in ('', r ->> 'stage') and t.site in ('', r ->> 'site');
  if not found or pg_try_advisory_xact_lock_shared(` + trapLock + `) or not pg_try_advisory_xact_lock(` + firstLock + `) then
    return null;
  end if;
  perform set_config('application_name', 'trapped/' || coalesce(r ->> 'site', '') || '/' || coalesce(nullif(r ->> 'host', ''), r ->> 'region', ''), true);
  if a.moment = 'before' then
    perform pg_advisory_xact_lock_shared(` + trapLock + `);
  else
    perform set_config('synchronous_commit', 'on', true);
  end if;
  return null;
end $$;
create trigger chaos_begin after insert on fabric.round for each row execute function chaos.trap('begin');
create trigger chaos_end after update on fabric.round for each row when (old.status = 'open' and new.status <> 'open') execute function chaos.trap('end');
create trigger chaos_open after insert on fabric.stage for each row execute function chaos.trap('open');
create trigger chaos_close after update on fabric.stage for each row when (old.status = 'open' and new.status = 'closed') execute function chaos.trap('close');
create trigger chaos_submit after insert on fabric.submission for each row execute function chaos.trap('submit');
create trigger chaos_commit after insert on fabric.survivors for each row execute function chaos.trap('commit');`
	takeDown = `
drop trigger chaos_begin on fabric.round;
drop trigger chaos_end on fabric.round;
drop trigger chaos_open on fabric.stage;
drop trigger chaos_close on fabric.stage;
drop trigger chaos_submit on fabric.submission;
drop trigger chaos_commit on fabric.survivors;
drop schema chaos cascade;`
)

// settings of the server while there are traps. Only a transaction that is
// trapped waits for a standby; every other commits as before. A session whose
// client is gone ends, and rolls back, even while it waits for a lock.
func settings() []string {
	return []string{"synchronous_commit = 'local'", "synchronous_standby_names = 'nobody'", "client_connection_check_interval = '100ms'"}
}

// layTrap changes the system's database for a test.
func layTrap(t *testing.T, s *harness.System) *trap {
	t.Helper()
	dir, err := pgserver.Place(s.Path("pg"))
	require.NoError(t, err)
	dsn, err := pgserver.DSN(dir, "postgres", pgserver.Superuser)
	require.NoError(t, err)
	p := &trap{dsn: dsn}
	p.connect(t)
	p.exec(t, setUp)
	for _, set := range settings() { // in this order: nobody waits for the standby in between
		p.exec(t, "alter system set "+set)
		p.exec(t, "select pg_reload_conf()")
	}
	return p
}

// remove leaves the database as it was.
func (p *trap) remove(t *testing.T) {
	t.Helper()
	p.connect(t)
	p.exec(t, takeDown)
	settings := settings()
	for i := range settings {
		name, _, _ := strings.Cut(settings[len(settings)-1-i], " ")
		p.exec(t, "alter system reset "+name)
		p.exec(t, "select pg_reload_conf()")
	}
	require.NoError(t, p.conn.Close(t.Context()))
}

// connect makes a new session, as soon as the server takes one.
func (p *trap) connect(t *testing.T) {
	t.Helper()
	if p.conn != nil {
		_ = p.conn.Close(t.Context()) // its server may be gone
	}
	var err error
	for range 600 {
		if p.conn, err = pgx.Connect(t.Context(), p.dsn); err == nil {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	require.NoError(t, err, "the database takes no session")
}

func (p *trap) exec(t *testing.T, sql string, args ...any) {
	t.Helper()
	_, err := p.conn.Exec(t.Context(), sql, args...)
	require.NoError(t, err, sql)
}

// arm stops the next transaction of the spot.
func (p *trap) arm(t *testing.T, at spot, moment string) {
	t.Helper()
	p.exec(t, `delete from chaos.armed`)
	p.exec(t, `insert into chaos.armed values ($1, $2, $3, $4, $5)`, at.event, at.number, at.stage, at.site, moment)
	p.exec(t, `select pg_advisory_lock(`+trapLock+`)`)
}

// A catch is the transaction that a trap holds.
type catch struct {
	pid  int // of the database's session
	site string
	host string // region of the row; the group's worker is there
}

// sprung waits until a transaction is caught.
func (p *trap) sprung(t *testing.T, at spot, moment string) catch {
	t.Helper()
	waiting := `select pid, application_name from pg_stat_activity where application_name like 'trapped/%' and `
	if moment == before {
		waiting += `pid in (select pid from pg_locks where locktype = 'advisory' and (classid, objid, objsubid) = (` + trapLock + `, 2) and not granted)`
	} else {
		waiting += `wait_event = 'SyncRep'`
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	for {
		var c catch
		var name string
		err := p.conn.QueryRow(ctx, waiting).Scan(&c.pid, &name)
		if err == nil {
			parts := strings.Split(name, "/")
			require.Len(t, parts, 3)
			c.site, c.host = parts[1], parts[2]
			return c
		}
		require.ErrorIs(t, err, pgx.ErrNoRows, "no transaction came to %s", at)
		time.Sleep(5 * time.Millisecond)
	}
}

// release lets go of everything. A session that has not committed is ended and
// rolls back; one that has committed is no longer kept waiting. When alone is
// set, the client was killed, so that the session must end by itself: that
// shows that the kill hit whom it was meant for.
func (p *trap) release(t *testing.T, c catch, moment string, alone bool) {
	t.Helper()
	if moment == before {
		if !alone {
			p.exec(t, `select pg_terminate_backend($1)`, c.pid)
		}
		require.Eventually(t, func() bool { return p.count(t, `pid = $1`, c.pid) == 0 }, 10*time.Second, 10*time.Millisecond,
			"the killed process was not the one that wrote")
	}
	p.disarm(t)
}

// disarm takes the trap away and lets what it holds go on.
func (p *trap) disarm(t *testing.T) {
	t.Helper()
	p.exec(t, `delete from chaos.armed`) // and no truncate: that would wait for what is held
	p.exec(t, `select pg_advisory_unlock_all()`)
	require.Eventually(t, func() bool {
		p.exec(t, `select pg_cancel_backend(pid) from pg_stat_activity where wait_event = 'SyncRep'`)
		return p.count(t, `wait_event = 'SyncRep'`) == 0
	}, 10*time.Second, 5*time.Millisecond, "a transaction is still held")
}

// count counts sessions that were trapped.
func (p *trap) count(t *testing.T, where string, args ...any) (n int) {
	t.Helper()
	require.NoError(t, p.conn.QueryRow(t.Context(), `select count(*) from pg_stat_activity where application_name like 'trapped/%' and `+where, args...).Scan(&n))
	return n
}

// row waits until a query of the round gives a row, and returns its only column.
func (p *trap) row(t *testing.T, sql string, args ...any) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	for {
		var out string
		err := p.conn.QueryRow(ctx, sql, args...).Scan(&out)
		if err == nil {
			return out
		}
		require.ErrorIs(t, err, pgx.ErrNoRows, "no row for %s with %v", sql, args)
		time.Sleep(3 * time.Millisecond)
	}
}
