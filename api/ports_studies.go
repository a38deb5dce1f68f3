package api

import (
	"context"
	"time"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/privacy"
	"github.com/atom-fabric/fabric/domain/tuning"
)

// Studies keeps studies of training runs as their owners see them.
type Studies interface {
	// StartStudy writes the study as running with its start.
	// Leaf: study.accepted, "study/<id>".
	StartStudy(ctx context.Context, cmd Command, study Study, start Start, reply Reply[Study]) (Answer, error)
	// RecordStudyStop notes that a stop was asked for. ErrNotFound.
	// Leaf: study.stop_requested.
	RecordStudyStop(ctx context.Context, cmd Command, id string, reply Reply[Study]) (Answer, error)
	// Study returns a study of the caller's tenant with its trials, their runs and
	// what these cost. ErrNotFound.
	Study(ctx context.Context, caller Caller, id string) (Study, error)
	// Studies returns studies without their trials, newest first; the key is the
	// id, which sorts by time (page.After: ids below it).
	Studies(ctx context.Context, caller Caller, filter RunFilter, page Page) ([]Study, error)
}

// A Study is a study as its owner sees it. Base is what each run is but for its
// point, its seed and its id. Jobs are the trials by number, Runs theirs by
// trial and repeat; a list has neither.
type Study struct {
	ID          string
	Tenant      string
	ModelID     string
	Environment string
	Requester   string
	Spec        tuning.Study
	Prior       []tuning.Trial
	Base        contract.RunInput
	Rounds      int // compute budget in train rounds; 0 is none
	Apply       bool
	Status      string
	Cause       string
	Best        int
	Suggestion  string
	Made        int // trials
	Used        int // train rounds
	CreatedAt   time.Time
	EndedAt     *time.Time
	Simulated   bool
	TraceID     string
	Jobs        []tuning.Job
	Runs        []StudyRun
	Charges     []privacy.Ledger // what the runs took from features
}

// A StudyRun says which run tried a point.
type StudyRun struct {
	Number int
	Repeat int
	Run    string
	Status string
}
