package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/internal/site/trainer"
)

// variateFile ends the name of the file with a run's own control variate.
const variateFile = ".variate"

// A variate is this site's control variate of SCAFFOLD in one run, before and
// after the last round that it trained in. It moves only with a round whose
// sum the site is in: the server's variate does not move by the others either.
type variate struct {
	Number  int    `json:"number"`
	Counted bool   `json:"counted"`
	Before  []byte `json:"before"` // safetensors, F64, the trainable tensors; none at first
	After   []byte `json:"after"`
}

// variates returns what a round starts from: the server's, which the manifest
// names, and the site's own. A round that is done again starts from the same.
func (a *Agent) variates(ctx context.Context, o order) (*trainer.Variates, error) {
	var v trainer.Variates
	kept, err := a.variate(o)
	if err != nil {
		return nil, err
	}
	own := kept.Before
	if kept.Counted && kept.Number != o.Number {
		own = kept.After
	}
	if len(own) > 0 {
		if v.Own, err = artifact.ParseTensors(own); err != nil {
			return nil, fmt.Errorf("own control variate: %w", err)
		}
	}
	if o.State.Digest == "" {
		return &v, nil
	}
	content, err := a.fetch(ctx, o.State, 2*maxBuiltIn) // F64, where the weights are F32
	if err != nil {
		return nil, fmt.Errorf("server's control variate: %w", err)
	}
	if v.Server, err = artifact.ParseTensors(content); err != nil {
		return nil, fmt.Errorf("server's control variate: %w", err)
	}
	return &v, nil
}

// moved keeps what the variate becomes once the update has been counted.
func (a *Agent) moved(o order, own, update artifact.Tensors) error {
	after, err := trainer.Moved(o.Params.Model, own, update)
	if err != nil {
		return err
	}
	v := variate{Number: o.Number}
	if len(own) > 0 {
		if v.Before, err = own.Encode(); err != nil {
			return err
		}
	}
	if v.After, err = after.Encode(); err != nil {
		return err
	}
	return a.keepVariate(o, v)
}

// counted says that the site's update of this round is in the sum.
func (a *Agent) counted(o order) error {
	if err := a.restCounted(o); err != nil {
		return err
	}
	if o.Kind != round.Train || o.Params.Strategy.Name != round.Scaffold {
		return nil
	}
	v, err := a.variate(o)
	if err != nil || v.Number != o.Number || v.Counted {
		return err
	}
	v.Counted = true
	return a.keepVariate(o, v)
}

func (a *Agent) variate(o order) (variate, error) {
	var v variate
	content, err := a.id.records.load(variateName(o), variateFile)
	if errors.Is(err, fs.ErrNotExist) {
		return v, nil
	}
	if err == nil {
		err = json.Unmarshal(content, &v)
	}
	if err != nil {
		return v, fmt.Errorf("own control variate: %w", err)
	}
	return v, nil
}

func (a *Agent) keepVariate(o order, v variate) error {
	content, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return a.id.records.put(variateName(o), variateFile, content)
}

// variateName is one a run.
func variateName(o order) string { return runName(o.Tenant, o.Run) }

// runName begins the names of the files that a run leaves from round to round.
func runName(tenant, run string) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%s\n", tenant, run))
	return hex.EncodeToString(sum[:16])
}
