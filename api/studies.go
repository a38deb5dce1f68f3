package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"

	"github.com/gin-gonic/gin"

	"github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/domain/tuning"
)

// mostPrior is how many trials of others a study learns from, the latest.
const mostPrior = tuning.MaxTrials

// StudyDesk is the studies of training runs, I.1.6.
type StudyDesk struct {
	*Admission
	b         *Border
	studies   Studies
	runs      Runs
	cards     Scorecards
	workflows Workflows
}

// NewStudyDesk returns the service.
func NewStudyDesk(b *Border, p Ports) *StudyDesk {
	return &StudyDesk{Admission: NewAdmission(b.opts, p), b: b, studies: p.Studies, runs: p.Runs, cards: p.Scorecards, workflows: p.Workflows}
}

// Mount implements [Service].
func (s *StudyDesk) Mount(r gin.IRouter) {
	s.b.mount(r, "startStudy", s.start)
	s.b.mount(r, "listStudies", s.list)
	s.b.mount(r, "getStudy", s.get)
	s.b.mount(r, "stopStudy", s.stop)
}

// start accepts a study only if a run at one point of its space could begin
// now: the first that it was given to try, or else the middle. Each run is asked
// for itself when its time comes.
func (s *StudyDesk) start(c *gin.Context, k call) error {
	var in v1.StudyRequest
	if err := decode(k.body, &in); err != nil {
		return err
	}
	if err := keepable(k.Tenant, in.ModelID); err != nil {
		return err
	}
	ctx := c.Request.Context()
	spec, err := studyOf(in)
	if err != nil {
		return err
	}
	params := paramsOf(in.Params)
	if params.Production {
		return badParams.at("/params/production", "a study is not made in production; train its best point there with POST /train/round")
	}
	params, _, err = s.consented(ctx, k.Tenant, sorted(in.Tenants), params)
	if err != nil {
		return err
	}
	complete, err := s.admissible(ctx, runWanted{
		ID: "run-" + s.b.opts.NewID(), Tenant: k.Tenant, TraceID: k.TraceID, Simulated: k.Simulated, ModelID: in.ModelID, Tenants: in.Tenants, Params: somewhere(spec, params),
	})
	if err != nil {
		return err
	}
	params.Rounds = complete.Rounds // what the compute budget counts in
	if err := spec.CheckRounds(params.Rounds, in.BudgetRounds); err != nil {
		return badParams.at("/budget_rounds", fmt.Sprintf("a trial needs up to %d rounds: %v", spec.Repeats*params.Rounds, err))
	}
	study := Study{
		ID: "study-" + s.b.opts.NewID(), Tenant: k.Tenant, ModelID: in.ModelID, Environment: string(in.Environment), Requester: k.Subject,
		Spec: spec, Rounds: in.BudgetRounds, Apply: in.Apply, Status: tuning.StudyRunning, CreatedAt: s.b.now(), Simulated: k.Simulated, TraceID: k.TraceID,
		Base: contract.RunInput{
			Subject: contract.Subject{Tenant: k.Tenant, ModelID: in.ModelID, TraceID: k.TraceID}, Tenants: sorted(in.Tenants), Params: complete,
		},
	}
	if err := originate(ctx, s.runs, k.Caller, in.From, &study.Base); err != nil {
		return err
	}
	study.Base.Params = params
	if study.Prior, err = s.prior(ctx, k, in.WarmStart, study); err != nil {
		return err
	}
	start := Start{
		Workflow: contract.Study.Name, ID: contract.StudyID(study.ID), Queue: contract.QueueControl,
		Input: contract.StudyInput{
			Subject: study.Base.Subject, Study: study.ID, Trials: spec.Trials, Parallel: spec.Parallel, Next: 1,
		},
		Summary:    fmt.Sprintf("study of %s: %d trials of %d rounds over %s", in.ModelID, spec.Trials, params.Rounds, some(study.Base.Tenants)),
		Attributes: Attributes{Tenant: k.Tenant, Model: in.ModelID, Stage: "accepted"},
	}
	answer, err := s.studies.StartStudy(ctx, k.command, study, start, replying(http.StatusAccepted, k.studied))
	return s.b.done(c, answer, err)
}

// somewhere is what a run of the study asks for.
func somewhere(spec tuning.Study, params round.Params) round.Params {
	point := spec.Space.Decode(slices.Repeat([]float64{0.5}, spec.Space.Width()))
	if len(spec.Enqueued) > 0 {
		point = spec.Enqueued[0]
	}
	moved, err := spec.Space.Apply(params, point)
	if err != nil { // studyOf has applied a point before
		return params
	}
	return moved
}

// studyOf reads what a study is.
func studyOf(in v1.StudyRequest) (tuning.Study, error) {
	spec := tuning.Study{
		Metric: string(in.Metric), Goal: string(in.Goal), Trials: in.Trials, Parallel: max(1, in.Parallel), Repeats: max(1, in.Repeats), Seed: uint64(in.Seed),
	}
	for _, d := range in.Space {
		spec.Space = append(spec.Space, tuning.Dimension{Name: string(d.Name), Kind: string(d.Kind), Low: d.Low, High: d.High, Log: d.Log, Values: d.Values})
	}
	if spec.Goal == "" {
		spec.Goal = tuning.Minimize
		if spec.Metric == tuning.MetricAccuracy {
			spec.Goal = tuning.Maximize
		}
	}
	for _, limit := range in.Constraints {
		spec.Constraints = append(spec.Constraints, tuning.Constraint{Metric: string(limit.Metric), AtMost: limit.AtMost})
	}
	if in.Halving != (v1.StudyHalving{}) {
		spec.Halving = &tuning.Halving{First: in.Halving.First, Factor: in.Halving.Factor}
	}
	if err := spec.OfRuns(); err != nil {
		return spec, studyProblem(spec, err)
	}
	for i, p := range in.Enqueued {
		point, err := spec.Space.Parse(settings(p))
		if err != nil {
			return spec, badParams.at("/enqueued/"+strconv.Itoa(i), err.Error())
		}
		spec.Enqueued = append(spec.Enqueued, point)
	}
	return spec, nil
}

