package api

import (
	"errors"
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/contract"
)

func (s *Training) pause(c *gin.Context, k call) error  { return s.hold(c, k, true) }
func (s *Training) resume(c *gin.Context, k call) error { return s.hold(c, k, false) }

// hold signals first and records then, as stop does: of the signals that a run
// was sent between two rounds the last one counts, so a repeated one is one.
func (s *Training) hold(c *gin.Context, k call, paused bool) error {
	var in v1.StopRequest
	if err := decode(k.body, &in); err != nil {
		return err
	}
	ctx, id := c.Request.Context(), c.Param("id")
	run, err := s.runs.Run(ctx, k.Caller, id)
	if err != nil {
		return err
	}
	if run.Status != "accepted" && run.Status != "running" {
		return notRunning.because("the run is over")
	}
	err = s.workflows.PauseRun(ctx, id, contract.PauseRequest{Actor: k.Subject, Reason: in.Reason, Paused: paused})
	if errors.Is(err, ErrNotFound) {
		return notRunning.because("the run has not started yet, or is over; look at its status and try again")
	}
	if err != nil {
		return err
	}
	answer, err := s.runs.RecordPause(ctx, k.command, id, paused, replying(http.StatusAccepted, k.accepted))
	return s.b.done(c, answer, err)
}
