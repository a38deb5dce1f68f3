package replay

import (
	"time"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/approval"
	"github.com/atom-fabric/fabric/tests/replay/script"
)

// recoveries are replications, recovery points and restores.
func recoveries() []scenario {
	world := func(change func(*script.World)) func() *script.World {
		return func() *script.World {
			w := &script.World{Errors: map[string]error{}, Passing: map[string]int{}}
			if change != nil {
				change(w)
			}
			return w
		}
	}
	replicate := func(name string, change func(*script.World)) scenario {
		return scenario{workflow: contract.Replication.Name, name: name, world: world(change), input: func() any { return script.Copy() }}
	}
	take := func(name string, change func(*script.World)) scenario {
		return scenario{workflow: contract.RecoveryPoint.Name, name: name, world: world(change), input: func() any {
			return contract.PointInput{Subject: script.Subject(), Action: "snap-1", Actor: "ann", Reason: "before the release"}
		}}
	}
	restore := func(name string, need int, change func(*script.World), all ...approval.Vote) scenario {
		return scenario{workflow: contract.Restore.Name, name: name, world: world(func(w *script.World) {
			w.Checked = opened(script.Restore(need), time.Hour)
			if change != nil {
				change(w)
			}
		}), during: func(d *driver) {
			for _, v := range all {
				d.vote(contract.ApprovalID("restore-1"), v)
			}
		}, input: func() any {
			return contract.RestoreInput{Subject: script.Subject(), Action: "restore-1", Requester: "ann", Plan: script.PlanBlob()}
		}}
	}
	raced := script.Final(contract.StalePlan, "recovery point 2 is not the next")
	return []scenario{
		replicate("held", nil),
		replicate("after-failures", func(w *script.World) { w.Passing["CopyPackage/eu"], w.Passing["InspectReplica/eu"] = 2, 1 }),
		replicate("refused", func(w *script.World) {
			w.Errors["InspectReplica"] = script.Final(contract.BadPackage, "layer differs from its digest")
		}),
		take("taken", nil),
		take("raced", func(w *script.World) { w.Races = []error{raced, nil} }),
		restore("applied-by-itself", 0, nil),
		restore("applied", 1, nil, script.Yes("bob", approval.RoleOwner)),
		restore("not-held", 0, func(w *script.World) {
			w.Errors["VerifyHeld/us"] = script.Final(contract.NotHeld, "the region does not hold it")
		}),
		restore("went-back", 0, func(w *script.World) {
			w.Errors["AwaitRecovered/switch/us"] = script.Final(contract.NotActive, "region us: it serves version 4")
		}),
	}
}
