// Package program trains with a program of the site operator's own, in a fresh
// folder laid out like the ones of managed training containers. The contract is
// in docs/protocol/site.md.
//
// Invariant: a program sees the rows, the weights and the parameters of one
// round, and no secret of the agent's. Its folder, which holds private rows, is
// gone when the round is over. What it prints is kept in one file for the
// operator and is in no log and no error: it may quote rows.
package program

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/internal/site/table"
)

// Why a program has no result.
var (
	ErrFailed   = errors.New("the program failed")
	ErrTimeout  = errors.New("the program took too long and was stopped")
	ErrNoResult = errors.New("the program left no result")
	ErrMetrics  = errors.New("the program's metrics are not possible")
)

// A Error says where the operator finds what the program printed, and why
// there is no result.
type Error struct {
	Log string
	Err error
}

func (e *Error) Error() string { return fmt.Sprintf("%v (its output is in %s)", e.Err, e.Log) }
func (e *Error) Unwrap() error { return e.Err }

// maxMetrics bounds metrics.json.
const maxMetrics = 1 << 16

// A Program is a command and where it may work. One runs at a time.
type Program struct {
	Command string        // given to /bin/sh -c
	Dir     string        // private to the agent; holds the fresh folders and output.log
	Limit   time.Duration // for one round, above zero
	Pass    []string      // names of the agent's variables that the program may see
}

// A Job is one round's work.
type Job struct {
	Run     string
	Round   int
	Tenant  string
	Site    string
	Params  round.Params
	Seed    uint64
	Weights func(path string) error // puts the safetensors there, all tensors of the model
	Train   table.Table
	Held    table.Table
}

// A Result is what the program left, checked.
type Result struct {
	Update  *os.File            // safetensors: the trainable tensors, local - base; has no name any more, to be closed
	Written artifact.Descriptor // of the update
	Metrics round.Metrics
}

// Train runs the program and takes its update and its metrics. Memory does not
// grow with the update, which stays on disk.
//
// Errors: [*Error] with [ErrFailed], [ErrTimeout], [ErrNoResult], [ErrMetrics],
// or what [round.CheckUpdate] says of the update; ctx's own; a failing disk's.
func (p Program) Train(ctx context.Context, job Job) (Result, error) {
	// A predecessor that was killed could not tidy up.
	if err := p.Tidy(); err != nil {
		return Result{}, err
	}
	if err := os.MkdirAll(p.Dir, 0o700); err != nil {
		return Result{}, err
	}
	folder, err := os.MkdirTemp(p.Dir, "round-")
	if err != nil {
		return Result{}, err
	}
	defer os.RemoveAll(folder)
	if folder, err = filepath.Abs(folder); err != nil {
		return Result{}, err
	}
	environment, err := layout(folder, job)
	if err != nil {
		return Result{}, err
	}
	log := filepath.Join(p.Dir, "output.log")
	result, err := p.attempt(ctx, folder, log, append(p.passed(), environment...), job)
	switch {
	case ctx.Err() != nil:
		return Result{}, ctx.Err()
	case err != nil:
		return Result{}, &Error{Log: log, Err: err}
	}
	return result, nil
}

// Tidy removes folders of rounds that were cut short.
func (p Program) Tidy() error {
	left, err := filepath.Glob(filepath.Join(p.Dir, "round-*"))
	if err != nil {
		return err
	}
	for _, folder := range left {
		if err := os.RemoveAll(folder); err != nil {
			return err
		}
	}
	return nil
}

// Digests returns those of the files that the command names by an absolute
// path: the interpreter and the script, usually.
func (p Program) Digests() ([]artifact.Digest, error) {
	var out []artifact.Digest
	for _, word := range strings.Fields(p.Command) {
		path := strings.Trim(word, `'"`)
		if info, err := os.Stat(path); !filepath.IsAbs(path) || err != nil || !info.Mode().IsRegular() {
			continue
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		out = append(out, artifact.DigestOf(content))
	}
	return out, nil
}

func (p Program) attempt(ctx context.Context, folder, log string, environment []string, job Job) (Result, error) {
	if err := p.run(ctx, folder, log, environment); err != nil {
		return Result{}, err
	}
	return collect(folder, job)
}

// collect reads the results through a root, so that a link in the folder cannot
// point the agent at another file.
func collect(folder string, job Job) (result Result, err error) {
	root, err := os.OpenRoot(folder)
	if err != nil {
		return Result{}, err
	}
	defer root.Close()
	file, err := open(root, updateFile)
	if err != nil {
		return Result{}, err
	}
	defer func() {
		if err != nil {
			file.Close()
		}
	}()
	// No longer than the model's own update: names and shapes are compared
	// before any data is read.
	hash := sha256.New()
	if err := round.CheckUpdate(job.Params.Model, round.Train, io.TeeReader(bufio.NewReaderSize(file, 1<<20), hash)); err != nil {
		return Result{}, fmt.Errorf("%s: %w", updateFile, err)
	}
	size, err := file.Seek(0, io.SeekCurrent) // all was read
	if err != nil {
		return Result{}, err
	}
	result.Update = file
	result.Written = artifact.Descriptor{Digest: artifact.Summed(hash), SizeBytes: size, MediaType: artifact.MediaTypeWeights}
	text, err := read(root, metricsFile, maxMetrics)
	if err != nil {
		return Result{}, err
	}
	if err := artifact.DecodeStrict(text, &result.Metrics); err != nil {
		return Result{}, fmt.Errorf("%s: %w: %w", metricsFile, ErrMetrics, err)
	}
	if err := check(result.Metrics, job); err != nil {
		return Result{}, fmt.Errorf("%s: %w", metricsFile, err)
	}
	return result, nil
}

// check compares metrics with the rows that there are: a weight in the average
// is not a program's to invent.
func check(m round.Metrics, job Job) error {
	switch {
	case m.Examples < 1 || m.Examples > int64(job.Train.Len()):
		return fmt.Errorf("%w: examples", ErrMetrics)
	case m.Evaluated < 0 || m.Evaluated > int64(job.Held.Len()):
		return fmt.Errorf("%w: evaluated", ErrMetrics)
	case m.Correct < 0 || m.Correct > m.Evaluated:
		return fmt.Errorf("%w: correct", ErrMetrics)
	case m.LossMicros < 0 || m.LossMicros > 1<<50:
		return fmt.Errorf("%w: lossMicros", ErrMetrics)
	}
	return nil
}

// open opens a file that the program left.
func open(root *os.Root, name string) (*os.File, error) {
	info, err := root.Stat(name)
	if err != nil || !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%w: %s", ErrNoResult, name)
	}
	f, err := root.Open(name)
	if err != nil {
		return nil, fmt.Errorf("%w: %s", ErrNoResult, name)
	}
	return f, nil
}

func read(root *os.Root, name string, limit int64) ([]byte, error) {
	f, err := open(root, name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(content)) > limit {
		return nil, fmt.Errorf("%s: %w", name, artifact.ErrTooLarge)
	}
	return content, nil
}

// passed returns what the program may see of the agent's own environment: what
// any program needs to start, and what the operator names.
func (p Program) passed() []string {
	var out []string
	for _, name := range append([]string{"PATH", "LANG", "LC_ALL", "TZ"}, p.Pass...) {
		if value, ok := os.LookupEnv(name); ok && !secret(name) {
			out = append(out, name+"="+value)
		}
	}
	return out
}

// secret says whether a variable is one of the agent's own, which no operator
// can mean to pass on.
func secret(name string) bool {
	return strings.HasPrefix(name, "FEDERATION_TOKEN") || strings.HasPrefix(name, "FABRIC_")
}
