package replay

import (
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/tests/replay/script"
)

// publications are those of statistics.
func publications() []scenario {
	publish := func(name string, change func(*script.World)) scenario {
		return scenario{workflow: contract.FeatureStatistics.Name, name: name, world: func() *script.World {
			w := &script.World{Errors: map[string]error{}, Passing: map[string]int{}}
			if change != nil {
				change(w)
			}
			return w
		}, input: func() any { return script.Statistics() }}
	}
	return []scenario{
		publish("published", nil),
		publish("retried", func(w *script.World) { w.Passing["AwaitStatistics/tumour"] = 2 }),
		publish("refused", func(w *script.World) {
			w.Errors["AskStatistics/tumour"] = script.Final(contract.NoConsent, "the grant was withdrawn")
		}),
	}
}
