package postgres

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/atom-fabric/fabric/domain/audit"
)

// ErrTampered says that the log in the database is not one that this program
// has written.
var ErrTampered = errors.New("audit log was tampered with")

// A LogKey signs the log's checkpoints and knows its own signature again.
type LogKey interface {
	// Sign returns the checkpoint as a signed note.
	Sign(point audit.Checkpoint) (note string, err error)
	// Open returns the checkpoint of a note that this key signed.
	Open(note string) (audit.Checkpoint, error)
}

// append adds leaves to the log. The lock on its head puts transactions in
// order; the frontier in the head is all that is read. A rollback takes leaves,
// nodes, head and signature back together, so a number is never lost, and a
// checkpoint that was signed here is seen by nobody before the commit.
func (db *DB) append(ctx context.Context, tx pgx.Tx, leaves []audit.Leaf) error {
	if len(leaves) == 0 {
		return nil
	}
	entries := make([]entry, len(leaves))
	for i, leaf := range leaves { // before the lock: others wait for it
		var err error
		if entries[i], err = db.encode(leaf); err != nil {
			return err
		}
	}
	tree, err := head(ctx, tx, ` for update`)
	if err != nil {
		return err
	}
	_, err = db.extend(ctx, tx, tree, entries)
	return err
}

// An entry is a leaf that is ready to be numbered.
type entry struct {
	tenant string
	body   []byte
	hash   audit.Hash
}

// encode completes a leaf with what every leaf has.
func (db *DB) encode(leaf audit.Leaf) (entry, error) {
	if leaf.V == 0 {
		leaf.V = 1
	}
	if leaf.At.IsZero() {
		leaf.At = db.clock()
	}
	if leaf.Salt == "" {
		var salt [16]byte
		rand.Read(salt[:]) // never fails: crypto/rand ends the process instead
		leaf.Salt = base64.RawURLEncoding.EncodeToString(salt[:])
	}
	body, err := leaf.Encode()
	if err != nil {
		return entry{}, fmt.Errorf("leaf %s of %s: %w", leaf.Kind, leaf.Subject, err)
	}
	return entry{leaf.Tenant, body, audit.LeafHash(body)}, nil
}

// extend writes entries behind a head that this transaction holds locked, and
// the new head with its signature. One round trip.
func (db *DB) extend(ctx context.Context, tx pgx.Tx, tree audit.Tree, entries []entry) (audit.Tree, error) {
	add, tree := number(tree, entries)
	note, err := db.sign(tree)
	if err != nil {
		return tree, err
	}
	var b pgx.Batch
	add.queue(&b)
	root := tree.Root()
	b.Queue(`update fabric.audit_state set size = $1, frontier = $2, root = $3, note = $4, at = now()`, tree.Size, encodeHashes(tree.Frontier), root[:], note)
	return tree, tx.SendBatch(ctx, &b).Close()
}

// number gives entries their places behind a tree.
func number(tree audit.Tree, entries []entry) (leafRows, audit.Tree) {
	var add leafRows
	for _, e := range entries {
		var done []audit.Node
		tree, done = tree.Append(e.hash)
		add.add(e, done)
	}
	return add, tree
}

// sign returns the signed checkpoint of a tree, or "" without a key.
func (db *DB) sign(tree audit.Tree) (string, error) {
	if db.logKey == nil {
		return "", nil
	}
	return db.logKey.Sign(audit.Checkpoint{Origin: db.origin, Size: tree.Size, Root: tree.Root()})
}

// headQuery reads the log's head.
const headQuery = `select size, frontier from fabric.audit_state`

// head reads the log's head.
func head(ctx context.Context, tx querier, lock string) (audit.Tree, error) {
	return scanHead(tx.QueryRow(ctx, headQuery+lock))
}

func scanHead(row pgx.Row) (audit.Tree, error) {
	var tree audit.Tree
	var frontier [][]byte
	err := row.Scan(&tree.Size, &frontier)
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

// queue adds the inserts of the rows to a batch.
func (r *leafRows) queue(b *pgx.Batch) {
	b.Queue(`insert into fabric.audit_leaf (idx, tenant, hash, body) select * from unnest($1::bigint[], $2::text[], $3::bytea[], $4::bytea[])`,
		r.index, r.tenant, r.hash, r.body)
	if len(r.nodes.hash) > 0 {
		b.Queue(`insert into fabric.audit_node (level, idx, hash) select * from unnest($1::smallint[], $2::bigint[], $3::bytea[])`,
			r.nodes.level, r.nodes.index, r.nodes.hash)
	}
}

func (r *leafRows) add(e entry, done []audit.Node) {
	r.index = append(r.index, done[0].Index)
	r.tenant = append(r.tenant, e.tenant)
	r.hash = append(r.hash, done[0].Hash[:])
	r.body = append(r.body, e.body)
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
