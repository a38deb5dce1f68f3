package router

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/artifact"
)

func record(n int) Record {
	return Record{DecisionID: fmt.Sprintf("%032x-%016x", n, n), Tenant: "clinic", Model: "tumour", Region: "eu", Endpoint: "eu-1",
		Manifest: artifact.DigestOf([]byte("m")), Output: artifact.DigestOf([]byte("o")), Snapshot: 9, Policy: 4, Status: 200}
}

func kept(n int) *Record {
	r := record(n)
	return &r
}

func BenchmarkTraceAndAuditHeader(b *testing.B) {
	key, err := loadAuditKey(b.TempDir())
	require.NoError(b, err)
	r := kept(1)
	b.ReportAllocs()
	for b.Loop() {
		s := newSpan("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
		r.DecisionID = s.decision()
		r.Header = key.header(r)
	}
}

func TestAuditHeaderCoversEverythingItStandsFor(t *testing.T) {
	dir := t.TempDir()
	key, err := loadAuditKey(dir)
	require.NoError(t, err)
	again, err := loadAuditKey(dir)
	require.NoError(t, err)
	require.Equal(t, key.secret, again.secret, "the key is kept")
	require.Equal(t, key.id, again.id)
	header := key.header(kept(1))
	require.NoError(t, key.verify(header, kept(1)))

	other, err := loadAuditKey(t.TempDir())
	require.NoError(t, err)
	require.NotEqual(t, key.id, other.id)
	require.ErrorIs(t, other.verify(header, kept(1)), ErrAudit)
	for name, change := range map[string]func(*Record){
		"decision": func(r *Record) { r.DecisionID = record(2).DecisionID },
		"tenant":   func(r *Record) { r.Tenant = "lab" },
		"endpoint": func(r *Record) { r.Endpoint = "us-1" },
		"region":   func(r *Record) { r.Region = "us" },
		"model":    func(r *Record) { r.Manifest = artifact.DigestOf([]byte("n")) },
		"output":   func(r *Record) { r.Output = artifact.DigestOf([]byte("p")) },
		"snapshot": func(r *Record) { r.Snapshot++ },
		"policy":   func(r *Record) { r.Policy++ },
	} {
		changed := record(1)
		change(&changed)
		require.ErrorIs(t, key.verify(header, &changed), ErrAudit, name)
	}
	for _, forged := range []string{"", "v1", header[:len(header)-1], header + "0", strings.Replace(header, "v1", "v2", 1), strings.Replace(header, "region=eu", "region=us", 1)} {
		require.ErrorIs(t, key.verify(forged, kept(1)), ErrAudit, forged)
	}
}

// The vector of docs/protocol/audit-header.md, computed with Python's hmac.
func TestAuditHeaderVector(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, auditKeyFile), []byte("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n"), 0o600))
	key, err := loadAuditKey(dir)
	require.NoError(t, err)
	got := key.header(&Record{DecisionID: "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331", Tenant: "clinic", Endpoint: "eu-1", Region: "eu", Snapshot: 12, Policy: 3,
		Manifest: artifact.DigestOf([]byte("manifest")), Output: artifact.DigestOf([]byte(`{"class":[1],"probabilities":[[0.25,0.75]]}`))})
	document, err := os.ReadFile("../../docs/protocol/audit-header.md")
	require.NoError(t, err)
	require.Contains(t, string(document), "    "+got+"\n")
}

// Every problem has its section in docs/protocol/invoke.md, where its type is
// read, and no section is of a problem that does not exist.
func TestEveryProblemIsDocumented(t *testing.T) {
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	made := map[string]bool{}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, match := range regexp.MustCompile(`code: +"([a-z_]+)"`).FindAllStringSubmatch(string(text), -1) {
			made[match[1]] = true
		}
	}
	document, err := os.ReadFile("../../docs/protocol/invoke.md")
	require.NoError(t, err)
	described := map[string]bool{}
	for _, match := range regexp.MustCompile(`(?m)^### ([a-z_]+)$`).FindAllStringSubmatch(string(document), -1) {
		described[match[1]] = true
	}
	require.Equal(t, made, described)
}

func TestAuditKeyThatOthersCanReadIsRefused(t *testing.T) {
	dir := t.TempDir()
	_, err := loadAuditKey(dir)
	require.NoError(t, err)
	path := filepath.Join(dir, auditKeyFile)
	require.NoError(t, os.Chmod(path, 0o644))
	_, err = loadAuditKey(dir)
	require.ErrorContains(t, err, "only its owner")
	require.NoError(t, os.Chmod(path, 0o600))
	require.NoError(t, os.WriteFile(path, []byte("short"), 0o600))
	_, err = loadAuditKey(dir)
	require.ErrorContains(t, err, "64 hex digits")
	require.NoError(t, os.Remove(path))
	require.NoError(t, os.Symlink("/dev/null", path))
	_, err = loadAuditKey(dir)
	require.ErrorContains(t, err, "only its owner")
}

func TestTraceparent(t *testing.T) {
	const trace, id = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	tests := []struct {
		name, text string
		kept       bool
	}{
		{"kept", "00-" + trace + "-" + id + "-01", true},
		{"a future version with more", "01-" + trace + "-" + id + "-01-what", true},
		{"nothing", "", false},
		{"more in version 00", "00-" + trace + "-" + id + "-01-what", false},
		{"version ff", "ff-" + trace + "-" + id + "-01", false},
		{"upper case", "00-" + strings.ToUpper(trace) + "-" + id + "-01", false},
		{"a trace of zeros", "00-" + strings.Repeat("0", 32) + "-" + id + "-01", false},
		{"a span of zeros", "00-" + trace + "-" + strings.Repeat("0", 16) + "-01", false},
		{"a short trace", "00-" + trace[1:] + "-" + id + "-01", false},
		{"a line break", "00-" + trace + "-" + id + "-0\n", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newSpan(tt.text)
			require.Equal(t, tt.kept, s.trace == trace)
			require.NotEqual(t, id, s.id, "the router's span is its own")
			require.Regexp(t, `^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$`, s.parent)
			require.Regexp(t, decisionID, s.decision())
		})
	}
}
