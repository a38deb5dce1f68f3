package api

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/contract"
)

// Training is the callers' half of the federated trainer, I.1.2.
type Training struct {
	*Admission
	b         *Border
	runs      Runs
	workflows Workflows
	consents  Consents
	spent     spending
}

// NewTraining returns the service.
func NewTraining(b *Border, p Ports) *Training {
	return &Training{Admission: NewAdmission(b.opts, p), b: b, runs: p.Runs, workflows: p.Workflows, consents: p.Consents}
}

// Mount implements [Service].
func (s *Training) Mount(r gin.IRouter) {
	s.b.mount(r, "startRun", s.start)
	s.b.mount(r, "getRun", s.get)
	s.b.mount(r, "listRuns", s.list)
	s.b.mount(r, "getRunProgress", s.progress)
	s.b.mount(r, "stopRun", s.stop)
	s.b.mount(r, "pauseRun", s.pause)
	s.b.mount(r, "resumeRun", s.resume)
	s.b.mount(r, "getRunLineage", s.lineage)
}

// start accepts a run only if it could begin now: its parameters hold
// together, every feature may be used and affords all rounds, and enough sites
// are enrolled. The round checks all of it again when it is planned.
func (s *Training) start(c *gin.Context, k call) error {
	var in v1.RunRequest
	if err := decode(k.body, &in); err != nil {
		return err
	}
	if err := keepable(k.Tenant, in.ModelID); err != nil {
		return err
	}
	ctx := c.Request.Context()
	id := "run-" + s.b.opts.NewID()
	params, err := s.admissible(ctx, runWanted{
		ID: id, Tenant: k.Tenant, TraceID: k.TraceID, Simulated: k.Simulated, ModelID: in.ModelID, Tenants: in.Tenants, Params: paramsOf(in.Params),
	})
	if err != nil {
		return err
	}
	run := Run{
		ID: id, Tenant: k.Tenant, ModelID: in.ModelID, Tenants: sorted(in.Tenants), Params: params,
		Requester: k.Subject, Status: "accepted", CreatedAt: s.b.now(), Simulated: k.Simulated, TraceID: k.TraceID,
	}
	input := contract.RunInput{
		Subject: contract.Subject{Tenant: run.Tenant, ModelID: run.ModelID, TraceID: run.TraceID},
		Run:     run.ID, Tenants: run.Tenants, Params: run.Params,
	}
	if err := originate(ctx, s.runs, k.Caller, in.From, &input); err != nil {
		return err
	}
	start := Start{
		Workflow:   contract.TrainingRun.Name,
		ID:         contract.RunID(run.ID),
		Queue:      contract.QueueControl,
		Input:      input,
		Summary:    fmt.Sprintf("train %s of %s: %d rounds over %s", run.ModelID, run.Tenant, params.Rounds, some(run.Tenants)),
		Attributes: Attributes{Tenant: run.Tenant, Model: run.ModelID, Stage: "accepted"},
	}
	answer, err := s.runs.StartRun(ctx, k.command, run, start, replying(http.StatusAccepted, k.accepted))
	return s.b.done(c, answer, err)
}

// some names the first few.
func some(names []string) string {
	if len(names) > 3 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:3], ", "), len(names)-3)
	}
	return strings.Join(names, ", ")
}

func (s *Training) get(c *gin.Context, k call) error {
	run, err := s.runs.Run(c.Request.Context(), k.Caller, c.Param("id"))
	if err != nil {
		return err
	}
	return s.b.send(c, http.StatusOK, runView(run))
}

func (s *Training) list(c *gin.Context, k call) error {
	p, err := page(c)
	if err != nil {
		return err
	}
	runs, err := s.runs.Runs(c.Request.Context(), k.Caller, RunFilter{Status: c.Query("status"), Model: c.Query("model")}, p)
	if err != nil {
		return err
	}
	runs, next := paged(p, runs, func(r Run) string { return r.ID })
	return s.b.send(c, http.StatusOK, v1.RunPage{Items: views(runs, runView), Next: next, Simulated: k.Simulated})
}

// accepted is what a command on a run answers with.
func (k call) accepted(run Run) any {
	return v1.RunAccepted{
		ID:         run.ID,
		StatusURL:  k.link("/train/status/" + run.ID),
		WorkflowID: contract.RunID(run.ID),
		TraceID:    run.TraceID,
		Simulated:  k.Simulated,
	}
}

// link returns a path that works for the same caller without further thought:
// a simulated one names its tenant.
func (k call) link(path string) string {
	if k.Simulated {
		return path + "?tenant=" + k.Tenant
	}
	return path
}
