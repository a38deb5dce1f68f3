package api

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/catalog"
)

// Decided takes in what routers decided, and shows it to whom it concerns: part
// of I.1.4 that goes on when a router is gone.
type Decided struct {
	b         *Border
	decisions Decisions
	snapshots Snapshots
}

// NewDecided returns the service.
func NewDecided(b *Border, p Ports) *Decided {
	return &Decided{b: b, decisions: p.Decisions, snapshots: p.Snapshots}
}

// Mount implements [Service].
func (s *Decided) Mount(r gin.IRouter) {
	s.b.mount(r, "recordDecisions", s.record)
	s.b.mount(r, "getDecision", s.get)
	s.b.mount(r, "listRegions", s.regions)
}

var decisionID = regexp.MustCompile(`^[0-9a-f]{32}-[0-9a-f]{16}$`)

// maxMicros is an hour; the longest deadline is a minute.
const maxMicros = 3600 * 1000 * 1000

// record is idempotent by the sequence numbers, with any key: a router sends a
// piece until it is told that it has arrived.
func (s *Decided) record(c *gin.Context, k call) error {
	var in v1.DecisionBatch
	if err := decode(k.body, &in); err != nil {
		return err
	}
	batch := DecisionBatch{Router: in.Router, Region: in.Region, Digest: artifact.DigestOf(k.body), Decisions: make([]Decision, len(in.Records))}
	for i, text := range in.Records {
		d := &batch.Decisions[i]
		// A newer router may say more than we know; it is not kept.
		if err := json.Unmarshal(text, d); err != nil || !d.plausible() || i > 0 && d.Sequence <= batch.Decisions[i-1].Sequence {
			return badRecord.at("/records/"+strconv.Itoa(i), "is no decision, or does not follow the one before")
		}
	}
	next, err := s.decisions.Record(c.Request.Context(), batch)
	if err != nil {
		return err
	}
	return s.b.send(c, http.StatusOK, v1.DecisionsRecorded{Next: next})
}

// plausible reports whether the parts that others rely on have their form.
func (d *Decision) plausible() bool {
	for _, text := range []string{d.Model, d.Environment, d.Region, d.Endpoint, d.Problem, d.Lineage, d.TraceID, d.KeyID, d.Header, string(d.Manifest), string(d.Output)} {
		if len(text) > 1024 || strings.ContainsFunc(text, unprintable) {
			return false
		}
	}
	return d.Sequence > 0 && decisionID.MatchString(d.ID) && catalog.ValidName(d.Caller) && catalog.ValidName(d.Owner) && catalog.ValidName(d.Model) &&
		d.Version >= 0 && d.Version < 1<<31 && d.Status >= 100 && d.Status <= 599 && d.At.Year() >= 2020 && d.At.Year() < 3000 &&
		d.LatencyMicros >= 0 && d.LatencyMicros <= maxMicros && d.UpstreamMicros >= 0 && d.UpstreamMicros <= maxMicros
}

// unprintable is what no column and no log takes.
func unprintable(c rune) bool { return c < ' ' || c == 0x7f || c == '\uFFFD' }

func (s *Decided) get(c *gin.Context, k call) error {
	id := c.Param("id")
	if !decisionID.MatchString(id) {
		return notFound
	}
	d, err := s.decisions.Decision(c.Request.Context(), k.Tenant, id)
	if err != nil {
		return err
	}
	return s.b.send(c, http.StatusOK, v1.DecisionRecord{
		DecisionID: d.ID, At: d.At.UTC(), Tenant: d.Caller, Owner: d.Owner, Model: d.Model, Environment: d.Environment, Version: d.Version,
		Manifest: string(d.Manifest), Region: d.Region, Endpoint: d.Endpoint, Lineage: d.Lineage, Canary: d.Canary, Output: string(d.Output), Snapshot: d.Snapshot, Policy: d.Policy,
		TraceID: d.TraceID, Status: d.Status, Problem: d.Problem, LatencyMicros: d.LatencyMicros, UpstreamMicros: d.UpstreamMicros,
		KeyID: d.KeyID, Header: d.Header, Simulated: d.Simulated, Mirrored: d.Mirrored, Router: d.Router, Seq: d.Sequence,
	})
}
