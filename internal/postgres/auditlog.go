package postgres

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math"

	"github.com/jackc/pgx/v5"

	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/audit"
)

// An AuditLog reads and proves the log: [api.AuditLog].
type AuditLog struct{ db *DB }

// AuditLog returns the port.
func (db *DB) AuditLog() AuditLog { return AuditLog{db} }

// Leaves returns at most limit leaves from index on.
func (a AuditLog) Leaves(ctx context.Context, from int64, limit int) ([]api.AuditEntry, error) {
	rows, err := a.db.system.Query(ctx, `select idx, tenant, hash, body from fabric.audit_leaf where idx >= $1 order by idx limit $2`, from, limit)
	if err != nil {
		return nil, fault(err)
	}
	entries, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (api.AuditEntry, error) {
		var e api.AuditEntry
		var hash []byte
		err := row.Scan(&e.Index, &e.Tenant, &hash, &e.Leaf)
		e.Hash = digestOf(hash)
		return e, err
	})
	return entries, fault(err)
}

// Checkpoint returns the newest checkpoint, signed when the log has a key.
func (a AuditLog) Checkpoint(ctx context.Context) (api.AuditCheckpoint, error) {
	tree, err := head(ctx, a.db.system, ``)
	if err != nil {
		return api.AuditCheckpoint{}, fault(err)
	}
	point := audit.Checkpoint{Origin: a.db.origin, Size: tree.Size, Root: tree.Root()}
	out := api.AuditCheckpoint{Origin: point.Origin, Size: point.Size, Root: digestOf(point.Root[:])}
	if a.db.logKey != nil {
		if out.Note, err = point.Sign(a.db.logKey); err != nil {
			return api.AuditCheckpoint{}, err
		}
	}
	return out, nil
}

// Proof returns the inclusion proof of a leaf in the tree of size leaves; size
// 0 is the newest tree.
func (a AuditLog) Proof(ctx context.Context, index, size int64) (api.AuditProof, error) {
	tree, err := head(ctx, a.db.system, ``)
	if err != nil {
		return api.AuditProof{}, fault(err)
	}
	if size == 0 {
		size = tree.Size
	}
	if size < 0 || size > tree.Size || index < 0 || index >= size {
		return api.AuditProof{}, fmt.Errorf("leaf %d of %d: %w", index, size, api.ErrNotFound)
	}
	nodes := func(places []audit.Place) ([]audit.Hash, error) { return a.nodes(ctx, places) }
	proof, err := audit.ProveInclusion(index, size, nodes)
	if err != nil {
		return api.AuditProof{}, fault(err)
	}
	leaf, err := nodes([]audit.Place{{Level: 0, Index: index}})
	if err != nil {
		return api.AuditProof{}, fault(err)
	}
	root, err := a.root(ctx, tree, size)
	if err != nil {
		return api.AuditProof{}, fault(err)
	}
	out := api.AuditProof{Index: index, Size: size, Hash: digestOf(leaf[0][:]), Root: digestOf(root[:]), Hashes: []artifact.Digest{}}
	for _, h := range proof {
		out.Hashes = append(out.Hashes, digestOf(h[:]))
	}
	return out, nil
}

// Consistency returns the proof that the tree of size leaves begins with the
// tree of old; size 0 is the newest tree.
func (a AuditLog) Consistency(ctx context.Context, old, size int64) ([]artifact.Digest, error) {
	tree, err := head(ctx, a.db.system, ``)
	if err != nil {
		return nil, fault(err)
	}
	if size == 0 {
		size = tree.Size
	}
	if size > tree.Size {
		return nil, fmt.Errorf("size %d of %d: %w", size, tree.Size, api.ErrNotFound)
	}
	proof, err := audit.ProveConsistency(old, size, func(places []audit.Place) ([]audit.Hash, error) { return a.nodes(ctx, places) })
	if errors.Is(err, audit.ErrRange) {
		return nil, fmt.Errorf("%w: %w", err, api.ErrNotFound)
	}
	out := make([]artifact.Digest, len(proof))
	for i, h := range proof {
		out[i] = digestOf(h[:])
	}
	return out, fault(err)
}

// root returns the root over the first size leaves.
func (a AuditLog) root(ctx context.Context, tree audit.Tree, size int64) (audit.Hash, error) {
	if size == tree.Size {
		return tree.Root(), nil
	}
	frontier, err := a.nodes(ctx, audit.FrontierPlaces(size))
	if err != nil {
		return audit.Hash{}, err
	}
	return audit.Tree{Size: size, Frontier: frontier}.Root(), nil
}

// nodes reads complete subtrees: leaves at level 0, inner nodes above.
func (a AuditLog) nodes(ctx context.Context, places []audit.Place) ([]audit.Hash, error) {
	levels, indexes := make([]int16, len(places)), make([]int64, len(places))
	for i, p := range places {
		levels[i], indexes[i] = int16(p.Level), p.Index
	}
	rows, err := a.db.system.Query(ctx, `
		select coalesce(l.hash, n.hash)
		from unnest($1::smallint[], $2::bigint[]) with ordinality as want(level, idx, at)
		left join fabric.audit_leaf l on want.level = 0 and l.idx = want.idx
		left join fabric.audit_node n on n.level = want.level and n.idx = want.idx
		order by want.at`, levels, indexes)
	if err != nil {
		return nil, err
	}
	raw, err := pgx.CollectRows(rows, pgx.RowTo[[]byte])
	if err != nil {
		return nil, err
	}
	return decodeHashes(raw)
}

