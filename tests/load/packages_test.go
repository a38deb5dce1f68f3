//go:build bench

package load

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"mime/multipart"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/modelpack"
	"github.com/atom-fabric/fabric/domain/provenance"
	"github.com/atom-fabric/fabric/internal/cosign"
	"github.com/atom-fabric/fabric/internal/demo"
	"github.com/atom-fabric/fabric/tests/harness"
)

// packageBytes is the size of the weights, and how often each way is measured.
const (
	packageBytes = 1 << 30
	packageRuns  = 2 // with weights of their own
	packageReads = 3 // of each of them, in turn
)

// The bounds that the product promises on two cores.
const (
	shareOfRegistry = 0.5
	serverKiB       = 128 << 10
	verifyKiB       = 64 << 10
)

// TestPackages measures a package of 1 GiB on its way in and out, beside the
// same bytes through the bare registry in the same run, and its verification.
// Each is done more than once and the least counts; memory is the most that a
// process ever had.
func TestPackages(t *testing.T) {
	s := harness.Up(t, harness.State(t), harness.FreeBase(t))
	b := &packageBench{t: t, s: s, dir: harness.State(t), token: s.Token(t, demo.Consortium, "mira", "data-scientist", "operator", "admin"),
		served: map[string]func() footprint{}, peaks: map[string]footprint{}}
	b.signer = b.key()
	children := s.Children(t)
	for _, name := range []string{"api", "registry"} {
		ended, peak := make(chan struct{}), make(chan footprint)
		go func() { peak <- watched(children[name], ended) }()
		b.served[name] = sync.OnceValue(func() footprint { close(ended); return <-peak })
	}
	var registryIn, registryOut, in, out, resumed, pulled, verified, started, hashed time.Duration
	for i := range packageRuns {
		b.make(uint64(i))
		hashed = least(hashed, b.hash())
		registryIn = least(registryIn, b.registryPut())
		bare := b.d.Digest
		in = least(in, b.upload())
		for range packageReads { // in turn, so that what else the machine does is alike for both
			registryOut = least(registryOut, b.registryGet(bare))
			out = least(out, b.download())
			hashed = least(hashed, b.hash())
		}
	}
	b.make(99)
	resumed = b.cli("push", "model", "push", "bench-pieces", "--tenant", demo.Consortium, "--weights", b.weights, "--key", b.s.Path("keys", "fabric.key"))
	folder := filepath.Join(b.dir, "pulled")
	pulled = b.cli("pull", "model", "pull", "bench-pieces", "--dir", folder)
	for range 3 {
		verified = least(verified, b.cli("verify", "model", "verify", folder))
		started = least(started, b.cli("version", "--version"))
		hashed = least(hashed, b.hash())
	}
	api, registry := b.served["api"](), b.served["registry"]()

	var r strings.Builder
	fmt.Fprintf(&r, "# Packages\n\n- command: `go test -tags bench -count=1 -timeout 30m -run TestPackages ./tests/load`\n- machine: %s\n- weights: %d MiB; least of %d sent and of %d fetched, in turn; push and pull once\n\n", harness.Describe(t), packageBytes>>20, packageRuns, packageRuns*packageReads)
	fmt.Fprintf(&r, "| what | s | MB/s | of the bare registry | bound |\n|---|---|---|---|---|\n")
	row := func(what string, took, base time.Duration, bound string) {
		share := ""
		if base > 0 {
			share = fmt.Sprintf("%.2f", base.Seconds()/took.Seconds())
		}
		fmt.Fprintf(&r, "| %s | %.2f | %.0f | %s | %s |\n", what, took.Seconds(), packageBytes/took.Seconds()/1e6, share, bound)
	}
	row("SHA-256 of the file, in this process", hashed, 0, "")
	row("bare registry: POST, PUT", registryIn, 0, "")
	row("`POST /models/upload`, to the version", in, registryIn, "0.50")
	row("`fabric model push`: hash, pieces of 8 MiB, to the version", resumed, registryIn, "")
	row("bare registry: GET, hashed by the client", registryOut, 0, "")
	row("`GET /models/{id}/download`, hashed by the client", out, registryOut, "0.50")
	row("`fabric model pull`", pulled, registryOut, "")
	row("`fabric model verify`", verified, 0, "")
	fmt.Fprintf(&r, "\nSHA-256 is %.0f %% of the time that `fabric model verify` takes, and the start of the program %.2f s.\n", 100*hashed.Seconds()/verified.Seconds(), started.Seconds())
	fmt.Fprintf(&r, "\n| process | peak resident, MiB | of that its own, MiB | bound |\n|---|---|---|---|\n")
	of := func(name string, f footprint, bound string) {
		fmt.Fprintf(&r, "| %s | %.0f | %.0f | %s |\n", name, float64(f.resident)/1024, float64(f.own)/1024, bound)
	}
	of("api", api, "128 resident")
	of("registry", registry, "128 resident")
	of("`fabric model push`", b.peaks["push"], "")
	of("`fabric model pull`", b.peaks["pull"], "")
	of("`fabric model verify`", b.peaks["verify"], "64 its own")
	of("`fabric --version`", b.peaks["version"], "")
	fmt.Fprint(&r, "\nResident is VmHWM. Its own is RssAnon, the greatest of samples 10 ms apart; the rest are pages of the program file, which all its processes share and the kernel "+
		"takes back when it needs them. How many it maps around each one that is touched depends on how the file lies in its cache, and the "+
		"initialisation of a thousand packages touches most of the file before `main` begins: the last line is the least that any command of this program can have.\n")
	write(t, "packages.md", r.String())
	t.Logf("\n%s", r.String())

	require.GreaterOrEqual(t, registryIn.Seconds()/in.Seconds(), shareOfRegistry, "upload")
	require.GreaterOrEqual(t, registryOut.Seconds()/out.Seconds(), shareOfRegistry, "download")
	require.LessOrEqual(t, api.resident, serverKiB)
	require.LessOrEqual(t, registry.resident, serverKiB)
	require.LessOrEqual(t, b.peaks["verify"].own, verifyKiB)
}

