package main

import (
	"context"
	"errors"
	"io"

	"github.com/spf13/cobra"

	"github.com/atom-fabric/fabric/internal/config"
	"github.com/atom-fabric/fabric/internal/local"
	"github.com/atom-fabric/fabric/internal/pgserver"
	"github.com/atom-fabric/fabric/internal/precheck"
)

// Exit statuses. They are documented in docs/reference/exit-status.md and do not change.
const (
	exitOK          = 0
	exitFailure     = 1
	exitUsage       = 2
	exitChecks      = 3
	exitNotFound    = 4
	exitConflict    = 5
	exitUnallowed   = 6
	exitUnavailable = 69
	exitTimeout     = 124
	exitInterrupted = 130
)

// streams are the standard streams of a command.
type streams struct {
	In  io.Reader
	Out io.Writer
	Err io.Writer
}

// An exitError carries the status that the process ends with.
type exitError struct {
	status int
	err    error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// beginnings says whether any command's own code has begun: what fails before
// is how the program was called, and has no type of its own.
func beginnings(root *cobra.Command) *bool {
	began := new(bool)
	var visit func(cmd *cobra.Command)
	visit = func(cmd *cobra.Command) {
		if do := cmd.RunE; do != nil {
			cmd.RunE = func(cmd *cobra.Command, args []string) error {
				*began = true
				return do(cmd, args)
			}
		}
		for _, child := range cmd.Commands() {
			visit(child)
		}
	}
	visit(root)
	return began
}

func usage(err error) error { return &exitError{exitUsage, err} }

// status chooses the exit status of an error.
func status(err error) int {
	var exit *exitError
	switch {
	case errors.As(err, &exit):
		return exit.status
	case errors.Is(err, config.ErrSetting):
		return exitUsage
	case errors.Is(err, pgserver.ErrNotFound), errors.Is(err, local.ErrPortInUse), errors.Is(err, local.ErrRunning), errors.Is(err, local.ErrStateDir):
		return exitUnavailable
	case errors.Is(err, precheck.ErrBlocked): // the product's contract says 1
		return exitFailure
	case errors.Is(err, context.DeadlineExceeded):
		return exitTimeout
	default:
		return exitFailure
	}
}
