//go:build chaos

package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/internal/demo"
	"github.com/atom-fabric/fabric/tests/harness"
)

// climbs bounds a rollout whose steps take some twenty seconds.
const climbs = 6 * time.Minute

// TestKillTheCanary kills the control plane's worker at each step of a rollout
// that callers are asking meanwhile: when a share was given, in the middle of a
// bake, while it is paused, while people are asked, and when it goes back. It
// counts as failure when the rollout does not go on where it was, when a step is
// taken or published twice, when a fact is missing or written twice, when a
// caller changes sides during a pause, or when an aborted one does not go back.
func TestKillTheCanary(t *testing.T) {
	s := harness.Up(t, harness.State(t), harness.FreeBase(t))
	s.Consent(t)
	lead, plane := s.Lead(t), s.Person(t, demo.Consortium, "router", "data-plane")
	operator := s.Person(t, demo.Consortium, "olga", "operator")
	one := s.Enrol(t, lead, "vera", "owner")
	two := s.Enrol(t, lead, "wim", "risk")
	for range 2 {
		harness.Watch(t, lead, s.Train(t, lead, harness.Request(1)), bound, harness.Completed)
	}
	held(t, lead, 1, 1)
	held(t, lead, 2, 1)
	first := harness.Promote(t, lead, 1, "production")
	approve(t, lead, first, one, two)
	status := func(id string) func() (v1.Action, error) {
		return func() (v1.Action, error) {
			return v1.Fetch[v1.Action](lead.GetPromotion(t.Context(), id, &v1.GetPromotionParams{}))
		}
	}
	confirmed(t, ended(t, status(first)))
	ask(t, lead)

	rollout := func(t *testing.T, id string) v1.Rollout {
		t.Helper()
		var out v1.Rollout
		require.Eventually(t, func() bool {
			var err error
			out, err = v1.Fetch[v1.Rollout](lead.GetCanary(t.Context(), id, &v1.GetCanaryParams{}))
			return err == nil
		}, within, 100*time.Millisecond)
		return out
	}
	reached := func(t *testing.T, id string, what string, ok func(v1.Rollout) bool) v1.Rollout {
		t.Helper()
		var last v1.Rollout
		require.Eventually(t, func() bool { last = rollout(t, id); return ok(last) }, climbs, 200*time.Millisecond, "%s: %+v", what, &last)
		return last
	}
	fact := func(kind string, step int) func(v1.Rollout) bool {
		return func(r v1.Rollout) bool {
			return slices.ContainsFunc(r.Facts, func(f v1.RolloutFact) bool { return string(f.Kind) == kind && f.Step.Number == step })
		}
	}
	kill := func() { harness.Kill(t, s.Child(t, "worker-control")) }
	steer := func(t *testing.T, id, do string) {
		t.Helper()
		require.Eventually(t, func() bool {
			_, err := v1.Fetch[v1.RolloutState](operator.SteerCanary(t.Context(), id, &v1.SteerCanaryParams{}, v1.SteerRequest{Do: v1.SteerRequestDo(do), Reason: "a test"}))
			return err == nil
		}, within, time.Second, "nobody takes up %s", do)
	}
	promote := func(t *testing.T) string {
		t.Helper()
		request := v1.PromotionRequest{Version: 2, Environment: "production", Canary: v1.CanaryRequest{
			SharesBp: []int{4000, 6000, 10000}, BakeSeconds: 20, LookSeconds: 10, DeadlineSeconds: 240, Answers: 40, LatencyMarginBp: 90_000, ErrorMarginBp: 5_000,
		}}
		planned, err := v1.Fetch[v1.Planned](lead.PromoteModel(t.Context(), demo.Model, &v1.PromoteModelParams{}, request))
		require.NoError(t, err)
		request.Apply, request.PlanDigest = true, planned.PlanDigest
		accepted, err := v1.Fetch[v1.ActionAccepted](lead.PromoteModel(t.Context(), demo.Model, &v1.PromoteModelParams{}, request))
		require.NoError(t, err)
		approve(t, lead, accepted.ID, one, two)
		return accepted.ID
	}

	t.Run("aborted, it goes back", func(t *testing.T) {
		id := promote(t)
		reached(t, id, "the first share", fact("step", 1))
		steer(t, id, "pause")
		before := sides(t, lead)
		require.Contains(t, slices.Collect(maps.Values(before)), "canary true", "nobody is on the canary's side")
		require.Contains(t, slices.Collect(maps.Values(before)), "canary false")
		kill()
		reached(t, id, "paused still", func(r v1.Rollout) bool { return r.Paused })
		require.Equal(t, before, sides(t, lead), "a pause and a kill change nobody's side")
		steer(t, id, "abort")
		kill()
		action := ended(t, status(id))
		require.Equal(t, "failed", action.State)
		require.Contains(t, action.Cause, "aborted by")
		require.Contains(t, action.Cause, "switched back to version 1")
		serves(t, plane, 1)
		once(t, rollout(t, id))
	})
	t.Run("killed at each step, it arrives", func(t *testing.T) {
		id := promote(t)
		for step := 1; step <= 9; step++ {
			reached(t, id, fmt.Sprintf("step %d", step), fact("step", step))
			kill()
			if step == 1 {
				require.Eventually(t, func() bool {
					_, err := v1.Fetch[v1.Ballot](lead.GetApproval(t.Context(), contract.HalfID(id), &v1.GetApprovalParams{}))
					return err == nil
				}, climbs, time.Second, "nobody is asked before half")
				approve(t, lead, contract.HalfID(id), one, two)
			}
		}
		action := ended(t, status(id))
		givenOver(t, action)
		serves(t, plane, 2)
		once(t, rollout(t, id))
	})
	verified(t, s)
}