func least(before, now time.Duration) time.Duration {
	if before == 0 {
		return now
	}
	return min(before, now)
}

type packageBench struct {
	t        *testing.T
	s        *harness.System
	dir      string
	token    string
	password string
	signer   *cosign.Signer
	weights  string
	d        artifact.Descriptor
	model    string
	served   map[string]func() footprint // by process of the system; ends the watch
	peaks    map[string]footprint        // by command
}

// key is the system's own, which its verifier trusts.
func (b *packageBench) key() *cosign.Signer {
	password, err := os.ReadFile(b.s.Path("secrets", "cosign.password"))
	require.NoError(b.t, err)
	b.password = strings.TrimSpace(string(password))
	signer, err := cosign.LoadSigner(b.s.Path("keys", "fabric.key"), func() ([]byte, error) { return []byte(b.password), nil })
	require.NoError(b.t, err)
	return signer
}

// make writes weights that nobody has seen, so that nothing is there before.
func (b *packageBench) make(seed uint64) {
	b.model, b.weights = fmt.Sprintf("bench-%d", seed), filepath.Join(b.dir, "weights.safetensors")
	f, err := os.Create(b.weights)
	require.NoError(b.t, err)
	defer f.Close()
	const elements = (packageBytes - 4096) / 4
	hash := sha256.New()
	w, err := artifact.NewTensorWriter(io.MultiWriter(f, hash), []artifact.TensorInfo{{Name: "w", DType: artifact.F32, Shape: []int{elements}}})
	require.NoError(b.t, err)
	source := rand.NewChaCha8([32]byte{byte(seed)})
	_, err = io.CopyBuffer(struct{ io.Writer }{w}, io.LimitReader(source, 4*elements), make([]byte, 1<<20))
	require.NoError(b.t, err)
	require.NoError(b.t, w.Close())
	require.NoError(b.t, f.Sync())
	info, err := f.Stat()
	require.NoError(b.t, err)
	b.d = artifact.Descriptor{Digest: artifact.Digest("sha256:" + hex.EncodeToString(hash.Sum(nil))), SizeBytes: info.Size(), MediaType: artifact.MediaTypeWeights}
}

