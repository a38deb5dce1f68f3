package agent

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/model"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/internal/site/program"
)

// heavy is a model of 64 MB that only a program trains.
func heavy() round.ModelSpec {
	return round.ModelSpec{Trainer: round.TrainerExec, Inputs: 122, Hidden: 131_072, Classes: 2}
}

// A sink takes what a site sends, in pieces of an odd length, and keeps its
// digest alone.
type sink struct {
	port
	put map[artifact.Digest]int64
}

func (s sink) PutBlob(_ context.Context, _ string, digest artifact.Digest, size int64, content io.ReaderAt) error {
	hash := sha256.New()
	piece := make([]byte, 1_000_003)
	for at := int64(0); at < size; at += int64(len(piece)) {
		part := piece[:min(int64(len(piece)), size-at)]
		if _, err := content.ReadAt(part, at); err != nil {
			return err
		}
		hash.Write(part)
	}
	if got := "sha256:" + hex.EncodeToString(hash.Sum(nil)); got != string(digest) {
		return fmt.Errorf("%s came as %s", got, digest)
	}
	s.put[digest] = size
	return nil
}

func (s sink) Blob(_ context.Context, _ string, digest artifact.Digest, first int64) (io.ReadCloser, error) {
	if path, ok := strings.CutPrefix(string(s.blobs[digest]), "file:"); ok {
		f, err := os.Open(path)
		if err == nil {
			_, err = f.Seek(first, io.SeekStart)
		}
		return f, err
	}
	return s.port.Blob(context.Background(), "", digest, first)
}

// peak returns by how much the heap grew at most while f ran, beyond what was
// live before. Whatever GOGC and GOMEMLIMIT say, garbage is collected early.
func peak(f func()) int64 {
	defer debug.SetGCPercent(debug.SetGCPercent(5))
	runtime.GC()
	heap := func() int64 {
		sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
		metrics.Read(sample)
		return int64(sample[0].Value.Uint64())
	}
	before, most := heap(), int64(0)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			most = max(most, heap()-before)
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
			}
		}
	}()
	f()
	close(stop)
	<-done
	return most
}

// written writes a file and describes it.
func written(t *testing.T, path string, write func(dst io.Writer) error) artifact.Descriptor {
	f, err := os.Create(path)
	require.NoError(t, err)
	hash := sha256.New()
	buffered := bufio.NewWriter(io.MultiWriter(f, hash))
	require.NoError(t, write(buffered))
	require.NoError(t, buffered.Flush())
	info, err := f.Stat()
	require.NoError(t, err)
	require.NoError(t, f.Close())
	return artifact.Descriptor{Digest: artifact.Digest("sha256:" + hex.EncodeToString(hash.Sum(nil))), SizeBytes: info.Size(), MediaType: artifact.MediaTypeWeights}
}

// Whatever a site does with a model of 64 MB that its program trains, open or
// masked, it holds some megabytes of it.
func TestMemoryIsForPiecesOfTheModel(t *testing.T) {
	const most = 24 << 20
	spec, dir := heavy(), t.TempDir()
	require.Greater(t, spec.SizeBytes(), int64(60<<20))
	base := written(t, filepath.Join(dir, "base"), func(dst io.Writer) error { return model.WriteInitial(dst, spec, 7, nil) })
	update := filepath.Join(dir, "update")
	random := rand.New(rand.NewPCG(1, 1))
	written(t, update, func(dst io.Writer) error {
		var infos []artifact.TensorInfo
		for _, s := range spec.Trainable() {
			infos = append(infos, artifact.TensorInfo{Name: s.Name, DType: s.DType, Shape: s.Shape})
		}
		out, err := artifact.NewTensorWriter(dst, infos)
		require.NoError(t, err)
		values := artifact.Tensor{Name: "x", DType: artifact.F32, Shape: []int{4096}, F32: make([]float32, 4096)}
		for i := range values.F32 {
			values.F32[i] = float32(random.NormFloat64())
		}
		text, err := artifact.Tensors{values}.Encode()
		require.NoError(t, err)
		text = text[len(text)-4*4096:]
		for left := 4 * (spec.Parameters() - 2*int64(spec.Inputs)); left > 0 && err == nil; {
			var n int
			n, err = out.Write(text[:min(left, int64(len(text)))])
			left -= int64(n)
		}
		require.NoError(t, err)
		return out.Close()
	})
	command := "cp " + update + ` $SM_MODEL_DIR/update.safetensors; echo '{"examples":5,"evaluated":0,"correct":0,"lossMicros":0}' > $SM_OUTPUT_DATA_DIR/metrics.json`
	var csv strings.Builder
	for c := range spec.Inputs {
		fmt.Fprintf(&csv, "c%d,", c)
	}
	csv.WriteString("label\n")
	for r := range 20 {
		for range spec.Inputs {
			fmt.Fprintf(&csv, "%d,", random.IntN(9))
		}
		fmt.Fprintf(&csv, "%d\n", r%2)
	}
	order := func(kind round.Kind, mode string, privacy round.Privacy) *group {
		g := newGroup(t, 3, kind, func(m *round.Manifest) {
			m.Params.Model, m.Params.Privacy, m.Secured = spec, privacy, mode == round.SecureOn
			m.Params.Secure.Mode, m.Base = mode, base
		})
		g.blobs[base.Digest] = []byte("file:" + filepath.Join(dir, "base"))
		for i := range g.sites {
			require.NoError(t, os.WriteFile(g.sites[i].Data, []byte(csv.String()), 0o600))
			g.sites[i].Program = &program.Program{Command: command, Dir: filepath.Join(g.sites[i].StateDir, "exec"), Limit: time.Minute}
		}
		return g
	}
	ask := func(g *group, i int, stage round.Stage, inbox any) (size int64) {
		o := g.sites[i]
		s := sink{port{g, o.Site, stage}, map[artifact.Digest]int64{}}
		a, err := New(o, s, slog.New(slog.DiscardHandler))
		require.NoError(t, err)
		a.id, err = openIdentity(o)
		require.NoError(t, err)
		defer a.id.close()
		item := g.item(stage, inbox)
		item.Grants = g.packs[o.Tenant]
		grew := peak(func() { _, err = a.perform(t.Context(), item) })
		require.NoError(t, err)
		require.Less(t, grew, int64(most), "stage %s of %s", stage, g.manifest.Kind)
		for _, n := range s.put {
			size += n
		}
		return size
	}
	open := order(round.Train, round.SecureOff, round.Privacy{})
	require.InDelta(t, spec.SizeBytes(), ask(open, 0, round.StageUpdate, nil), 4096, "all but the normalisation, and a header")
	require.Zero(t, ask(order(round.Evaluate, round.SecureOff, round.Privacy{}), 0, round.StageUpdate, nil))

	for _, privacy := range []round.Privacy{{}, {Mechanism: round.PrivacyCentral, Unit: round.UnitSite, NoiseMultiplier: 1, ClipNorm: 3, Delta: 1e-5}} {
		g := order(round.Train, round.SecureOn, privacy)
		for i := range g.sites {
			ask(g, i, round.StageAdvertise, nil)
		}
		g.until(round.StageMask, 0, 1, 2)
		inbox := g.routing.Inbox(g.index(0))
		require.Equal(t, g.form.Spec.SizeBytes(), ask(g, 0, round.StageMask, inbox))
		ask(g, 0, round.StageMask, inbox)
		list := g.sent[fmt.Sprintf("%s %s", round.StageMask, g.sites[0].Site)]
		require.Equal(t, list[0].Update.Digest, list[1].Update.Digest, "a restart sends the same")
	}
}
