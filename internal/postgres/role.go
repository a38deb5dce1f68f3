package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// The roles that statements run as. fabric_owner owns the objects and is
// used by migrations only.
const (
	roleOwner  = "fabric_owner"
	roleApp    = "fabric_app"
	roleSystem = "fabric_system"
)

// ErrRole says that a connection would not be held back by row-level security.
var ErrRole = errors.New("database role is not safe to use")

// become makes the connection act as role, and refuses it unless the server
// confirms that the role is bound by row-level security.
func become(ctx context.Context, conn *pgx.Conn, role string) error {
	if _, err := conn.Exec(ctx, "set role "+pgx.Identifier{role}.Sanitize()); err != nil {
		switch code(err) {
		case undefinedRole, invalidParameter:
			return fmt.Errorf("%w: role %s does not exist: run fabric migrate", ErrRole, role)
		case insufficientPrivilege:
			return fmt.Errorf("%w: the login may not become %s: grant %s to it", ErrRole, role, role)
		}
		return err
	}
	var current string
	var super, bypass, owner bool
	err := conn.QueryRow(ctx, `
		select r.rolname, r.rolsuper, r.rolbypassrls, exists (select from pg_class c join pg_namespace n on n.oid = c.relnamespace
			where n.nspname = 'fabric' and pg_has_role(current_user, c.relowner, 'USAGE'))
		from pg_roles r where r.rolname = current_user`).Scan(&current, &super, &bypass, &owner)
	if err != nil {
		return err
	}
	if current != role || super || bypass || owner {
		return fmt.Errorf("%w: %s (superuser %t, bypasses row-level security %t, owns tables %t)", ErrRole, current, super, bypass, owner)
	}
	return nil
}

// restore gives a connection back as it was taken, whatever was set on it.
// Not DISCARD ALL, which drops the statements that pgx believes prepared; and
// RESET ALL leaves the role alone, so that one is set again. False closes the
// connection.
func restore(ctx context.Context, conn *pgx.Conn, role string) bool {
	if conn.PgConn().TxStatus() != 'I' {
		return false
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	_, err := conn.PgConn().Exec(ctx, "reset all; set role "+pgx.Identifier{role}.Sanitize()).ReadAll()
	return err == nil
}
