//go:build bench

package load

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/internal/demo"
	"github.com/atom-fabric/fabric/tests/harness"
)

const (
	bigHidden    = 131_072
	bigRows      = 40 // of a site; 32 to train on
	bigSites     = 5
	residentMost = 512 << 10 // KiB, in every process
)

// roomFor is how many times the model is on the disk at most, with a margin.
const roomFor = 18

// TestBigModel trains a model that is larger than any process of the fabric may
// be: rounds of statistics, training and evaluation over five sites, through
// the API, with the program of an operator at each site. It writes how much
// memory every process had, what was moved and how long it took.
//
// FABRIC_BIG_MIB is the size of the model, 2048 if absent; FABRIC_BIG_MODES is
// what is measured, "off,on" if absent: without and with secure aggregation.
func TestBigModel(t *testing.T) {
	mib, err := strconv.Atoi(cmp.Or(os.Getenv("FABRIC_BIG_MIB"), "2048"))
	require.NoError(t, err)
	modes := strings.Split(cmp.Or(os.Getenv("FABRIC_BIG_MODES"), "off,on"), ",")
	spec := round.ModelSpec{Trainer: round.TrainerExec, Inputs: max(1, mib<<20/4/bigHidden-3), Hidden: bigHidden, Classes: 2}
	var disk syscall.Statfs_t
	require.NoError(t, syscall.Statfs(os.TempDir(), &disk))
	free := int64(disk.Bavail) * disk.Bsize
	require.Greater(t, free, roomFor*spec.SizeBytes(), "%s has room for %.0f GB and this needs %.0f: give FABRIC_BIG_MIB", os.TempDir(), gb(free), gb(roomFor*spec.SizeBytes()))
	var b strings.Builder
	fmt.Fprintf(&b, "# A model that is larger than the processes\n\n- command: `FABRIC_BIG_MIB=%d FABRIC_BIG_MODES=%s go test -tags bench -count=1 -timeout 3h -run TestBigModel ./tests/load`\n- machine: %s\n"+
		"- model: %d parameters, %d bytes of float32 in safetensors; %d sites, each with a program of its own (numpy, a few megabytes at a time)\n"+
		"- run: a round of training and one of evaluation, through the API, with real PostgreSQL and the Temporal development server;\n"+
		"  the candidate is packed, pushed, signed and registered\n\n",
		mib, strings.Join(modes, ","), harness.Describe(t), spec.Parameters(), spec.SizeBytes(), bigSites)
	var over []string
	for _, mode := range modes {
		m := train(t, spec, mode)
		fmt.Fprintf(&b, "## Secure aggregation %s\n\n| what | figure |\n|---|---|\n", mode)
		fmt.Fprintf(&b, "| from the request to the registered version | %.0f s |\n", m.total.Seconds())
		for _, r := range m.rounds {
			fmt.Fprintf(&b, "| round %d, %s | %.0f s |\n", r.Number, r.Kind, r.EndedAt.Sub(r.StartedAt).Seconds())
		}
		fmt.Fprintf(&b, "| blobs that the run left in the store | %.2f GB |\n| disk in use at most, sites and store | %.2f GB |\n", gb(m.stored), gb(m.disk))
		fmt.Fprintf(&b, "| largest difference from the weights worked out here, at %d places | %.2g |\n", places, m.apart)
		b.WriteString("\n| process | resident at most, MiB |\n|---|---|\n")
		for _, name := range slices.Sorted(func(yield func(string) bool) {
			for name := range m.peaks {
				if !yield(name) {
					return
				}
			}
		}) {
			fmt.Fprintf(&b, "| %s | %.0f |\n", name, float64(m.peaks[name])/1024)
			if m.peaks[name] > residentMost && name != "temporal" {
				over = append(over, fmt.Sprintf("%s, %s: %d KiB", mode, name, m.peaks[name]))
			}
		}
		b.WriteString("\n")
	}
	b.WriteString("Resident memory is VmHWM of /proc, asked for five times a second, and of PostgreSQL's sessions the largest. The programs of the\n" +
		"operators are not processes of the fabric; the Temporal development server (`temporal`) is there for whoever has none.\n")
	write(t, "bigmodel.md", b.String())
	t.Logf("\n%s", b.String())
	require.Empty(t, over, "more than %d MiB resident", residentMost>>10)
}

