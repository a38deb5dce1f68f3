package api

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"

	"github.com/gin-gonic/gin"

	"github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/compress"
	"github.com/atom-fabric/fabric/domain/measure"
	"github.com/atom-fabric/fabric/domain/round"
)

// submit takes a site's answer. Who said it is checked before what it says: an
// answer that the enrolled key did not sign is no answer, and one that it did
// sign counts as answered even when it cannot be used.
func (s *Fleet) submit(c *gin.Context, k call) error {
	var in v1.SubmissionRequest
	if err := decode(k.body, &in); err != nil {
		return err
	}
	number, err := strconv.Atoi(c.Param("number"))
	if err != nil {
		return invalidRequest.at("path:number", "must be an integer")
	}
	ctx := c.Request.Context()
	stage := round.Stage(in.Stage).Or()
	work, err := s.sites.Stage(ctx, k.Tenant, k.site.Site, c.Param("run"), number, stage)
	if err != nil {
		return err
	}
	if err := misplaced(stage, in); err != nil {
		return err
	}
	if in.From > number {
		return badUpdate.at("/from", "names a round that has not begun")
	}
	answer := round.Answer{
		Run: work.Stage.Run, Number: work.Stage.Number, Kind: work.Stage.Kind,
		Tenant: k.Tenant, Site: k.site.Site, Region: work.Stage.Region, Stage: work.Stage.Stage,
		Manifest: work.Manifest.Digest, Update: artifact.Digest(in.Update.Digest),
		Metrics: round.Metrics{
			Examples: in.Examples, Evaluated: in.Metrics.Evaluated, Correct: in.Metrics.Correct, LossMicros: in.Metrics.LossMicros,
		},
		From: in.From,
	}
	message := []byte(in.Message)
	if stage != round.StageUpdate && stage != round.StageMask {
		answer.Update = artifact.DigestOf(message)
	}
	statement, err := s.said(ctx, k, answer, []byte(in.Bundle))
	if err != nil {
		return err
	}
	submission := Submission{Stage: work.Stage, Tenant: k.Tenant, Site: k.site.Site, Metrics: answer.Metrics, Statement: statement, From: answer.From}
	if in.Update.Digest != "" {
		submission.Update = artifact.Descriptor{Digest: answer.Update, SizeBytes: in.Update.SizeBytes, MediaType: artifact.MediaTypeMasked}
	}
	if stage == round.StageUpdate {
		var manifest round.Manifest
		if manifest, err = s.manifest(ctx, work); err == nil {
			if submission.Update.Digest != "" {
				submission.Update.MediaType = compress.MediaType(manifest)
			}
			submission.Reason, err = s.fault(ctx, work, manifest, &submission)
		}
	} else {
		submission.Reason, err = s.breach(ctx, work, submission, message)
	}
	if err != nil {
		return err
	}
	if stage != round.StageUpdate {
		if submission.Message, err = put(ctx, s.blobs, artifact.MediaTypeSecagg, message); err != nil {
			return err
		}
	}
	if submission.Bundle, err = put(ctx, s.blobs, artifact.MediaTypeBundle, []byte(in.Bundle)); err != nil {
		return err
	}
	if err := s.sites.Submit(ctx, k.Caller, submission); err != nil {
		return err
	}
	if submission.Reason != "" {
		return badUpdate.because("recorded as refused: " + submission.Reason)
	}
	return s.b.send(c, http.StatusAccepted, v1.SubmissionAccepted{
		Run: answer.Run, Number: answer.Number, Site: answer.Site, Statement: string(statement),
	})
}

// said returns the id of the statement if the site's enrolled key signed
// exactly this answer.
func (s *Fleet) said(ctx context.Context, k call, answer round.Answer, bundle []byte) (artifact.Digest, error) {
	enrolled, err := s.sites.Site(ctx, k.Tenant, k.site.Site)
	if err != nil {
		return "", err
	}
	key, err := artifact.ParsePublicKey([]byte(enrolled.PublicKey))
	if err != nil {
		return "", fmt.Errorf("key of site %s/%s: %w", k.Tenant, k.site.Site, err)
	}
	verified, err := artifact.VerifyBundle([]*ecdsa.PublicKey{key}, bundle, artifact.PredicateSubmission, answer.Subject())
	if err != nil {
		return "", &Problem{Kind: unverified, Detail: "the bundle is not this site's statement about this update in this round", Err: err}
	}
	var signed round.Answer
	if err := artifact.DecodeStrict(verified.Predicate, &signed); err != nil {
		return "", &Problem{Kind: unverified, Detail: "the statement's predicate is not one of a submission", Err: err}
	}
	if signed != answer {
		return "", unverified.because("the signed statement says something else than the request")
	}
	return verified.Statement, nil
}

