package postgres

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/jackc/pgx/v5"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/audit"
)

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
		var note string
		err = tx.QueryRow(ctx, `select (select count(*) from fabric.audit_node), root, note from fabric.audit_state`).Scan(&stored, &root, &note)
		if err != nil {
			return err
		}
		switch {
		case tree.Size != want.Size:
			return fmt.Errorf("%d leaves, the head says %d: %w", tree.Size, want.Size, ErrTampered)
		case tree.Root() != want.Root() || digestOf(root) != rootDigest(tree):
			return fmt.Errorf("the head does not follow from the leaves: %w", ErrTampered)
		case note != "" && !says(note, tree):
			return fmt.Errorf("the head's signature is not over the head: %w", ErrTampered)
		case nodes != stored:
			return fmt.Errorf("%d nodes, %d follow from the leaves: %w", stored, nodes, ErrTampered)
		}
		return nil
	})
}

// says reports whether a note is about a tree. Who signed it, whoever pins the
// key must ask.
func says(note string, tree audit.Tree) bool {
	point, err := audit.ReadCheckpointUnsafe(note)
	return err == nil && point.Size == tree.Size && point.Root == tree.Root()
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
	first := index << level
	return fmt.Errorf("node %d at level %d, over leaves %d to %d, does not follow from them: %w", index, level, first, first+int64(1)<<level-1, ErrTampered)
}

func rootDigest(t audit.Tree) artifact.Digest {
	root := t.Root()
	return root.Digest()
}
