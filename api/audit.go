package api

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/artifact"
)

// Ledger shows the audit log: part of I.1.5. The log is one for all tenants,
// so that nobody can keep a second one; a leaf is readable to its own tenant
// only, and to everybody else a hash that proofs can be checked with.
type Ledger struct {
	b   *Border
	log AuditLog
}

// NewLedger returns the service.
func NewLedger(b *Border, p Ports) *Ledger { return &Ledger{b: b, log: p.AuditLog} }

// Mount implements [Service].
func (s *Ledger) Mount(r gin.IRouter) {
	s.b.mount(r, "auditLeaves", s.leaves)
	s.b.mount(r, "auditCheckpoint", s.checkpoint)
	s.b.mount(r, "auditProof", s.proof)
}

func (s *Ledger) leaves(c *gin.Context, k call) error {
	from, err := int64Query(c, "from")
	if err != nil {
		return err
	}
	limit := intQuery(c, "limit", defaultLimit)
	found, err := s.log.Leaves(c.Request.Context(), from, limit)
	if err != nil {
		return err
	}
	out := v1.LeafPage{Items: make([]v1.Leaf, 0, len(found)), Simulated: k.Simulated}
	for _, entry := range found {
		leaf := v1.Leaf{Index: entry.Index, Hash: string(entry.Hash)}
		if entry.Tenant == k.Tenant {
			leaf.Leaf = entry.Leaf
		}
		out.Items = append(out.Items, leaf)
	}
	if len(found) == limit {
		out.Next = found[len(found)-1].Index + 1
	}
	return s.b.send(c, http.StatusOK, out)
}

func (s *Ledger) checkpoint(c *gin.Context, _ call) error {
	found, err := s.log.Checkpoint(c.Request.Context())
	if err != nil {
		return err
	}
	return s.b.send(c, http.StatusOK, v1.Checkpoint{Origin: found.Origin, Size: found.Size, Root: string(found.Root), Note: found.Note})
}

func (s *Ledger) proof(c *gin.Context, _ call) error {
	index, err := int64Query(c, "index")
	if err != nil {
		return err
	}
	size, err := int64Query(c, "size")
	if err != nil {
		return err
	}
	found, err := s.log.Proof(c.Request.Context(), index, size)
	if err != nil {
		return err
	}
	return s.b.send(c, http.StatusOK, v1.Proof{
		Index: found.Index, Size: found.Size, Hash: string(found.Hash), Root: string(found.Root),
		Hashes: views(found.Hashes, func(h artifact.Digest) v1.Digest { return string(h) }),
	})
}
