package pgserver

import "context"

// A Place that Start runs on can be reached from another process that knows
// its directory alone.

// DSN is the connection string of a database of the server on dir.
func DSN(dir, database, user string) (string, error) {
	p, err := pathsOf(dir)
	if err != nil {
		return "", err
	}
	return dsn(p.run, database, user), nil
}

// Ready says whether the server on dir takes sessions now.
func Ready(ctx context.Context, dir string) error {
	p, err := pathsOf(dir)
	if err != nil {
		return err
	}
	return probe(ctx, p.socket())
}
