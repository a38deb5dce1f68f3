package router

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
)

func counter() prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Name: "d"})
}

// value reads a counter.
func value(t *testing.T, c prometheus.Counter) float64 {
	t.Helper()
	registry := prometheus.NewRegistry()
	require.NoError(t, registry.Register(c))
	families, err := registry.Gather()
	require.NoError(t, err)
	return families[0].GetMetric()[0].GetCounter().GetValue()
}

func openTestSpool(t testing.TB, dir string, limit int64, lost func(int)) *spool {
	t.Helper()
	if lost == nil {
		lost = func(n int) { t.Errorf("%d lost", n) }
	}
	s, err := openSpool(dir, limit, lost)
	require.NoError(t, err)
	return s
}

// recorded runs a recorder over the records and stops it.
func recorded(t *testing.T, dir string, records ...Record) *recorder {
	t.Helper()
	r := newRecorder(openTestSpool(t, dir, 0, nil), counter())
	ctx, cancel := context.WithCancel(t.Context())
	for _, rec := range records {
		r.put(&rec)
	}
	cancel() // what is queued is still written
	require.NoError(t, r.run(ctx))
	return r
}

func numbered(n int, seq int64) Record {
	rec := record(n)
	rec.Sequence = seq
	return rec
}

func segments(t *testing.T, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "decisions", "decisions-*.jsonl"))
	require.NoError(t, err)
	return names
}

func TestRecordsOutliveARestartAndACutLine(t *testing.T) {
	dir := t.TempDir()
	recorded(t, dir, record(1), record(2))
	path := segments(t, dir)[0]
	file, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(t, err)
	_, err = file.WriteString(`{"seq":3,"decision_id":"cut`)
	require.NoError(t, err)
	require.NoError(t, file.Close())

	recorded(t, dir, record(3))
	again := recorded(t, dir)
	for n := 1; n <= 3; n++ {
		got, ok := again.find(t.Context(), record(n).DecisionID)
		require.True(t, ok, n)
		require.Equal(t, numbered(n, int64(n)), got, "numbers go on where they were")
	}
	for _, id := range []string{record(4).DecisionID, "", "../../etc/passwd", strings.Repeat("0", 49)} {
		_, ok := again.find(t.Context(), id)
		require.False(t, ok, id)
	}
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Zero(t, info.Mode().Perm()&0o077)
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NotContains(t, string(text), "cut")
}

