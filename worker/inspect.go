package worker

import (
	"context"
	"fmt"
	"slices"
	"time"

	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/operatorservice/v1"
	taskqueue "go.temporal.io/api/taskqueue/v1"
	"go.temporal.io/sdk/client"
)

// An Inspection is what there is of a namespace.
type Inspection struct {
	Retention time.Duration
	Missing   []string // search attributes of the contract that it lacks
	Idle      []string // of the queues that were named: those that nobody asks for work
}

// Inspect looks at the namespace and some of its queues, and changes nothing.
// Errors: what the server says; *serviceerror.NamespaceNotFound among them.
func Inspect(ctx context.Context, opts Options, queues ...string) (Inspection, error) {
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
	for _, queue := range queues {
		nobody, err := idle(ctx, c, queue, time.Now())
		if err != nil {
			return out, err
		}
		if nobody {
			out.Idle = append(out.Idle, queue)
		}
	}
	return out, nil
}

// idle says whether nobody asks a queue for work. Which kinds of it a queue has
// differs, and the process that asks for one asks for all.
func idle(ctx context.Context, pollers Pollers, queue string, now time.Time) (bool, error) {
	for _, kind := range []enums.TaskQueueType{enums.TASK_QUEUE_TYPE_WORKFLOW, enums.TASK_QUEUE_TYPE_ACTIVITY} {
		answer, err := pollers.DescribeTaskQueue(ctx, queue, kind)
		if err != nil {
			return false, fmt.Errorf("temporal: queue %s: %w", queue, err)
		}
		if slices.ContainsFunc(answer.GetPollers(), func(p *taskqueue.PollerInfo) bool { return now.Sub(p.GetLastAccessTime().AsTime()) < pollerSeen }) {
			return false, nil
		}
	}
	return true, nil
}