func gb(n int64) float64 { return float64(n) / 1e9 }

// A measured run.
type measured struct {
	total  time.Duration
	rounds []v1.Round
	peaks  map[string]int
	stored int64
	disk   int64
	apart  float64
}

func train(t *testing.T, spec round.ModelSpec, mode string) measured {
	state := harness.State(t)
	s := harness.Up(t, state, harness.FreeBase(t))
	defer s.Stop()
	sites := map[string]*harness.Process{}
	request := v1.RunRequest{ModelID: "large", Params: v1.RunParams{
		Model:  v1.ModelSpec{Trainer: round.TrainerExec, Inputs: spec.Inputs, Hidden: spec.Hidden, Classes: spec.Classes},
		Rounds: 1, Quorum: bigSites, DeadlineSeconds: 3600, Seed: 11, Features: []string{"large"},
		Secure: v1.Secure{Mode: v1.SecureMode(mode), StageSeconds: 3600, MaxExamples: bigRows, Range: 4},
	}}
	script, err := filepath.Abs("testdata/streamtrain.py")
	require.NoError(t, err)
	folder := t.TempDir() // of the sites: not below the state that is measured beside it
	for i := range bigSites {
		tenant, name := fmt.Sprintf("large-%d", i+1), fmt.Sprintf("site-%d", i+1)
		request.Tenants = append(request.Tenants, tenant)
		steward := s.Person(t, tenant, "steward", "operator", "admin")
		_, err := v1.Fetch[v1.Feature](steward.RegisterFeature(t.Context(), &v1.RegisterFeatureParams{}, v1.FeatureRegistration{
			Tenant: tenant, FeatureID: "large", Schema: v1.JSON(`{"type":"object"}`), Consented: true,
			Fingerprint: string(artifact.DigestOf([]byte(name))), Grantees: []string{demo.Consortium}, Purposes: []v1.Purpose{"train", "evaluate", "stats"},
		}))
		require.NoError(t, err)
		data := filepath.Join(folder, name+".csv")
		require.NoError(t, os.WriteFile(data, rows(spec.Inputs, uint64(i)), 0o600))
		sites["fabric-site, "+name] = harness.Run(t, filepath.Join(harness.Programs(t), "fabric-site"),
			[]string{"run", "--exec", "/usr/bin/python3 " + script},
			"FABRIC_API_URL="+s.Gateway(), "FABRIC_TENANT="+tenant, "FABRIC_SITE="+name, "FABRIC_REGION=eu", "FABRIC_SITE_DATA="+data,
			"FABRIC_STATE_DIR="+filepath.Join(folder, name), "FEDERATION_TOKEN_FILE="+s.Path("secrets", "federation.token"), "FABRIC_TRUST_KEY="+s.Path("keys", "fabric.pub"))
	}
	gauge := s.Gauged(t, sites)
	full := watchDisk(t, state, folder)
	lead := s.Lead(t)
	require.Eventually(t, func() bool {
		for _, tenant := range request.Tenants {
			page, err := v1.Fetch[v1.SitePage](s.Person(t, tenant, "steward", "operator", "admin").ListSites(t.Context(), &v1.ListSitesParams{}))
			if err != nil || len(page.Items) == 0 {
				return false
			}
		}
		return true
	}, time.Minute, 200*time.Millisecond, "every site enrols")
	began := time.Now()
	run := harness.Watch(t, lead, s.Train(t, lead, request), 100*time.Minute, harness.Completed)
	m := measured{total: time.Since(began), rounds: run.Rounds, peaks: gauge.Peaks(), disk: full()}
	for _, p := range sites {
		p.Stop()
	}
	s.Stop()
	m.stored = size(s.Path("blobs"))
	m.apart = compare(t, s, spec, run)
	require.LessOrEqual(t, m.apart, map[string]float64{"off": 1e-7, "on": 1e-6}[mode])
	require.NoError(t, os.RemoveAll(state))
	require.NoError(t, os.MkdirAll(state, 0o755))
	return m
}