// VerifyAll reads the whole log and computes it anew: every body hashes to its
// leaf, leaves are numbered without a gap, every inner node and the head
// follow from the leaves, and what earlier checkpoints committed to is still
// so. It finds what a superuser changed behind the triggers, short of a whole
// consistent rewrite; that is what kept checkpoints are for. Memory is constant.
func (a AuditLog) VerifyAll(ctx context.Context, kept ...audit.Checkpoint) error {
	return begin(ctx, a.db.system, func(b *pgx.Batch) {
		b.Queue(`set transaction isolation level repeatable read, read only`)
	}, func(tx pgx.Tx) error {
		want, err := head(ctx, tx, ``)
		if err != nil {
			return err
		}
		tree, nodes, err := recompute(ctx, tx, kept)
		if err != nil {
			return err
		}
		var stored int64
		var root []byte
		err = tx.QueryRow(ctx, `select (select count(*) from fabric.audit_node), root from fabric.audit_state`).Scan(&stored, &root)
		if err != nil {
			return err
		}
		switch {
		case tree.Size != want.Size:
			return fmt.Errorf("%d leaves, the head says %d: %w", tree.Size, want.Size, ErrTampered)
		case tree.Root() != want.Root() || digestOf(root) != rootDigest(tree):
			return fmt.Errorf("the head does not follow from the leaves: %w", ErrTampered)
		case nodes != stored:
			return fmt.Errorf("%d nodes, %d follow from the leaves: %w", stored, nodes, ErrTampered)
		}
		return nil
	})
}

// recompute builds the tree from the bodies, page by page, and compares the
// stored nodes and the kept checkpoints on the way.
func recompute(ctx context.Context, tx pgx.Tx, kept []audit.Checkpoint) (tree audit.Tree, nodes int64, err error) {
	const page = 1000
	due := map[int64]audit.Hash{}
	for _, c := range kept {
		due[c.Size] = c.Root
	}
	if root, ok := due[0]; ok && root != tree.Root() {
		return tree, 0, fmt.Errorf("checkpoint of size 0: %w", ErrTampered)
	}
	delete(due, 0)
	for last := int64(math.MinInt64); ; {
		rows, err := tx.Query(ctx, `select idx, tenant, hash, body from fabric.audit_leaf where idx > $1 order by idx limit $2`, last, page)
		if err != nil {
			return tree, 0, err
		}
		leaves, err := pgx.CollectRows(rows, pgx.RowToStructByPos[leafRow])
		if err != nil {
			return tree, 0, err
		}
		var done []audit.Node
		for _, l := range leaves {
			if err := l.check(tree.Size); err != nil {
				return tree, 0, err
			}
			var more []audit.Node
			tree, more = tree.Append(audit.Hash(l.Hash))
			done = append(done, more[1:]...)
			if root, ok := due[tree.Size]; ok && root != tree.Root() {
				return tree, 0, fmt.Errorf("checkpoint of size %d: %w", tree.Size, ErrTampered)
			}
			delete(due, tree.Size)
			last = l.Index
		}
		if err := compareNodes(ctx, tx, done); err != nil {
			return tree, 0, err
		}
		nodes += int64(len(done))
		if len(leaves) < page {
			break
		}
	}
	for size := range due {
		return tree, 0, fmt.Errorf("checkpoint of size %d, %d leaves are left: %w", size, tree.Size, ErrTampered)
	}
	return tree, nodes, nil
}

type leafRow struct {
	Index  int64
	Tenant string
	Hash   []byte
	Body   []byte
}

func (l leafRow) check(want int64) error {
	leaf, err := audit.Decode(l.Body)
	switch {
	case l.Index != want:
		return fmt.Errorf("leaf %d where %d should be: %w", l.Index, want, ErrTampered)
	case err != nil:
		return fmt.Errorf("leaf %d: %w: %w", l.Index, ErrTampered, err)
	case leaf.Tenant != l.Tenant:
		return fmt.Errorf("leaf %d is of another tenant: %w", l.Index, ErrTampered)
	}
	if hash := audit.LeafHash(l.Body); string(hash[:]) != string(l.Hash) {
		return fmt.Errorf("leaf %d: hash differs from body: %w", l.Index, ErrTampered)
	}
	return nil
}

// compareNodes looks the nodes up in the database, all at once.
func compareNodes(ctx context.Context, tx pgx.Tx, nodes []audit.Node) error {
	levels, indexes, hashes := make([]int16, len(nodes)), make([]int64, len(nodes)), make([][]byte, len(nodes))
	for i := range nodes {
		levels[i], indexes[i], hashes[i] = int16(nodes[i].Level), nodes[i].Index, nodes[i].Hash[:]
	}
	var level int16
	var index int64
	err := tx.QueryRow(ctx, `
		select want.level, want.idx
		from unnest($1::smallint[], $2::bigint[], $3::bytea[]) as want(level, idx, hash)
		left join fabric.audit_node n on n.level = want.level and n.idx = want.idx
		where n.hash is distinct from want.hash limit 1`, levels, indexes, hashes).Scan(&level, &index)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	return fmt.Errorf("node %d at level %d does not follow from the leaves: %w", index, level, ErrTampered)
}

func digestOf(hash []byte) artifact.Digest {
	return artifact.Digest("sha256:" + hex.EncodeToString(hash))
}

func rootDigest(t audit.Tree) artifact.Digest {
	root := t.Root()
	return digestOf(root[:])
}