// studyProblem points to the part of the request that the domain refused.
func studyProblem(spec tuning.Study, err error) error {
	var space *tuning.SpaceError
	var metric *tuning.MetricError
	switch {
	case errors.As(err, &space):
		at := slices.IndexFunc(spec.Space, func(d tuning.Dimension) bool { return d.Name == space.Dimension })
		if at < 0 {
			return badParams.at("/space", space.Err.Error())
		}
		return badParams.at("/space/"+strconv.Itoa(at), space.Err.Error())
	case errors.As(err, &metric):
		return badParams.at("/metric", metric.Err.Error())
	case errors.Is(err, tuning.ErrHalving):
		return badParams.at("/halving", err.Error())
	case errors.Is(err, tuning.ErrConstraint):
		return badParams.at("/constraints", err.Error())
	}
	return badParams.because(err.Error())
}

func settings(p v1.StudyPoint) []tuning.Setting {
	return views(p, func(s v1.StudySetting) tuning.Setting { return tuning.Setting{Name: s.Name, Value: s.Value} })
}

func placeView(space tuning.Space, p tuning.Point) v1.StudyPoint {
	return views(space.Settings(p), func(s tuning.Setting) v1.StudySetting { return v1.StudySetting{Name: s.Name, Value: s.Value} })
}

// prior returns the trials that a study begins with: those of earlier studies
// of the model, and its finished runs, as far as they can be compared.
func (s *StudyDesk) prior(ctx context.Context, k call, from v1.StudyWarmStart, study Study) ([]tuning.Trial, error) {
	var all []tuning.Trial
	for i, id := range from.Studies {
		earlier, err := s.studies.Study(ctx, k.Caller, id)
		if errors.Is(err, ErrNotFound) || err == nil && earlier.ModelID != study.ModelID {
			return nil, badParams.at("/warm_start/studies/"+strconv.Itoa(i), "there is no such study of this model")
		}
		if err != nil {
			return nil, err
		}
		if !study.Spec.Compares(earlier.Spec) {
			return nil, badParams.at("/warm_start/studies/"+strconv.Itoa(i), "it looks at another metric, or at other constraints")
		}
		all = append(all, study.Spec.Inherit(study.Base.Params, earlier.Spec, earlier.Base.Params, earlier.Jobs)...)
	}
	if from.Runs {
		if len(study.Spec.Constraints) > 0 || study.Spec.Metric != tuning.MetricLoss && study.Spec.Metric != tuning.MetricAccuracy {
			return nil, badParams.at("/warm_start/runs", "finished runs say what loss and accuracy they came to, and nothing else")
		}
		runs, err := s.cards.Trials(ctx, k.Caller, study.ModelID)
		if err != nil {
			return nil, err
		}
		for _, r := range runs {
			figures, measured := tuning.FiguresOf(r.Metrics)
			if r.Status != "completed" || !measured {
				continue
			}
			if t, ok := study.Spec.Prior(study.Base.Params, r.Params, figures); ok {
				all = append(all, t)
			}
		}
	}
	return all[max(0, len(all)-mostPrior):], nil
}

// studied is what a command on a study answers with.
func (k call) studied(study Study) any {
	return v1.RunAccepted{
		ID: study.ID, StatusURL: k.link("/tuning/studies/" + study.ID), WorkflowID: contract.StudyID(study.ID), TraceID: study.TraceID, Simulated: k.Simulated,
	}
}

func (s *StudyDesk) get(c *gin.Context, k call) error {
	study, err := s.studies.Study(c.Request.Context(), k.Caller, c.Param("id"))
	if err != nil {
		return err
	}
	return s.b.send(c, http.StatusOK, studyView(study))
}

func (s *StudyDesk) list(c *gin.Context, k call) error {
	p, err := page(c)
	if err != nil {
		return err
	}
	found, err := s.studies.Studies(c.Request.Context(), k.Caller, RunFilter{Status: c.Query("status"), Model: c.Query("model")}, p)
	if err != nil {
		return err
	}
	found, next := paged(p, found, func(s Study) string { return s.ID })
	return s.b.send(c, http.StatusOK, v1.StudyPage{Items: views(found, studyView), Next: next, Simulated: k.Simulated})
}

// stop signals a study that is not over and records it then, as for a run.
func (s *StudyDesk) stop(c *gin.Context, k call) error {
	var in v1.StopRequest
	if err := decode(k.body, &in); err != nil {
		return err
	}
	ctx, id := c.Request.Context(), c.Param("id")
	study, err := s.studies.Study(ctx, k.Caller, id)
	if err != nil {
		return err
	}
	if study.Status != tuning.StudyRunning {
		return notRunning.because("the study is over")
	}
	err = s.workflows.StopStudy(ctx, id, contract.StopRequest{Actor: k.Subject, Reason: in.Reason})
	if errors.Is(err, ErrNotFound) {
		return notRunning.because("the study has not started yet, or is over; look at its status and try again")
	}
	if err != nil {
		return err
	}
	answer, err := s.studies.RecordStudyStop(ctx, k.command, id, replying(http.StatusAccepted, k.studied))
	return s.b.done(c, answer, err)
}
