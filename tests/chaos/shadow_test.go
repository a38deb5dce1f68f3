//go:build chaos

package chaos

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/examples/tumour"
	"github.com/atom-fabric/fabric/internal/demo"
	"github.com/atom-fabric/fabric/tests/harness"
)

// TestAShadowAnswersNobody promotes a version that takes many times as long as
// the one that serves, with a shadow, and kills the control plane's worker in
// it. It counts as failure when the promotion does not end by itself in the
// shadow, when a share was given, when a single caller was answered by the
// version, or when a copy was counted as a call.
func TestAShadowAnswersNobody(t *testing.T) {
	s := harness.Up(t, harness.State(t), harness.FreeBase(t))
	s.Consent(t)
	lead, plane := s.Lead(t), s.Person(t, demo.Consortium, "router", "data-plane")
	one, two := s.Enrol(t, lead, "vera", "owner"), s.Enrol(t, lead, "wim", "risk")
	slow := harness.Request(1)
	slow.Params.Model = v1.ModelSpec{Trainer: "mlp", Inputs: slow.Params.Model.Inputs, Hidden: 4096, Classes: 2}
	for _, request := range []v1.RunRequest{harness.Request(1), slow} {
		harness.Watch(t, lead, s.Train(t, lead, request), bound, harness.Completed)
	}
	held(t, lead, 1, 1)
	held(t, lead, 2, 1)
	status := func(id string) func() (v1.Action, error) {
		return func() (v1.Action, error) {
			return v1.Fetch[v1.Action](lead.GetPromotion(t.Context(), id, &v1.GetPromotionParams{}))
		}
	}
	first := harness.Promote(t, lead, 1, "production")
	approve(t, lead, first, one, two)
	confirmed(t, ended(t, status(first)))
	answered := askAll(t, lead)

	request := v1.PromotionRequest{Version: 2, Environment: "production", Regions: []string{"eu"}, Canary: v1.CanaryRequest{
		SharesBp: []int{5000, 10000}, ShadowBp: 10000, Answers: 30, BakeSeconds: 20, LookSeconds: 5, DeadlineSeconds: 240, LatencyMarginBp: 10_000,
	}}
	planned, err := v1.Fetch[v1.Planned](lead.PromoteModel(t.Context(), demo.Model, &v1.PromoteModelParams{}, request))
	require.NoError(t, err)
	request.Apply, request.PlanDigest = true, planned.PlanDigest
	accepted, err := v1.Fetch[v1.ActionAccepted](lead.PromoteModel(t.Context(), demo.Model, &v1.PromoteModelParams{}, request))
	require.NoError(t, err)
	approve(t, lead, accepted.ID, one, two)
	rollout := func() v1.Rollout {
		var out v1.Rollout
		require.Eventually(t, func() bool {
			out, err = v1.Fetch[v1.Rollout](lead.GetCanary(t.Context(), accepted.ID, &v1.GetCanaryParams{}))
			return err == nil
		}, within, 100*time.Millisecond)
		return out
	}
	require.Eventually(t, func() bool { return rollout().Step.MirrorBp == 10000 }, climbs, 100*time.Millisecond, "the shadow does not begin")
	history, err := v1.Fetch[v1.ModelHistory](lead.GetModelHistory(t.Context(), demo.Model, &v1.GetModelHistoryParams{}))
	require.NoError(t, err)
	require.NotContains(t, slices.Collect(versions(history)), 2, "a version in its shadow serves nowhere")
	harness.Kill(t, s.Child(t, "worker-control"))

	action := ended(t, status(accepted.ID))
	require.Equal(t, "failed", action.State)
	require.Contains(t, action.Cause, "shadow of 100 % of eu failed: errors ")
	require.Contains(t, action.Cause, "switched back to version 1")
	serves(t, plane, 1)
	seen := rollout()
	once(t, seen)
	steps := slices.DeleteFunc(slices.Clone(seen.Facts), func(f v1.RolloutFact) bool { return f.Kind != v1.RolloutFactKindStep })
	require.Len(t, steps, 1)
	require.Equal(t, v1.RolloutStep{Number: 1, Region: "eu", MirrorBp: 10000}, steps[0].Step, "no share was given")

	calls := answered()
	require.Empty(t, calls[2], "a caller was answered by the version")
	require.Greater(t, calls[1], 60)
	copies, requests := counter(t, s, `fabric_router_mirrored_total{outcome="answered"}`), counter(t, s, `fabric_router_requests_total{code="200"}`)
	t.Logf("%d calls answered, %d of them copied; %s", calls[1], copies, action.Cause)
	require.GreaterOrEqual(t, copies, 30)
	require.Equal(t, calls[1], requests, "a copy is no call")
	verified(t, s)
}

func versions(h v1.ModelHistory) func(func(int) bool) {
	return func(yield func(int) bool) {
		for _, one := range h.Serving {
			if !yield(one.Version) {
				return
			}
		}
	}
}

// askAll has callers ask eu with many rows until what it returns is called, which
// says how many were answered by each version.
func askAll(t *testing.T, lead *v1.Client) func() map[int]int {
	t.Helper()
	_, held := tumour.Pooled()
	rows, err := json.Marshal(map[string]any{"data": held.Rows})
	require.NoError(t, err)
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	out, ended := map[int]int{}, make(chan struct{})
	go func() {
		defer close(ended)
		for i := 0; ctx.Err() == nil; i++ {
			if got, err := invoke(context.WithoutCancel(ctx), t, lead, rows, callers()[i%40], "eu"); err == nil {
				out[got.Version]++
			}
			time.Sleep(60 * time.Millisecond)
		}
	}()
	end := sync.OnceFunc(func() { stop(); <-ended })
	t.Cleanup(end)
	return func() map[int]int { end(); return out }
}

// counter reads a counter of the router.
func counter(t *testing.T, s *harness.System, name string) int {
	t.Helper()
	resp, err := http.Get(s.Service(4) + "/metrics")
	require.NoError(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	found := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name) + ` (\d+)$`).FindSubmatch(text)
	require.NotNil(t, found, name)
	n, err := strconv.Atoi(string(found[1]))
	require.NoError(t, err)
	return n
}
