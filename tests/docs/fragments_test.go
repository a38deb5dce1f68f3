package docs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/tuning"
	"github.com/atom-fabric/fabric/internal/token"
)

// of returns the blocks of a language that stand by themselves.
func of(t *testing.T, language string) []block {
	t.Helper()
	var all []block
	for _, b := range blocks(t) {
		if b.language() == language {
			all = append(all, b)
		}
	}
	require.NotEmpty(t, all, language)
	return all
}

// prelude is what Go on a page may take for granted: a caller, an id, a
// context, and these packages.
const prelude = `package main

import (
	"context"
	"net/http"
	"os"
	"time"

	v1 "github.com/atom-fabric/fabric/api/v1"
)

var _ = []any{os.Getenv, time.Second, http.DefaultClient, v1.New}

func main() {}

func page(ctx context.Context, client *v1.Client, id string) {
%s}
`

// unused is what the compiler says of a snippet that ends before it uses what
// it has declared. Nothing else that it says is let pass.
var unused = regexp.MustCompile(`declared and not used: \w+$`)

// Each block of Go is compiled as the body of a function of a package of this
// module, which lies nowhere but in the compiler's overlay.
func TestGoCompiles(t *testing.T) {
	t.Parallel()
	for i, b := range of(t, "go") {
		require.Equal(t, "", complaints(t, i, b.text()), "%s:%d", b.page, b.line)
	}
	require.Contains(t, complaints(t, 100, `run, err := v1.Fetch[v1.Run](client.GetRuns(ctx, id))`), "client.GetRuns undefined")
}

func complaints(t *testing.T, number int, body string) string {
	t.Helper()
	above, err := filepath.Abs(root)
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "main.go")
	require.NoError(t, os.WriteFile(file, fmt.Appendf(nil, prelude, body), 0o600))
	folder := fmt.Sprintf("tests/docs/page%d", number)
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{filepath.Join(above, folder, "main.go"): file}})
	require.NoError(t, err)
	list := filepath.Join(t.TempDir(), "overlay.json")
	require.NoError(t, os.WriteFile(list, overlay, 0o600))
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", os.DevNull, "-gcflags=-e", "-overlay", list, "./"+folder)
	cmd.Dir = above
	out, err := cmd.CombinedOutput()
	var bad []string
	for line := range strings.SplitSeq(strings.TrimSpace(string(out)), "\n") {
		if line != "" && !strings.HasPrefix(line, "#") && !unused.MatchString(line) {
			bad = append(bad, line)
		}
	}
	if err != nil && len(out) == 0 {
		bad = append(bad, err.Error())
	}
	return strings.Join(bad, "\n")
}

// Python that stands by itself calls the API: a server takes its requests and
// holds each to openapi.yaml.
func TestPythonAsksWhatTheDocumentAllows(t *testing.T) {
	client, err := filepath.Abs(filepath.Join(root, "clients/python"))
	require.NoError(t, err)
	doc := spec(t)
	for _, b := range of(t, "python") {
		asked := 0
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			item := doc.Paths.Value(r.URL.Path)
			if item == nil || item.GetOperation(r.Method) == nil {
				t.Errorf("%s:%d: %s %s is no operation", b.page, b.line, r.Method, r.URL.Path)
				return
			}
			operation := item.GetOperation(r.Method)
			var body any
			if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
				t.Errorf("%s:%d: %v", b.page, b.line, err)
			} else if err := operation.RequestBody.Value.Content["application/json"].Schema.Value.VisitJSON(body); err != nil {
				t.Errorf("%s:%d: %v", b.page, b.line, err)
			}
			asked++
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusAccepted)
			if err := json.NewEncoder(w).Encode(sample("", operation.Responses.Value("202").Value.Content["application/json"].Schema)); err != nil {
				t.Error(err)
			}
		}))
		cmd := exec.CommandContext(t.Context(), "/usr/bin/python3", "-B", "-c", b.text())
		cmd.Env = append(os.Environ(), "PYTHONPATH="+client, "FABRIC_API_URL="+server.URL, "FABRIC_TOKEN=a-token")
		out, err := cmd.CombinedOutput()
		server.Close()
		require.NoError(t, err, "%s:%d: %s", b.page, b.line, out)
		require.Positive(t, asked, "%s:%d asked nothing", b.page, b.line)
	}
}

// JSON is read by page, each as the program would that it is meant for.
func TestJSONIsWhatItIsReadAs(t *testing.T) {
	readers := map[string]func(t *testing.T, text []byte){
		"docs/howto/own-oidc.md":       accessToken,
		"docs/protocol/measurement.md": runRequest,
		"docs/reference/study.md":      studyFile,
	}
	for _, b := range of(t, "json") {
		reader, ok := readers[b.page]
		require.True(t, ok, "%s:%d: nothing says as what this JSON is read", b.page, b.line)
		reader(t, []byte(b.text()))
	}
}

