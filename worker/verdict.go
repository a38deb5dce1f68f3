package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/temporal"
	sdk "go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/atom-fabric/fabric/contract"
)

// searchAttributes reads the attributes of the contract and no others.
func searchAttributes(row json.RawMessage) (temporal.SearchAttributes, error) {
	var given map[string]json.RawMessage
	if len(row) > 0 {
		if err := json.Unmarshal(row, &given); err != nil {
			return temporal.SearchAttributes{}, fmt.Errorf("%w: %w", ErrAttribute, err)
		}
	}
	var updates []temporal.SearchAttributeUpdate
	for _, key := range []temporal.SearchAttributeKeyKeyword{contract.AttrTenant, contract.AttrModel, contract.AttrStage, contract.AttrApproval} {
		raw, ok := given[key.GetName()]
		if !ok {
			continue
		}
		delete(given, key.GetName())
		var value string
		if err := json.Unmarshal(raw, &value); err != nil {
			return temporal.SearchAttributes{}, fmt.Errorf("%s: %w: %w", key.GetName(), ErrAttribute, err)
		}
		updates = append(updates, key.ValueSet(value))
	}
	if raw, ok := given[contract.AttrRisk.GetName()]; ok {
		delete(given, contract.AttrRisk.GetName())
		var value int64
		if err := json.Unmarshal(raw, &value); err != nil {
			return temporal.SearchAttributes{}, fmt.Errorf("%s: %w: %w", contract.AttrRisk.GetName(), ErrAttribute, err)
		}
		updates = append(updates, contract.AttrRisk.ValueSet(value))
	}
	for name := range given {
		return temporal.SearchAttributes{}, fmt.Errorf("%q: %w", name, ErrAttribute)
	}
	return temporal.NewSearchAttributes(updates...), nil
}

// isAway tells an outage from a fault of the row.
func isAway(err error) bool {
	var (
		unavailable *serviceerror.Unavailable
		exhausted   *serviceerror.ResourceExhausted
		late        *serviceerror.DeadlineExceeded
		canceled    *serviceerror.Canceled
		namespace   *serviceerror.NamespaceNotFound
	)
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) ||
		errors.As(err, &unavailable) || errors.As(err, &exhausted) || errors.As(err, &late) ||
		errors.As(err, &canceled) || errors.As(err, &namespace)
}

// hopeless says that the same row would fail for ever.
func hopeless(err error) bool {
	var invalid *serviceerror.InvalidArgument
	return errors.Is(err, ErrUnknownWorkflow) || errors.Is(err, ErrAttribute) || errors.As(err, &invalid)
}

// retryIn doubles from half a second to a minute.
func retryIn(attempts int) time.Duration {
	return min(leastRetry<<min(attempts, 10), mostRetry)
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// bound returns the names of the workflows that this code serves: a row with
// another name would start what nobody ever works on.
func bound() map[string]bool {
	names := names{}
	BindWorkflows(names)
	return names
}

// names records what is bound to it.
type names map[string]bool

var _ sdk.WorkflowRegistry = names{}

func (n names) RegisterWorkflow(any) {}
func (n names) RegisterWorkflowWithOptions(_ any, options workflow.RegisterOptions) {
	n[options.Name] = true
}
func (n names) RegisterDynamicWorkflow(any, workflow.DynamicRegisterOptions) {}
