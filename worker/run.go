package worker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.temporal.io/sdk/client"
	sdk "go.temporal.io/sdk/worker"
)

// ErrNoQueue says that a process was asked to work for no queue at all.
var ErrNoQueue = errors.New("no task queue to work for")

// grace is how long an activity may go on after the process was asked to stop.
// What is not finished then is found by its heartbeat, and runs again.
const grace = 10 * time.Second

// A Queue is a task queue and what binds its code.
type Queue struct {
	Name string
	Bind func(sdk.Registry) error
	// Slots is how many activities run at once. Those that wait (for a stage,
	// for a runtime) hold one too, so a region's queue needs many.
	Slots int
}

// Run works for the queues until ctx is done, then lets what runs finish. It
// returns early when a worker fails for good.
func Run(ctx context.Context, c client.Client, queues ...Queue) error {
	if len(queues) == 0 {
		return ErrNoQueue
	}
	failed := make(chan error, len(queues))
	workers := make([]sdk.Worker, 0, len(queues))
	for _, q := range queues {
		w := sdk.New(c, q.Name, options(q, func(err error) { failed <- fmt.Errorf("queue %s: %w", q.Name, err) }))
		if err := q.Bind(w); err != nil {
			return fmt.Errorf("queue %s: %w", q.Name, err)
		}
		workers = append(workers, w)
	}
	for i, w := range workers {
		if err := w.Start(); err != nil {
			stop(workers[:i])
			return fmt.Errorf("queue %s: %w", queues[i].Name, err)
		}
	}
	defer stop(workers)
	select {
	case <-ctx.Done():
		return nil
	case err := <-failed:
		return err
	}
}

// stop stops the workers side by side, so that the wait is one grace and not
// one for each.
func stop(workers []sdk.Worker) {
	var all sync.WaitGroup
	for _, w := range workers {
		all.Go(w.Stop)
	}
	all.Wait()
}

// options are those of a worker on a machine of two cores: few workflow tasks
// at once, because they compute; as many activities as the queue says, because
// they mostly wait.
func options(q Queue, fatal func(error)) sdk.Options {
	return sdk.Options{
		MaxConcurrentActivityExecutionSize:     q.Slots,
		MaxConcurrentWorkflowTaskExecutionSize: 16,
		MaxConcurrentWorkflowTaskPollers:       2,
		MaxConcurrentActivityTaskPollers:       2,
		WorkerStopTimeout:                      grace,
		MaxHeartbeatThrottleInterval:           5 * time.Second, // what a restart may lose of a heartbeat's details
		DisableRegistrationAliasing:            true,            // a name means one thing
		OnFatalError:                           fatal,
	}
}
