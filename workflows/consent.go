package workflows

import (
	"fmt"

	"go.temporal.io/sdk/workflow"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
)

// ConsentWithdrawal carries consent that was taken back to all that it reaches.
// Rounds that run come first and before everything else that waits for a
// worker; the report about it is signed, then recorded. Nothing can refuse it
// and nobody cancels it half way: each step is tried until it is done.
func ConsentWithdrawal(ctx workflow.Context, in contract.WithdrawalInput) (contract.WithdrawalRecord, error) {
	begin(ctx, in.Subject, "withdrawal")
	shown := func(now string) {
		show(ctx, fmt.Sprintf("**%s** withdraws consent to feature %s, epoch %d: %s", in.Tenant, in.Feature, in.Epoch, now))
	}
	shown("reaching rounds that run")
	done, err := contract.EnforceWithdrawal.Execute(urgent(quick(ctx, "rounds that run")), in)
	if err != nil {
		return contract.WithdrawalRecord{}, err
	}
	reached := fmt.Sprintf("%d groups canceled, %d dropped, %d stopped, %d tainted", done.Canceled, done.Dropped, done.Stopped, done.Tainted)
	shown(reached)
	record, err := contract.ReportWithdrawal.Execute(quick(ctx, "what it reached"), in)
	if err != nil {
		return record, err
	}
	signed, err := contract.SignStatement.Execute(signing(ctx, "the report"), contract.SignInput{
		Subject:       in.Subject,
		Name:          contract.WithdrawalID(in.Tenant, in.Epoch),
		Digest:        record.Report.Digest,
		PredicateType: artifact.PredicateWithdrawal,
		Predicate:     record.Report,
	})
	if err != nil {
		return record, err
	}
	record.Bundle, record.Statement = signed.Bundle, signed.Statement
	if _, err := contract.RecordWithdrawal.Execute(quick(ctx, "record the report"), record); err != nil {
		return record, err
	}
	shown(reached + "; reported")
	return record, nil
}
