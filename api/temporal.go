package api

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/approval"
	"github.com/atom-fabric/fabric/domain/artifact"
)

// messageTimeout bounds how long a message to a workflow may take. An update
// that a worker does not take up in time is not lost: the same update id
// finds it.
const messageTimeout = 15 * time.Second

// Temporal reaches running workflows through a client. It lives here and not
// with the adapters because it says nothing but what the contract's handles
// say; it starts nothing, which is the outbox's part.
type Temporal struct{ client client.Client }

// NewTemporal returns the adapter to [Workflows].
func NewTemporal(c client.Client) *Temporal { return &Temporal{client: c} }

// Vote implements [Workflows]. The update's id is the digest of what was
// signed and of the signature: a vote that is sent twice is one update, and a
// forged one with the same words is another, which cannot take its place.
func (t *Temporal) Vote(ctx context.Context, action string, vote contract.SignedVote) (approval.Ballot, error) {
	envelope, err := artifact.ParseBundle([]byte(vote.Bundle))
	if err != nil {
		return approval.Ballot{}, fmt.Errorf("%w: %w", ErrUnverified, err)
	}
	ctx, cancel := context.WithTimeout(ctx, messageTimeout)
	defer cancel()
	id := artifact.DigestOf(append(envelope.Signature, envelope.Payload...)).Hex()
	ballot, err := contract.VoteNow.Send(ctx, t.client, contract.ApprovalID(action), id, vote)
	if err != nil {
		// A vote that does not count is answered with the ballot, which names it
		// and says why.
		var refused *temporal.ApplicationError
		if errors.As(err, &refused) && refused.Type() == contract.VoteRefused && refused.Details(&ballot) == nil {
			return ballot, nil
		}
		return ballot, fmt.Errorf("vote on %s: %w", action, messageError(err))
	}
	return ballot, nil
}

// Reconsider implements [Workflows]. A ballot that does not run has nothing to
// reconsider: its approval is used, or will never be.
func (t *Temporal) Reconsider(ctx context.Context, action string) error {
	err := contract.Reconsider.Send(ctx, t.client, contract.ApprovalID(action), contract.Nothing{})
	var missing *serviceerror.NotFound
	if err == nil || errors.As(err, &missing) {
		return nil
	}
	return fmt.Errorf("reconsider %s: %w", action, messageError(err))
}

// StopRun implements [Workflows].
func (t *Temporal) StopRun(ctx context.Context, run string, stop contract.StopRequest) error {
	ctx, cancel := context.WithTimeout(ctx, messageTimeout)
	defer cancel()
	if err := contract.StopRun.Send(ctx, t.client, contract.RunID(run), stop); err != nil {
		return fmt.Errorf("stop run %s: %w", run, messageError(err))
	}
	return nil
}

// StopStudy implements [Workflows].
func (t *Temporal) StopStudy(ctx context.Context, study string, stop contract.StopRequest) error {
	ctx, cancel := context.WithTimeout(ctx, messageTimeout)
	defer cancel()
	if err := contract.StopStudy.Send(ctx, t.client, contract.StudyID(study), stop); err != nil {
		return fmt.Errorf("stop study %s: %w", study, messageError(err))
	}
	return nil
}

// PauseRun implements [Workflows].
func (t *Temporal) PauseRun(ctx context.Context, run string, pause contract.PauseRequest) error {
	ctx, cancel := context.WithTimeout(ctx, messageTimeout)
	defer cancel()
	if err := contract.PauseRun.Send(ctx, t.client, contract.RunID(run), pause); err != nil {
		return fmt.Errorf("pause run %s: %w", run, messageError(err))
	}
	return nil
}

// SteerPolicy implements [Workflows].
func (t *Temporal) SteerPolicy(ctx context.Context, action, id string, steer contract.Steer) (contract.CanaryState, error) {
	ctx, cancel := context.WithTimeout(ctx, messageTimeout)
	defer cancel()
	state, err := contract.Steering.Send(ctx, t.client, contract.RolloutID(action), id, steer)
	if err != nil {
		return state, fmt.Errorf("steer %s: %w", action, messageError(err))
	}
	return state, nil
}

// SteerRollout implements [Workflows].
func (t *Temporal) SteerRollout(ctx context.Context, action, id string, steer contract.Steer) (contract.CanaryState, error) {
	ctx, cancel := context.WithTimeout(ctx, messageTimeout)
	defer cancel()
	state, err := contract.Steering.Send(ctx, t.client, contract.CanaryID(action), id, steer)
	if err != nil {
		return state, fmt.Errorf("steer %s: %w", action, messageError(err))
	}
	return state, nil
}

// messageError translates what Temporal says into the ports' words.
func messageError(err error) error {
	var missing *serviceerror.NotFound
	var refused *temporal.ApplicationError
	switch {
	case errors.As(err, &missing):
		return fmt.Errorf("%w: %w", ErrNotFound, err)
	case errors.As(err, &refused): // the update's validator
		return fmt.Errorf("%w: %w", ErrClosed, err)
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}
