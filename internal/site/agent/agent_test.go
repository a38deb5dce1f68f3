package agent

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/examples/tumour"
	"github.com/atom-fabric/fabric/internal/site/program"
	"github.com/atom-fabric/fabric/internal/site/trainer"
)

// work runs an agent for a while of the bubble's own time.
func work(t *testing.T, a *Agent, d time.Duration) {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	require.NoError(t, a.Run(ctx))
}

// opened verifies a submission as the fabric does.
func opened(t *testing.T, w *world, req v1.SubmissionRequest) round.Answer {
	require.NotEmpty(t, w.enrolled)
	key, err := artifact.ParsePublicKey([]byte(w.enrolled[0].PublicKey))
	require.NoError(t, err)
	subject := artifact.Digest(req.Update.Digest)
	if subject == "" {
		subject = artifact.DigestOf([]byte(w.offers[len(w.offers)-1].Manifest))
	}
	verified, err := artifact.VerifyBundle([]*ecdsa.PublicKey{key}, []byte(req.Bundle), artifact.PredicateSubmission, subject)
	require.NoError(t, err)
	var answer round.Answer
	require.NoError(t, artifact.DecodeStrict(verified.Predicate, &answer))
	require.Equal(t, subject, answer.Subject())
	require.Equal(t, req.Examples, answer.Metrics.Examples)
	require.Equal(t, v1.SiteMetrics{Evaluated: answer.Metrics.Evaluated, Correct: answer.Metrics.Correct, LossMicros: answer.Metrics.LossMicros}, req.Metrics)
	return answer
}

func TestSiteAnswersEveryKindOfRound(t *testing.T) {
	opts := options(t)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for n, kind := range []round.Kind{round.Statistics, round.Train, round.Evaluate} {
			w.offers = append(w.offers, w.order(t, n, kind, nil))
		}
		work(t, start(t, opts, w), time.Minute)
		train, held := tumour.Split()[0].Rows.Split()

		require.Len(t, w.answered[0], 1)
		statistics := opened(t, w, w.answered[0][0])
		require.EqualValues(t, train.Len(), statistics.Metrics.Examples)
		spec := round.ModelSpec{Trainer: round.TrainerLogistic, Inputs: 30, Classes: 2}
		require.NoError(t, round.CheckUpdate(spec, round.Statistics, bytes.NewReader(w.blobs[statistics.Update])))
		moments, err := trainer.Moments(train)
		require.NoError(t, err)
		want, err := moments.Encode()
		require.NoError(t, err)
		require.Equal(t, want, w.blobs[statistics.Update])

		trained := opened(t, w, w.answered[1][0])
		require.NoError(t, round.CheckUpdate(spec, round.Train, bytes.NewReader(w.blobs[trained.Update])))
		require.EqualValues(t, train.Len(), trained.Metrics.Examples)
		require.EqualValues(t, held.Len(), trained.Metrics.Evaluated, "the weights that it starts from are measured too")
		require.Equal(t, artifact.DigestOf([]byte(w.offers[1].Manifest)), trained.Manifest)

		evaluated := opened(t, w, w.answered[2][0])
		require.Empty(t, evaluated.Update)
		require.Zero(t, evaluated.Metrics.Examples)
		require.Equal(t, trained.Metrics.Correct, evaluated.Metrics.Correct, "both measured the same base")

		for digest, content := range w.blobs {
			require.NotContains(t, string(content), "radius", digest)
		}
	})
}

// Each call fails once, before its effect and after it: the site still answers
// each order, with the same update as when nothing fails.
func TestEveryCallMayFailOrFailAfterItIsDone(t *testing.T) {
	rows := options(t).Data
	once := func(t *testing.T, failing int, after bool, how error) (calls int, update string) {
		synctest.Test(t, func(t *testing.T) {
			opts := options(t)
			opts.Data = rows
			w := newWorld(t)
			w.offers = []v1.Work{w.order(t, 1, round.Train, nil)}
			// another key signs in every world, which no part of the update depends on
			w.fail = func(call int, _ string) (error, error) {
				switch {
				case call != failing:
					return nil, nil
				case after:
					return nil, how
				default:
					return how, nil
				}
			}
			work(t, start(t, opts, w), 5*time.Minute)
			require.NotEmpty(t, w.answered[1], "call %d", failing)
			calls, update = w.calls, w.answered[1][0].Update.Digest
			for _, again := range w.answered[1] {
				require.Equal(t, update, again.Update.Digest)
			}
		})
		return calls, update
	}
	_, want := once(t, 0, false, nil)
	for _, how := range []error{errDown, problem(http.StatusServiceUnavailable, "unavailable"), problem(http.StatusTooManyRequests, "slow_down")} {
		for call := 1; call <= 5; call++ { // enrol, work, blob, put, submit
			for _, after := range []bool{false, true} {
				t.Run(fmt.Sprintf("%v/call %d/after %v", how, call, after), func(t *testing.T) {
					calls, got := once(t, call, after, how)
					require.Equal(t, want, got)
					require.Greater(t, calls, call)
				})
			}
		}
	}
}