// fault says why the update cannot be aggregated, "" if it can. It reads the
// whole update: NaN hides anywhere. Of one that was learnt it notes the norm.
func (s *Fleet) fault(ctx context.Context, work Work, manifest round.Manifest, sub *Submission) (string, error) {
	m := sub.Metrics
	switch {
	case m.Correct > m.Evaluated:
		return "more rows were classified rightly than were evaluated", nil
	case work.Stage.Kind != round.Train && sub.From != 0:
		return "only a train round takes late updates", nil
	case work.Stage.Kind == round.Evaluate:
		return s.miscounted(ctx, manifest, *sub)
	case sub.Update.Digest == "":
		return "the update is missing", nil
	case m.Examples == 0:
		return "an update over no rows", nil
	}
	if _, ok := manifest.Staleness(sub.From); !ok {
		return "the round does not take updates from the weights that this one started from", nil
	}
	content, err := s.blobs.Open(ctx, sub.Update.Digest)
	if errors.Is(err, ErrNotFound) {
		return "", badUpdate.at("/update/digest", "upload the update first: PUT /blobs/{digest}")
	}
	if err != nil {
		return "", err
	}
	defer content.Close()
	counted := checking(content, sub.Update.Digest)
	var update io.Reader = counted
	if wire, ok := compress.Of(manifest); ok {
		update = wire.Reader(counted)
	}
	norm, err := manifest.Params.Strategy.NormOfUpdate(manifest.Params.Model, work.Stage.Kind, update)
	if err != nil {
		if counted.err != nil {
			return "", fmt.Errorf("update %s: %w", sub.Update.Digest.Short(), counted.err)
		}
		return clip(err.Error()), nil
	}
	if counted.n != sub.Update.SizeBytes {
		return "", badUpdate.at("/update/size_bytes", "is not the size of what was uploaded")
	}
	if work.Stage.Kind == round.Train && !math.IsInf(norm, 0) {
		sub.Norm = norm
	}
	return "", nil
}

// miscounted says why the counts of an evaluation cannot be added, "" if they
// can or the run asks for none.
func (s *Fleet) miscounted(ctx context.Context, manifest round.Manifest, sub Submission) (string, error) {
	what := manifest.Params.Measurement
	switch {
	case !what.On() && sub.Update.Digest != "":
		return "an evaluation has no update", nil
	case !what.On():
		return "", nil
	case sub.Update.Digest == "":
		return "the counts of the measurement are missing", nil
	case sub.Update.SizeBytes > maxCounts:
		return "the counts of the measurement are too large", nil
	}
	text, err := read(ctx, s.blobs, sub.Update.Digest, maxCounts)
	if errors.Is(err, ErrNotFound) {
		return "", badUpdate.at("/update/digest", "upload the counts first: PUT /blobs/{digest}")
	}
	if err != nil {
		return "", err
	}
	if int64(len(text)) != sub.Update.SizeBytes {
		return "", badUpdate.at("/update/size_bytes", "is not the size of what was uploaded")
	}
	tensors, err := artifact.ReadTensors(bytes.NewReader(text), maxCounts)
	if err != nil {
		return clip(err.Error()), nil
	}
	counts, err := measure.FromTensors(tensors, what.Len())
	if err != nil {
		return err.Error(), nil
	}
	if !measure.Possible(what, counts, sub.Metrics.Evaluated) {
		return "more rows were counted than were evaluated", nil
	}
	return "", nil
}

// maxCounts bounds the counts of an evaluation, with their header.
const maxCounts = 8*round.MaxMeasured + 1<<16

// manifest is what the round was begun with.
func (s *Fleet) manifest(ctx context.Context, work Work) (round.Manifest, error) {
	text, err := read(ctx, s.blobs, work.Manifest.Digest, maxDocument)
	if err != nil {
		return round.Manifest{}, err
	}
	var manifest round.Manifest
	if err := json.Unmarshal(text, &manifest); err != nil {
		return round.Manifest{}, fmt.Errorf("manifest of round %s/%d: %w", work.Stage.Run, work.Stage.Number, err)
	}
	return manifest, nil
}