// accessToken signs the claims of the page, and lets the fabric accept them.
func accessToken(t *testing.T, claims []byte) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	b64 := base64.RawURLEncoding.EncodeToString
	signed := b64([]byte(`{"alg":"ES256","typ":"at+jwt","kid":"k"}`)) + "." + b64([]byte(strings.TrimSpace(string(claims))))
	sum := sha256.Sum256([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
	require.NoError(t, err)
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	at := time.Unix(1795435260, 0) // a minute after iat
	got, err := token.NewVerifier(token.StaticKeys{"k": &key.PublicKey}, "https://id.example/realms/fabric", "fabric", func() time.Time { return at }).
		Verify(t.Context(), signed+"."+b64(signature))
	require.NoError(t, err)
	require.Equal(t, "ann", got.Subject)
	require.Equal(t, "hosp-north", got.Tenant)
	require.Equal(t, []string{"data-scientist"}, got.Roles)
}

// runRequest holds the parameters of the page to their schema.
func runRequest(t *testing.T, text []byte) {
	var body struct {
		Params map[string]any `json:"params"`
	}
	require.NoError(t, json.Unmarshal(text, &body))
	require.NotEmpty(t, body.Params)
	require.NoError(t, spec(t).Components.Schemas["RunParams"].Value.VisitJSON(body.Params))
}

// studyFile is read as `fabric simulate --study` does.
func studyFile(t *testing.T, text []byte) {
	study := tuning.Study{Parallel: 1, Repeats: 1}
	require.NoError(t, artifact.DecodeStrict(text, &study))
	require.NoError(t, study.Validate())
	require.Len(t, study.Space, 3)
}

// scraped are the jobs of a Prometheus, and of each the values of label region.
func scraped(t *testing.T, text string) map[string][]string {
	t.Helper()
	var file struct {
		Jobs []struct {
			Name   string `yaml:"job_name"`
			Static []struct {
				Targets []string          `yaml:"targets"`
				Labels  map[string]string `yaml:"labels"`
			} `yaml:"static_configs"`
		} `yaml:"scrape_configs"`
		Rules []string `yaml:"rule_files"`
	}
	require.NoError(t, yaml.Unmarshal([]byte(text), &file))
	require.Equal(t, []string{"rules.yml"}, file.Rules)
	jobs := map[string][]string{}
	for _, job := range file.Jobs {
		for _, target := range job.Static {
			require.Len(t, target.Targets, 1)
			jobs[job.Name] = append(jobs[job.Name], target.Labels["region"])
		}
	}
	return jobs
}

// The targets of the page are those that compose has, by job and region: rules
// and dashboards select by them. That they answer, `make docs` shows.
func TestScrapedJobsAreOurs(t *testing.T) {
	ours := scraped(t, read(t, "infra/prometheus/prometheus.yml"))
	require.Len(t, ours, 4)
	for _, b := range of(t, "yaml") {
		require.Equal(t, "docs/howto/own-prometheus.md", b.page, "line %d: nothing says as what this YAML is read", b.line)
		require.Equal(t, ours, scraped(t, b.text()))
	}
}

// Rules of a page are compiled beside those that ship, and decide.
func TestRulesBesideOursDecide(t *testing.T) {
	modules := []func(*rego.Rego){rego.Query("data.fabric.admission.reasons")}
	files, err := filepath.Glob(filepath.Join(root, "infra/opa/*.rego"))
	require.NoError(t, err)
	for _, name := range files {
		if !strings.HasSuffix(name, "_test.rego") {
			content, err := os.ReadFile(name)
			require.NoError(t, err)
			modules = append(modules, rego.Module(filepath.Base(name), string(content)))
		}
	}
	for _, b := range of(t, "rego") {
		require.Equal(t, "docs/howto/own-opa.md", b.page)
		refuses := func(hour int) bool {
			at := time.Date(2026, 11, 23, hour, 30, 0, 0, time.UTC)
			result, err := rego.New(append(modules, rego.Module("theirs.rego", b.text()), rego.Time(at), rego.Input(map[string]any{}))...).Eval(t.Context())
			require.NoError(t, err)
			require.Len(t, result, 1)
			reasons := fmt.Sprint(result[0].Expressions[0].Value)
			require.Contains(t, reasons, "the request is incomplete", "the rules that ship have their say too")
			return strings.Contains(reasons, "no runs between midnight and six")
		}
		require.True(t, refuses(5))
		require.False(t, refuses(6))
	}
}
