package api

import (
	"context"
	"errors"
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/contract"
)

func (s *Training) stop(c *gin.Context, k call) error {
	return s.tell(c, k, func(ctx context.Context, id, reason string) error {
		return s.workflows.StopRun(ctx, id, contract.StopRequest{Actor: k.Subject, Reason: reason})
	}, s.runs.RecordStop)
}

func (s *Training) pause(c *gin.Context, k call) error  { return s.hold(c, k, true) }
func (s *Training) resume(c *gin.Context, k call) error { return s.hold(c, k, false) }

func (s *Training) hold(c *gin.Context, k call, paused bool) error {
	return s.tell(c, k, func(ctx context.Context, id, reason string) error {
		return s.workflows.PauseRun(ctx, id, contract.PauseRequest{Actor: k.Subject, Reason: reason, Paused: paused})
	}, func(ctx context.Context, cmd Command, id, _ string, reply Reply[Run]) (Answer, error) {
		return s.runs.RecordPause(ctx, cmd, id, paused, reply)
	})
}

// tell signals a run that is not over and records then: a signal that is sent
// twice says it once, and a record without a signal would be a promise that
// nobody keeps.
func (s *Training) tell(c *gin.Context, k call, signal func(ctx context.Context, id, reason string) error,
	record func(ctx context.Context, cmd Command, id, reason string, reply Reply[Run]) (Answer, error),
) error {
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
	err = signal(ctx, id, in.Reason)
	if errors.Is(err, ErrNotFound) {
		return notRunning.because("the run has not started yet, or is over; look at its status and try again")
	}
	if err != nil {
		return err
	}
	answer, err := record(ctx, k.command, id, in.Reason, replying(http.StatusAccepted, k.accepted))
	return s.b.done(c, answer, err)
}