func (b *packageBench) hash() time.Duration {
	f, err := os.Open(b.weights)
	require.NoError(b.t, err)
	defer f.Close()
	began := time.Now()
	_, err = io.CopyBuffer(struct{ io.Writer }{sha256.New()}, struct{ io.Reader }{f}, make([]byte, 256<<10))
	require.NoError(b.t, err)
	return time.Since(began)
}

// send sends a body of a file, between what comes before and after it.
func (b *packageBench) send(req *http.Request, want int) []byte {
	b.t.Helper()
	resp, err := http.DefaultClient.Do(req)
	require.NoError(b.t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	require.NoError(b.t, err)
	require.Equal(b.t, want, resp.StatusCode, "%s", text)
	return text
}

func (b *packageBench) registryPut() time.Duration {
	f, err := os.Open(b.weights)
	require.NoError(b.t, err)
	defer f.Close()
	began := time.Now()
	start, err := http.Post(b.s.Registry()+"/v2/bench/bare/blobs/uploads/", "", nil)
	require.NoError(b.t, err)
	start.Body.Close()
	require.Equal(b.t, http.StatusAccepted, start.StatusCode)
	req, err := http.NewRequestWithContext(b.t.Context(), http.MethodPut, b.s.Registry()+start.Header.Get("Location")+"?digest="+string(b.d.Digest), f)
	require.NoError(b.t, err)
	req.ContentLength = b.d.SizeBytes
	b.send(req, http.StatusCreated)
	return time.Since(began)
}

func (b *packageBench) get(url string, digest artifact.Digest) time.Duration {
	began := time.Now()
	req, err := http.NewRequestWithContext(b.t.Context(), http.MethodGet, url, nil)
	require.NoError(b.t, err)
	req.Header.Set("Authorization", "Bearer "+b.token)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(b.t, err)
	defer resp.Body.Close()
	require.Equal(b.t, http.StatusOK, resp.StatusCode)
	_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, artifact.Expect(resp.Body, digest), make([]byte, 256<<10))
	require.NoError(b.t, err)
	return time.Since(began)
}

func (b *packageBench) registryGet(digest artifact.Digest) time.Duration {
	return b.get(b.s.Registry()+"/v2/bench/bare/blobs/"+string(digest), digest)
}

func (b *packageBench) download() time.Duration {
	return b.get(b.s.Gateway()+"/models/"+b.model+"/download", b.d.Digest)
}

// upload sends one form, with weights of which the registry has nothing yet.
func (b *packageBench) upload() time.Duration {
	b.renew()
	card := []byte(fmt.Sprintf(`{"model":%q}`, b.model))
	config, err := modelpack.NewConfig(b.model, demo.Consortium, "other", "float32", b.d.Digest, artifact.DigestOf(card))
	require.NoError(b.t, err)
	manifest, err := modelpack.NewManifest(artifact.Describe("", config), b.d, artifact.Describe("", card), nil)
	require.NoError(b.t, err)
	parsed, err := modelpack.ParseManifest(manifest)
	require.NoError(b.t, err)
	pkg, err := artifact.NewStatement(b.model, artifact.DigestOf(manifest), artifact.PredicateModelPackage,
		provenance.Package{Tenant: demo.Consortium, Model: b.model, Weights: b.d.Digest})
	require.NoError(b.t, err)
	files, err := modelpack.FilesStatement(b.model, parsed.Files())
	require.NoError(b.t, err)
	signature := artifact.Statement{Name: b.model, Subject: artifact.DigestOf(manifest), PredicateType: artifact.PredicateSign, Predicate: json.RawMessage("{}")}

	var head, tail bytes.Buffer
	form := multipart.NewWriter(&head)
	part := func(name string, content []byte) {
		w, err := form.CreateFormField(name)
		require.NoError(b.t, err)
		_, err = w.Write(content)
		require.NoError(b.t, err)
	}
	part("manifest", manifest)
	for _, s := range []struct {
		name string
		what artifact.Statement
	}{{"bundle", pkg}, {"oms", files}, {"signature", signature}} {
		payload, err := s.what.Encode()
		require.NoError(b.t, err)
		bundle, err := b.signer.Sign(b.t.Context(), payload)
		require.NoError(b.t, err)
		part(s.name, bundle)
	}
	part("config", config)
	part("weights", nil)
	fmt.Fprintf(&tail, "\r\n--%s\r\nContent-Disposition: form-data; name=\"card\"\r\n\r\n%s\r\n--%s--\r\n", form.Boundary(), card, form.Boundary())
	f, err := os.Open(b.weights)
	require.NoError(b.t, err)
	defer f.Close()
	size := int64(head.Len()) + b.d.SizeBytes + int64(tail.Len())
	began := time.Now()
	req, err := http.NewRequestWithContext(b.t.Context(), http.MethodPost, b.s.Gateway()+"/models/upload", io.MultiReader(&head, f, &tail))
	require.NoError(b.t, err)
	req.ContentLength = size
	req.Header.Set("Content-Type", form.FormDataContentType())
	req.Header.Set("Authorization", "Bearer "+b.token)
	req.Header.Set("Idempotency-Key", b.model)
	b.send(req, http.StatusCreated)
	return time.Since(began)
}

