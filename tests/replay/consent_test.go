package replay

import (
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/tests/replay/script"
)

// withdrawals are those of consent.
func withdrawals() []scenario {
	withdraw := func(name string, change func(*script.World)) scenario {
		return scenario{workflow: contract.ConsentWithdrawal.Name, name: name, world: func() *script.World {
			w := &script.World{Errors: map[string]error{}, Passing: map[string]int{}}
			if change != nil {
				change(w)
			}
			return w
		}, input: func() any { return script.Withdrawal() }}
	}
	return []scenario{
		withdraw("reported", nil),
		withdraw("retried", func(w *script.World) {
			w.Passing["EnforceWithdrawal/tumour"] = 2
		}),
	}
}
