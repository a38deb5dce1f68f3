package apitest

import (
	"context"
	"io"

	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/domain/artifact"
)

type uploads struct{ f *Fabric }

func (p uploads) Resume(_ context.Context, u api.Upload) (int64, error) {
	leave, err := p.f.enter()
	defer leave()
	return int64(len(p.f.pieces[u])), err
}

func (p uploads) Append(_ context.Context, u api.Upload, first int64, content io.Reader) (int64, error) {
	text, err := io.ReadAll(io.LimitReader(content, u.SizeBytes-first))
	if err != nil {
		return 0, err
	}
	leave, err := p.f.enter()
	defer leave()
	kept := p.f.pieces[u]
	switch {
	case err != nil:
		return 0, err
	case int64(len(kept)) == u.SizeBytes:
		return u.SizeBytes, nil
	case int64(len(kept)) != first:
		return int64(len(kept)), api.ErrOffset
	}
	kept = append(kept, text...)
	if int64(len(kept)) == u.SizeBytes {
		if artifact.DigestOf(kept) != u.Digest {
			delete(p.f.pieces, u)
			return 0, artifact.ErrContent
		}
		p.f.Keep(u.MediaType, kept)
	}
	if p.f.pieces == nil {
		p.f.pieces = map[api.Upload][]byte{}
	}
	p.f.pieces[u] = kept
	return int64(len(kept)), nil
}
