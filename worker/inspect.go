package worker

import (
	"context"
	"fmt"
	"slices"
	"time"

	"go.temporal.io/api/operatorservice/v1"
	"go.temporal.io/sdk/client"
)

// An Inspection is what there is of a namespace.
type Inspection struct {
	Retention time.Duration
	Missing   []string // search attributes of the contract that it lacks
}

// Inspect looks at the namespace and changes nothing.
// Errors: what the server says; *serviceerror.NamespaceNotFound among them.
func Inspect(ctx context.Context, opts Options) (Inspection, error) {
	var out Inspection
	settings, err := opts.client()
	if err != nil {
		return out, err
	}
	c, err := client.DialContext(ctx, settings)
	if err != nil {
		return out, fmt.Errorf("temporal: %w", err)
	}
	defer c.Close()
	namespaces, err := client.NewNamespaceClient(settings)
	if err != nil {
		return out, fmt.Errorf("temporal: %w", err)
	}
	defer namespaces.Close()
	found, err := namespaces.Describe(ctx, opts.Namespace)
	if err != nil {
		return out, fmt.Errorf("temporal: namespace %s: %w", opts.Namespace, err)
	}
	out.Retention = found.GetConfig().GetWorkflowExecutionRetentionTtl().AsDuration()
	known, err := c.OperatorService().ListSearchAttributes(ctx, &operatorservice.ListSearchAttributesRequest{Namespace: opts.Namespace})
	if err != nil {
		return out, fmt.Errorf("temporal: namespace %s: %w", opts.Namespace, err)
	}
	for name := range attributes() {
		if _, ok := known.GetCustomAttributes()[name]; !ok {
			out.Missing = append(out.Missing, name)
		}
	}
	slices.Sort(out.Missing)
	return out, nil
}
