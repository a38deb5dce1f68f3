package precheck

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// Register shows the decision among the metrics of a process, so that an alert
// can tell who runs in simulation. The labels are names of decisions and of
// the environment; no value of a variable is among them.
func (r Report) Register(registry prometheus.Registerer) error {
	decision := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "fabric_precheck_decision", Help: "1 for the decision that this process runs under, 0 for the others.",
	}, []string{"decision", "environment"})
	signing := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "fabric_precheck_signing_ready", Help: "1 when packages are signed with a key that was given, 0 when with a generated one.",
	})
	for _, d := range []string{Proceed, Simulation, Block} {
		decision.WithLabelValues(d, r.Environment).Set(zeroOne(d == r.Decision))
	}
	signing.Set(zeroOne(r.Signing == "PASS"))
	for _, c := range []prometheus.Collector{decision, signing} {
		if err := registry.Register(c); err != nil {
			return fmt.Errorf("precheck: %w", err)
		}
	}
	return nil
}

func zeroOne(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