// givenOver checks that every region said that it serves the version, each in
// the snapshot that gave the region over whole: they follow one another, and
// the last one ends the rollout.
func givenOver(t *testing.T, action v1.Action) {
	t.Helper()
	require.Equal(t, "applied", action.State, action.Cause)
	said := map[string]int64{}
	var steps []int64
	for _, e := range action.Evidence {
		said[e.Region] = e.Snapshot
		steps = append(steps, e.Snapshot)
	}
	require.Len(t, said, 3, "%v", said)
	require.IsIncreasing(t, steps, "%v", said)
	require.GreaterOrEqual(t, steps[2], action.Snapshot, "%v", said)
}

// once checks that every fact is there once, and no step was taken twice.
func once(t *testing.T, r v1.Rollout) {
	t.Helper()
	last := 0
	for i, f := range r.Facts {
		require.Equal(t, i+1, f.Number)
		if f.Kind == "step" {
			require.Equal(t, last+1, f.Step.Number, "the steps in their order, each once")
			last = f.Step.Number
		}
	}
	require.Equal(t, "end", string(r.Facts[len(r.Facts)-1].Kind))
}

// regions are those of the demonstration.
func regions() []string { return []string{"apac", "eu", "us"} }

// callers ask for themselves.
func callers() []string {
	var out []string
	for i := range 40 {
		out = append(out, fmt.Sprintf("caller-%d", i))
	}
	return out
}

func invoke(ctx context.Context, t *testing.T, lead *v1.Client, rows v1.JSON, caller, region string) (v1.Invocation, error) {
	preferences, err := json.Marshal(map[string]string{"caller_key": caller, "region": region})
	if err != nil {
		return v1.Invocation{}, err
	}
	return v1.Fetch[v1.Invocation](lead.Invoke(ctx, v1.InvokeRequest{Tenant: demo.Consortium, ModelID: demo.Model, Input: rows, Preferences: preferences}))
}

// sides returns on which side of the rollout each caller is in each region: the
// canary's, the other one, or none where no canary runs. Which version answers
// is no measure of it: a region or a canary that has no room is stood in for.
func sides(t *testing.T, lead *v1.Client) map[string]string {
	t.Helper()
	rows, out := harness.Rows(t), map[string]string{}
	for _, caller := range callers() {
		for _, region := range regions() {
			require.Eventually(t, func() bool {
				got, err := invoke(t.Context(), t, lead, rows, caller, region)
				if err != nil || got.Region != region {
					return false
				}
				var said struct {
					Trial *struct {
						Canary bool `json:"canary"`
					} `json:"trial"`
				}
				require.NoError(t, json.Unmarshal(got.Decision, &said))
				side := "none"
				if said.Trial != nil {
					side = fmt.Sprintf("canary %t", said.Trial.Canary)
				}
				out[region+" "+caller] = side
				return side == "canary true" || got.Version == 1 // who is not on its side never sees it
			}, within, 100*time.Millisecond, "%s in %s", caller, region)
		}
	}
	return out
}

// ask has callers ask in every region until the test ends.
func ask(t *testing.T, lead *v1.Client) {
	t.Helper()
	rows := harness.Rows(t)
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	var all sync.WaitGroup
	for _, region := range regions() {
		all.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				_, _ = invoke(ctx, t, lead, rows, callers()[i%40], region) // a call that fails counts as one
				select {
				case <-ctx.Done():
				case <-time.After(60 * time.Millisecond):
				}
			}
		})
	}
	t.Cleanup(func() {
		stop()
		all.Wait()
	})
}
