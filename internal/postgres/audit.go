package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/atom-fabric/fabric/domain/audit"
)

// ErrTampered says that the log in the database is not one that this program
// has written.
var ErrTampered = errors.New("audit log was tampered with")

// A Ledger appends to the audit log outside another port's transaction:
// activities.Ledger.
type Ledger struct{ db *DB }

// Ledger returns the port.
func (db *DB) Ledger() Ledger { return Ledger{db} }

// Append adds one leaf, in a transaction of its own.
func (l Ledger) Append(ctx context.Context, leaf audit.Leaf) error {
	return l.db.withSystem(ctx, func(tx *systemTx) error {
		tx.leaf(leaf)
		return nil
	})
}

// append adds leaves to the log. The lock on its head puts transactions in
// order; the frontier in the head is all that is read. A rollback takes leaves,
// nodes and head back together, so a number is never lost.
func (db *DB) append(ctx context.Context, tx pgx.Tx, leaves []audit.Leaf) error {
	if len(leaves) == 0 {
		return nil
	}
	tree, err := head(ctx, tx, ` for update`)
	if err != nil {
		return err
	}
	var add leafRows
	for _, leaf := range leaves {
		if leaf.V == 0 {
			leaf.V = 1
		}
		if leaf.At.IsZero() {
			leaf.At = db.clock()
		}
		body, err := leaf.Encode()
		if err != nil {
			return fmt.Errorf("leaf %s of %s: %w", leaf.Kind, leaf.Subject, err)
		}
		var done []audit.Node
		tree, done = tree.Append(audit.LeafHash(body))
		add.add(leaf.Tenant, body, done)
	}
	var b pgx.Batch
	b.Queue(`insert into fabric.audit_leaf (idx, tenant, hash, body) select * from unnest($1::bigint[], $2::text[], $3::bytea[], $4::bytea[])`,
		add.index, add.tenant, add.hash, add.body)
	if len(add.nodes.hash) > 0 {
		b.Queue(`insert into fabric.audit_node (level, idx, hash) select * from unnest($1::smallint[], $2::bigint[], $3::bytea[])`,
			add.nodes.level, add.nodes.index, add.nodes.hash)
	}
	root := tree.Root()
	b.Queue(`update fabric.audit_state set size = $1, frontier = $2, root = $3, at = now()`, tree.Size, encodeHashes(tree.Frontier), root[:])
	return tx.SendBatch(ctx, &b).Close()
}

// head reads the log's head.
func head(ctx context.Context, tx querier, lock string) (audit.Tree, error) {
	var tree audit.Tree
	var frontier [][]byte
	err := tx.QueryRow(ctx, `select size, frontier from fabric.audit_state`+lock).Scan(&tree.Size, &frontier)
	if errors.Is(err, pgx.ErrNoRows) {
		return audit.Tree{}, fmt.Errorf("the head is gone: %w", ErrTampered)
	}
	if err != nil {
		return audit.Tree{}, err
	}
	if tree.Frontier, err = decodeHashes(frontier); err != nil {
		return audit.Tree{}, err
	}
	if !tree.Whole() {
		return audit.Tree{}, fmt.Errorf("frontier of %d hashes for %d leaves: %w", len(frontier), tree.Size, ErrTampered)
	}
	return tree, nil
}

// A querier is a pool or a transaction.
type querier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// leafRows are the columns of new leaves and of the nodes that they completed.
type leafRows struct {
	index  []int64
	tenant []string
	hash   [][]byte
	body   [][]byte
	nodes  struct {
		level []int16
		index []int64
		hash  [][]byte
	}
}

func (r *leafRows) add(tenant string, body []byte, done []audit.Node) {
	r.index = append(r.index, done[0].Index)
	r.tenant = append(r.tenant, tenant)
	r.hash = append(r.hash, done[0].Hash[:])
	r.body = append(r.body, body)
	for _, n := range done[1:] {
		r.nodes.level = append(r.nodes.level, int16(n.Level))
		r.nodes.index = append(r.nodes.index, n.Index)
		r.nodes.hash = append(r.nodes.hash, n.Hash[:])
	}
}

func encodeHashes(hashes []audit.Hash) [][]byte {
	out := make([][]byte, len(hashes))
	for i := range hashes {
		out[i] = hashes[i][:]
	}
	return out
}

func decodeHashes(raw [][]byte) ([]audit.Hash, error) {
	out := make([]audit.Hash, len(raw))
	for i, h := range raw {
		if len(h) != len(out[i]) {
			return nil, fmt.Errorf("hash of %d bytes: %w", len(h), ErrTampered)
		}
		out[i] = audit.Hash(h)
	}
	return out, nil
}
