package contract

import (
	"fmt"

	"github.com/atom-fabric/fabric/domain/artifact"
)

// StatisticsID names the workflow of one attempt to publish the statistics of a
// version of a feature.
func StatisticsID(tenant, feature string, version, attempt int) string {
	return fmt.Sprintf("statistics/%s/%s/%d/%d", tenant, feature, version, attempt)
}

// StatisticsInput names what was asked for, and charged, by the tenant of
// Subject. Another attempt is one after an attempt that told nothing.
type StatisticsInput struct {
	Subject
	Feature string `json:"feature"`
	Version int    `json:"version"`
	Attempt int    `json:"attempt"`
}

// StatisticsAsked is a question that the sites see, and for how long it waits.
type StatisticsAsked struct {
	StatisticsInput
	Question artifact.Digest `json:"question"`
	Sites    int             `json:"sites"`
	Seconds  int             `json:"seconds"`
}

// StatisticsCounts counts those who answered, with numbers or without.
type StatisticsCounts struct {
	Answered int `json:"answered"`
	Refused  int `json:"refused"`
}

// StatisticsEnd ends an attempt: with a cause nothing is published.
type StatisticsEnd struct {
	StatisticsInput
	Cause string `json:"cause,omitempty"`
}

// StatisticsResult is how it ended. State is "published", "insufficient" or
// "failed".
type StatisticsResult struct {
	State   string              `json:"state"`
	Cause   string              `json:"cause,omitempty"`
	Release artifact.Descriptor `json:"release,omitzero"`
}
