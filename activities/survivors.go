package activities

import (
	"context"
	"errors"
	"fmt"
	"io"

	"go.temporal.io/sdk/activity"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/domain/secagg"
)

// Why a masked vector is not in the sum.
var (
	ErrVectorGone = errors.New("its masked vector is not there")
	ErrVectorSize = errors.New("its masked vector is not the one that its message names")
)

// CommitSurvivors closes stage mask, reads every vector that came, and writes
// down whose are in the sum. Idempotent: the set is written once, and whatever
// comes later, or was not to be read at another time, the first set is the set.
// Nobody has seen it when this returns: it has no signature yet. Heartbeats for
// every piece of a vector. Final: as [Secure.AdvanceStage].
func (s *Secure) CommitSurvivors(ctx context.Context, in contract.StageRef) (contract.Survivors, error) {
	out, err := s.commit(ctx, in)
	if err != nil {
		return out, about(in.Run, in.Number, err)
	}
	return out, nil
}

func (s *Secure) commit(ctx context.Context, ref contract.StageRef) (contract.Survivors, error) {
	var out contract.Survivors
	ref.Stage = round.StageMask
	g, err := loadGroup(ctx, s.Blobs, s.Rounds, ref)
	if err != nil {
		return out, err
	}
	g.alive = func() { activity.RecordHeartbeat(ctx, "reading masked vectors") }
	masked, in, err := collect(ctx, g, round.StageMask, func(m *secagg.Masked) secagg.Header { return m.Header })
	if err != nil {
		return out, err
	}
	if masked, err = s.whole(ctx, g, masked, &in); err != nil {
		return out, err
	}
	sec, err := g.open(ctx)
	if err != nil {
		return out, err
	}
	participants, err := g.participants(ctx, sec)
	if err != nil {
		return out, err
	}
	set, dropped, fault := sec.FormSurvivors(participants, masked)
	in.refused.take(dropped)
	out.Refused, out.Dropped = in.refused.count, in.refused.names
	written, ok, err := s.Rounds.Survivors(ctx, ref)
	if err != nil {
		return out, settled(err)
	}
	if !ok {
		if fault != nil {
			out.Cause = in.stopped(len(participants), fault).cause
			return out, nil
		}
		if written, err = keep(ctx, s.Blobs, artifact.MediaTypeSecagg, set); err != nil {
			return out, err
		}
		// If we crash after this line, the set is found written.
		if written, err = s.Rounds.CommitSurvivors(ctx, ref, written); err != nil {
			return out, settled(err)
		}
	}
	var first secagg.SurvivorSet
	if err := decode(ctx, s.Blobs, written.Digest, contract.BadPlan, &first); err != nil {
		return out, err
	}
	out.Set, out.Sites = written, len(first.Survivors)
	return out, nil
}

// whole leaves the messages whose vectors were read to their end: the right
// size, and the digest that message and submission name.
func (s *Secure) whole(ctx context.Context, g *group, masked []secagg.Masked, in *arrived) ([]secagg.Masked, error) {
	var there []secagg.Masked
	for _, m := range masked {
		update := in.updates[m.Header.Tenant+"/"+m.Header.Site]
		err := ErrVectorSize
		if m.Vector == update.Digest && m.SizeBytes == update.SizeBytes && m.SizeBytes == g.form.Spec.SizeBytes() {
			err = s.readThrough(ctx, g, update)
		}
		switch {
		case err == nil:
			there = append(there, m)
		case errors.Is(err, ErrVectorSize), errors.Is(err, ErrVectorGone):
			in.refused.add(m.Header.Tenant, m.Header.Site, err.Error())
		default:
			return nil, fmt.Errorf("vector of %s/%s: %w", m.Header.Tenant, m.Header.Site, err)
		}
	}
	return there, nil
}

// readThrough reads a vector and keeps nothing of it.
func (s *Secure) readThrough(ctx context.Context, g *group, d artifact.Descriptor) error {
	r, err := openVector(ctx, s.Blobs, d)
	if err != nil {
		return err
	}
	defer r.Close()
	buffer := make([]byte, min(pieceBytes, d.SizeBytes))
	for left := d.SizeBytes; left > 0; left -= min(left, pieceBytes) {
		g.alive()
		if err := r.piece(buffer[:min(left, pieceBytes)]); err != nil {
			return err
		}
	}
	return r.end()
}

// pieceBytes is how much of a vector is in memory: whole elements of either
// ring.
const pieceBytes = 1 << 20

// A vectorReader reads a blob of a size that is known.
type vectorReader struct{ io.ReadCloser }

// openVector opens a masked vector. Errors: [ErrVectorGone] when there is none;
// others are the store's, and pass.
func openVector(ctx context.Context, blobs Blobs, d artifact.Descriptor) (vectorReader, error) {
	content, err := blobs.Open(ctx, d.Digest)
	if errors.Is(err, ErrNotFound) {
		err = ErrVectorGone
	}
	return vectorReader{content}, err
}

// piece fills the buffer. Errors: [ErrVectorSize] when the vector ends before.
func (r vectorReader) piece(buffer []byte) error {
	_, err := io.ReadFull(r, buffer)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return ErrVectorSize
	}
	return err
}

// end hears what the blob says at its end: the read that finds it is the one
// that compares the digest. Errors: [ErrVectorSize] when the vector goes on.
func (r vectorReader) end() error {
	n, err := r.Read(make([]byte, 1))
	switch {
	case n > 0:
		return ErrVectorSize
	case err != nil && !errors.Is(err, io.EOF):
		return err
	}
	return nil
}
