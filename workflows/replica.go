package workflows

import (
	"fmt"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
)

// Replication brings a package, and everything that is signed about it, to the
// mirror of one region: copied, read back to the last byte, and stated so in
// the fabric's name. There is one at a time for a package and a region. What is
// away is waited for; what is not the package that was signed ends it. However
// it ends, RecordReplica records it.
func Replication(ctx workflow.Context, in contract.ReplicaInput) (contract.ReplicaResult, error) {
	begin(ctx, in.Subject, "copy")
	out := contract.ReplicaOutcome{ReplicaInput: in, Outcome: contract.ReplicaHeld}
	err := replicate(ctx, in, &out)
	if err != nil {
		out.Outcome, out.Cause = contract.ReplicaFailed, words(err, contract.BadPackage)
	}
	done, cancel := closing(ctx)
	defer cancel()
	stage(done, out.Outcome)
	show(done, fmt.Sprintf("**%s**: %s version %d in %s", out.Outcome, in.ModelID, in.Version, in.Region), "", out.Cause)
	_, lost := contract.RecordReplica.Execute(quick(done, "record the replica: "+out.Outcome), out)
	result := contract.ReplicaResult{Region: in.Region, Outcome: out.Outcome, Cause: out.Cause}
	if canceled(ctx, err) {
		return result, err
	}
	return result, lost
}

func replicate(ctx workflow.Context, in contract.ReplicaInput, out *contract.ReplicaOutcome) error {
	copied, err := contract.CopyPackage.Execute(bulk(ctx, "copy to "+in.Region), in)
	if err != nil {
		return err
	}
	stage(ctx, "verify")
	out.Inspected, err = contract.InspectReplica.Execute(bulk(ctx, "read it back in "+in.Region), contract.InspectInput{ReplicaInput: in, Referrers: copied.Referrers})
	if err != nil {
		return err
	}
	stage(ctx, "sign")
	signed, err := contract.SignStatement.Execute(signing(ctx, "the replication to "+in.Region), contract.SignInput{
		Subject:       in.Subject,
		Name:          in.Repository,
		Digest:        in.Package.Digest,
		PredicateType: artifact.PredicateReplication,
		Predicate:     out.Inspected.Predicate,
	})
	if err != nil {
		return err
	}
	out.Bundle = signed.Bundle
	_, err = contract.AttachReplica.Execute(look(ctx, "attach in "+in.Region), contract.AttachReplicaInput{
		ReplicaInput: in, Predicate: out.Inspected.Predicate, Bundle: signed.Bundle,
	})
	return err
}

// bulk is for bytes of a package on their way, or under a hash. It heartbeats
// with them, so that a killed worker's work is taken up soon.
func bulk(ctx workflow.Context, summary string) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		TaskQueue:           contract.QueueControl,
		StartToCloseTimeout: computeTimeout,
		HeartbeatTimeout:    waitBeat,
		RetryPolicy:         patient(),
		Summary:             summary,
	})
}

// held reads a version in the mirror of each region again, all at once: a way
// back goes to nothing that is not there. Of several failures it returns the
// first in the order of regions.
func held(ctx workflow.Context, in contract.HeldInput, regions []string) error {
	asked := make([]workflow.Future, len(regions))
	for i, r := range regions {
		in.Region = r
		asked[i] = contract.VerifyHeld.Start(urgent(bulk(ctx, fmt.Sprintf("version %d in %s", in.Version, r))), in)
	}
	var first error
	for _, f := range asked {
		if err := f.Get(ctx, nil); err != nil && (first == nil || temporal.IsCanceledError(err)) {
			first = err
		}
	}
	return first
}
