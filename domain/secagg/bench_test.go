package secagg_test

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/secagg"
)

// benchSpec is a large vector; degree 0 asks for the graph that the group has.
func benchSpec(n, length, degree, threshold int) secagg.Spec {
	spec := specOf(secagg.Z32, length)
	spec.CorruptBP, spec.DroppedBP = 1000, 1000
	if degree > 0 {
		spec = secagg.WithGraph(spec, secagg.Graph{Sites: n, Degree: degree, Threshold: threshold, Quorum: 2*n/3 + 1})
	}
	return spec
}

// benchStages plays everything up to the unmasking but for the vectors, which
// no part of these messages depends on.
func benchStages(b *testing.B, spec secagg.Spec, n, dead int) (*play, *stages) {
	p := newPlay(b, spec, n)
	a := absences{}
	for i := range dead {
		a[secagg.StageMask] = append(a[secagg.StageMask], i*n/dead)
	}
	s, err := p.advertise(b, a)
	require.NoError(b, err)
	for _, site := range p.sites {
		m, err := site.ShareUnchecked(s.group)
		require.NoError(b, err)
		s.shares = append(s.shares, m)
	}
	s.routing, _, err = s.group.FormShares(s.shares)
	require.NoError(b, err)
	for i, site := range p.sites {
		if a.gone(secagg.StageMask, i) {
			continue
		}
		_, err := site.Mask(s.routing.Inbox(i + 1))
		require.NoError(b, err)
		m, err := site.Masked(artifact.DigestOf(nil), spec.SizeBytes())
		require.NoError(b, err)
		s.masked = append(s.masked, m)
	}
	s.set, _, err = s.group.FormSurvivors(s.routing.Participants, s.masked)
	require.NoError(b, err)
	require.NoError(b, p.check(b, a, &s))
	for i, site := range p.sites {
		if !a.gone(secagg.StageMask, i) {
			s.unmasking = append(s.unmasking, site.UnmaskUnchecked(s.request, s.set))
		}
	}
	return p, &s
}

// BenchmarkServer is the coordinator's work after the last answer: verifying
// and reconstructing every secret and taking every mask off, with two
// goroutines. Its limit, measured beside it, is the expansion of the same
// number of key stream bytes with nothing done with them.
func BenchmarkServer(b *testing.B) {
	for _, c := range []struct {
		name                               string
		n, length, degree, threshold, dead int
	}{
		{"n=64/d=1M/complete/dropped=0", 64, 1 << 20, 0, 0, 0},
		{"n=64/d=1M/complete/dropped=13", 64, 1 << 20, 0, 0, 13},
		{"n=64/d=1M/k=16/dropped=13", 64, 1 << 20, 16, 9, 13},
		{"n=1000/d=100k/formula/dropped=100", 1000, 100_000, 0, 0, 100},
	} {
		b.Run(c.name, func(b *testing.B) {
			spec := benchSpec(c.n, c.length, c.degree, c.threshold)
			_, s := benchStages(b, spec, c.n, c.dead)
			sum := make([]uint32, c.length)
			streams := 0
			s.group.Workers = 2
			b.Run("unmask", func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					x, _, err := s.group.Reconstruct(s.set, s.unmasking)
					require.NoError(b, err)
					require.NoError(b, secagg.Apply(x, sum, 0))
					streams = x.Streams()
				}
				b.ReportMetric(float64(streams), "masks")
				b.ReportMetric(float64(s.group.Graph().Degree), "k")
				b.ReportMetric(float64(s.group.Graph().Threshold), "t")
			})
			b.Run("reconstruct", func(b *testing.B) {
				for b.Loop() {
					_, _, err := s.group.Reconstruct(s.set, s.unmasking)
					require.NoError(b, err)
				}
			})
			b.Run("limit", func(b *testing.B) { benchKeyStream(b, 2, streams*c.length*4) })
		})
	}
}

// BenchmarkSite is a site's masking, the expansion of all its masks on one
// goroutine, and for the large group everything that it computes in a round.
func BenchmarkSite(b *testing.B) {
	for _, c := range []struct{ n, degree, threshold int }{{64, 0, 0}, {64, 16, 9}} {
		spec := benchSpec(c.n, 1<<20, c.degree, c.threshold)
		p := newPlay(b, spec, c.n)
		s, err := p.advertise(b, nil)
		require.NoError(b, err)
		require.NoError(b, p.share(b, nil, &s))
		vector := make([]uint32, spec.Length)
		k := s.group.Graph().Degree
		b.Run(fmt.Sprintf("mask/n=64/d=1M/k=%d", k), func(b *testing.B) {
			for b.Loop() {
				x, err := p.sites[0].Mask(s.routing.Inbox(1))
				require.NoError(b, err)
				require.NoError(b, secagg.Apply(x, vector, 0))
			}
		})
		b.Run(fmt.Sprintf("limit/k=%d", k), func(b *testing.B) { benchKeyStream(b, 1, (k+1)*spec.Length*4) })
	}
	spec := benchSpec(1000, 100_000, 0, 0)
	p, s := benchStages(b, spec, 1000, 100)
	const me = 502
	b.Run("all/n=1000/d=100k", func(b *testing.B) {
		inbox := s.routing.Inbox(me)
		uploaded := 0
		for b.Loop() {
			p.restart(b, me-1, secagg.State{})
			site, vector := p.sites[me-1], make([]uint32, spec.Length)
			var sent [5]any
			var err error
			sent[0], err = site.Advertise()
			require.NoError(b, err)
			sent[1], err = site.Share(s.roster)
			require.NoError(b, err)
			x, err := site.Mask(inbox)
			require.NoError(b, err)
			require.NoError(b, secagg.Apply(x, vector, 0))
			wire := secagg.AppendVector(make([]byte, 0, spec.SizeBytes()), vector)
			sent[2], err = site.Masked(artifact.DigestOf(wire), int64(len(wire)))
			require.NoError(b, err)
			sent[3], err = site.Check(s.set)
			require.NoError(b, err)
			sent[4], err = site.Unmask(s.request)
			require.NoError(b, err)
			uploaded = len(wire)
			for _, m := range sent {
				content, err := json.Marshal(m)
				require.NoError(b, err)
				uploaded += len(content)
			}
		}
		b.ReportMetric(float64(uploaded)/float64(spec.SizeBytes()), "upload/vector")
	})
	b.Run("limit/n=1000/d=100k", func(b *testing.B) { benchKeyStream(b, 1, (s.group.Graph().Degree+1)*spec.Length*4) })
}

// benchKeyStream expands so many bytes of AES-128-CTR into one block.
func benchKeyStream(b *testing.B, workers, size int) {
	b.SetBytes(int64(size))
	for b.Loop() {
		done := make(chan struct{})
		for range workers {
			go func() {
				block, _ := aes.NewCipher(make([]byte, 16))
				stream := cipher.NewCTR(block, make([]byte, 16))
				buffer, zeros := make([]byte, 8<<10), make([]byte, 8<<10)
				for left := size / workers; left > 0; left -= len(buffer) {
					stream.XORKeyStream(buffer, zeros)
				}
				done <- struct{}{}
			}()
		}
		for range workers {
			<-done
		}
	}
}

// BenchmarkAddVector is the coordinator's sum of 64 masked vectors of 1 M.
func BenchmarkAddVector(b *testing.B) {
	sum, wire := make([]uint32, 1<<20), make([]byte, 4<<20)
	b.SetBytes(64 * 4 << 20)
	for b.Loop() {
		for range 64 {
			require.NoError(b, secagg.AddVector(sum, wire))
		}
	}
}
