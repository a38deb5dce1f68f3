package api

import (
	"time"

	"github.com/atom-fabric/fabric/domain/dp"
	"github.com/atom-fabric/fabric/domain/round"
)

// A RunFilter picks runs of a list; what is empty picks all.
type RunFilter struct {
	Status string
	Model  string
}

// A RunProgress is what rounds of a run have received and cost so far.
type RunProgress struct {
	Asked  round.Params   // of the run
	Rounds []RoundTraffic // by number; a round that nobody answered is absent
	Stages []StageProgress
	Costs  []RoundCost // by feature and round
}

// A RoundTraffic counts what the sites of a round sent.
type RoundTraffic struct {
	Number        int
	Answers       int
	Refused       int
	UploadedBytes int64
}

// A StageProgress is a stage of an open round in one region.
type StageProgress struct {
	Number   int
	Region   string
	Stage    string
	Status   string // "open" or "closed"
	Sites    int
	Answered int
	Refused  int
	OpenedAt time.Time
	Deadline time.Time
	Waiting  []string // sites that have not answered, some of them
}

// A RoundCost is what a round took from the budget of a feature and keeps.
type RoundCost struct {
	Feature string // "tenant/feature"
	Number  int
	Open    bool // the round is not over
	Events  []dp.Event
}

// An EndpointLoad is how a runtime answered calls of a tenant's models.
type EndpointLoad struct {
	From     string // region of the routers; empty for those that belong to none
	Region   string // of the runtime
	Endpoint string
	Calls    int64
	Failed   int64   // status 5xx
	P50      float64 // milliseconds at the router, of the answered ones; 0 without any
	P95      float64
	P99      float64
	LastAt   time.Time
}
