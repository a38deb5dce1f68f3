package api

import (
	"fmt"
	"net/http"
	"slices"

	"github.com/gin-gonic/gin"

	"github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/promotion"
)

// Copies shows and starts the replication of packages to the regions' mirrors:
// part of I.1.3.
type Copies struct {
	b        *Border
	models   Models
	replicas Replicas
}

// NewCopies returns the service.
func NewCopies(b *Border, p Ports) *Copies {
	return &Copies{b: b, models: p.Models, replicas: p.Replicas}
}

// Mount implements [Service].
func (s *Copies) Mount(r gin.IRouter) {
	s.b.mount(r, "listReplicas", s.list)
	s.b.mount(r, "replicateModel", s.replicate)
}

func (s *Copies) list(c *gin.Context, k call) error {
	ctx := c.Request.Context()
	v, err := s.models.ModelVersion(ctx, k.Caller, c.Param("id"), intQuery(c, "version", 0))
	if err != nil {
		return err
	}
	found, err := s.replicas.Held(ctx, k.Caller, v.ModelID, v.Number)
	if err != nil {
		return err
	}
	return s.b.send(c, http.StatusOK, v1.ReplicaList{
		ModelID: v.ModelID, Version: v.Number, Package: string(v.Package.Digest), Items: views(found, replicaView), Simulated: k.Simulated,
	})
}

func replicaView(r Replica) v1.Replica {
	return v1.Replica{
		Region: r.Region, State: v1.ReplicaState(r.State), Cause: r.Cause, Registry: r.Registry, Layers: r.Layers, Referrers: r.Referrers,
		SizeBytes: r.SizeBytes, Statement: string(r.Statement), AskedAt: r.AskedAt, CheckedAt: moment(r.CheckedAt),
	}
}

func (s *Copies) replicate(c *gin.Context, k call) error {
	var in v1.ReplicationRequest
	if err := decode(k.body, &in); err != nil {
		return err
	}
	regions := in.Regions
	if len(regions) == 0 {
		regions = s.b.opts.Regions
	}
	for _, r := range regions {
		if !slices.Contains(s.b.opts.Regions, r) {
			return invalidRequest.at("/regions", promotion.ErrRegions.Error())
		}
	}
	ctx, model := c.Request.Context(), c.Param("id")
	v, err := s.models.ModelVersion(ctx, k.Caller, model, in.Version)
	if err != nil {
		return err
	}
	answer, err := s.replicas.Replicate(ctx, k.command, model, v.Number, regions, replying(http.StatusAccepted, func(started []string) any {
		return v1.ReplicationAccepted{
			ModelID: model, Version: v.Number, Regions: started, Simulated: k.Simulated,
			StatusURL: k.link(fmt.Sprintf("/models/%s/replicas?version=%d", model, v.Number)), TraceID: k.TraceID,
		}
	}))
	return s.b.done(c, answer, err)
}
