package postgres

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/domain/audit"
)

// A change collects what a transaction adds beside its rows, to be written at
// its very end: the log's head is locked last and held shortest, and two
// commands never wait for each other in a circle.
type change struct {
	leaves  []audit.Leaf
	starts  []start
	notices []notice
}

// A start is a workflow for the outbox, with the request it came from.
type start struct {
	api.Start
	tenant      string
	traceparent string
}

// A notice wakes whoever listens on a channel. Its payload is ids, nothing
// else: row-level security does not reach it.
type notice struct{ channel, payload string }

func (c *change) leaf(l audit.Leaf) { c.leaves = append(c.leaves, l) }
func (c *change) notify(channel, payload string) {
	c.notices = append(c.notices, notice{channel, payload})
}

func (c *change) begin(caller api.Caller, s api.Start) {
	c.starts = append(c.starts, start{s, caller.Tenant, caller.Traceparent})
	c.notify(channelOutbox, "")
}

// settle writes the change. It is the last thing before the commit.
func (db *DB) settle(ctx context.Context, tx pgx.Tx, c change) error {
	var b pgx.Batch
	for _, s := range c.starts {
		input, err := json.Marshal(s.Input)
		if err != nil {
			return fmt.Errorf("input of %s: %w", s.Workflow, err)
		}
		b.Queue(`insert into fabric.outbox (tenant, workflow, workflow_id, queue, input, summary, attributes, traceparent)
			values ($1, $2, $3, $4, $5, $6, $7, $8)`,
			s.tenant, s.Workflow, s.ID, s.Queue, string(input), clean(s.Summary), s.Attributes, clean(s.traceparent))
	}
	for _, n := range c.notices { // delivered when the transaction commits, or never
		b.Queue(`select pg_notify($1, $2)`, n.channel, n.payload)
	}
	if b.Len() > 0 {
		if err := tx.SendBatch(ctx, &b).Close(); err != nil {
			return err
		}
	}
	return db.append(ctx, tx, c.leaves)
}

// leafOf is a leaf that says who asked.
func leafOf(caller api.Caller, kind, subject string) audit.Leaf {
	return audit.Leaf{Kind: kind, Tenant: caller.Tenant, Actor: clean(caller.Subject), Subject: subject,
		TraceID: caller.TraceID, Simulated: caller.Simulated}
}

// actorFabric is who a leaf names for what the fabric does by itself.
const actorFabric = "fabric"

// nonNil keeps NULL out of array columns.
func nonNil(texts []string) []string {
	if texts == nil {
		return []string{}
	}
	return texts
}
