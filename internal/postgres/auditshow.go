package postgres

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/jackc/pgx/v5"

	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/domain/audit"
)

// shown is the newest checkpoint that a process let out. What it lets out next
// must follow from it: a database that was set back, or exchanged, would
// otherwise make the log sign two histories.
type shown struct {
	mu    sync.Mutex
	point audit.Checkpoint
}

// A signedHead is the head of the log with the signature over it.
type signedHead struct {
	tree audit.Tree
	note string // "" when nobody signed it
}

// Checkpoint returns the newest checkpoint. It was signed in the transaction
// of the last append; when whoever appended has no key, it is signed here,
// stored, and shown after that commit.
// Errors: [ErrTampered] when the head does not follow from what this process
// has shown before, or is not what its signature says.
func (a AuditLog) Checkpoint(ctx context.Context) (api.AuditCheckpoint, error) {
	head, err := a.signed(ctx)
	if err != nil {
		return api.AuditCheckpoint{}, fault(err)
	}
	point := audit.Checkpoint{Origin: a.db.origin, Size: head.tree.Size, Root: head.tree.Root()}
	if a.db.logKey == nil && head.note != "" { // another process signs: its name is the log's
		claimed, err := audit.ReadCheckpointUnsafe(head.note)
		if err != nil || claimed.Size != point.Size || claimed.Root != point.Root {
			return api.AuditCheckpoint{}, fmt.Errorf("the head is not what its signature is over: %w", ErrTampered)
		}
		point.Origin = claimed.Origin
	}
	if err := a.follows(ctx, head.tree, point); err != nil {
		return api.AuditCheckpoint{}, fault(err)
	}
	return api.AuditCheckpoint{Origin: point.Origin, Size: point.Size, Root: point.Root.Digest(), Note: head.note}, nil
}

// Check says whether the log can be shown: the health check.
func (a AuditLog) Check(ctx context.Context) error {
	_, err := a.Checkpoint(ctx)
	return err
}

// signed reads the head, and signs it if it must.
func (a AuditLog) signed(ctx context.Context) (signedHead, error) {
	head, err := readSigned(ctx, a.db.system, ``)
	if err != nil || a.db.logKey == nil {
		return head, err
	}
	if head.note != "" {
		point, err := a.db.logKey.Open(head.note)
		if errors.Is(err, audit.ErrSignature) { // a key that was replaced since; the next append signs with ours
			return a.resign(head)
		}
		if err != nil || point.Size != head.tree.Size || point.Root != head.tree.Root() {
			return head, fmt.Errorf("the head is not what its signature is over: %w", ErrTampered)
		}
		return head, nil
	}
	err = a.db.withSystem(ctx, func(tx *systemTx) error {
		if head, err = readSigned(ctx, tx, ` for update`); err != nil || head.note != "" {
			return err // another process was first
		}
		if head.note, err = a.db.sign(head.tree); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `update fabric.audit_state set note = $1 where note = ''`, head.note)
		return err
	})
	return head, err
}

// resign signs a head that an earlier key of this log signed. The row keeps
// the earlier signature: it only moves forward.
func (a AuditLog) resign(head signedHead) (signedHead, error) {
	claimed, err := audit.ReadCheckpointUnsafe(head.note)
	if err != nil || claimed.Size != head.tree.Size || claimed.Root != head.tree.Root() {
		return head, fmt.Errorf("the head is not what its signature is over: %w", ErrTampered)
	}
	head.note, err = a.db.sign(head.tree)
	return head, err
}

func readSigned(ctx context.Context, tx querier, lock string) (signedHead, error) {
	var h signedHead
	var frontier [][]byte
	var root []byte
	err := tx.QueryRow(ctx, `select size, frontier, root, note from fabric.audit_state`+lock).Scan(&h.tree.Size, &frontier, &root, &h.note)
	if errors.Is(err, pgx.ErrNoRows) {
		return h, fmt.Errorf("the head is gone: %w", ErrTampered)
	}
	if err != nil {
		return h, err
	}
	if h.tree.Frontier, err = decodeHashes(frontier); err != nil {
		return h, err
	}
	if !h.tree.Whole() || digestOf(root) != rootDigest(h.tree) {
		return h, fmt.Errorf("frontier and root of the head differ: %w", ErrTampered)
	}
	return h, nil
}

// follows holds a head against the last one that was shown, and takes its
// place. Two requests may bring their heads in the wrong order: a smaller tree
// must be the beginning of the larger one, whichever was shown first.
func (a AuditLog) follows(ctx context.Context, tree audit.Tree, point audit.Checkpoint) error {
	a.db.shown.mu.Lock()
	before := a.db.shown.point
	a.db.shown.mu.Unlock()
	switch {
	case before.Size == point.Size:
		if before.Size > 0 && before.Root != point.Root {
			return fmt.Errorf("the log has another root of %d leaves than it had: %w", point.Size, ErrTampered)
		}
		return nil
	case before.Size > point.Size:
		now, err := head(ctx, a.db.system, ``)
		if err != nil {
			return err
		}
		if now.Size < before.Size {
			return fmt.Errorf("the log has %d leaves and had %d: %w", now.Size, before.Size, ErrTampered)
		}
		return nil
	}
	step, err := a.step(ctx, tree, before.Size, point.Size)
	if err != nil {
		return err
	}
	if before.Size > 0 {
		if err := audit.VerifyConsistency(before.Size, point.Size, before.Root, point.Root, step.Hashes); err != nil {
			return fmt.Errorf("the log of %d leaves does not begin with the %d that it had: %w: %w", point.Size, before.Size, ErrTampered, err)
		}
	}
	a.db.shown.mu.Lock()
	defer a.db.shown.mu.Unlock()
	if point.Size > a.db.shown.point.Size {
		a.db.shown.point = point
	}
	return nil
}