func TestTokensAreRenewed(t *testing.T) {
	opts := options(t)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		work(t, start(t, opts, w), 3*time.Hour+time.Minute)
		require.Len(t, w.enrolled, 4, "at first, and after each hour")
		require.Equal(t, w.enrolled[0].PublicKey, w.enrolled[3].PublicKey)

		work(t, start(t, opts, w), time.Minute)
		require.Len(t, w.enrolled, 4, "a restart keeps key and token")

		w.token = "another" // the fabric has forgotten it
		w.offers = []v1.Work{w.order(t, 1, round.Train, nil)}
		work(t, start(t, opts, w), time.Minute)
		require.Len(t, w.enrolled, 5)
		require.Len(t, w.answered[1], 1)

		// A token that runs out in the middle of an order is renewed on the way.
		w.offers = append(w.offers, w.order(t, 2, round.Train, nil))
		w.fail = func(_ int, name string) (error, error) {
			if name == "put" && len(w.enrolled) == 5 {
				return problem(http.StatusUnauthorized, "token_expired"), nil
			}
			return nil, nil
		}
		work(t, start(t, opts, w), time.Minute)
		require.Len(t, w.enrolled, 6)
		require.Len(t, w.answered[2], 1)
	})
}

func TestRenewalMayFailWhileTheTokenIsGood(t *testing.T) {
	opts := options(t)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a := start(t, opts, w)
		w.fail = func(_ int, name string) (error, error) {
			if name == "enrol" && len(w.enrolled) == 1 {
				return errDown, nil
			}
			return nil, nil
		}
		before := time.Now()
		work(t, a, 90*time.Minute)
		require.Greater(t, w.polls, int(time.Since(before)/pollWait)-5, "it goes on polling")
	})
}

func TestEnrolmentThatIsRefusedEndsTheAgent(t *testing.T) {
	tests := []struct {
		name  string
		token string
		err   error
	}{
		{"a wrong federation token", "guess", nil},
		{"a name that another key has", "federation", problem(http.StatusConflict, "site_key_differs")},
		{"a region that is not served", "federation", problem(http.StatusUnprocessableEntity, "region_unknown")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			opts := options(t)
			opts.Token = tt.token
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.refuse = tt.err
				require.ErrorIs(t, start(t, opts, w).Run(t.Context()), ErrRefused)
			})
		})
	}
}

// An order that cannot be answered is tried again, but not in a hurry, and does
// not keep others waiting.
func TestAnOrderThatFailsIsNotHammered(t *testing.T) {
	opts := options(t)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.offers = []v1.Work{
			w.order(t, 1, round.Train, func(m *round.Manifest) { m.Params.Model.Inputs = 31 }),
			w.order(t, 2, round.Train, nil),
		}
		var log bytes.Buffer
		a, err := New(opts, w, slog.New(slog.NewJSONHandler(&log, nil)))
		require.NoError(t, err)
		work(t, a, time.Hour)
		require.Len(t, w.answered[2], 1)
		require.Empty(t, w.answered[1])
		tries := strings.Count(log.String(), "not answered")
		require.Greater(t, tries, 100, "about twice a minute")
		require.Less(t, tries, 300)
		require.Less(t, w.polls, 2*3600)
	})
}

func TestKeysArePinned(t *testing.T) {
	opts := options(t)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.offers = []v1.Work{w.order(t, 1, round.Train, nil)}
		work(t, start(t, opts, w), time.Minute)
		require.Len(t, w.answered[1], 1)

		// An impostor with the token's trust and another key: enrols, orders, gets nothing.
		other := newWorld(t)
		other.offers = []v1.Work{other.order(t, 2, round.Train, nil)}
		work(t, start(t, opts, other), 3*time.Hour)
		require.NotEmpty(t, other.enrolled)
		require.Empty(t, other.answered[2])
	})
	t.Run("by the operator, from the first order on", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.offers = []v1.Work{w.order(t, 1, round.Train, nil)}
			key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			require.NoError(t, err)
			pinned := options(t)
			pinned.Trust = []*ecdsa.PublicKey{&key.PublicKey}
			work(t, start(t, pinned, w), time.Minute)
			require.Empty(t, w.answered[1])
			pinned.Trust = append(pinned.Trust, &w.key.PublicKey)
			work(t, start(t, pinned, w), time.Minute)
			require.Len(t, w.answered[1], 1)
		})
	})
}

