package api

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/payload"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/domain/secagg"
)

// misplaced refuses what a stage has no place for, before any of it is kept: a
// secured round is one in which nothing of a single site is seen in clear, not
// even its counts.
func misplaced(stage round.Stage, in v1.SubmissionRequest) error {
	switch {
	case stage == round.StageUpdate && in.Message != "":
		return badUpdate.at("/message", "a plain round takes no message")
	case stage == round.StageUpdate:
		return nil
	case in.Examples != 0:
		return badUpdate.at("/examples", "counts ride inside the masked vector: send 0")
	case in.Metrics != v1.SiteMetrics{}:
		return badUpdate.at("/metrics", "counts ride inside the masked vector: send 0")
	case len(in.Message) > maxMessage:
		return tooLarge.because("a message is at most 4 MiB")
	case in.From != 0:
		return badUpdate.at("/from", "how old an update is rides inside the masked vector: leave it out")
	case in.Message == "":
		return badUpdate.at("/message", "is required in a secured round")
	case stage != round.StageMask && in.Update != v1.Descriptor{}:
		return badUpdate.at("/update", "only stage mask takes a vector")
	}
	return nil
}

// breach says why a message of a secured round does not count, "" if it does.
// What the message says is for whoever runs the protocol; here it must be what
// it claims to be, and the vector as long as the round's.
func (s *Fleet) breach(ctx context.Context, work Work, sub Submission, message []byte) (string, error) {
	stage := work.Stage.Stage
	header, masked, err := readMessage(stage, message)
	if err != nil {
		return notMessage(stage, err), nil
	}
	if why := foreign(header, work, sub); why != "" {
		return why, nil
	}
	if stage != round.StageMask {
		return "", nil
	}
	form, err := s.form(ctx, work)
	if err != nil {
		return "", err
	}
	size := form.Spec.SizeBytes()
	switch {
	case sub.Update.Digest == "":
		return "the masked vector is missing", nil
	case masked.Vector != sub.Update.Digest:
		return "the message is about another masked vector", nil
	case masked.SizeBytes != size || sub.Update.SizeBytes != size:
		return wrongLength(size), nil
	}
	content, err := s.blobs.Open(ctx, sub.Update.Digest)
	if errors.Is(err, ErrNotFound) {
		return "", badUpdate.at("/update/digest", "upload the masked vector first: PUT /blobs/{digest}")
	}
	if err != nil {
		return "", err
	}
	defer content.Close()
	n, err := io.Copy(io.Discard, io.LimitReader(content, size+1))
	if err != nil {
		return "", fmt.Errorf("masked vector %s: %w", sub.Update.Digest.Short(), err)
	}
	if n != size {
		return wrongLength(size), nil
	}
	return "", nil
}

func wrongLength(size int64) string {
	return fmt.Sprintf("the masked vector has not the %d bytes that the round fixes", size)
}

// readMessage reads a site's message of a stage, strictly: a member that is not
// known could mean something to another reader.
func readMessage(stage round.Stage, text []byte) (header secagg.Header, masked secagg.Masked, err error) {
	switch stage {
	case round.StageAdvertise:
		var m secagg.Advertisement
		err = artifact.DecodeStrict(text, &m)
		return m.Header, masked, err
	case round.StageShare:
		var m secagg.Shares
		err = artifact.DecodeStrict(text, &m)
		return m.Header, masked, err
	case round.StageMask:
		err = artifact.DecodeStrict(text, &masked)
		return masked.Header, masked, err
	case round.StageCheck:
		var m secagg.Check
		err = artifact.DecodeStrict(text, &m)
		return m.Header, masked, err
	case round.StageUnmask:
		var m secagg.Unmasking
		err = artifact.DecodeStrict(text, &m)
		m.Erase() // the shares have no use here
		return m.Header, masked, err
	}
	return header, masked, fmt.Errorf("%w: %s", secagg.ErrStage, stage)
}

// notMessage says so in fixed words, without a piece of the message.
func notMessage(stage round.Stage, err error) string {
	why := "the message is none of stage " + string(stage)
	var p *Problem
	if errors.As(malformed(err), &p) && len(p.Items) > 0 {
		why += ": " + p.Items[0].Detail
	}
	return why
}

// foreign says what a message is of that it should not be of.
func foreign(got secagg.Header, work Work, sub Submission) string {
	ref := work.Stage
	switch {
	case got.Protocol != secagg.Protocol:
		return "the message is of another protocol"
	case got.Run != ref.Run:
		return "the message is of another run"
	case got.Round != ref.Number:
		return "the message is of another round"
	case got.Plan != work.Manifest.Digest:
		return "the message is of another plan"
	case got.Group != ref.Region:
		return "the message is of another group"
	case got.Tenant != sub.Tenant || got.Site != sub.Site:
		return "the message is of another site"
	case got.Stage != secagg.Stage(ref.Stage):
		return "the message is of another stage"
	}
	return ""
}

// form returns the form of the vector that the stage's group sends.
func (s *Fleet) form(ctx context.Context, work Work) (payload.Form, error) {
	manifest, err := s.manifest(ctx, work)
	if err != nil {
		return payload.Form{}, err
	}
	form, err := payload.For(manifest, work.Manifest.Digest, work.Stage.Region)
	if err != nil {
		return form, fmt.Errorf("vector of round %s/%d: %w", work.Stage.Run, work.Stage.Number, err)
	}
	return form, nil
}
