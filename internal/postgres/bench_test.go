package postgres

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/privacy"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/domain/site"
)

// What a command costs: idempotency row, change, outbox row, leaf.
func BenchmarkCommand(b *testing.B) {
	db, _ := open(b)
	var n atomic.Int64
	for b.Loop() {
		i := n.Add(1)
		startRun(b, db, "t1", fmt.Sprintf("run-%d", i))
	}
}

// A stage of ten thousand sites: what a round costs that is fifty times
// larger than any test's.
func BenchmarkStageOf10000(b *testing.B) {
	const sites = 10_000
	db, dsn := open(b)
	ctx := b.Context()
	startRun(b, db, "t1", "run-1")
	cohort := make([]site.Site, sites)
	for i := range cohort {
		cohort[i] = site.Site{Tenant: "t2", ID: fmt.Sprintf("s%05d", i), Region: "eu"}
	}
	subject := contract.Subject{Tenant: "t1", ModelID: "m1"}
	began := time.Now()
	_, err := db.Rounds().BeginRound(ctx, contract.RoundInput{Subject: subject, Run: "run-1", Kind: round.Train}, blob("manifest"), round.Plain(cohort), privacy.Request{})
	require.NoError(b, err)
	b.ReportMetric(float64(time.Since(began).Milliseconds()), "begin-ms")
	require.NoError(b, db.Rounds().OpenStage(ctx, contract.RegionInput{Subject: subject, Run: "run-1", Kind: round.Train, Region: "eu", Sites: sites}, round.StageUpdate, time.Now()))
	conn := admin(b, dsn)
	_, err = conn.Exec(ctx, `insert into fabric.site (tenant, id, region, public_key, key) values ('t2', 's09999', 'eu', 'k', $1)`, digest("k"))
	require.NoError(b, err)
	_, err = conn.Exec(ctx, `insert into fabric.submission (tenant, run, number, region, site_tenant, site, metrics, statement)
		select tenant, run, number, region, site_tenant, site, '{"examples":1}', $1 from fabric.cohort where site <> 's09999'`, digest("s"))
	require.NoError(b, err)
	_, err = conn.Exec(ctx, `analyze`)
	require.NoError(b, err)
	ref := contract.StageRef{Subject: subject, Run: "run-1", Kind: round.Train, Region: "eu"}
	b.Run("counts", func(b *testing.B) {
		for b.Loop() {
			counts, err := db.Rounds().StageCounts(ctx, ref)
			require.NoError(b, err)
			require.Equal(b, sites-1, counts.Accepted)
		}
	})
	b.Run("work", func(b *testing.B) {
		for b.Loop() {
			work, err := db.Sites().Work(ctx, "t2", "s09999", 0)
			require.NoError(b, err)
			require.Len(b, work, 1)
		}
	})
	b.Run("close", func(b *testing.B) {
		for b.Loop() {
			found, err := db.Rounds().CloseStage(ctx, ref)
			require.NoError(b, err)
			require.Len(b, found, sites-1)
		}
	})
}
