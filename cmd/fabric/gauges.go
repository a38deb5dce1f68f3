package main

import (
	"errors"
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/trust"
	"github.com/atom-fabric/fabric/internal/postgres"
)

// replicaGauges shows how the replicas follow.
func replicaGauges(registry prometheus.Registerer, db *postgres.DB) error {
	usable := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "fabric_replica_reachable", Help: "Replicas of the database that answer and are replicas.",
	}, func() float64 {
		n := 0
		for _, lag := range db.ReplicaLag() {
			if lag >= 0 {
				n++
			}
		}
		return float64(n)
	})
	given := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "fabric_replica_given", Help: "Replicas of the database that this process was given.",
	}, func() float64 { return float64(len(db.ReplicaLag())) })
	behind := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "fabric_replica_behind_seconds", Help: "How old the answers of the slowest replica may be, 0 for none; beyond REPL_WINDOW_MS the primary answers.",
	}, func() float64 {
		var worst time.Duration
		for _, lag := range db.ReplicaLag() {
			worst = max(worst, lag)
		}
		return worst.Seconds()
	})
	return errors.Join(registry.Register(usable), registry.Register(given), registry.Register(behind))
}

// trustGauges shows until when the trust policy holds, and until when this
// process's key may sign. Without a policy neither ends.
func trustGauges(registry prometheus.Registerer, by trust.Source, key artifact.Digest) error {
	policy := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "fabric_trust_policy_end_seconds", Help: "When the trust policy expires, in Unix time; +Inf for never.",
	}, func() float64 {
		p, ok := policyOf(by)
		return ending(ok, p.ExpiresAt)
	})
	signing := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "fabric_signing_key_end_seconds", Help: "When the key that this process signs with may sign no more, in Unix time; +Inf for never.",
	}, func() float64 {
		p, ok := policyOf(by)
		for _, k := range p.Keys {
			if ok && k.ID == key {
				return math.Min(ending(true, k.NotAfter), ending(true, k.RevokedAt))
			}
		}
		return math.Inf(1)
	})
	return errors.Join(registry.Register(policy), registry.Register(signing))
}

func policyOf(by trust.Source) (trust.Policy, bool) {
	judge, err := by.Judge()
	if err != nil {
		return trust.Policy{}, false
	}
	return judge.Policy()
}

// ending is a moment as a metric; one that is not given never comes.
func ending(known bool, at time.Time) float64 {
	if !known || at.IsZero() {
		return math.Inf(1)
	}
	return float64(at.Unix())
}