func TestARecordLineIsWhatJSONMakesOfIt(t *testing.T) {
	full := Record{Sequence: 1 << 40, DecisionID: "d", At: time.Date(2026, 1, 2, 3, 4, 5, 6_000, time.UTC), Tenant: "t", Owner: "o", Model: `m"\`, Environment: "e",
		Version: 3, Lineage: "l", Canary: true, Manifest: "m", Region: "r", Endpoint: "<é>", Output: "o", Snapshot: -1, Policy: 2, TraceID: "t", Status: 200, Problem: "p",
		LatencyMicros: 5, UpstreamMicros: 6, KeyID: "k", Header: "h", Simulated: true}
	for _, r := range []Record{full, {}, record(7)} {
		want, err := compact(r)
		require.NoError(t, err)
		require.Equal(t, string(want), string(appendRecord(nil, &r)))
	}
}

func TestAFullRingDropsCountsAndLeavesAGap(t *testing.T) {
	dropped := counter()
	r := newRecorder(openTestSpool(t, t.TempDir(), 0, nil), dropped)
	for n := range ringSize + 10 {
		rec := record(n)
		r.put(&rec) // nobody writes: a put that waited would wait for ever
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- r.run(ctx) }()
	require.NoError(t, r.wait(ctx, ringSize-1))
	last := record(ringSize + 10)
	place, ok := r.put(&last)
	require.True(t, ok)
	require.NoError(t, r.wait(ctx, place))
	cancel()
	require.NoError(t, <-done)
	require.EqualValues(t, 10, value(t, dropped))
	got, ok := r.find(t.Context(), last.DecisionID)
	require.True(t, ok)
	require.EqualValues(t, ringSize+10+1, got.Sequence, "ten numbers were given to nobody")
	_, ok = r.find(t.Context(), record(ringSize).DecisionID)
	require.False(t, ok)
}

func TestADiskThatIsFullCostsRecordsAndNothingElse(t *testing.T) {
	dropped := counter()
	s := openTestSpool(t, t.TempDir(), 0, nil)
	r := newRecorder(s, dropped)
	var full sync.Mutex
	broken := false
	s.sync = func(f *os.File) error {
		full.Lock()
		defer full.Unlock()
		if broken {
			return errors.New("no space left on device")
		}
		return f.Sync()
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- r.run(ctx) }()
	put := func(n int) error {
		rec := record(n)
		place, ok := r.put(&rec)
		require.True(t, ok)
		return r.wait(ctx, place)
	}
	require.NoError(t, put(1))
	full.Lock()
	broken = true
	full.Unlock()
	require.ErrorIs(t, put(2), errNotKept, "strict mode learns it")
	got, ok := r.find(t.Context(), record(2).DecisionID)
	require.True(t, ok, "it can still be asked for")
	require.Equal(t, numbered(2, 2), got)
	full.Lock()
	broken = false
	full.Unlock()
	require.NoError(t, put(3))
	cancel()
	require.NoError(t, <-done)
	require.EqualValues(t, 1, value(t, dropped))
	lines, last, err := s.read(10, 1<<20)
	require.NoError(t, err)
	require.Len(t, lines, 2, "what was not confirmed is not in the file either")
	require.EqualValues(t, []int64{1, 3, 3}, []int64{sequenceOf(lines[0]), sequenceOf(lines[1]), last})
}

func TestTheSpoolIsBoundedAndSaysWhatItLost(t *testing.T) {
	dir := t.TempDir()
	lost := 0
	s := openTestSpool(t, dir, 3*segmentBytes, func(n int) { lost += n })
	pad := strings.Repeat("x", 8<<10)
	const each = 256 // of about 2 MiB
	written := int64(0)
	write := func() {
		var lines []byte
		for range each {
			written = s.reserve(1)
			lines = fmt.Appendf(lines, `{"seq":%d,"problem":"%s"}`+"\n", written, pad)
		}
		require.NoError(t, s.append(lines, each))
	}
	for range 4 {
		write()
	}
	require.Zero(t, lost)
	require.NoError(t, s.arrived(100))
	for range 6 {
		write()
	}
	require.LessOrEqual(t, len(segments(t, dir)), 3)
	_, size := s.pending()
	require.LessOrEqual(t, size, int64(3*segmentBytes))
	lines, _, err := s.read(1, 1)
	require.NoError(t, err)
	require.EqualValues(t, sequenceOf(lines[0])-101, lost, "all that went and had not arrived")
	require.Positive(t, lost)

	// And so it is found by the next process.
	require.NoError(t, s.close())
	again := openTestSpool(t, dir, 3*segmentBytes, nil)
	require.Equal(t, written, again.last)
	require.Equal(t, s.id, again.id)
}

// A sink that is down, slow, says nothing, refuses, or took what it then does not
// confirm: each record arrives once, in order, and the gap is where it was.
func TestEveryRecordArrivesAtASinkThatFails(t *testing.T) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 1))
	dir := t.TempDir()
	s := openTestSpool(t, dir, 0, nil)
	dropped, failures := counter(), counter()
	next := int64(1) // of the sink, which works as the control plane does
	var got []int64
	var gaps []int64
	sink := func(ctx context.Context, _ string, body []byte) (int64, error) {
		var batch struct {
			Router  string
			Records []Record
		}
		require.NoError(t, json.Unmarshal(body, &batch))
		require.Equal(t, s.id, batch.Router)
		fault := random.IntN(6)
		if fault == 0 {
			return 0, errors.New("connection refused")
		}
		for _, r := range batch.Records {
			if r.Problem == "poison" {
				return 0, ErrRecords
			}
		}
		for _, r := range batch.Records {
			if r.Sequence < next {
				continue
			}
			if r.Sequence > next {
				gaps = append(gaps, r.Sequence-next)
			}
			got, next = append(got, r.Sequence), r.Sequence+1
		}
		if fault == 1 {
			return 0, errors.New("the answer was lost")
		}
		return next, nil
	}
	ship := &shipper{spool: s, sink: sink, dropped: dropped, failures: failures, log: slog.New(slog.DiscardHandler)}
	var want []int64
	for n := 0; n < 2000; {
		var lines []byte
		for range 1 + random.IntN(50) {
			n++
			rec := record(n)
			rec.Sequence = s.reserve(1)
			if n == 1234 {
				rec.Problem = "poison"
			} else {
				want = append(want, rec.Sequence)
			}
			if n == 600 {
				s.reserve(7) // dropped
			}
			lines = append(appendRecord(lines, &rec), '\n')
		}
		require.NoError(t, s.append(lines, 1))
		if random.IntN(3) == 0 { // or a restart without the last cursor
			_, err := ship.ship(t.Context(), 1+random.IntN(40))
			if errors.Is(err, ErrRecords) {
				_ = ship.single(t.Context())
			}
		}
	}
	for tries := 0; ; tries++ {
		require.Less(t, tries, 1000, "seed %d", seed)
		_, err := ship.ship(t.Context(), 64)
		if errors.Is(err, ErrRecords) {
			err = ship.single(t.Context())
		}
		if left, _ := s.pending(); err == nil && left == 0 {
			break
		}
	}
	require.Equal(t, want, got, "seed %d", seed)
	require.EqualValues(t, 1, value(t, dropped), "seed %d", seed)
	sum := int64(0)
	for _, g := range gaps {
		sum += g
	}
	require.EqualValues(t, 7+1, sum, "seven were dropped, one was refused")
}

// The sink hangs for as long as it likes: no put waits for it, and run ends.
func TestASinkThatHangsHoldsNobodyUp(t *testing.T) {
	s := openTestSpool(t, t.TempDir(), 0, nil)
	r := newRecorder(s, counter())
	ship := &shipper{spool: s, dropped: counter(), failures: counter(), log: slog.New(slog.DiscardHandler), sink: func(ctx context.Context, _ string, _ []byte) (int64, error) {
		<-ctx.Done()
		return 0, ctx.Err()
	}}
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	group.Go(func() { ship.run(ctx) })
	group.Go(func() { _ = r.run(ctx) })
	for n := range 1000 {
		rec := record(n)
		_, ok := r.put(&rec)
		require.True(t, ok)
	}
	require.Eventually(t, func() bool { n, _ := s.pending(); return n == 1000 }, 5*time.Second, time.Millisecond)
	cancel()
	group.Wait()
}

// BenchmarkPut is what a call pays for its record: a writer empties the ring.
func BenchmarkPut(b *testing.B) {
	s := openTestSpool(b, b.TempDir(), 0, func(int) {})
	r := newRecorder(s, counter())
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error)
	go func() { done <- r.run(ctx) }()
	rec := record(1)
	b.ReportAllocs()
	for b.Loop() {
		r.put(&rec)
	}
	b.StopTimer()
	cancel()
	<-done
}

// BenchmarkRingPush is the same with nobody at the other end but this goroutine.
func BenchmarkRingPush(b *testing.B) {
	r := newRing(ringSize)
	rec := record(1)
	var out Record
	b.ReportAllocs()
	for b.Loop() {
		r.push(&rec)
		r.pop(&out)
	}
}

func BenchmarkRecordLine(b *testing.B) {
	rec := record(1)
	rec.At, rec.Header = time.Unix(1_800_000_000, 123456789).UTC(), strings.Repeat("h", 300)
	var line []byte
	b.ReportAllocs()
	for b.Loop() {
		line = appendRecord(line[:0], &rec)
	}
}
