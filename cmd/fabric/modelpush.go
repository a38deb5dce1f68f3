package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	v1 "github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/modelpack"
	"github.com/atom-fabric/fabric/domain/provenance"
)

// pieceSize is how much of a file is sent at once: what the API takes.
const pieceSize = 8 << 20

func newModelPush(a *app) *cobra.Command {
	var weights, card, architecture, keyPath string
	cmd := a.command("push MODEL", "Pack weights, sign the package with your key and send it; goes on where it was cut", cobra.ExactArgs(1), func(c *caller, cmd *cobra.Command, args []string) error {
		if c.tenant == "" {
			return usage(errors.New("name the tenant: --tenant or FABRIC_TENANT"))
		}
		key, done, err := c.signingKey(cmd.Context(), keyPath)
		if err != nil {
			return err
		}
		defer done()
		v, err := c.push(cmd.Context(), key, args[0], architecture, weights, card)
		if err != nil {
			return err
		}
		return c.print(v, func(w *tabwriter.Writer) {
			fmt.Fprintf(w, "MODEL\tVERSION\tPACKAGE\tWEIGHTS\n%s\t%d\t%s\t%s\n", v.ModelID, v.Version, v.Package.Digest, v.Weights.Digest)
		})
	})
	f := cmd.Flags()
	f.StringVar(&weights, "weights", "", "safetensors in canonical form")
	f.StringVar(&card, "card", "", "what people should know of it, a JSON object (default: its names)")
	f.StringVar(&architecture, "architecture", "other", "architecture, for the package's config")
	f.StringVar(&keyPath, "key", "", keyHelp+" (default: COSIGN_KEY_PATH or FABRIC_PKCS11_URI)")
	must(cmd.MarkFlagRequired("weights"))
	return cmd
}

// signingKey opens the key that a flag or a setting names.
func (a *app) signingKey(ctx context.Context, path string) (key crypto.Signer, done func(), err error) {
	if path == "" {
		settings, err := a.config()
		if err != nil {
			return nil, nil, err
		}
		path = cmp.Or(settings.CosignKeyPath, settings.PKCS11URI)
	}
	if path == "" {
		return nil, nil, usage(errors.New("name a key: --key, COSIGN_KEY_PATH or FABRIC_PKCS11_URI"))
	}
	return a.approverKey(ctx, path)
}

// push makes, signs and sends a package.
func (c *caller) push(ctx context.Context, key crypto.Signer, model, architecture, weightsPath, cardPath string) (v1.ModelVersion, error) {
	card, err := c.cardOf(model, cardPath)
	if err != nil {
		return v1.ModelVersion{}, err
	}
	info, err := os.Stat(weightsPath)
	if err != nil {
		return v1.ModelVersion{}, usage(err)
	}
	if err := canonicalWeights(weightsPath, info.Size()); err != nil {
		return v1.ModelVersion{}, err
	}
	show := c.meter("hash", info.Size())
	weights, err := sum(weightsPath, artifact.MediaTypeWeights, show)
	show.end()
	if err != nil {
		return v1.ModelVersion{}, err
	}
	parts, err := c.signPackage(key, model, architecture, weights, card)
	if err != nil {
		return v1.ModelVersion{}, err
	}
	if err := c.sendAhead(ctx, weightsPath, weights); err != nil {
		return v1.ModelVersion{}, err
	}
	var form bytes.Buffer
	w := multipart.NewWriter(&form)
	for _, p := range parts {
		field, err := w.CreateFormFile(p.name, p.name)
		if err == nil {
			_, err = field.Write(p.content)
		}
		if err != nil {
			return v1.ModelVersion{}, err
		}
	}
	if err := w.Close(); err != nil {
		return v1.ModelVersion{}, err
	}
	client, err := c.streaming() // the registry may take its time
	if err != nil {
		return v1.ModelVersion{}, err
	}
	return v1.Fetch[v1.ModelVersion](client.UploadModelWithBody(ctx, &v1.UploadModelParams{Tenant: c.tenant}, w.FormDataContentType(), &form))
}

func (c *caller) cardOf(model, path string) ([]byte, error) {
	if path == "" {
		return artifact.Canonical(map[string]string{"tenant": c.tenant, "model": model})
	}
	text, err := readSmall(path)
	if err != nil {
		return nil, usage(err)
	}
	return text, nil
}

// canonicalWeights refuses before anything is signed or sent what the fabric
// would refuse at the end.
func canonicalWeights(path string, size int64) error {
	f, err := os.Open(path)
	if err != nil {
		return usage(err)
	}
	defer f.Close()
	tensors, err := artifact.NewTensorReader(f)
	if err != nil {
		return usage(fmt.Errorf("%s is not safetensors in canonical form: %w", path, err))
	}
	head, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return err
	}
	if head+tensors.DataBytes() != size {
		return usage(fmt.Errorf("%s: %w", path, artifact.ErrTail))
	}
	return nil
}

