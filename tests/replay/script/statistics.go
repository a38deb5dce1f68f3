package script

import (
	"context"

	"go.temporal.io/sdk/worker"

	"github.com/atom-fabric/fabric/contract"
)

// Statistics is the input of a first attempt to publish them.
func Statistics() contract.StatisticsInput {
	return contract.StatisticsInput{Subject: Subject(), Feature: "tumour", Version: 3, Attempt: 1}
}

// bindStatistics registers the activities that publish statistics.
func (w *World) bindStatistics(r worker.ActivityRegistry) {
	contract.AskStatistics.Bind(r, func(_ context.Context, in contract.StatisticsInput) (contract.StatisticsAsked, error) {
		return contract.StatisticsAsked{StatisticsInput: in, Question: Blob("question").Digest, Sites: 2, Seconds: 60}, w.call("AskStatistics", in.Feature)
	})
	contract.AwaitStatistics.Bind(r, func(_ context.Context, in contract.StatisticsAsked) (contract.StatisticsCounts, error) {
		return contract.StatisticsCounts{Answered: 1, Refused: 1}, w.call("AwaitStatistics", in.Feature)
	})
	contract.PublishStatistics.Bind(r, func(_ context.Context, in contract.StatisticsEnd) (contract.StatisticsResult, error) {
		out := contract.StatisticsResult{State: "published", Release: Blob("release")}
		if in.Cause != "" {
			out = contract.StatisticsResult{State: "failed", Cause: in.Cause}
		}
		return out, w.call("PublishStatistics", in.Cause)
	})
}
