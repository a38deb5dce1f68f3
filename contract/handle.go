// Package contract is the durable wire: the names, inputs and outputs of every
// workflow, activity, signal, update and query, the form of every workflow ID,
// and the task queues. Histories that exist were written in these words.
//
// Invariant: the wire only grows. A name, once captured in a history, keeps its
// meaning; a struct gains fields that may be absent and loses none
// (testdata/wire.golden lists them and only gains lines).
package contract

import (
	"context"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
)

// A Workflow is a workflow type with its input and output.
type Workflow[In, Out any] struct{ Name string }

// Execute runs the workflow as a child and waits for it. Child options, the
// workflow ID above all, are taken from ctx.
func (w Workflow[In, Out]) Execute(ctx workflow.Context, in In) (Out, error) {
	var out Out
	err := workflow.ExecuteChildWorkflow(ctx, w.Name, in).Get(ctx, &out)
	return out, err
}

// Child starts the workflow as a child.
func (w Workflow[In, Out]) Child(ctx workflow.Context, in In) workflow.ChildWorkflowFuture {
	return workflow.ExecuteChildWorkflow(ctx, w.Name, in)
}

// Start starts the workflow from outside.
func (w Workflow[In, Out]) Start(ctx context.Context, c client.Client, opts client.StartWorkflowOptions, in In) (client.WorkflowRun, error) {
	return c.ExecuteWorkflow(ctx, opts, w.Name, in)
}

// Bind registers fn as the code of the workflow; the compiler checks that the
// code speaks the wire's types.
func (w Workflow[In, Out]) Bind(r worker.WorkflowRegistry, fn func(workflow.Context, In) (Out, error)) {
	r.RegisterWorkflowWithOptions(fn, workflow.RegisterOptions{Name: w.Name})
}

// An Activity is an activity type with its input and output.
type Activity[In, Out any] struct{ Name string }

// Execute runs the activity and waits for it. Options, the task queue above
// all, are taken from ctx.
func (a Activity[In, Out]) Execute(ctx workflow.Context, in In) (Out, error) {
	var out Out
	err := workflow.ExecuteActivity(ctx, a.Name, in).Get(ctx, &out)
	return out, err
}

// Start runs the activity without waiting for it.
func (a Activity[In, Out]) Start(ctx workflow.Context, in In) workflow.Future {
	return workflow.ExecuteActivity(ctx, a.Name, in)
}

// Bind registers fn as the code of the activity.
func (a Activity[In, Out]) Bind(r worker.ActivityRegistry, fn func(context.Context, In) (Out, error)) {
	r.RegisterActivityWithOptions(fn, activity.RegisterOptions{Name: a.Name})
}

// A Signal is a message that a running workflow receives and does not answer.
type Signal[T any] struct{ Name string }

// Receive waits for the next signal. A payload that does not decode is
// skipped: whoever can reach a signal must not be able to stop the workflow.
func (s Signal[T]) Receive(ctx workflow.Context) (T, bool) {
	var v T
	ok := workflow.GetSignalChannel(ctx, s.Name).Receive(ctx, &v)
	return v, ok
}

// Poll returns a signal that has arrived and was not received yet.
func (s Signal[T]) Poll(ctx workflow.Context) (T, bool) {
	var v T
	ok := workflow.GetSignalChannel(ctx, s.Name).ReceiveAsync(&v)
	return v, ok
}

// Waiting returns how many signals have arrived and were not received yet.
func (s Signal[T]) Waiting(ctx workflow.Context) int {
	return workflow.GetSignalChannel(ctx, s.Name).Len()
}

// Send delivers the signal to a running workflow.
func (s Signal[T]) Send(ctx context.Context, c client.Client, workflowID string, v T) error {
	return c.SignalWorkflow(ctx, workflowID, "", s.Name, v)
}

// An Update is a message that a running workflow answers at once.
type Update[In, Out any] struct{ Name string }

// Send delivers the update under id and waits for the answer. The same id
// twice is the same update.
func (u Update[In, Out]) Send(ctx context.Context, c client.Client, workflowID, id string, in In) (Out, error) {
	var out Out
	handle, err := c.UpdateWorkflow(ctx, client.UpdateWorkflowOptions{
		WorkflowID:   workflowID,
		UpdateID:     id,
		UpdateName:   u.Name,
		Args:         []any{in},
		WaitForStage: client.WorkflowUpdateStageCompleted,
	})
	if err != nil {
		return out, err
	}
	return out, handle.Get(ctx, &out)
}

// Handle sets the code that answers the update and, before anything is
// written, may refuse it. The context of fn is not that of the workflow's main
// line: fn sets activity options itself.
func (u Update[In, Out]) Handle(ctx workflow.Context, fn func(workflow.Context, In) (Out, error), validate func(workflow.Context, In) error, description string) error {
	return workflow.SetUpdateHandlerWithOptions(ctx, u.Name, fn, workflow.UpdateHandlerOptions{
		Validator:   validate,
		Description: description,
	})
}

// A Query reads the state of a workflow.
type Query[Out any] struct{ Name string }

// Handle sets the code that answers the query.
func (q Query[Out]) Handle(ctx workflow.Context, fn func() (Out, error)) error {
	return workflow.SetQueryHandler(ctx, q.Name, fn)
}

// Ask queries a workflow, running or closed.
func (q Query[Out]) Ask(ctx context.Context, c client.Client, workflowID string) (Out, error) {
	var out Out
	var value converter.EncodedValue
	value, err := c.QueryWorkflow(ctx, workflowID, "", q.Name)
	if err != nil {
		return out, err
	}
	return out, value.Get(&out)
}