// renew changes the last element: the bare registry has the weights as they
// were, and would not be sent them again.
func (b *packageBench) renew() {
	f, err := os.OpenFile(b.weights, os.O_RDWR, 0)
	require.NoError(b.t, err)
	defer f.Close()
	_, err = f.WriteAt([]byte{1, 2, 3, 4}, b.d.SizeBytes-4)
	require.NoError(b.t, err)
	hash := sha256.New()
	_, err = io.CopyBuffer(struct{ io.Writer }{hash}, struct{ io.Reader }{f}, make([]byte, 256<<10))
	require.NoError(b.t, err)
	b.d.Digest = artifact.Digest("sha256:" + hex.EncodeToString(hash.Sum(nil)))
}

// cli runs the program and notes its peak.
func (b *packageBench) cli(name string, args ...string) time.Duration {
	cmd := exec.CommandContext(context.WithoutCancel(b.t.Context()), filepath.Join(harness.Programs(b.t), "fabric"), args...)
	cmd.Env = []string{"HOME=" + b.dir, "PATH=/usr/bin:/bin", "FABRIC_STATE_DIR=" + b.s.State, "FABRIC_API_URL=" + b.s.Gateway(), "FABRIC_TOKEN=" + b.token, "COSIGN_PASSWORD=" + b.password,
		"FABRIC_TRUST_KEY=" + b.s.Path("keys", "fabric.pub")}
	var text bytes.Buffer
	cmd.Stdout, cmd.Stderr = &text, &text
	began := time.Now()
	require.NoError(b.t, cmd.Start())
	ended, peak := make(chan struct{}), make(chan footprint)
	go func() { peak <- watched(cmd.Process.Pid, ended) }()
	err := cmd.Wait()
	took := time.Since(began)
	close(ended)
	most := <-peak
	require.NoError(b.t, err, "%s", text.String())
	b.peaks[name] = b.peaks[name].most(most)
	return took
}

// A footprint is memory in KiB.
type footprint struct {
	resident int // VmHWM: the most that was ever there
	own      int // RssAnon: what is of no file
}

func (f footprint) most(g footprint) footprint {
	return footprint{max(f.resident, g.resident), max(f.own, g.own)}
}

// watched returns the most that a process was seen with before the watch or it
// ended. What wait4 reports would count the memory of this process too, whose
// child it was before it became another program.
func watched(pid int, ended <-chan struct{}) (most footprint) {
	for {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err == nil && strings.HasPrefix(string(text), "Name:\tfabric\n") {
			var now footprint
			for _, line := range harness.Lines(string(text)) {
				name, value, _ := strings.Cut(line, ":")
				n, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(value), " kB"))
				switch {
				case err != nil:
				case name == "VmHWM":
					now.resident = n
				case name == "RssAnon":
					now.own = n
				}
			}
			most = most.most(now)
		}
		select {
		case <-ended:
			return most
		case <-time.After(10 * time.Millisecond):
		}
	}
}
