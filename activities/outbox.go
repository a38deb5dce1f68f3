package activities

import (
	"context"
	"encoding/json"
	"time"
)

// An Outbox holds the workflows that committed transactions wish to start. The
// relay of the control worker empties it; several relays may.
type Outbox interface {
	// Relay claims at most limit due rows, oldest first, each locked for other
	// relays to skip, hands each to start, and writes the verdict in the
	// transaction that holds the lock. It returns how many rows it claimed. A
	// crash before the commit leaves the row due: it is handed out again.
	Relay(ctx context.Context, limit int, start func(context.Context, Start) Verdict) (int, error)
	// OutboxChanged returns when a row may have been added, or after wait.
	OutboxChanged(ctx context.Context, wait time.Duration) error
	// OutboxBacklog returns how many rows wait, how many were given up, and how
	// long ago the command of the oldest waiting one was.
	OutboxBacklog(ctx context.Context) (Backlog, error)
}

// A Start is one row: a workflow to start.
type Start struct {
	ID          int64
	Workflow    string // type name
	WorkflowID  string
	Queue       string
	Input       json.RawMessage
	Summary     string
	Attributes  json.RawMessage // search attributes by name: {"FabricTenant":"t1","FabricRisk":40}
	Traceparent string
	CreatedAt   time.Time
	Attempts    int // starts that failed for a reason of the row's own
}

// A Verdict is what becomes of a row.
type Verdict struct {
	Done    bool          // started, now or before
	Dead    bool          // can never start; kept for a person, not due again
	Counts  bool          // the attempt counts; an outage of Temporal is not the row's fault
	RetryIn time.Duration // when neither
	Cause   string        // short, without secrets
}

// A Backlog is how the outbox stands.
type Backlog struct {
	Waiting int
	Dead    int
	Oldest  time.Duration
}