func TestStateIsPrivateAndTakenOnce(t *testing.T) {
	opts := options(t)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		work(t, start(t, opts, w), time.Minute)
		files, err := os.ReadDir(opts.StateDir)
		require.NoError(t, err)
		require.Len(t, files, 4)
		for _, f := range files {
			info, err := f.Info()
			require.NoError(t, err)
			require.EqualValues(t, 0o600, info.Mode().Perm(), f.Name())
		}
		first, err := openIdentity(opts)
		require.NoError(t, err)
		require.ErrorIs(t, start(t, opts, w).Run(t.Context()), ErrLocked)
		first.close()

		key := filepath.Join(opts.StateDir, keyFile)
		require.NoError(t, os.Chmod(key, 0o644))
		require.ErrorIs(t, start(t, opts, w).Run(t.Context()), ErrKey)
		require.NoError(t, os.WriteFile(key, []byte("not a key"), 0o600))
		require.NoError(t, os.Chmod(key, 0o600))
		require.ErrorIs(t, start(t, opts, w).Run(t.Context()), ErrKey)
	})
}

func TestBaseWeightsAreComparedWithTheirDigest(t *testing.T) {
	opts := options(t)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.offers = []v1.Work{w.order(t, 1, round.Train, nil)}
		digest := artifact.Digest(w.offers[0].Base.Digest)
		good := w.blobs[digest]
		a := start(t, opts, w)
		other := append([]byte(nil), good...)
		other[len(other)-100] ^= 1 // another model of the same shapes
		for _, bad := range [][]byte{other, good[:len(good)-1], nil} {
			w.blobs[digest] = bad
			work(t, a, time.Minute)
			require.Empty(t, w.answered[1])
		}
		w.blobs[digest] = good
		work(t, a, 2*time.Minute)
		require.Len(t, w.answered[1], 1)
	})
}

// Real time: a program runs outside of any bubble.
func TestOwnProgramTrains(t *testing.T) {
	w := newWorld(t)
	w.offers = []v1.Work{w.order(t, 1, round.Train, func(m *round.Manifest) { m.Params.Model.Trainer = round.TrainerExec })}
	opts := options(t)
	delta := artifact.Tensors{
		{Name: "linear.bias", DType: artifact.F32, Shape: []int{2}, F32: []float32{0.5, -0.5}},
		{Name: "linear.weight", DType: artifact.F32, Shape: []int{30, 2}, F32: make([]float32, 60)},
	}
	content, err := delta.Encode()
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "update")
	require.NoError(t, os.WriteFile(file, content, 0o600))
	opts.Program = &program.Program{Dir: filepath.Join(opts.StateDir, "exec"), Limit: time.Minute,
		Command: "cp " + file + ` $SM_MODEL_DIR/update.safetensors; echo '{"examples":5,"evaluated":2,"correct":1,"lossMicros":9}' > $SM_OUTPUT_DATA_DIR/metrics.json`}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	done := make(chan error, 1)
	go func() { done <- start(t, opts, w).Run(ctx) }()
	require.Eventually(t, func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.answered[1]) == 1
	}, 20*time.Second, 10*time.Millisecond)
	stop()
	require.NoError(t, <-done)
	answer := opened(t, w, w.answered[1][0])
	require.Equal(t, artifact.DigestOf(content), answer.Update)
	require.Equal(t, round.Metrics{Examples: 5, Evaluated: 2, Correct: 1, LossMicros: 9}, answer.Metrics)
}

func TestAFailingProgramSubmitsNothing(t *testing.T) {
	w := newWorld(t)
	item := w.order(t, 1, round.Train, func(m *round.Manifest) { m.Params.Model.Trainer = round.TrainerExec })
	opts := options(t)
	opts.Program = &program.Program{Dir: filepath.Join(opts.StateDir, "exec"), Limit: time.Minute, Command: "exit 1"}
	a := start(t, opts, w)
	id, err := openIdentity(opts)
	require.NoError(t, err)
	defer id.close()
	a.id = id
	require.NoError(t, a.enrol(t.Context()))
	_, err = a.perform(t.Context(), item)
	require.ErrorIs(t, err, program.ErrFailed)
	require.Empty(t, w.answered)
}

