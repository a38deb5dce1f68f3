// Package scorecard says how good a model's finished runs are, with the
// uncertainty of each figure, in one card.
//
// Invariant: absent data never passes. A metric passes or fails only when its
// whole 95 % interval lies on one side of its target; otherwise the card says
// that there is too little to tell.
package scorecard

import (
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/domain/statistics"
)

// A Trial is a finished run: what it was given and what came of it. Status is
// that of the run: "completed", "stopped" or "failed".
type Trial struct {
	Run     string
	Params  round.Params
	Metrics round.Metrics
	Status  string
}

// A Status is the verdict on a metric or a card.
type Status string

// Verdicts. NoData and Insufficient never count as a pass.
const (
	Pass         Status = "PASS"
	Fail         Status = "FAIL"
	Insufficient Status = "INSUFFICIENT" // the interval contains the target, or there are fewer than MinRows or MinRuns
	NoData       Status = "NO_DATA"
)

// Targets, in basis points, and the least numbers of rows and runs that may be
// judged.
const (
	TargetAccuracyBP   = 9000
	TargetCompletionBP = 9000
	MarginBP           = 100 // an accuracy this much below the best before it is a regression
	MinRows            = 30
	MinRuns            = 5
)

// A Metric is one figure with its 95 % interval. Units: basis points, except
// N, which counts rows or runs.
type Metric struct {
	Name     string `json:"name"` // "accuracy", "regression", "completion"
	N        int64  `json:"n"`
	ValueBP  int64  `json:"valueBp"`
	LowBP    int64  `json:"lowBp"`
	HighBP   int64  `json:"highBp"`
	TargetBP int64  `json:"targetBp"`
	Status   Status `json:"status"`
}

// A Card is the verdict on a model after its latest run. Score is 0..100: the
// lower end of the accuracy's interval in whole per cent, so that more rows and
// better answers both raise it.
type Card struct {
	Run            string   `json:"run,omitempty"` // the run that was judged
	Runs           int      `json:"runs"`          // trials that were looked at
	Score          int      `json:"score"`
	Status         Status   `json:"status"`
	Metrics        []Metric `json:"metrics"`
	MeanLossMicros int64    `json:"meanLossMicros"` // per held-out row, millionths of a nat

	// Of [Judge] only.
	Version    int         `json:"version,omitempty"` // [FormatVersion]
	Subject    Subject     `json:"subject,omitzero"`
	Overall    int         `json:"overall,omitempty"` // 0..100; 0 when a critical dimension fails
	Dimensions []Dimension `json:"dimensions,omitempty"`
}

// Compute judges the trials of one model, oldest first.
//
// Accuracy is that of the latest evaluated trial and decides the card; the
// others can only fail it: regression compares it with the best evaluated trial
// before, completion is the share of runs that did not fail (a run that its
// owner stopped is not counted).
func Compute(trials []Trial) Card {
	card := Card{Runs: len(trials), Status: NoData}
	latest := -1
	for i, t := range trials {
		if t.Metrics.Evaluated > 0 {
			latest = i
		}
	}
	card.Metrics = []Metric{accuracy(trials, latest), regression(trials, latest), completion(trials)}
	card.Status = card.Metrics[0].Status
	for _, m := range card.Metrics {
		if m.Status == Fail {
			card.Status = Fail
		}
	}
	if latest >= 0 {
		m := trials[latest].Metrics
		card.Run = trials[latest].Run
		card.Score = int(card.Metrics[0].LowBP / 100)
		card.MeanLossMicros = m.LossMicros / m.Evaluated
	}
	return card
}

func accuracy(trials []Trial, latest int) Metric {
	m := Metric{Name: "accuracy", TargetBP: TargetAccuracyBP, Status: NoData}
	if latest < 0 {
		return m
	}
	got := trials[latest].Metrics
	m.N = got.Evaluated
	m.ValueBP, m.LowBP, m.HighBP = proportion(got.Correct, got.Evaluated)
	return m.judge(m.N >= MinRows)
}

// regression is the accuracy's difference to the best trial before it, with
// Newcombe's interval for a difference of two proportions.
func regression(trials []Trial, latest int) Metric {
	m := Metric{Name: "regression", TargetBP: -MarginBP, Status: NoData}
	if latest < 0 {
		return m
	}
	best := -1
	for i, t := range trials[:latest] {
		if t.Metrics.Evaluated == 0 {
			continue
		}
		if best < 0 || better(t.Metrics, trials[best].Metrics) {
			best = i
		}
	}
	if best < 0 {
		return m
	}
	now, before := trials[latest].Metrics, trials[best].Metrics
	m.N = min(now.Evaluated, before.Evaluated)
	value, low, high := statistics.Difference(now.Correct, now.Evaluated, before.Correct, before.Evaluated)
	m.ValueBP, m.LowBP, m.HighBP = basis(value), basis(low), basis(high)
	return m.judge(m.N >= MinRows)
}

func completion(trials []Trial) Metric {
	m := Metric{Name: "completion", TargetBP: TargetCompletionBP, Status: NoData}
	var completed int64
	for _, t := range trials {
		switch t.Status {
		case "completed":
			completed++
			m.N++
		case "failed":
			m.N++
		}
	}
	if m.N == 0 {
		return m
	}
	m.ValueBP, m.LowBP, m.HighBP = proportion(completed, m.N)
	return m.judge(m.N >= MinRuns)
}

// judge compares the interval with the target.
func (m Metric) judge(enough bool) Metric {
	switch {
	case !enough:
		m.Status = Insufficient
	case m.LowBP >= m.TargetBP:
		m.Status = Pass
	case m.HighBP < m.TargetBP:
		m.Status = Fail
	default:
		m.Status = Insufficient
	}
	return m
}

// better compares two accuracies exactly, by cross-multiplication.
func better(a, b round.Metrics) bool {
	return a.Correct*b.Evaluated > b.Correct*a.Evaluated
}
