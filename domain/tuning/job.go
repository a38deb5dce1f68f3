package tuning

import (
	"errors"
	"fmt"
	"slices"

	"github.com/atom-fabric/fabric/domain/round"
)

// How a study stands.
const (
	StudyRunning   = "running"
	StudyCompleted = "completed" // every trial was made, or there was nothing left to try
	StudyStopped   = "stopped"   // by a person
	StudyExhausted = "exhausted" // a budget does not cover one more trial
	StudyFailed    = "failed"    // its runs do not get anywhere
)

// Hopeless is how many runs may fail one after the other before a study gives
// up: what fails then is not the point that was tried.
const Hopeless = 3

// ErrRounds refuses a compute budget.
var ErrRounds = errors.New("a compute budget is 0 for none, or the train rounds of one trial with its repeats at least, and at most 10000000")

// MaxRounds bounds the compute budget of a study.
const MaxRounds = 10_000_000

// A Refusal says why no run may begin at a point. Ends says that no other point
// would do either.
type Refusal struct {
	Reason string
	Status string // of the study, when it ends
}

func (e *Refusal) Error() string { return e.Reason }

// A Job is a trial of runs, with what they have used of the compute budget.
type Job struct {
	Trial
	Cause  string // why it is infeasible or was stopped
	Begun  int    // repeats whose run was begun
	Ended  int    // repeats whose run is over
	Rounds int    // train rounds that these ran
}

// An Outcome is how one run of a trial ended.
type Outcome struct {
	Status   string // "completed", "stopped" or "failed", as a run's
	Cause    string
	Figures  Figures
	Measured bool
	Rounds   int  // train rounds that were run
	Blocked  bool // a budget or a consent ended it: that says nothing about the point
}

// After returns the job with one more run ended. The trial is over when the
// last of its repeats is, or one of them failed or was stopped.
func (s Study) After(j Job, o Outcome) Job {
	j.Values, j.Constraints = slices.Clone(j.Values), slices.Clone(j.Constraints)
	j.Ended++
	j.Rounds += o.Rounds
	if o.Status == "failed" && !o.Blocked {
		return j.infeasible(o.Cause)
	}
	if o.Measured && !o.Blocked {
		if err := s.measure(&j.Trial, o.Figures); err != nil {
			return j.infeasible(err.Error())
		}
	}
	switch {
	case o.Status != "completed":
		j.State, j.Cause = Stopped, o.Cause
	case !o.Measured:
		return j.infeasible("no held-out row was evaluated")
	case j.Ended >= s.Repeats:
		j.State = Succeeded
	}
	return j
}

// Refuse returns the job with why its point cannot be tried.
func (s Study) Refuse(j Job, r Refusal) Job {
	if r.Status == "" {
		return j.infeasible(r.Reason)
	}
	j.State, j.Cause = Stopped, r.Reason
	return j
}

func (j Job) infeasible(why string) Job {
	j.State, j.Cause, j.Values, j.Constraints = Infeasible, why, nil, nil
	return j
}

// Committed returns the train rounds that jobs have run, and may still run:
// one that is under way holds what its repeats can use.
func (s Study) Committed(jobs []Job, rounds int) (used, held int) {
	for _, j := range jobs {
		used += j.Rounds
		if j.State == Active {
			held += (s.Repeats - j.Ended) * rounds
		}
	}
	return used, held
}

// Affords says whether a compute budget covers one more trial of runs of so
// many rounds. It errs with a [*Refusal]; wait says that trials under way may
// give something back.
func (s Study) Affords(jobs []Job, rounds, limit int) (wait bool, err error) {
	if limit == 0 {
		return false, nil
	}
	used, held := s.Committed(jobs, rounds)
	need := s.Repeats * rounds
	switch {
	case used+held+need <= limit:
		return false, nil
	case held > 0:
		return true, nil
	}
	return false, &Refusal{Status: StudyExhausted,
		Reason: fmt.Sprintf("the compute budget does not cover one more trial: %d of %d train rounds are used, and a trial needs up to %d", used, limit, need)}
}

// Failing says whether the latest runs failed one after the other, and why the
// last of them did. A point that was refused before a run began counts neither
// way.
func Failing(jobs []Job) (cause string, hopeless bool) {
	row := 0
	for _, j := range slices.Backward(jobs) {
		switch {
		case j.State == Active, j.State == Infeasible && j.Ended == 0:
			continue
		case j.State != Infeasible:
			return "", false
		}
		if row++; row == 1 {
			cause = j.Cause
		}
		if row == Hopeless {
			return cause, true
		}
	}
	return "", false
}

// Trials returns the trials of jobs after those that the study began with.
func Trials(prior []Trial, jobs []Job) []Trial {
	all := slices.Clone(prior)
	for _, j := range jobs {
		all = append(all, j.Trial)
	}
	return all
}

// CheckRounds refuses a compute budget that covers not even one trial.
func (s Study) CheckRounds(rounds, limit int) error {
	if limit == 0 || limit >= s.Repeats*rounds && limit <= MaxRounds {
		return nil
	}
	return ErrRounds
}

// Judge says whether a trial ends early in a round, by the losses of the other
// trials that reached it, and returns the trial with its own. It changes
// nothing where there is no rung, or nothing was measured.
func (s Study) Judge(t Trial, others []Trial, number int, m round.Metrics) (Trial, bool) {
	if s.Halving == nil || m.Evaluated <= 0 {
		return t, false
	}
	rung, is := s.Halving.Rung(number)
	if !is || rung > len(t.Rungs) {
		return t, false
	}
	loss := m.LossMicros / m.Evaluated
	t.Rungs = append(slices.Clone(t.Rungs[:rung]), loss)
	return t, s.Halving.Stops(loss, Reached(others, rung))
}
