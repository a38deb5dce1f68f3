package postgres

import (
	"errors"
	"io"
	"net"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/atom-fabric/fabric/api"
)

// SQLSTATEs that mean something to this package.
const (
	uniqueViolation       = "23505"
	foreignKeyViolation   = "23503"
	lockNotAvailable      = "55P03"
	insufficientPrivilege = "42501"
	undefinedTable        = "42P01"
	invalidSchema         = "3F000"
	undefinedRole         = "42704"
	invalidParameter      = "22023"
)

// code returns the SQLSTATE of err, or "".
func code(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code
	}
	return ""
}

// An unavailable is a failure of the way to the database, not of the question.
type unavailable struct{ err error }

func (u *unavailable) Error() string   { return "database: " + u.err.Error() }
func (u *unavailable) Unwrap() []error { return []error{api.ErrUnavailable, u.err} }

// fault marks failures that another attempt may not meet: the server is away,
// starting, stopping, out of connections, or let a lock wait too long.
func fault(err error) error {
	if err == nil || errors.Is(err, api.ErrUnavailable) || errors.Is(err, ErrRole) {
		return err
	}
	var connect *pgconn.ConnectError
	var network net.Error
	class := code(err)
	switch {
	case errors.As(err, &connect):
		if class == "28P01" || class == "28000" || class == "3D000" { // password, login, database: no retry helps
			return err
		}
		return &unavailable{err}
	case strings.HasPrefix(class, "08"), strings.HasPrefix(class, "53"), strings.HasPrefix(class, "57P"), class == lockNotAvailable, class == "25006":
		return &unavailable{err}
	case errors.As(err, &network) && !network.Timeout(), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
		return &unavailable{err}
	}
	return err
}

// absent turns "no rows" into what the port says for it.
func absent(err, otherwise error) error {
	if errors.Is(err, pgx.ErrNoRows) {
		return otherwise
	}
	return err
}

// clean makes foreign text fit for a text column and a leaf: PostgreSQL stores
// no NUL, the log neither broken UTF-8 nor the character that stands for it,
// and neither wants a novel.
func clean(s string) string {
	const longest = 2000
	s = strings.NewReplacer("\x00", "?", "\uFFFD", "?").Replace(strings.ToValidUTF8(s, "?"))
	if len(s) <= longest {
		return s
	}
	cut := longest
	for !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut]
}
