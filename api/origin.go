package api

import (
	"context"
	"errors"
	"fmt"

	"github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/round"
)

// originate lets a run go on from the checkpoint of another one of the same
// tenant and model. The weights are normalised, so the first round trains. The
// state of the strategy goes with them only to the same strategy: what one
// calls momentum is noise to another. A clipping norm that adapts goes on where
// it was.
func originate(ctx context.Context, runs Runs, caller Caller, from v1.RunOrigin, in *contract.RunInput) error {
	if from == (v1.RunOrigin{}) {
		return nil
	}
	point, err := runs.Checkpoint(ctx, caller, from.Run, from.Round)
	if errors.Is(err, ErrNotFound) || err == nil && point.ModelID != in.ModelID {
		return badParams.at("/from", fmt.Sprintf("round %d of a run %s of model %s has left no weights", from.Round, from.Run, in.ModelID))
	}
	if err != nil {
		return err
	}
	if shape(point.Params.Model) != shape(in.Params.Model) {
		return badParams.at("/from", "its weights are of another shape than the model's")
	}
	in.Round, in.Base = 1, point.Weights
	if in.Params.Strategy.Stateful() && in.Params.Strategy.Name == point.Params.Strategy.Name {
		in.State = point.State
	}
	if in.Params.Privacy.Adaptive.On() && point.Params.Privacy.Adaptive.On() {
		in.Clip = point.Clip
	}
	return nil
}

// shape is all of a model that its tensors depend on: who trains it may change.
func shape(m round.ModelSpec) round.ModelSpec {
	m.Trainer = ""
	return m
}
