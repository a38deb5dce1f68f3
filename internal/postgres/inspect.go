package postgres

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	sqlfiles "github.com/atom-fabric/fabric/infra/sql"
)

// An Inspection is what a login sees of its database, for people who look for
// what is wrong.
type Inspection struct {
	Server  int           // server_version_num: 150014 is 15.14
	Standby bool          // it replays another server's log
	Skew    time.Duration // how far the server's clock is before ours, at most half a round trip off
	Super   bool          // the login is a superuser
	Bypass  bool          // the login is not bound by row-level security
	Roles   []RoleState   // of those that the fabric acts as
	Schema  int64         // newest migration that ran; 0: none
	Latest  int64         // newest that this program knows
}

// A RoleState is a role with its attributes.
type RoleState struct {
	Name                  string
	Exists, Super, Bypass bool
}

// Inspect connects once, looks, and changes nothing.
// Errors: what the server says; the DSN is never quoted.
func Inspect(ctx context.Context, dsn string) (Inspection, error) {
	var out Inspection
	conn, err := connect(ctx, dsn)
	if err != nil {
		return out, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	set, err := sqlfiles.Migrations()
	if err != nil {
		return out, err
	}
	out.Latest = set.Latest
	var server time.Time
	asked := time.Now()
	err = conn.QueryRow(ctx, `select clock_timestamp(), current_setting('server_version_num')::int, pg_is_in_recovery(), r.rolsuper, r.rolbypassrls
		from pg_roles r where r.rolname = session_user`).Scan(&server, &out.Server, &out.Standby, &out.Super, &out.Bypass)
	if err != nil {
		return out, fault(err)
	}
	out.Skew = server.Sub(asked.Add(time.Since(asked) / 2))
	for _, name := range []string{roleOwner, roleApp, roleSystem} {
		role := RoleState{Name: name, Exists: true}
		err := conn.QueryRow(ctx, `select rolsuper, rolbypassrls from pg_roles where rolname = $1`, name).Scan(&role.Super, &role.Bypass)
		if errors.Is(err, pgx.ErrNoRows) {
			role.Exists, err = false, nil
		}
		if err != nil {
			return out, fault(err)
		}
		out.Roles = append(out.Roles, role)
	}
	if !out.Roles[2].Exists {
		return out, nil
	}
	if _, err := conn.Exec(ctx, "set role "+roleSystem); err != nil {
		return out, fault(err)
	}
	err = conn.QueryRow(ctx, `select coalesce(max(version), 0) from fabric.schema_version`).Scan(&out.Schema)
	if code(err) == undefinedTable || code(err) == invalidSchema {
		err = nil
	}
	return out, fault(err)
}

// Lag says how far a standby is behind the primary: the age of what it has not
// replayed, zero when it has replayed all that the primary had when it was
// asked.
// Errors: [ErrPrimary] when the server replays nothing.
func Lag(ctx context.Context, primary, replica string) (time.Duration, error) {
	from, err := connect(ctx, primary)
	if err != nil {
		return 0, err
	}
	defer func() { _ = from.Close(context.WithoutCancel(ctx)) }()
	to, err := connect(ctx, replica)
	if err != nil {
		return 0, err
	}
	defer func() { _ = to.Close(context.WithoutCancel(ctx)) }()
	var want int64
	if err := from.QueryRow(ctx, `select pg_current_wal_insert_lsn() - '0/0'::pg_lsn`).Scan(&want); err != nil {
		return 0, fault(err)
	}
	asked := time.Now()
	for {
		var standby bool
		var got int64
		if err := to.QueryRow(ctx, `select pg_is_in_recovery(), coalesce(pg_last_wal_replay_lsn() - '0/0'::pg_lsn, 0)`).Scan(&standby, &got); err != nil {
			return time.Since(asked), fault(err)
		}
		switch {
		case !standby:
			return 0, ErrPrimary
		case got >= want:
			return time.Since(asked), nil
		}
		select {
		case <-ctx.Done():
			return time.Since(asked), ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// ErrPrimary says that what should be a replica is none.
var ErrPrimary = errors.New("it is a primary of its own and replays nothing")

func connect(ctx context.Context, dsn string) (*pgx.Conn, error) {
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, errDSN
	}
	cfg.ConnectTimeout = cmp.Or(cfg.ConnectTimeout, 4*time.Second)
	cfg.RuntimeParams["application_name"] = "fabric doctor"
	cfg.RuntimeParams["default_transaction_read_only"] = "on"
	conn, err := pgx.ConnectConfig(ctx, cfg)
	return conn, fault(err)
}