// A formPart is a part of the upload.
type formPart struct {
	name    string
	content []byte
}

// signPackage writes the manifest and signs it three times: as a package of
// this model, as a set of files, and as an OCI artifact.
func (c *caller) signPackage(key crypto.Signer, model, architecture string, weights artifact.Descriptor, card []byte) ([]formPart, error) {
	described := artifact.Describe(modelpack.MediaTypeCard, card)
	config, err := modelpack.NewConfig(model, c.tenant, architecture, "float32", weights.Digest, described.Digest)
	if err != nil {
		return nil, err
	}
	manifest, err := modelpack.NewManifest(artifact.Describe(artifact.MediaTypeModel, config), weights, described, nil)
	if err != nil {
		return nil, usage(err)
	}
	parsed, err := modelpack.ParseManifest(manifest)
	if err != nil {
		return nil, err
	}
	pkg, err := artifact.NewStatement(model, artifact.DigestOf(manifest), artifact.PredicateModelPackage,
		provenance.Package{Tenant: c.tenant, Model: model, Weights: weights.Digest})
	if err != nil {
		return nil, err
	}
	files, err := modelpack.FilesStatement(model, parsed.Files())
	if err != nil {
		return nil, err
	}
	signature := artifact.Statement{Name: model, Subject: artifact.DigestOf(manifest), PredicateType: artifact.PredicateSign, Predicate: []byte("{}")}
	parts := []formPart{{"manifest", manifest}}
	for _, s := range []struct {
		name      string
		statement artifact.Statement
	}{{"bundle", pkg}, {"oms", files}, {"signature", signature}} {
		bundle, err := artifact.SignStatement(rand.Reader, key, s.statement)
		if err != nil {
			return nil, err
		}
		parts = append(parts, formPart{s.name, bundle})
	}
	return append(parts, formPart{"config", config}, formPart{"card", card}), nil
}

// sendAhead sends a file in pieces, from where it was cut the last time.
func (c *caller) sendAhead(ctx context.Context, path string, d artifact.Descriptor) error {
	file, err := os.Open(path)
	if err != nil {
		return usage(err)
	}
	defer file.Close()
	show := c.meter("send", d.SizeBytes)
	defer show.end()
	kept, err := c.piece(ctx, d, -1, nil)
	if err != nil {
		return err
	}
	show.add(kept)
	buffer := make([]byte, pieceSize)
	for tries := 0; kept < d.SizeBytes; {
		n, err := file.ReadAt(buffer, kept)
		if err != nil && !errors.Is(err, io.EOF) || n == 0 {
			return fmt.Errorf("%s has changed while it was sent: %w", path, errors.Join(err, io.ErrUnexpectedEOF))
		}
		next, err := c.piece(ctx, d, kept, buffer[:n])
		if err != nil {
			if tries++; tries > 5 || ctx.Err() != nil || !passing(err) {
				return err
			}
			if err := wait(ctx, time.Duration(tries)*time.Second); err != nil {
				return err
			}
			if next, err = c.piece(ctx, d, -1, nil); err != nil {
				continue
			}
		} else {
			tries = 0
		}
		show.add(next - kept)
		kept = next
	}
	return nil
}

// passing says whether what failed may go well the next time.
func passing(err error) bool {
	var p *v1.ProblemError
	if !errors.As(err, &p) {
		return true // the connection
	}
	return p.Status == http.StatusServiceUnavailable || p.Status == http.StatusTooManyRequests || p.Code == "upload_in_progress" || p.Code == "wrong_offset"
}

func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// piece sends a piece, or with none asks, and returns how much is kept.
func (c *caller) piece(ctx context.Context, d artifact.Descriptor, first int64, content []byte) (int64, error) {
	span := fmt.Sprintf("bytes */%d", d.SizeBytes)
	if content != nil {
		span = fmt.Sprintf("bytes %d-%d/%d", first, first+int64(len(content))-1, d.SizeBytes)
	}
	resp, err := c.PutModelFileWithBody(ctx, string(d.Digest), &v1.PutModelFileParams{Tenant: c.tenant}, "application/octet-stream", bytes.NewReader(content),
		func(_ context.Context, req *http.Request) error {
			req.Header.Set("Content-Range", span)
			return nil
		})
	body, err := v1.Stream(resp, err)
	if err != nil {
		return 0, err
	}
	defer body.Close()
	if _, err := io.Copy(io.Discard, io.LimitReader(body, 1<<20)); err != nil { // so that the connection is used again
		return 0, err
	}
	if resp.StatusCode == http.StatusCreated {
		return d.SizeBytes, nil
	}
	_, last, ok := strings.Cut(resp.Header.Get("Range"), "-")
	if !ok {
		return 0, nil
	}
	n, err := strconv.ParseInt(last, 10, 64)
	if err != nil || n >= d.SizeBytes {
		return 0, fmt.Errorf("%w: Range %q", v1.ErrAnswer, resp.Header.Get("Range"))
	}
	return n + 1, nil
}
