//go:build conformance

package main

import (
	"crypto/ecdsa"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/approval"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/internal/hsm"
)

// A person whose key is in a token votes with it: the vote verifies with the
// token's public key, and the PIN is shown nowhere.
func TestConformanceAnApproverVotesWithAToken(t *testing.T) {
	module := os.Getenv("SOFTHSM_MODULE")
	if module == "none" {
		t.Log("left out of this run: softhsm")
		return
	}
	require.FileExists(t, module, "SOFTHSM_MODULE must name SoftHSM's library (Debian: softhsm2)")
	d := newDesk(t)
	t.Setenv("SOFTHSM2_CONF", d.write("softhsm2.conf", "directories.tokendir = "+d.dir+"\nobjectstore.backend = file\nlog.level = ERROR\n"))
	out, err := exec.Command("softhsm2-util", "--init-token", "--free", "--label", "bob", "--so-pin", "1234", "--pin", "hvs.hush").CombinedOutput()
	require.NoError(t, err, "%s", out)
	uri := "pkcs11:token=bob;object=vote?module-path=" + module
	key, err := hsm.Generate(uri, "hvs.hush")
	require.NoError(t, err)
	public := key.Public()
	require.NoError(t, key.Close())

	deployment := artifact.DigestOf([]byte("deployment"))
	vote := []string{"approve", "--deployment", string(deployment), "--as", "bob", "--key"}
	bundle := d.with("COSIGN_PKCS11_PIN=hvs.hush").ok(append(vote, uri)...)
	verified, err := artifact.VerifyBundle([]*ecdsa.PublicKey{public}, []byte(bundle), artifact.PredicateApproval, deployment)
	require.NoError(t, err)
	var said approval.Predicate
	require.NoError(t, artifact.DecodeStrict(verified.Predicate, &said))
	require.Equal(t, "bob", said.Approver)

	require.NotEmpty(t, d.ok(append(vote, uri+"&pin-source=file:"+d.write("pin", "hvs.hush\n"))...), "the PIN may be in a file")
	d.with("COSIGN_PKCS11_PIN=0000").fails(exitUsage, "PKCS#11", append(vote, uri)...)
	d.with("COSIGN_PKCS11_PIN=hvs.hush").fails(exitUsage, "no such key pair", append(vote, "pkcs11:token=bob;object=other?module-path="+module)...)
}
