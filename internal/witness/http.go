package witness

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/audit"
	"github.com/atom-fabric/fabric/internal/config"
)

// longest answer: a report with its evidence.
const longest = 1 << 20

// A Gateway is the log behind a control plane's API.
type Gateway struct {
	URL    string
	Token  config.Secret // with the role data-plane; empty on loopback in simulation
	Client *http.Client
}

// Checkpoint implements [Log].
func (g Gateway) Checkpoint(ctx context.Context) (string, error) {
	text, status, err := g.get(ctx, "/audit/checkpoint", "text/plain")
	if err == nil && status == http.StatusNotFound {
		err = ErrUnsigned
	}
	return string(text), answered(err, status)
}

// Step implements [Log].
func (g Gateway) Step(ctx context.Context, from, to int64) (audit.Step, error) {
	text, status, err := g.get(ctx, "/audit/consistency?from="+strconv.FormatInt(from, 10)+"&to="+strconv.FormatInt(to, 10), "application/json")
	if err == nil && status == http.StatusNotFound {
		err = ErrBehind
	}
	if err := answered(err, status); err != nil {
		return audit.Step{}, err
	}
	var said struct {
		FromRoot artifact.Digest   `json:"from_root"`
		Hashes   []artifact.Digest `json:"hashes"`
	}
	if err := json.Unmarshal(text, &said); err != nil {
		return audit.Step{}, ErrAnswer
	}
	step := audit.Step{Hashes: make([]audit.Hash, len(said.Hashes))}
	if step.Root, err = audit.HashOf(said.FromRoot); err != nil {
		return audit.Step{}, fmt.Errorf("%w: %w", ErrAnswer, err)
	}
	for i, d := range said.Hashes {
		if step.Hashes[i], err = audit.HashOf(d); err != nil {
			return audit.Step{}, fmt.Errorf("%w: %w", ErrAnswer, err)
		}
	}
	return step, nil
}

func (g Gateway) get(ctx context.Context, path, accept string) ([]byte, int, error) {
	return get(ctx, g.Client, strings.TrimRight(g.URL, "/")+path, accept, g.Token)
}

// A Remote is another region's witness at its base URL.
type Remote struct {
	Region string
	URL    string
	Client *http.Client
}

// Path is where a witness tells its report.
const Path = "/audit/witness"

// Report implements [Peer].
func (r Remote) Report(ctx context.Context) (Report, error) {
	text, status, err := get(ctx, r.Client, strings.TrimRight(r.URL, "/")+Path, "application/json", "")
	if err := answered(err, status); err != nil {
		return Report{}, err
	}
	var report Report
	if err := json.Unmarshal(text, &report); err != nil || report.Region != r.Region {
		return Report{}, fmt.Errorf("not the report of region %s: %w", r.Region, ErrAnswer)
	}
	return report, nil
}

// ServeHTTP tells the report. It holds hashes and signatures only.
func (w *Witness) ServeHTTP(out http.ResponseWriter, _ *http.Request) {
	text, err := json.Marshal(w.Report())
	if err != nil {
		http.Error(out, "the report cannot be written", http.StatusInternalServerError)
		return
	}
	out.Header().Set("Content-Type", "application/json")
	out.Header().Set("Cache-Control", "no-store")
	_, _ = out.Write(text) // who hung up needs no answer
}

func get(ctx context.Context, client *http.Client, url, accept string, token config.Secret) ([]byte, int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, 0, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	req.Header.Set("Accept", accept)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token.Reveal())
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, 0, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, longest+1))
	if err != nil || len(text) > longest {
		return nil, 0, fmt.Errorf("%w: the answer is cut or too long", ErrUnreachable)
	}
	return text, resp.StatusCode, nil
}

// answered makes an error of a status that says no.
func answered(err error, status int) error {
	if err == nil && status != http.StatusOK {
		return fmt.Errorf("%w: status %d", ErrUnreachable, status)
	}
	return err
}
