package contract

import (
	"fmt"

	"github.com/atom-fabric/fabric/domain/round"
)

// StudyID names the workflow of a study.
func StudyID(study string) string { return "study/" + study }

// StudyInput starts a study, or goes on with one. What the study is, and what
// its trials came to, is in its rows; Next is the first trial that was not
// begun yet.
type StudyInput struct {
	Subject
	Study    string `json:"study"`
	Trials   int    `json:"trials"`   // at most
	Parallel int    `json:"parallel"` // trials under way at once
	Next     int    `json:"next"`
}

// A TrialRef names one run of a trial: trials and repeats count from 1.
type TrialRef struct {
	Subject
	Study  string `json:"study"`
	Number int    `json:"number"`
	Repeat int    `json:"repeat,omitempty"`
}

// StudyEnd is why a study ends: Status is one of the domain's.
type StudyEnd struct {
	Status string `json:"status"`
	Cause  string `json:"cause,omitempty"`
}

// SuggestedTrial says that a trial has a point. With Wait it has none until
// another trial is over, and with End there will be none any more.
type SuggestedTrial struct {
	Wait bool      `json:"wait,omitempty"`
	End  *StudyEnd `json:"end,omitempty"`
}

// BegunTrial is the run of a trial, to be started. Over says that the trial is
// over without it, and End that the study is.
type BegunTrial struct {
	Run  RunInput  `json:"run"`
	Over bool      `json:"over,omitempty"`
	End  *StudyEnd `json:"end,omitempty"`
}

// TrialEnd says that the run of a trial is over. Blocked says that a budget or
// a consent ended it, and which.
type TrialEnd struct {
	TrialRef
	Run     string `json:"run"`
	Blocked string `json:"blocked,omitempty"` // NoBudget or NoConsent
}

// EndedTrial says whether the trial has another repeat, and whether the study
// is over.
type EndedTrial struct {
	More bool      `json:"more,omitempty"`
	End  *StudyEnd `json:"end,omitempty"`
}

// A StudyRun is what a run knows of the trial that it is of, and of the rungs
// at which it asks whether to go on: First·Factor^k train rounds. Without
// rungs First is 0.
type StudyRun struct {
	Study  string `json:"study"`
	Number int    `json:"number"`
	Repeat int    `json:"repeat"`
	First  int    `json:"first,omitempty"`
	Factor int    `json:"factor,omitempty"`
}

// Asks says whether the run asks after its train round of that number.
func (s StudyRun) Asks(number int) bool {
	if s.First < 1 || s.Factor < 2 {
		return false
	}
	for number > s.First && number%s.Factor == 0 {
		number /= s.Factor
	}
	return number == s.First
}

// RungInput asks whether the run of a trial goes on.
type RungInput struct {
	TrialRef
	Run     string        `json:"run"`
	Round   int           `json:"round"`
	Metrics round.Metrics `json:"metrics"`
}

// Rung is the answer. Cause is for the run's owner.
type Rung struct {
	Stop  bool   `json:"stop,omitempty"`
	Cause string `json:"cause,omitempty"`
}

// CloseStudyInput records the end of a study.
type CloseStudyInput struct {
	Subject
	Study string `json:"study"`
	StudyEnd
}

// StudyResult is how a study ended. Best is the number of its best trial, 0 for
// none; Suggestion is the tuning that carries it on.
type StudyResult struct {
	Study      string `json:"study"`
	Status     string `json:"status"`
	Cause      string `json:"cause,omitempty"`
	Trials     int    `json:"trials"`
	Best       int    `json:"best,omitempty"`
	Suggestion string `json:"suggestion,omitempty"`
}

// Name says which trial a run is of.
func (t TrialRef) Name() string {
	return fmt.Sprintf("trial %d, run %d of study %s", t.Number, t.Repeat, t.Study)
}
