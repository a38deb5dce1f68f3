package postgres

import (
	"context"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/audit"
)

// An AuditLog reads and proves the log: [api.AuditLog].
type AuditLog struct{ db *DB }

// AuditLog returns the port.
func (db *DB) AuditLog() AuditLog { return AuditLog{db} }

// Leaves returns at most limit leaves from index on. The hash is that of the
// body as it is now: whoever rebuilds the tree sees a body that was changed,
// of another tenant too.
func (a AuditLog) Leaves(ctx context.Context, from int64, limit int) ([]api.AuditEntry, error) {
	rows, err := a.db.system.Query(ctx, `select idx, tenant, body from fabric.audit_leaf where idx >= $1 order by idx limit $2`, from, limit)
	if err != nil {
		return nil, fault(err)
	}
	entries, err := pgx.CollectRows(rows, scanLeaf)
	return entries, fault(err)
}

func scanLeaf(row pgx.CollectableRow) (api.AuditEntry, error) {
	var e api.AuditEntry
	err := row.Scan(&e.Index, &e.Tenant, &e.Leaf)
	hash := audit.LeafHash(e.Leaf)
	e.Hash = hash.Digest()
	return e, err
}

// Search returns leaves of a tenant that hold a text where people look for one:
// not in their salt.
func (a AuditLog) Search(ctx context.Context, tenant, text string, from int64, limit int) ([]api.AuditEntry, error) {
	rows, err := a.db.system.Query(ctx, `
		select idx, tenant, body from fabric.audit_leaf
		cross join lateral (select convert_from(body, 'UTF8')::jsonb as leaf) l
		where tenant = $1 and idx >= $2 and (not $5 or strpos(lower(convert_from(body, 'UTF8') collate "C"), lower($3)) > 0) and strpos(lower(concat_ws(' ', leaf ->> 'kind', leaf ->> 'subject', leaf ->> 'actor', leaf ->> 'digest',
			leaf ->> 'statement', leaf ->> 'traceId')), lower($3)) > 0
		order by idx limit $4`, tenant, from, clean(text), limit, asItIs(text))
	if err != nil {
		return nil, fault(err)
	}
	entries, err := pgx.CollectRows(rows, scanLeaf)
	return entries, fault(err)
}

// lookedThrough is among how many leaves of everybody one call looks for those
// of one tenant: a tenth of a second at the most.
// Whoever has said something lately is found among the nearby ones, in a
// millisecond.
const (
	nearby        = 2_000
	lookedThrough = 100_000
)

// Own returns at most limit leaves of a tenant from index on, or, with before
// above 0, the newest first of those from index on and below it. next is where
// to go on, 0 at the end: a tenant that has said little in a long log is found
// over some calls, each of bounded work.
func (a AuditLog) Own(ctx context.Context, tenant string, from, before int64, limit int) ([]api.AuditEntry, int64, error) {
	found, next, err := a.own(ctx, tenant, from, before, limit, nearby)
	if err != nil || len(found) == limit || next == 0 {
		return found, next, err
	}
	return a.own(ctx, tenant, from, before, limit, lookedThrough)
}

func (a AuditLog) own(ctx context.Context, tenant string, from, before int64, limit int, within int64) ([]api.AuditEntry, int64, error) {
	var size int64
	if err := a.db.system.QueryRow(ctx, `select size from fabric.audit_state`).Scan(&size); err != nil {
		return nil, 0, fault(err)
	}
	low, high, order := from, size, `asc`
	if before > 0 {
		high, order = min(before, size), `desc`
		low = max(from, high-within)
	} else if size-from > within { // not a sum, which would be too large
		high = from + within
	}
	rows, err := a.db.system.Query(ctx, `select idx, tenant, body from fabric.audit_leaf
		where tenant = $1 and idx >= $2 and idx < $3 order by idx `+order+` limit $4`, tenant, low, high, limit)
	if err != nil {
		return nil, 0, fault(err)
	}
	entries, err := pgx.CollectRows(rows, scanLeaf)
	if err != nil {
		return nil, 0, fault(err)
	}
	next := high
	if before > 0 {
		next = low
	}
	if len(entries) == limit {
		if next = entries[limit-1].Index; before == 0 {
			next++
		}
	}
	if before > 0 && next <= from || before == 0 && next >= size {
		next = 0
	}
	return entries, next, nil
}

// asItIs says that a text within a field is the same text within the leaf's
// JSON, which is looked into first: that is several times faster than its fields.
func asItIs(text string) bool {
	return strings.Trim(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._:/@-") == ""
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
	return api.AuditProof{Index: index, Size: size, Hash: leaf[0].Digest(), Root: root.Digest(), Hashes: digests(proof)}, nil
}

// Consistency returns the proof that the tree of size leaves begins with the
// tree of old; size 0 is the newest tree.
func (a AuditLog) Consistency(ctx context.Context, old, size int64) (api.AuditStep, error) {
	tree, err := head(ctx, a.db.system, ``)
	if err != nil {
		return api.AuditStep{}, fault(err)
	}
	if size == 0 {
		size = tree.Size
	}
	if old < 0 || old > size || size > tree.Size {
		return api.AuditStep{}, fmt.Errorf("from %d to %d of %d: %w", old, size, tree.Size, api.ErrNotFound)
	}
	step, err := a.step(ctx, tree, old, size)
	if err != nil {
		return api.AuditStep{}, fault(err)
	}
	root, err := a.root(ctx, tree, size)
	if err != nil {
		return api.AuditStep{}, fault(err)
	}
	return api.AuditStep{From: old, To: size, FromRoot: step.Root.Digest(), ToRoot: root.Digest(), Hashes: digests(step.Hashes)}, nil
}

// step is how the tree of size leaves extends that of old.
func (a AuditLog) step(ctx context.Context, tree audit.Tree, old, size int64) (audit.Step, error) {
	var step audit.Step
	var err error
	if step.Root, err = a.root(ctx, tree, old); err != nil {
		return step, err
	}
	step.Hashes, err = audit.ProveConsistency(old, size, func(places []audit.Place) ([]audit.Hash, error) { return a.nodes(ctx, places) })
	return step, err
}

// Tile returns the hashes of a tile, 32 bytes each.
func (a AuditLog) Tile(ctx context.Context, tile audit.Tile) ([]byte, error) {
	tree, err := head(ctx, a.db.system, ``)
	if err != nil {
		return nil, fault(err)
	}
	if !tile.In(tree.Size) {
		return nil, fmt.Errorf("tile %s of %d leaves: %w", tile.Path(), tree.Size, api.ErrNotFound)
	}
	found, err := a.nodes(ctx, tile.Places())
	if err != nil {
		return nil, fault(err)
	}
	out := make([]byte, 0, len(found)*len(audit.Hash{}))
	for _, h := range found {
		out = append(out, h[:]...)
	}
	return out, nil
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

func digests(hashes []audit.Hash) []artifact.Digest {
	out := make([]artifact.Digest, len(hashes))
	for i := range hashes {
		out[i] = hashes[i].Digest()
	}
	return out
}

func digestOf(hash []byte) artifact.Digest {
	return artifact.Digest("sha256:" + hex.EncodeToString(hash))
}
