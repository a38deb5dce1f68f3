package integration

import (
	"crypto/ecdsa"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/consent"
	"github.com/atom-fabric/fabric/examples/tumour"
	"github.com/atom-fabric/fabric/internal/demo"
	"github.com/atom-fabric/fabric/tests/harness"
)

// leaver is who withdraws. Its region has another hospital, so that its update
// waits for that one's and is not summed alone.
const leaver = "hosp-north"

// TestWithdrawal withdraws consent in the middle of a round, with the whole
// system running, in the open and behind masks. That nothing of the hospital is
// in the weights is proved by computing them again: a run that the hospital was
// never in, with the same seed, gives the same weights to the bit.
func TestWithdrawal(t *testing.T) {
	s := harness.Up(t, harness.State(t), harness.FreeBase(t))
	for _, tt := range []struct {
		name, mode string
	}{{"in the open", "off"}, {"behind masks", "on"}} {
		t.Run(tt.name, func(t *testing.T) {
			s.Consent(t) // what the run before has withdrawn is granted anew
			lead := s.Lead(t)
			request := harness.Request(1)
			request.Params.Secure.Mode = v1.SecureMode(tt.mode)
			request.Params.Quorum = 3
			for range tumour.Inputs { // public bounds: no statistics before the first train round
				request.Params.Bounds = append(request.Params.Bounds, []float64{0, 1000})
			}
			// A hospital of the same region is made to wait, so that the stage stays open.
			held := sitesOf(t, s, sibling())
			for _, pid := range held {
				require.NoError(t, syscall.Kill(pid, syscall.SIGSTOP))
			}
			resumed := false
			resume := func() {
				for _, pid := range held {
					_ = syscall.Kill(pid, syscall.SIGCONT) // it may be gone when the test has failed
				}
				resumed = true
			}
			defer func() {
				if !resumed {
					resume()
				}
			}()
			id := s.Train(t, lead, request)
			steward := s.Person(t, leaver, "steward", "operator", "admin")
			// The preview says when the update has come: it would be dropped.
			require.Eventually(t, func() bool {
				w, err := v1.Fetch[v1.Withdrawal](steward.WithdrawGrants(t.Context(), &v1.WithdrawGrantsParams{}, v1.WithdrawalRequest{FeatureID: demo.Feature, Grantees: []string{demo.Consortium}}))
				require.NoError(t, err)
				require.True(t, w.Preview)
				e := effects(t, w, id)
				return len(e) == 1 && (e[0].Action == consent.Dropped || tt.mode == "on" && e[0].Stage == "advertise")
			}, time.Minute, 100*time.Millisecond, "the hospital did not answer")
			time.Sleep(time.Second) // behind masks: until the hospital has shown its keys, most likely

			began := time.Now()
			w, err := v1.Fetch[v1.Withdrawal](steward.WithdrawGrants(t.Context(), &v1.WithdrawGrantsParams{},
				v1.WithdrawalRequest{FeatureID: demo.Feature, Grantees: []string{demo.Consortium}, Reason: "a patient asked", Apply: true}))
			require.NoError(t, err)
			require.Eventually(t, func() bool {
				w, err = v1.Fetch[v1.Withdrawal](steward.GetWithdrawal(t.Context(), w.Epoch, &v1.GetWithdrawalParams{}))
				require.NoError(t, err)
				return !w.ReportedAt.IsZero()
			}, 30*time.Second, 50*time.Millisecond, "no report")
			took := time.Since(began)
			done := effects(t, w, id)
			require.Len(t, done, 1, "%s", w.Report)
			if tt.mode == "off" {
				require.Equal(t, consent.Dropped, done[0].Action)
			}
			latency := done[0].At.Sub(w.WithdrawnAt)
			require.Less(t, latency, 5*time.Second, "from the commit to the effect in the round")
			t.Logf("withdrawal took effect after %s, its signed report was there after %s", latency, took)

			resume()
			run := harness.Watch(t, lead, id, 2*time.Minute, func(r v1.Run) bool {
				return len(r.Rounds) > 0 && r.Rounds[0].Status == "closed"
			})
			without := request
			without.Tenants = nil
			for _, h := range tumour.Split() {
				if h.Tenant != leaver {
					without.Tenants = append(without.Tenants, h.Tenant)
				}
			}
			again := harness.Watch(t, lead, s.Train(t, lead, without), 2*time.Minute, func(r v1.Run) bool {
				return len(r.Rounds) > 0 && r.Rounds[0].Status == "closed"
			})
			require.Equal(t, again.Rounds[0].Weights, run.Rounds[0].Weights, "the weights are those of a run that the hospital was never in")

			// The report is signed, and says to everybody what it says to us.
			key, err := os.ReadFile(s.Path("keys", "fabric.pub"))
			require.NoError(t, err)
			public, err := artifact.ParsePublicKey(key)
			require.NoError(t, err)
			verified, err := artifact.VerifyBundle([]*ecdsa.PublicKey{public}, []byte(w.Bundle), artifact.PredicateWithdrawal, artifact.DigestOf([]byte(w.Report)))
			require.NoError(t, err)
			require.JSONEq(t, string(w.Report), string(verified.Predicate))
			require.Contains(t, w.Markdown, id)
			out, status := s.Fabric(t, s.Token(t, leaver, "steward", "operator", "admin"), "consent", "list")
			require.Zero(t, status, out)
			require.Contains(t, out, "WITHDRAWN")
			out, status = s.Fabric(t, s.Token(t, demo.Consortium, "mira", "data-scientist", "operator", "admin"), "lineage", id)
			require.Zero(t, status, out)
			require.Contains(t, out, `"eventType":"COMPLETE"`)
			require.Contains(t, out, `"fabric_consent"`)
			settle(t, lead, again.ID)
		})
	}
}

// settle waits until a run is over, however it ends, so that the next one does
// not compete with it.
func settle(t *testing.T, lead *v1.Client, id string) {
	require.Eventually(t, func() bool {
		run, err := v1.Fetch[v1.Run](lead.GetRun(t.Context(), id, &v1.GetRunParams{}))
		return err == nil && run.EndedAt != run.CreatedAt && !run.EndedAt.IsZero()
	}, 2*time.Minute, 200*time.Millisecond)
}

// sibling is another hospital of the leaver's region.
func sibling() string {
	region := ""
	for _, h := range tumour.Split() {
		if h.Tenant == leaver {
			region = h.Region
		}
	}
	for _, h := range tumour.Split() {
		if h.Tenant != leaver && h.Region == region {
			return h.Site
		}
	}
	return ""
}

// sitesOf finds the process of a site by its name.
func sitesOf(t *testing.T, s *harness.System, site string) (pids []int) {
	t.Helper()
	for name, pid := range s.Children(t) {
		if name == "site-"+site || filepath.Base(name) == site {
			pids = append(pids, pid)
		}
	}
	require.NotEmpty(t, pids, "no process of site %s: %v", site, s.Children(t))
	return pids
}

// effects are those of a withdrawal on one run.
func effects(t *testing.T, w v1.Withdrawal, run string) (out []consent.Effect) {
	t.Helper()
	var report consent.Report
	require.NoError(t, artifact.DecodeStrict(w.Report, &report))
	for _, e := range report.Effects {
		if e.Run == run && e.Region != "" {
			out = append(out, e)
		}
	}
	return out
}
