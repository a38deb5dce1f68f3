package aggregate

import (
	"io"
	"math"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/kernel"
	"github.com/atom-fabric/fabric/domain/round"
)

// A Source is an update that is not in memory: a reader of the bytes that
// [artifact.Tensors.Encode] gives. A reader that compares what it reads with a
// digest ([artifact.Expect]) is heard at its end.
type Source struct {
	Tenant   string
	Site     string
	Examples int64
	Content  io.Reader
}

// A RegionSource is a region's sum that is not in memory. Its weight is the
// number of examples and what Thousandths, 0 to 999, says on top: a sum behind
// masks may hold a part of one.
type RegionSource struct {
	Region      string
	Examples    int64
	Thousandths int64
	Content     io.Reader
}

// Merge adds updates as [Sum] does, to the same bits, and writes the sum to
// dst in F64 as safetensors. It reads all sources side by side, once, and
// writes as it reads: memory is 48 chunks of 128 KB, and the headers of
// the sources, whatever their size and number. The
// sources are shared out to goroutines that read, so what the readers compute
// is spread over the processors; none of them is read any more after the
// return.
//
// Want has the tensors and types of the updates ([round.Strategy.Update]),
// F32 or F64. It returns the sum of the examples. More updates than can be open
// at a time are added in several calls: before is what the last one wrote, nil
// in the first, and its sites come before those of this call.
// Order:  sources come by strictly ascending (tenant, site).
// Errors: [ErrNoUpdates]; [*UpdateError] for the first source at fault:
// [ErrExamples], [ErrDuplicate], [ErrOrder], [ErrShape],
// [round.ErrNotFinite], or what reading it returned; a failure of dst as it
// is. After an error what was written is worth nothing.
func Merge(dst io.Writer, want []round.TensorSpec, before io.Reader, sources []Source) (int64, error) {
	if len(sources) == 0 {
		return 0, ErrNoUpdates
	}
	var examples int64
	var last *Update
	weights := make([]float64, len(sources))
	readers := make([]io.Reader, len(sources))
	for k, s := range sources {
		u := Update{Tenant: s.Tenant, Site: s.Site}
		if s.Examples < 1 || s.Examples > MaxExamples {
			return 0, u.fail(ErrExamples)
		}
		if err := u.after(last); err != nil {
			return 0, err
		}
		last = &u
		examples += s.Examples
		weights[k], readers[k] = float64(s.Examples), s.Content
	}
	return examples, merge(dst, want, before, weights, 1, readers, func(k int, err error) error {
		return &UpdateError{Tenant: sources[k].Tenant, Site: sources[k].Site, Err: err}
	})
}

// MergeMean adds the sums of regions and divides by all examples, as [Mean]
// does and to the same bits, with the memory of [Merge]. Want has the tensors
// of the updates; sums are F64.
// Order:  sources come by strictly ascending region.
// Errors: [ErrNoUpdates]; [*RegionError], as in [Merge] and [Mean].
func MergeMean(dst io.Writer, want []round.TensorSpec, sources []RegionSource) (int64, error) {
	if len(sources) == 0 {
		return 0, ErrNoUpdates
	}
	var examples, parts int64
	weights := make([]float64, len(sources))
	readers := make([]io.Reader, len(sources))
	for k, s := range sources {
		fail := func(err error) error { return &RegionError{Region: s.Region, Err: err} }
		if s.Examples < 1 || s.Examples > math.MaxInt64/int64(len(sources)) || s.Thousandths < 0 || s.Thousandths > 999 {
			return 0, fail(ErrExamples)
		}
		if k > 0 && sources[k-1].Region == s.Region {
			return 0, fail(ErrDuplicate)
		}
		if k > 0 && sources[k-1].Region > s.Region {
			return 0, fail(ErrOrder)
		}
		examples, parts = examples+s.Examples, parts+s.Thousandths
		weights[k], readers[k] = 1, s.Content
	}
	by := float64(examples+parts/1000) + float64(parts%1000)/1000
	return examples, merge(dst, wide(want), nil, weights, by, readers, func(k int, err error) error {
		return &RegionError{Region: sources[k].Region, Err: err}
	})
}

// fused is how many sources are added in one go.
const fused = 16

// merge writes (before + Σ_k weights[k]·x[k]) / by.
func merge(dst io.Writer, want []round.TensorSpec, before io.Reader, weights []float64, by float64, sources []io.Reader, at func(int, error) error) error {
	l, err := open(want, sources, at)
	if err != nil {
		return err
	}
	begin, err := openBefore(before, want)
	if err != nil {
		return err
	}
	out, err := newSink(dst, want)
	if err != nil {
		return err
	}
	loops := kernel.Best()
	err = l.each(fused, func(tensor, first int, rows []kernel.Vector) error {
		sum := out.values(rows[0].Len())
		if first == 0 {
			if err := begin.read(tensor, sum); err != nil {
				return err
			}
		}
		loops.Sum(sum, weights[first:first+len(rows)], rows)
		// Whatever is not finite stays so in a sum: one look at the sum is a
		// look at every update of the group.
		if !kernel.Finite(kernel.F64(sum)) {
			return at(first+guilty(rows), &artifact.TensorError{Tensor: want[tensor].Name, Err: round.ErrNotFinite})
		}
		if first+len(rows) < len(sources) {
			return nil
		}
		if by != 1 {
			divide(sum, by)
		}
		return out.write(sum)
	})
	if err == nil {
		err = begin.end()
	}
	if err != nil {
		return err
	}
	return out.out.Close()
}

// guilty returns the first vector that is not finite, or the last when only
// their sum is not.
func guilty(rows []kernel.Vector) int {
	for k, v := range rows {
		if !kernel.Finite(v) {
			return k
		}
	}
	return len(rows) - 1
}

// wide returns the same tensors in F64.
func wide(want []round.TensorSpec) []round.TensorSpec {
	out := make([]round.TensorSpec, len(want))
	for i, w := range want {
		out[i] = round.TensorSpec{Name: w.Name, DType: artifact.F64, Shape: w.Shape}
	}
	return out
}

// infos are the same tensors for a header.
func infos(want []round.TensorSpec) []artifact.TensorInfo {
	out := make([]artifact.TensorInfo, len(want))
	for i, w := range want {
		out[i] = artifact.TensorInfo{Name: w.Name, DType: w.DType, Shape: w.Shape}
	}
	return out
}
