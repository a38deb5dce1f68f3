package main

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/internal/logkey"
)

// What is wrong with how a pack is to be verified is said before, or without,
// anybody being asked; nothing is written.
func TestPacksThatCannotBeLookedAt(t *testing.T) {
	d := council(t).with("FABRIC_API_URL=http://127.0.0.1:1")
	d = d.without("FABRIC_TRUST_POLICY").without("COSIGN_KEY_PATH")
	trusting := d.with("FABRIC_TRUST_KEY=" + d.path("fabric.pub"))
	_, err := logkey.Generate(d.path("log.key"), "fabric.example/log")
	require.NoError(t, err)
	whole := trusting.with("FABRIC_LOG_VERIFIER=" + d.path("log.pub"))
	junk := d.write("junk.zip", "PK\x03\x04 and no more")
	header := "v1;did=" + strings.Repeat("a", 32) + "-" + strings.Repeat("b", 16) + ";region=eu;model=" + string(artifact.DigestOf(nil)) + ";snapshot=3;policy=1;mac=x"
	tests := []struct {
		name   string
		desk   *desk
		status int
		says   string
		args   []string
	}{
		{"a pack that is not there", whole, exitUsage, "none.zip", []string{"verify", d.path("none.zip")}},
		{"a folder", whole, exitUsage, "directory", []string{"verify", d.dir}},
		{"nobody to trust", d, exitUsage, "FABRIC_TRUST_POLICY", []string{"verify", junk}},
		{"no key of the log", trusting, exitUsage, "FABRIC_LOG_VERIFIER", []string{"verify", junk}},
		{"a key of the log that is none", trusting.with("FABRIC_LOG_VERIFIER=" + d.path("fabric.pub")), exitUsage, "FABRIC_LOG_VERIFIER", []string{"verify", junk}},
		{"a pack that is none", whole, exitFailure, ErrChain.Error(), []string{"verify", junk}},
		{"an output that nobody knows", whole, exitUsage, "--output", []string{"verify", junk, "-o", "xml"}},
		{"the pack of a promotion, of nobody", whole, exitUnavailable, "is the fabric running", []string{"evidence", "promotion-1", "-f", d.path("out.zip")}},
		{"an answer by its id, offline", whole, exitUsage, "no audit header", []string{"trace", strings.Repeat("a", 32) + "-" + strings.Repeat("b", 16), "--evidence", junk}},
		{"a model, offline", whole, exitUsage, "no audit header", []string{"trace", "tumour@1", "--evidence", junk}},
		{"a header of another version", whole, exitUsage, "version 1", []string{"trace", strings.Replace(header, "v1", "v2", 1), "--evidence", junk}},
		{"a header without its package", whole, exitUsage, "audit header", []string{"trace", strings.Replace(header, "model=sha256:", "model=", 1), "--evidence", junk}},
		{"a header with a snapshot that is no number", whole, exitUsage, "audit header", []string{"trace", strings.Replace(header, "snapshot=3", "snapshot=x", 1), "--evidence", junk}},
		{"a header and no pack", whole, exitUsage, "none.zip", []string{"trace", header, "--evidence", d.path("none.zip")}},
		{"a header and a pack that is none", whole, exitFailure, ErrChain.Error(), []string{"trace", header, "--evidence", junk}},
		{"a version that is no number", whole, exitUsage, "a version is a number", []string{"trace", "tumour@x"}},
		{"a version below 1", whole, exitUsage, "a version is a number", []string{"trace", "tumour@0"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.desk.fails(tt.status, tt.says, tt.args...)
			_, err := os.Stat(d.path("out.zip"))
			require.ErrorIs(t, err, os.ErrNotExist)
		})
	}
}