// rows are random ones of so many columns.
func rows(columns int, seed uint64) []byte {
	random := rand.New(rand.NewPCG(5, seed))
	var b strings.Builder
	for c := range columns {
		fmt.Fprintf(&b, "c%d,", c)
	}
	b.WriteString("label\n")
	for range bigRows {
		for range columns {
			b.WriteString(strconv.Itoa(random.IntN(9)))
			b.WriteByte(',')
		}
		b.WriteString(strconv.Itoa(random.IntN(2)) + "\n")
	}
	return []byte(b.String())
}

const places = 20_000

// compare works out the weights after the train round at random places from
// those before it: w + mean over the sites of what the program says, which all
// have as many rows. It returns the largest difference.
func compare(t *testing.T, s *harness.System, spec round.ModelSpec, run v1.Run) float64 {
	t.Helper()
	var manifest round.Manifest
	var after string
	for _, r := range run.Rounds {
		if r.Kind == "train" {
			text, err := os.ReadFile(blobFile(s, r.Manifest))
			require.NoError(t, err)
			require.NoError(t, artifact.DecodeStrict(text, &manifest))
			after = r.Weights
		}
	}
	open := func(digest string) (*os.File, int64) {
		f, err := os.Open(blobFile(s, digest))
		require.NoError(t, err)
		info, err := f.Stat()
		require.NoError(t, err)
		r, err := artifact.NewTensorReader(io.NewSectionReader(f, 0, info.Size()))
		require.NoError(t, err)
		require.NoError(t, round.MatchTensors(spec.Tensors(), r.Tensors()))
		return f, info.Size() - r.DataBytes()
	}
	old, oldAt := open(string(manifest.Base.Digest))
	defer old.Close()
	changed, newAt := open(after)
	defer changed.Close()
	value := func(f *os.File, at int64) float64 {
		var raw [4]byte
		_, err := f.ReadAt(raw[:], at)
		require.NoError(t, err)
		return float64(math.Float32frombits(binary.LittleEndian.Uint32(raw[:])))
	}
	hidden := int64(spec.Inputs) * int64(spec.Hidden)
	random := rand.New(rand.NewPCG(3, 3))
	apart := 0.0
	for range places {
		at := 4 * (int64(spec.Hidden) + random.Int64N(hidden)) // hidden.weight is behind hidden.bias
		w := value(old, oldAt+at)
		want := w
		for site := 1; site <= bigSites; site++ {
			update := float32(w)*float32(-1.0/64) + float32(site)/1024
			want += float64(update) / bigSites
		}
		apart = max(apart, math.Abs(value(changed, newAt+at)-want))
	}
	return apart
}

func blobFile(s *harness.System, digest string) string {
	hex := strings.TrimPrefix(digest, "sha256:")
	return s.Path("blobs", "sha256", hex[:2], hex)
}

// watchDisk returns what tells how much of the disk was in use at most, beyond
// what was at the start.
func watchDisk(t *testing.T, folders ...string) func() int64 {
	ctx, stop := context.WithCancel(t.Context())
	var most int64
	var done sync.WaitGroup
	done.Go(func() {
		for ctx.Err() == nil {
			sum := int64(0)
			for _, f := range folders {
				sum += size(f)
			}
			most = max(most, sum)
			time.Sleep(time.Second)
		}
	})
	return func() int64 {
		stop()
		done.Wait()
		return most
	}
}

// size is what a folder takes on the disk. Files that go meanwhile are none.
func size(folder string) int64 {
	var sum int64
	_ = filepath.WalkDir(folder, func(path string, entry os.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		if info, err := entry.Info(); err == nil && info.Mode().IsRegular() {
			if stat, ok := info.Sys().(*syscall.Stat_t); ok {
				sum += stat.Blocks * 512
			}
		}
		return nil
	})
	return sum
}