func TestOptionsAreChecked(t *testing.T) {
	for name, change := range map[string]func(*Options){
		"no tenant":       func(o *Options) { o.Tenant = "" },
		"a bad site name": func(o *Options) { o.Site = "-x" },
		"a long region":   func(o *Options) { o.Region = strings.Repeat("a", 64) },
		"no data":         func(o *Options) { o.Data = "" },
		"no state":        func(o *Options) { o.StateDir = "" },
		"no token":        func(o *Options) { o.Token = "" },
		"no floor":        func(o *Options) { o.MinRows = 0 },
		"no limit":        func(o *Options) { o.Program = &program.Program{Command: "true"} },
	} {
		opts := options(t)
		change(&opts)
		_, err := New(opts, newWorld(t), slog.New(slog.DiscardHandler))
		require.ErrorIs(t, err, ErrOptions, name)
	}
}

func TestOrdersThatAreRefused(t *testing.T) {
	w := newWorld(t)
	opts := options(t)
	opts.AllowTenants = []string{"consortium"}
	trust := []*ecdsa.PublicKey{&w.key.PublicKey}
	kind := round.Train
	plain := func() v1.Work { return w.order(t, 1, kind, nil) }
	manifest := func(change func(*round.Manifest)) v1.Work { return w.order(t, 1, kind, change) }
	text := func(old, with string) v1.Work { // signed as it is
		var m round.Manifest
		require.NoError(t, json.Unmarshal([]byte(plain().Manifest), &m))
		changed := strings.Replace(plain().Manifest, old, with, 1)
		require.NotEqual(t, plain().Manifest, changed)
		return w.offer(t, m, changed)
	}
	item := func(change func(*v1.Work)) v1.Work { i := plain(); change(&i); return i }
	tests := []struct {
		name string
		give v1.Work
		want error
	}{
		{"none: it is a good one", plain(), nil},
		{"one byte changed after the signature", item(func(i *v1.Work) { i.Manifest = strings.Replace(i.Manifest, "0.1", "0.2", 1) }), artifact.ErrSubject},
		{"the bundle of another order", item(func(i *v1.Work) { i.Bundle = w.order(t, 2, kind, nil).Bundle }), artifact.ErrSubject},
		{"no bundle", item(func(i *v1.Work) { i.Bundle = "" }), artifact.ErrBundle},
		{"a key twice", text(`"run":"run-1"`, `"run":"run-1","run":"run-1"`), ErrOrder},
		{"a key that this site does not know", text(`"run":"run-1"`, `"run":"run-1","clipping":1`), ErrOrder},
		{"a parameter out of range", manifest(func(m *round.Manifest) { m.Params.LearningRate = 1e9 }), ErrOrder},
		{"offered as another run", item(func(i *v1.Work) { i.Run = "run-2" }), ErrMismatch},
		{"offered as another number", item(func(i *v1.Work) { i.Number = 2 }), ErrMismatch},
		{"offered as another kind", item(func(i *v1.Work) { i.Kind = "evaluate" }), ErrMismatch},
		{"offered as another owner's", item(func(i *v1.Work) { i.Tenant = "x" }), ErrMismatch},
		{"offered as another model", item(func(i *v1.Work) { i.ModelID = "x" }), ErrMismatch},
		{"offered with another base", item(func(i *v1.Work) { i.Base.Digest = string(artifact.DigestOf(nil)) }), ErrMismatch},
		{"another owner than allowed", manifest(func(m *round.Manifest) { m.Tenant = "stranger" }), ErrNotAllowed},
		{"no feature of this tenant", manifest(func(m *round.Manifest) { m.Features[0].Tenant = "hosp-coral" }), ErrNotAllowed},
		{"another region", manifest(func(m *round.Manifest) { m.Cohort[0].Region = "us" }), ErrNotAllowed},
		{"a program that is not there", manifest(func(m *round.Manifest) { m.Params.Model.Trainer = round.TrainerExec }), ErrNotAllowed},
		{"control variates of a program", manifest(func(m *round.Manifest) {
			m.Params.Model.Trainer, m.Params.Strategy.Name = round.TrainerExec, round.Scaffold
		}), ErrNotAllowed},
		{"a stage that is none", item(func(i *v1.Work) { i.Stage = "guess" }), ErrNotAllowed},
		{"a stage of a secured round", item(func(i *v1.Work) { i.Stage = "mask" }), ErrDowngraded},
		{"an unknown trainer", manifest(func(m *round.Manifest) { m.Params.Model.Trainer = "forest" }), ErrOrder},
		{"an unknown kind", manifest(func(m *round.Manifest) { m.Kind = "unmask" }), ErrNotAllowed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := opts.read(tt.give, trust)
			require.ErrorIs(t, err, tt.want)
		})
	}
	_, err := opts.read(plain(), nil)
	require.ErrorIs(t, err, artifact.ErrUntrusted)

	few := opts
	few.MinRows = 1000
	a := start(t, few, w)
	a.id = &identity{trust: trust}
	_, err = a.perform(t.Context(), plain())
	require.ErrorIs(t, err, ErrNotAllowed)
}
