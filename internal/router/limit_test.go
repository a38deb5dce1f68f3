package router

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/atom-fabric/fabric/domain/policy"
)

var noon = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

// bounded returns the bounds of tenants t1 and t2 under quotas.
func bounded(before *plan, quotas ...policy.Quota) *plan {
	p := &plan{models: map[modelKey][]*target{{"t1", "m1"}: nil, {"t2", "m1"}: nil}}
	p.bound(policy.Document{Quotas: quotas}, before, nil)
	return p
}

func TestARateIsABucket(t *testing.T) {
	b := bounded(nil, policy.Quota{Tenant: "t1", PerSecond: 10, Burst: 3}).bounds["t1"]
	at := func(ms int64) (string, time.Duration) { return b.take(ms*1e6, noon) }
	for range 3 {
		over, _ := at(1000)
		require.Empty(t, over, "the burst")
	}
	over, wait := at(1000)
	require.Equal(t, overRate, over)
	require.Equal(t, 100*time.Millisecond, wait)
	over, wait = at(1060)
	require.Equal(t, overRate, over)
	require.Equal(t, 40*time.Millisecond, wait, "a refused call counts nowhere")
	over, _ = at(1100)
	require.Empty(t, over)
	over, _ = at(1100)
	require.Equal(t, overRate, over)
	for range 3 {
		over, _ = at(90_000)
		require.Empty(t, over, "it fills up again")
	}
	over, _ = at(90_000)
	require.Equal(t, overRate, over, "but not beyond the burst")

	free := bounded(nil).bounds["t1"]
	for range 1000 {
		over, _ = free.take(0, noon)
		require.Empty(t, over)
	}
}

// In no window of w seconds are more than burst + rate·w calls let through, and
// at a steady rate below the bound all are.
func TestARateHoldsInEveryWindow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rate, burst := rapid.IntRange(1, 2000).Draw(t, "rate"), rapid.IntRange(1, 50).Draw(t, "burst")
		b := bounded(nil, policy.Quota{Tenant: "t1", PerSecond: rate, Burst: burst}).bounds["t1"]
		var passed []int64
		now := int64(0)
		for _, step := range rapid.SliceOfN(rapid.Int64Range(0, 50e6), 1, 300).Draw(t, "steps") {
			now += step
			if over, wait := b.take(now, noon); over == "" {
				passed = append(passed, now)
			} else if over2, _ := b.take(now+int64(wait), noon); over2 != "" {
				t.Fatal("it is refused again after the time that it was told")
			} else {
				now += int64(wait)
				passed = append(passed, now)
			}
		}
		for i := range passed {
			for k := i; k < len(passed); k++ {
				if most := float64(burst) + float64(rate)*float64(passed[k]-passed[i])/1e9 + 1e-3; float64(k-i+1) > most {
					t.Fatalf("%d calls in %d ns, at most %.1f", k-i+1, passed[k]-passed[i], most)
				}
			}
		}
	})
}

func TestHoursAndDaysAreThoseOfUTC(t *testing.T) {
	b := bounded(nil, policy.Quota{Tenant: "*", PerHour: 2, PerDay: 3}).bounds["t1"]
	take := func(at time.Time) (string, time.Duration) { return b.take(0, at) }
	last := time.Date(2026, 11, 1, 22, 59, 30, 0, time.FixedZone("here", 3600)) // 21:59:30 UTC
	for range 2 {
		over, _ := take(last)
		require.Empty(t, over)
	}
	over, wait := take(last)
	require.Equal(t, overHour, over)
	require.Equal(t, 30*time.Second, wait)
	over, _ = take(last.Add(30 * time.Second))
	require.Empty(t, over)
	over, wait = take(last.Add(30 * time.Second))
	require.Equal(t, overDay, over)
	require.Equal(t, 2*time.Hour, wait, "until midnight of UTC")
	over, _ = take(last.Add(30*time.Second + 2*time.Hour))
	require.Empty(t, over)
}

func TestCountsOutliveASnapshotAndAreOfOneTenant(t *testing.T) {
	quota := policy.Quota{Tenant: "*", PerSecond: 1, PerDay: 2}
	p := bounded(nil, quota)
	over, _ := p.bounds["t1"].take(0, noon)
	require.Empty(t, over)
	next := bounded(p, quota)
	over, _ = next.bounds["t1"].take(0, noon)
	require.Equal(t, overRate, over)
	over, _ = next.bounds["t2"].take(0, noon)
	require.Empty(t, over, "another tenant has its own")
	// A policy that brings a bound at noon counts what was before.
	unbound := bounded(nil)
	for range 5 {
		unbound.bounds["t1"].take(0, noon)
	}
	over, _ = bounded(unbound, policy.Quota{Tenant: "t1", PerHour: 5}).bounds["t1"].take(0, noon)
	require.Equal(t, overHour, over)
	over, _ = bounded(unbound, policy.Quota{Tenant: "t1", PerHour: 6}).bounds["t1"].take(0, noon)
	require.Empty(t, over)
}

// Many at once get exactly what the bound allows.
func TestABoundHoldsUnderManyGoroutines(t *testing.T) {
	b := bounded(nil, policy.Quota{Tenant: "t1", PerSecond: 1, Burst: 500, PerDay: 400}).bounds["t1"]
	var passed atomic.Int64
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 200 {
				if over, _ := b.take(0, noon); over == "" {
					passed.Add(1)
				}
			}
		})
	}
	group.Wait()
	require.EqualValues(t, 400, passed.Load())
	require.Zero(t, unsafe.Sizeof(meter{})%64, "tenants share no cache line")
}

func TestABoundAllocatesNothing(t *testing.T) {
	b := bounded(nil, policy.Quota{Tenant: "t1", PerSecond: 1e6, PerDay: 1e9}).bounds["t1"]
	now := int64(0)
	require.Zero(t, testing.AllocsPerRun(1000, func() { now += 1e6; b.take(now, noon) }))
}

func BenchmarkLimit(b *testing.B) {
	p := bounded(nil, policy.Quota{Tenant: "*", PerSecond: 1e6, Burst: 1e6, PerDay: 1 << 40})
	b.RunParallel(func(pb *testing.PB) {
		tenant, now := fmt.Sprintf("t%d", 1), int64(0)
		for pb.Next() {
			now += 1000
			p.bounds[tenant].take(now, noon)
		}
	})
}
