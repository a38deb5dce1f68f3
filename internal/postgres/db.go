// Package postgres keeps what the control plane must not lose, behind the
// ports of api and activities.
//
// Invariant: every statement runs as fabric_app with one tenant set, or as
// fabric_system; never as the login. A change, its audit leaf, its outbox row
// and the answer that is remembered for it are one transaction.
package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/exaring/otelpgx"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/otel/trace"

	"github.com/atom-fabric/fabric/domain/privacy"
	sqlfiles "github.com/atom-fabric/fabric/infra/sql"
)

// Options say which database and how it is used. Only DSN is required.
type Options struct {
	DSN           string
	ReplicaDSNs   []string      // one server each; empty: all reads on the primary
	ReplicaWindow time.Duration // how stale a replica's answer may be; 0 means 500 ms

	TenantConns int32 // connections of the tenant pool; 0 means 8
	SystemConns int32 // connections of the system pool; 0 means 4

	PrivacyEpsilon float64 // limit of a privacy budget that nobody has set; 0 means [privacy.DefaultEpsilon]

	Regions []string // whose mirrors are given every package that is registered; none: nobody's

	Origin string // name of the audit log in its checkpoints; empty: "fabric"
	LogKey LogKey // signs checkpoints; nil: this process signs none, and shows those that others signed

	Tracer trace.TracerProvider // nil: no spans
	Log    *slog.Logger         // nil: nothing is logged
	Clock  func() time.Time     // nil: time.Now
}

// ErrSchema says that the database lacks migrations that this program needs.
var ErrSchema = errors.New("database is not migrated: run fabric migrate")

// A DB is one Fabric database. It is safe for concurrent use.
type DB struct {
	app      *pgxpool.Pool // as fabric_app: tenant transactions only
	system   *pgxpool.Pool // as fabric_system: relay, sites' side of a stage, log, snapshots
	replicas *replicas
	hub      *hub
	clock    func() time.Time
	origin   string
	logKey   LogKey
	group    *appendGroup // appends that belong to no other change
	ledger   *knownHead   // for the appends of group
	shown    *shown       // the newest checkpoint that this process has shown
	epsilon  float64      // default limit of a privacy budget
	regions  []string
}

// Open connects, and refuses a database in which rows of one tenant could be
// seen by another: the roles are missing, too powerful, or the schema is older
// than the program. The DB listens until Close.
func Open(ctx context.Context, opts Options) (*DB, error) {
	opts = opts.complete()
	set, err := sqlfiles.Migrations()
	if err != nil {
		return nil, err
	}
	db := &DB{clock: opts.Clock, origin: opts.Origin, logKey: opts.LogKey, ledger: new(knownHead), shown: new(shown), epsilon: opts.PrivacyEpsilon, regions: opts.Regions}
	db.group = &appendGroup{commit: db.commitEntries}
	if db.app, err = openPool(ctx, opts, opts.DSN, roleApp, opts.TenantConns); err != nil {
		return nil, err
	}
	if db.system, err = openPool(ctx, opts, opts.DSN, roleSystem, opts.SystemConns); err != nil {
		db.app.Close()
		return nil, err
	}
	version, err := db.Version(ctx)
	if err == nil && version < set.Latest {
		err = fmt.Errorf("version %d of %d: %w", version, set.Latest, ErrSchema)
	}
	if err == nil {
		db.replicas, err = openReplicas(ctx, opts, db.system)
	}
	if err != nil {
		db.app.Close()
		db.system.Close()
		return nil, err
	}
	db.hub = listen(ctx, db.system.Config().ConnConfig, opts.Log)
	return db, nil
}

func (o Options) complete() Options {
	if o.ReplicaWindow <= 0 {
		o.ReplicaWindow = 500 * time.Millisecond
	}
	if o.TenantConns <= 0 {
		o.TenantConns = 8
	}
	if o.SystemConns <= 0 {
		o.SystemConns = 4
	}
	if o.PrivacyEpsilon == 0 {
		o.PrivacyEpsilon = privacy.DefaultEpsilon
	}
	if o.Origin == "" {
		o.Origin = "fabric"
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	return o
}

// Close stops listening and closes all connections.
func (db *DB) Close() {
	db.hub.close()
	db.replicas.close()
	db.app.Close()
	db.system.Close()
}

// Health says whether the primary answers in both roles.
func (db *DB) Health(ctx context.Context) error {
	if err := db.app.Ping(ctx); err != nil {
		return fault(err)
	}
	return fault(db.system.Ping(ctx))
}

// Version returns the number of the newest migration that ran, or [ErrSchema].
func (db *DB) Version(ctx context.Context) (int64, error) {
	var version int64
	err := db.system.QueryRow(ctx, `select coalesce(max(version), 0) from fabric.schema_version`).Scan(&version)
	if code(err) == undefinedTable || code(err) == invalidSchema {
		return 0, ErrSchema
	}
	return version, fault(err)
}

// openPool returns a pool that has connected once.
func openPool(ctx context.Context, opts Options, dsn, role string, conns int32) (*pgxpool.Pool, error) {
	cfg, err := poolConfig(ctx, opts, dsn, role, conns)
	if err != nil {
		return nil, err
	}
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, fault(err)
	}
	if err := pool.Ping(ctx); err != nil {
		pool.Close()
		return nil, fault(err)
	}
	return pool, nil
}

// lazyPool returns a read-only pool that connects when it is needed.
func lazyPool(ctx context.Context, opts Options, dsn string) (*pgxpool.Pool, error) {
	cfg, err := poolConfig(ctx, opts, dsn, roleApp, opts.TenantConns)
	if err != nil {
		return nil, err
	}
	cfg.ConnConfig.RuntimeParams["default_transaction_read_only"] = "on"
	return pgxpool.NewWithConfig(ctx, cfg)
}

// poolConfig makes every connection become role, and be looked at as it does.
func poolConfig(ctx context.Context, opts Options, dsn, role string, conns int32) (*pgxpool.Config, error) {
	cfg, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return nil, errDSN // err may quote the password
	}
	cfg.MaxConns = conns
	cfg.ConnConfig.ConnectTimeout = cmp.Or(cfg.ConnConfig.ConnectTimeout, 5*time.Second)
	for name, value := range map[string]string{
		"application_name":                    "fabric",
		"timezone":                            "UTC",
		"lock_timeout":                        "10s",
		"statement_timeout":                   "60s",
		"idle_in_transaction_session_timeout": "5min", // a relay talks to Temporal inside one
	} {
		if _, ok := cfg.ConnConfig.RuntimeParams[name]; !ok {
			cfg.ConnConfig.RuntimeParams[name] = value
		}
	}
	if opts.Tracer != nil {
		cfg.ConnConfig.Tracer = otelpgx.NewTracer(otelpgx.WithTracerProvider(opts.Tracer))
	}
	cfg.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error { return become(ctx, conn, role) }
	cfg.AfterRelease = func(conn *pgx.Conn) bool { return restore(ctx, conn, role) }
	return cfg, nil
}

// errDSN does not say what is wrong with the DSN, because that could quote it.
var errDSN = errors.New("the database DSN cannot be parsed")
