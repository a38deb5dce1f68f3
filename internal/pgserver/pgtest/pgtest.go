// Package pgtest gives each test a PostgreSQL database of its own: empty, or
// with a schema that was migrated once. Tests import it, products never do.
//
//	func TestMain(m *testing.M) { pgtest.Main(m) }
//
//	func TestStore(t *testing.T) {
//		t.Parallel()
//		dsn := pgtest.New(t, postgres.Migrate)
//		...
//	}
//
// The first New of a test binary starts a server of package pgserver, without
// fsync, and Main stops it. With TEST_POSTGRES_DSN set, New uses that server
// instead, as a role that may create databases and roles.
//
// A migration runs once, into a template; a database is a copy of it, made in
// 10 ms where the server's files are in memory. Roles belong to the whole server: a migration must cope with
// finding those that it wants.
//
// Invariant: no two tests see one database, and a test binary that ends leaves
// no database behind. A missing server fails the test; nothing is skipped.
package pgtest

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"sync"
	"testing"
	"time"
)

// Migrate brings the empty database of a connection string to a schema.
type Migrate func(ctx context.Context, dsn string) error

// limit is how long a server may take to start or to stop.
const limit = time.Minute

// binary is what the tests of this process share. There is one because go test
// gives a package one TestMain and its tests nothing to pass on.
var binary struct {
	sync.Mutex
	running bool // between the begin and the end of Main
	cluster *cluster
}

// Main runs the tests of a package and stops the server that they may have
// started. It does not return.
func Main(m *testing.M) {
	binary.Lock()
	binary.running = true
	binary.Unlock()
	code := m.Run()
	if err := stop(); err != nil {
		fmt.Fprintln(os.Stderr, "pgtest:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// New makes a database for one test and returns its connection string, a URL,
// as a superuser. It is dropped when the test has ended. The database is what
// migrate made, or empty when migrate is nil. Pass the same top-level function
// each time: each closure gets a template of its own.
func New(t testing.TB, migrate Migrate) (dsn string) {
	t.Helper()
	c, err := shared(t.Context())
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	name, err := c.create(t.Context(), migrate)
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	t.Cleanup(func() {
		// The test's context has ended by now, and the server may be the tester's own.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), limit)
		defer cancel()
		if err := c.drop(ctx, name); err != nil {
			t.Errorf("pgtest: %v", err)
		}
	})
	return c.dsn(name)
}

// As is dsn for another role. On pgtest's own server no role needs a password.
func As(t testing.TB, dsn, role string) string {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatalf("pgtest: connection string is not a URL") // err would quote its password
	}
	u.User = url.User(role)
	return u.String()
}

func shared(ctx context.Context) (*cluster, error) {
	binary.Lock()
	defer binary.Unlock()
	if !binary.running {
		return nil, fmt.Errorf("the package's TestMain must call pgtest.Main")
	}
	if binary.cluster != nil {
		return binary.cluster, nil
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	c, err := open(ctx, os.Getenv("TEST_POSTGRES_DSN"))
	if err != nil {
		return nil, err
	}
	binary.cluster = c
	return c, nil
}

func stop() error {
	binary.Lock()
	defer binary.Unlock()
	binary.running = false
	c := binary.cluster
	binary.cluster = nil
	if c == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	return c.close(ctx)
}
