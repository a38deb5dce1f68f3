package activities

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/payload"
	"github.com/atom-fabric/fabric/domain/secagg"
)

// A maskedSum is the sum of masked vectors without their masks, read once from
// its first element to its last. Of more vectors than a store has connections
// for, the first are added before, in a file that has no name and holds nothing
// but what the vectors in the store, which are masked, add up to.
type maskedSum struct {
	ctx    context.Context
	blobs  Blobs
	form   payload.Form
	masks  *secagg.Expander
	alive  func()
	before *os.File // sum of the vectors that are not open any more; nil when there are none
	open   []vectorReader
	names  []artifact.Digest // of those that are open
	raw    []byte
}

// openMasked opens the vectors. Errors: final with [contract.BadUpdate] for a
// vector that is lost; those of the store and of the disk.
func (a *Aggregate) openMasked(ctx context.Context, g *group, vectors []artifact.Descriptor, masks *secagg.Expander) (*maskedSum, error) {
	s := &maskedSum{ctx: ctx, blobs: a.Blobs, form: g.form, masks: masks, alive: g.alive}
	most := a.most()
	for len(vectors) > most {
		if err := s.add(a.Spool, vectors[:most]); err != nil {
			s.close()
			return nil, err
		}
		vectors = vectors[most:]
	}
	if err := s.openAll(vectors); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *maskedSum) openAll(vectors []artifact.Descriptor) error {
	for _, d := range vectors {
		r, err := openVector(s.ctx, s.blobs, d)
		if err != nil {
			return lostVector(d.Digest, err)
		}
		s.open, s.names = append(s.open, r), append(s.names, d.Digest)
	}
	return nil
}

// lostVector is final where the vector will not come back.
func lostVector(digest artifact.Digest, err error) error {
	err = fmt.Errorf("vector %s: %w", digest.Short(), err)
	if errors.Is(err, ErrVectorGone) || errors.Is(err, ErrVectorSize) {
		return permanent(contract.BadUpdate, err)
	}
	return err
}

// add reads vectors to their ends into the file.
func (s *maskedSum) add(dir string, vectors []artifact.Descriptor) error {
	begins := s.before == nil
	if begins {
		file, err := os.CreateTemp(dir, "sum-*")
		if err != nil {
			return err
		}
		s.before = file
		if err := os.Remove(file.Name()); err != nil {
			return err
		}
	}
	if err := s.openAll(vectors); err != nil {
		return err
	}
	defer s.closeAll()
	var wire []byte
	sum := s.form.Piece(min(payload.PieceLen, s.form.Layout.Len()))
	for first := 0; first < s.form.Layout.Len(); first += sum.Len() {
		piece := sum.Slice(0, min(sum.Len(), s.form.Layout.Len()-first))
		if err := s.sum(piece, first, !begins); err != nil {
			return err
		}
		wire = piece.Append(wire[:0])
		if _, err := s.before.WriteAt(wire, s.offset(first)); err != nil {
			return err
		}
	}
	return s.end()
}

func (s *maskedSum) offset(element int) int64 {
	return int64(element) * int64(s.form.Spec.Ring.Bytes())
}

// sum fills v with what the open vectors and, if asked, those before add up to.
func (s *maskedSum) sum(v payload.Vector, first int, before bool) error {
	s.alive()
	v.Clear()
	n := v.Len() * s.form.Spec.Ring.Bytes()
	if cap(s.raw) < n {
		s.raw = make([]byte, n)
	}
	raw := s.raw[:n]
	if before {
		if _, err := s.before.ReadAt(raw, s.offset(first)); err != nil {
			return err
		}
		if err := v.AddAt(0, raw); err != nil {
			return err
		}
	}
	for i, r := range s.open {
		if err := r.piece(raw); err != nil {
			return lostVector(s.names[i], err)
		}
		if err := v.AddAt(0, raw); err != nil {
			return err
		}
	}
	return nil
}

// piece fills v with the elements from first on, which are those after the
// last piece. It is a [payload.Pieces].
func (s *maskedSum) piece(v payload.Vector, first int) error {
	if err := s.sum(v, first, s.before != nil); err != nil {
		return err
	}
	if err := v.Mask(s.masks, first); err != nil {
		return permanent(contract.BadPlan, err)
	}
	return nil
}

// end hears what the open vectors say at their ends.
func (s *maskedSum) end() error {
	for i, r := range s.open {
		if err := r.end(); err != nil {
			return lostVector(s.names[i], err)
		}
	}
	return nil
}

func (s *maskedSum) closeAll() {
	for _, r := range s.open {
		r.Close() // what was read has been compared already
	}
	s.open, s.names = nil, nil
}

func (s *maskedSum) close() {
	s.closeAll()
	if s.before != nil {
		s.before.Close() // it has no name: nothing of it is left
	}
}
