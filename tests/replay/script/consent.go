package script

import (
	"context"

	"go.temporal.io/sdk/worker"

	"github.com/atom-fabric/fabric/contract"
)

// Withdrawal is the input of a withdrawal that began epoch 2.
func Withdrawal() contract.WithdrawalInput {
	return contract.WithdrawalInput{Subject: Subject(), Epoch: 2, Feature: "tumour"}
}

// bindConsent registers the activities of a withdrawal.
func (w *World) bindConsent(r worker.ActivityRegistry) {
	contract.EnforceWithdrawal.Bind(r, func(_ context.Context, in contract.WithdrawalInput) (contract.Enforced, error) {
		return contract.Enforced{Canceled: 1, Dropped: 2, Tainted: 3}, w.call("EnforceWithdrawal", in.Feature)
	})
	contract.ReportWithdrawal.Bind(r, func(_ context.Context, in contract.WithdrawalInput) (contract.WithdrawalRecord, error) {
		return contract.WithdrawalRecord{Subject: in.Subject, Epoch: in.Epoch, Report: Blob("report"), Markdown: Blob("markdown"), Undecided: true}, w.call("ReportWithdrawal", "")
	})
	contract.RecordWithdrawal.Bind(r, func(_ context.Context, in contract.WithdrawalRecord) (contract.Nothing, error) {
		return contract.Nothing{}, w.call("RecordWithdrawal", string(in.Bundle.Digest))
	})
}
