package api

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/promotion"
	"github.com/atom-fabric/fabric/domain/scorecard"
)

// Tuning is the scorecard and auto-tuner, I.1.6.
type Tuning struct {
	planner
	cards  Scorecards
	models Models
}

// NewTuning returns the service.
func NewTuning(b *Border, p Ports) *Tuning {
	return &Tuning{planner: newPlanner(b, p), cards: p.Scorecards, models: p.Models}
}

// Mount implements [Service].
func (s *Tuning) Mount(r gin.IRouter) {
	s.b.mount(r, "getScorecard", s.card)
	s.b.mount(r, "suggestTuning", s.suggest)
	s.b.mount(r, "getSuggestion", s.get)
}

// card computes the scorecard from the closed runs, as the tuner does.
func (s *Tuning) card(c *gin.Context, k call) error {
	model := c.Param("model_id")
	trials, err := s.trials(c, k, model)
	if err != nil {
		return err
	}
	card := scorecard.Compute(trials)
	text, err := json.Marshal(card)
	if err != nil {
		return err
	}
	return s.b.send(c, http.StatusOK, v1.Scorecard{
		ModelID: model, Status: string(card.Status), Score: card.Score, Card: v1.JSON(text), Simulated: k.Simulated,
	})
}

// trials returns the closed runs of a model, and not found when there are none:
// a model without them is not told apart from none at all.
func (s *Tuning) trials(c *gin.Context, k call, model string) ([]scorecard.Trial, error) {
	found, err := s.cards.Trials(c.Request.Context(), k.Caller, model)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, &Problem{Kind: notFound, Detail: "the model has no closed run; POST /train/round starts one"}
	}
	return views(found, func(t Trial) scorecard.Trial {
		return scorecard.Trial{Run: t.Run, Params: t.Params, Metrics: t.Metrics, Status: t.Status}
	}), nil
}

func (s *Tuning) suggest(c *gin.Context, k call) error {
	var in v1.TuningRequest
	if err := decode(k.body, &in); err != nil {
		return err
	}
	if k.Simulated && in.Apply && in.Environment == promotion.Production {
		return simulationRefused.because(promotion.ErrSimulated.Error())
	}
	if _, err := s.trials(c, k, in.ModelID); err != nil {
		return err
	}
	id := "tune-" + s.b.opts.NewID()
	workflow := contract.TuneID(id)
	action := Action{
		ID: id, Kind: KindTuning, Tenant: k.Tenant, ModelID: in.ModelID, Environment: string(in.Environment),
		Requester: k.Subject, State: "started", CreatedAt: s.b.now(), Simulated: k.Simulated, TraceID: k.TraceID,
	}
	start := Start{
		Workflow: contract.AutoTune.Name, ID: workflow, Queue: contract.QueueControl,
		Input: contract.TuneInput{
			Subject: contract.Subject{Tenant: k.Tenant, ModelID: in.ModelID, TraceID: k.TraceID},
			Action:  id, Requester: k.Subject, Environment: string(in.Environment), Apply: in.Apply,
		},
		Summary:    fmt.Sprintf("tune %s in %s", in.ModelID, in.Environment),
		Attributes: Attributes{Tenant: k.Tenant, Model: in.ModelID, Stage: "started"},
	}
	answer, err := s.actions.Begin(c.Request.Context(), k.command, action, start,
		replying(http.StatusAccepted, k.started(workflow, "/tuning/suggestions/")))
	return s.b.done(c, answer, err)
}

func (s *Tuning) get(c *gin.Context, k call) error {
	id := c.Param("id")
	view, err := s.show(c.Request.Context(), k, KindTuning, id, contract.TuneID(id))
	if err != nil {
		return err
	}
	return s.b.send(c, http.StatusOK, view)
}
