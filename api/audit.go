package api

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/audit"
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
	s.b.mount(r, "auditConsistency", s.consistency)
	s.b.mount(r, "auditTile", s.tile)
}

func (s *Ledger) leaves(c *gin.Context, k call) error {
	from, err := int64Query(c, "from")
	if err != nil {
		return err
	}
	before, err := int64Query(c, "before")
	if err != nil {
		return err
	}
	limit, own, match := intQuery(c, "limit", defaultLimit), c.Query("own") == "true", c.Query("match")
	if before > 0 && (!own || match != "") {
		return invalidRequest.at("query:before", "goes with own, and not with match")
	}
	var found []AuditEntry
	var next int64
	switch {
	case match != "":
		found, err = s.log.Search(c.Request.Context(), k.Tenant, match, from, limit)
	case own:
		found, next, err = s.log.Own(c.Request.Context(), k.Tenant, from, before, limit)
	default:
		found, err = s.log.Leaves(c.Request.Context(), from, limit)
	}
	if err != nil {
		return err
	}
	if (match != "" || !own) && len(found) == limit {
		next = found[limit-1].Index + 1
	}
	out := v1.LeafPage{Items: make([]v1.Leaf, 0, len(found)), Next: next, Simulated: k.Simulated}
	for _, entry := range found {
		leaf := v1.Leaf{Index: entry.Index, Hash: string(entry.Hash)}
		if entry.Tenant == k.Tenant {
			leaf.Leaf = entry.Leaf
		}
		out.Items = append(out.Items, leaf)
	}
	return s.b.send(c, http.StatusOK, out)
}

// checkpoint answers as JSON, or with the signed note alone to whoever wants
// text: that is what C2SP tlog-tiles serves under this path.
func (s *Ledger) checkpoint(c *gin.Context, _ call) error {
	found, err := s.log.Checkpoint(c.Request.Context())
	if err != nil {
		return err
	}
	c.Header("Vary", "Accept")
	if c.NegotiateFormat(gin.MIMEJSON, gin.MIMEPlain) == gin.MIMEPlain {
		if found.Note == "" {
			return fmt.Errorf("nobody signed the log: %w", ErrNotFound)
		}
		c.Header("Cache-Control", "no-store")
		c.Data(http.StatusOK, "text/plain; charset=utf-8", []byte(found.Note))
		return nil
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

// consistency proves that the log of `to` leaves only added to that of `from`.
func (s *Ledger) consistency(c *gin.Context, _ call) error {
	from, err := int64Query(c, "from")
	if err != nil {
		return err
	}
	to, err := int64Query(c, "to")
	if err != nil {
		return err
	}
	found, err := s.log.Consistency(c.Request.Context(), from, to)
	if err != nil {
		return err
	}
	return s.b.send(c, http.StatusOK, v1.Consistency{
		From: found.From, To: found.To, FromRoot: string(found.FromRoot), ToRoot: string(found.ToRoot),
		Hashes: views(found.Hashes, func(h artifact.Digest) v1.Digest { return string(h) }),
	})
}

// tile answers with hashes: what every tenant may see of every leaf. What it
// says once it says for ever, so whoever asked may keep it; nobody in between,
// for whom it was not asked.
func (s *Ledger) tile(c *gin.Context, _ call) error {
	tile, err := audit.ParseTile(c.Param("level") + "/" + strings.TrimPrefix(c.Param("index"), "/"))
	if err != nil {
		return invalidRequest.at("path:index", "is no tile: as C2SP tlog-tiles writes it, x001/234 or 567.p/89")
	}
	found, err := s.log.Tile(c.Request.Context(), tile)
	if err != nil {
		return err
	}
	c.Header("Cache-Control", "private, max-age=31536000, immutable")
	c.Data(http.StatusOK, "application/octet-stream", found)
	return nil
}
