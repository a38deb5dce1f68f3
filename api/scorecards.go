package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"

	"github.com/gin-gonic/gin"

	"github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/promotion"
	"github.com/atom-fabric/fabric/domain/reportcard"
	"github.com/atom-fabric/fabric/domain/scorecard"
	"github.com/atom-fabric/fabric/domain/tuning"
)

// Tuning is the scorecard and auto-tuner, I.1.6.
type Tuning struct {
	planner
	cards   Scorecards
	studies Studies
	models  Models
	blobs   Blobs
}

// NewTuning returns the service.
func NewTuning(b *Border, p Ports) *Tuning {
	return &Tuning{planner: newPlanner(b, p), cards: p.Scorecards, studies: p.Studies, models: p.Models, blobs: p.Blobs}
}

// Mount implements [Service].
func (s *Tuning) Mount(r gin.IRouter) {
	s.b.mount(r, "getScorecard", s.card)
	s.b.mount(r, "getScorecardReport", s.report)
	s.b.mount(r, "suggestTuning", s.suggest)
	s.b.mount(r, "getSuggestion", s.get)
}

// card computes the scorecard of a model.
func (s *Tuning) card(c *gin.Context, k call) error {
	model := c.Param("model_id")
	card, err := s.judge(c, k, model)
	if err != nil {
		return err
	}
	text, err := json.Marshal(card)
	if err != nil {
		return err
	}
	return s.b.send(c, http.StatusOK, v1.Scorecard{
		ModelID: model, Status: string(card.Status), Score: card.Score, Card: v1.JSON(text), Simulated: k.Simulated,
	})
}

// report draws the scorecard.
func (s *Tuning) report(c *gin.Context, k call) error {
	card, err := s.judge(c, k, c.Param("model_id"))
	if err != nil {
		return err
	}
	c.Header("Cache-Control", "no-store")
	c.Header("X-Content-Type-Options", "nosniff")
	switch c.Query("format") {
	case "md":
		c.Data(http.StatusOK, "text/markdown; charset=utf-8", []byte(reportcard.Markdown(card)))
		return nil
	case "prometheus":
		c.Data(http.StatusOK, "text/plain; version=0.0.4; charset=utf-8", []byte(reportcard.Prometheus(card)))
		return nil
	}
	page, err := reportcard.HTML(card)
	if err != nil {
		return err
	}
	c.Header("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
	c.Data(http.StatusOK, "text/html; charset=utf-8", page)
	return nil
}

// judge computes the card of the subject that the request names. A model
// without a closed run, or without that version, is not found.
func (s *Tuning) judge(c *gin.Context, k call, model string) (scorecard.Card, error) {
	subject := scorecard.Subject{Model: model, Region: c.Query("region")}
	if text := c.Query("version"); text != "" {
		var err error
		if subject.Version, err = strconv.Atoi(text); err != nil {
			return scorecard.Card{}, invalidRequest.at("query:version", "must be an integer")
		}
	}
	ctx := c.Request.Context()
	facts, err := s.cards.Facts(ctx, k.Caller, subject)
	if err != nil {
		return scorecard.Card{}, err
	}
	if len(facts.Trials) == 0 {
		return scorecard.Card{}, noRun()
	}
	evidence, err := facts.Evidence(func(digest artifact.Digest) (artifact.Tensors, error) {
		text, err := read(ctx, s.blobs, digest, maxCounts)
		if err != nil {
			return nil, err
		}
		return artifact.ReadTensors(bytes.NewReader(text), maxCounts)
	})
	if err != nil {
		return scorecard.Card{}, err
	}
	return scorecard.Judge(evidence), nil
}

func noRun() error {
	return &Problem{Kind: notFound, Detail: "the model has no closed run; POST /train/round starts one"}
}

// trials returns the closed runs of a model, and not found when there are none:
// a model without them is not told apart from none at all.
func (s *Tuning) trials(c *gin.Context, k call, model string) ([]scorecard.Trial, error) {
	found, err := s.cards.Trials(c.Request.Context(), k.Caller, model)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, noRun()
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
	if in.Study == "" {
		if _, err := s.trials(c, k, in.ModelID); err != nil {
			return err
		}
	} else if err := s.over(c, k, in.ModelID, in.Study); err != nil {
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
			Action:  id, Requester: k.Subject, Environment: string(in.Environment), Apply: in.Apply, Study: in.Study,
		},
		Summary:    fmt.Sprintf("tune %s in %s", in.ModelID, in.Environment),
		Attributes: Attributes{Tenant: k.Tenant, Model: in.ModelID, Stage: "started"},
	}
	answer, err := s.actions.Begin(c.Request.Context(), k.command, action, start,
		replying(http.StatusAccepted, k.started(workflow, "/tuning/suggestions/")))
	return s.b.done(c, answer, err)
}

// over refuses a suggestion of a study that is another model's, or not over: its
// best trial may not be the best yet.
func (s *Tuning) over(c *gin.Context, k call, model, id string) error {
	study, err := s.studies.Study(c.Request.Context(), k.Caller, id)
	switch {
	case err == nil && study.ModelID != model:
		return ErrNotFound
	case err == nil && study.Status == tuning.StudyRunning:
		return notReady.because("the study goes on; wait for its end, or stop it")
	}
	return err
}

func (s *Tuning) get(c *gin.Context, k call) error {
	id := c.Param("id")
	view, err := s.show(c.Request.Context(), k, KindTuning, id, contract.TuneID(id))
	if err != nil {
		return err
	}
	return s.b.send(c, http.StatusOK, view)
}
