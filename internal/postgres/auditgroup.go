package postgres

import (
	"context"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"

	"github.com/atom-fabric/fabric/domain/audit"
)

// A Ledger appends leaves that belong to no other change: activities.Ledger.
type Ledger struct{ db *DB }

// Ledger returns the port.
func (db *DB) Ledger() Ledger { return Ledger{db} }

// Append adds one leaf. Appends that meet share a transaction: the log has one
// head, and whoever waits for its lock may as well wait in it. When Append
// returns nil, the leaf is in the log and on disk; an error is of this leaf or
// of the database, never of a neighbour's leaf.
func (l Ledger) Append(ctx context.Context, leaf audit.Leaf) error {
	e, err := l.db.encode(leaf)
	if err != nil {
		return err
	}
	return l.db.group.append(ctx, e)
}

// mostInGroup bounds a shared transaction, and so how long its head is locked.
const mostInGroup = 512

// An appendGroup makes one transaction of appends that come together. There is no
// goroutine of its own: one of the callers leads, and hands over when its own
// leaf is done.
type appendGroup struct {
	commit func(ctx context.Context, entries []entry) error

	mu      sync.Mutex
	led     bool      // somebody leads, or was told to
	waiting []*waiter // in order of arrival
}

// A waiter is one append on its way.
type waiter struct {
	entry entry
	told  chan order // of one: whoever sends never waits
}

// An order ends a wait: the append has its outcome, or its caller leads now.
type order struct {
	lead bool
	err  error
}

func (g *appendGroup) append(ctx context.Context, e entry) error {
	w := &waiter{e, make(chan order, 1)}
	g.mu.Lock()
	g.waiting = append(g.waiting, w)
	if !g.led {
		g.led = true
		w.told <- order{lead: true}
	}
	g.mu.Unlock()
	select {
	case o := <-w.told:
		return g.obey(ctx, w, o)
	case <-ctx.Done():
	}
	if g.leave(w) {
		return ctx.Err()
	}
	return g.obey(ctx, w, <-w.told) // on its way already: what became of it is known soon
}

// leave takes a waiter out of the queue, if nobody has taken it yet. One that
// was told to lead passes that on.
func (g *appendGroup) leave(w *waiter) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	i := slices.Index(g.waiting, w)
	if i < 0 {
		return false
	}
	g.waiting = slices.Delete(g.waiting, i, i+1)
	select {
	case <-w.told: // nothing but the lead: it was still in the queue
		g.pass()
	default:
	}
	return true
}

// pass makes the first in the queue the leader. The caller holds g.mu.
func (g *appendGroup) pass() {
	if g.led = len(g.waiting) > 0; g.led {
		g.waiting[0].told <- order{lead: true}
	}
}

func (g *appendGroup) obey(ctx context.Context, w *waiter, o order) error {
	if !o.lead {
		return o.err
	}
	// Whoever the last batch let go is on the way here: a moment's patience
	// makes one batch of two halves.
	g.mu.Lock()
	for n := -1; n < len(g.waiting) && len(g.waiting) > 1; {
		n = len(g.waiting)
		g.mu.Unlock()
		runtime.Gosched()
		g.mu.Lock()
	}
	n := min(len(g.waiting), mostInGroup)
	batch := slices.Clone(g.waiting[:n])
	g.waiting = slices.Delete(g.waiting, 0, n)
	g.mu.Unlock()

	// Without the leader's cancellation: the others did not ask for it. The
	// pool's statement and lock timeouts bound the transaction.
	g.carry(context.WithoutCancel(ctx), batch)

	g.mu.Lock()
	g.pass()
	g.mu.Unlock()
	return (<-w.told).err // the first of the batch was the leader
}

// carry commits a batch. A leaf that the database refuses must not cost its
// neighbours theirs, so they are then tried one by one.
func (g *appendGroup) carry(ctx context.Context, batch []*waiter) {
	entries := make([]entry, len(batch))
	for i, w := range batch {
		entries[i] = w.entry
	}
	err := g.commit(ctx, entries)
	for i, w := range batch {
		if err != nil && len(batch) > 1 && refused(err) {
			w.told <- order{err: g.commit(ctx, entries[i:i+1])}
			continue
		}
		w.told <- order{err: err}
	}
}

// refused says that the database judged the rows: data and integrity errors.
func refused(err error) bool {
	return strings.HasPrefix(code(err), "22") || strings.HasPrefix(code(err), "23")
}

// commitEntries is a transaction of nothing but leaves. While nobody else
// moves the head, it needs one round trip: the head is known from the last
// time, and the write takes place only if it is still that.
func (db *DB) commitEntries(ctx context.Context, entries []entry) error {
	if guess := db.ledger.guess(); guess != nil {
		next, err := db.extendIf(ctx, *guess, entries)
		if err == nil {
			db.ledger.hit(next)
			return nil
		}
		db.ledger.miss()
		if code(err) != divisionByZero {
			return fault(err)
		}
	}
	var tree audit.Tree
	err := begin(ctx, db.system, func(b *pgx.Batch) {
		b.Queue(headQuery + ` for update`).QueryRow(func(row pgx.Row) (err error) {
			tree, err = scanHead(row)
			return err
		})
	}, func(tx pgx.Tx) (err error) {
		tree, err = db.extend(ctx, tx, tree, entries)
		return err
	})
	if err == nil {
		db.ledger.learn(tree)
	}
	return err
}

const divisionByZero = "22012"

// extendIf writes entries behind the head if it is the one given, and fails
// with [divisionByZero] if not. The batch is its own transaction; its first
// statement locks the head like every append.
func (db *DB) extendIf(ctx context.Context, tree audit.Tree, entries []entry) (audit.Tree, error) {
	before := tree.Root()
	add, tree := number(tree, entries)
	note, err := db.sign(tree)
	if err != nil {
		return tree, err
	}
	var b pgx.Batch
	root := tree.Root()
	b.Queue(`with moved as (update fabric.audit_state set size = $1, frontier = $2, root = $3, note = $4, at = now() where size = $5 and root = $6 returning 1)
		select 1 / count(*) from moved`, tree.Size, encodeHashes(tree.Frontier), root[:], note, add.index[0], before[:])
	add.queue(&b)
	return tree, db.system.SendBatch(ctx, &b).Close()
}

// A knownHead is the head that the last audit-only append left behind. After a
// wrong guess it pauses, twice as long each time: where changes move the head
// all the time, a guess only costs.
type knownHead struct {
	mu    sync.Mutex
	tree  *audit.Tree
	pause int // appends until the next guess
	next  int // pause after the next wrong guess
}

func (k *knownHead) guess() *audit.Tree {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.pause > 0 {
		k.pause--
		return nil
	}
	return k.tree
}

func (k *knownHead) hit(tree audit.Tree) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.tree, k.next = &tree, 1
}

func (k *knownHead) learn(tree audit.Tree) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.tree = &tree
}

func (k *knownHead) miss() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.tree, k.pause, k.next = nil, k.next, min(2*k.next+1, 64)
}
