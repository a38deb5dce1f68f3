package pgtest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/atom-fabric/fabric/internal/pgserver"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// cluster is a server with the templates that this test binary has made on it.
type cluster struct {
	base   *url.URL         // of the maintenance database
	server *pgserver.Server // nil: somebody else's
	dir    string           // of server
	admin  *pgxpool.Pool
	prefix string // of every database of this binary
	count  atomic.Int64

	mu        sync.Mutex
	templates map[unsafe.Pointer]template
}

type template struct {
	name    string
	migrate Migrate // held, so that no other closure gets its address
	err     error
}

// open connects to dsn, or starts a server when it is empty.
func open(ctx context.Context, dsn string) (_ *cluster, err error) {
	c := &cluster{
		prefix:    "pgtest_" + strings.ToLower(rand.Text()[:8]) + "_",
		templates: map[unsafe.Pointer]template{},
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.close(context.WithoutCancel(ctx)))
		}
	}()
	if dsn == "" {
		if dsn, err = c.start(ctx); err != nil {
			return nil, err
		}
	}
	if c.base, err = url.Parse(dsn); err != nil || !strings.HasPrefix(c.base.Scheme, "postgres") {
		return nil, errors.New("TEST_POSTGRES_DSN is not a URL as postgres://user@host/database")
	}
	config, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return nil, err
	}
	// Creating a database is all that it does, on two cores.
	config.MaxConns = 4
	if c.admin, err = pgxpool.NewWithConfig(ctx, config); err != nil {
		return nil, err
	}
	return c, c.admin.Ping(ctx)
}

func (c *cluster) start(ctx context.Context) (dsn string, err error) {
	home := home()
	if err := sweep(home); err != nil {
		return "", err
	}
	if c.dir, err = os.MkdirTemp(home, "pgtest"); err != nil {
		return "", err
	}
	if err := os.Chmod(c.dir, 0o755); err != nil { // the server may run as another user
		return "", err
	}
	if c.server, err = pgserver.Start(ctx, pgserver.Options{Dir: c.dir, Fast: true}); err != nil {
		return "", err
	}
	return c.server.DSN("postgres", pgserver.Superuser), nil
}

// create makes a database from the template of migrate. Copying files beats
// writing a copy into the log, by half and more when tests run side by side.
func (c *cluster) create(ctx context.Context, migrate Migrate) (name string, err error) {
	from := "template0"
	if migrate != nil {
		if from, err = c.template(ctx, migrate); err != nil {
			return "", err
		}
	}
	name = c.next("")
	_, err = c.admin.Exec(ctx, fmt.Sprintf("create database %s template %s strategy file_copy", quote(name), quote(from)))
	return name, err
}

// template is the name of the database that migrate has been run in. It is made
// once; its error is every test's that wants it. Migrations run one at a time
// on the whole server, since roles are everybody's.
func (c *cluster) template(ctx context.Context, migrate Migrate) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	// A func value is a pointer to its closure. Functions cannot be compared,
	// and reflect tells their code only, which two closures share.
	key := *(*unsafe.Pointer)(unsafe.Pointer(&migrate))
	if t, ok := c.templates[key]; ok {
		return t.name, t.err
	}
	t := template{name: c.next("template_"), migrate: migrate}
	t.err = c.fill(ctx, t)
	if t.err != nil && ctx.Err() != nil {
		return "", t.err // this test was broken off; the next one tries again
	}
	c.templates[key] = t
	return t.name, t.err
}

func (c *cluster) fill(ctx context.Context, t template) (err error) {
	const migrating = 0x70677465 // "pgte", an advisory lock's number
	conn, err := c.admin.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	if _, err := conn.Exec(ctx, "select pg_advisory_lock($1)", migrating); err != nil {
		return err
	}
	defer func() {
		_, failed := conn.Exec(context.WithoutCancel(ctx), "select pg_advisory_unlock($1)", migrating)
		err = errors.Join(err, failed)
	}()
	if _, err := conn.Exec(ctx, "create database "+quote(t.name)+" template template0"); err != nil {
		return err
	}
	if err := t.migrate(ctx, c.dsn(t.name)); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	// A template can be copied only while nobody is connected to it; a pool
	// that migrate has closed may take a moment to be gone.
	_, err = conn.Exec(ctx, `select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = $1`, t.name)
	return err
}

func (c *cluster) next(kind string) string {
	return fmt.Sprintf("%s%s%d", c.prefix, kind, c.count.Add(1))
}

func (c *cluster) dsn(database string) string {
	u := *c.base
	u.Path = "/" + database
	return u.String()
}

// drop breaks off the connections that a test has left open.
func (c *cluster) drop(ctx context.Context, name string) error {
	_, err := c.admin.Exec(ctx, "drop database if exists "+quote(name)+" with (force)")
	return err
}

// close leaves nothing: a server of our own goes with all it has, on another's
// the templates are dropped.
func (c *cluster) close(ctx context.Context) error {
	var errs []error
	if c.server == nil && c.admin != nil {
		c.mu.Lock()
		for _, t := range c.templates {
			errs = append(errs, c.drop(ctx, t.name))
		}
		c.mu.Unlock()
	}
	if c.admin != nil {
		c.admin.Close()
	}
	if c.server != nil {
		errs = append(errs, c.server.Stop(ctx))
	}
	if c.dir != "" {
		errs = append(errs, os.RemoveAll(c.dir))
	}
	return errors.Join(errs...)
}

func quote(name string) string { return pgx.Identifier{name}.Sanitize() }
