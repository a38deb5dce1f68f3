//go:build conformance

// Package runtimes_test serves a signed model by two unlike runtimes in two regions,
// ours and ONNX Runtime, behind the real router.
package runtimes_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/model"
	"github.com/atom-fabric/fabric/domain/policy"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/domain/routing"
	"github.com/atom-fabric/fabric/domain/trust"
	"github.com/atom-fabric/fabric/internal/onnx"
	"github.com/atom-fabric/fabric/internal/router"
	"github.com/atom-fabric/fabric/internal/runtime"
	"github.com/atom-fabric/fabric/internal/runtime/runtimetest"
)

// weights are of a model whose every tensor is drawn, normalisation included.
func weights(t *testing.T, spec round.ModelSpec, seed uint64) []byte {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 7))
	tensors := model.Initial(spec, seed)
	for i := range tensors {
		for j := range tensors[i].F32 {
			tensors[i].F32[j] = float32(random.NormFloat64() / 2)
			if tensors[i].Name == round.TensorScale {
				tensors[i].F32[j] = float32(0.5 + random.Float64())
			}
		}
	}
	text, err := tensors.Encode()
	require.NoError(t, err)
	return text
}

// serveONNX starts ONNX Runtime in Node over a folder and returns where it listens.
func serveONNX(t *testing.T, folder string) string {
	t.Helper()
	modules := os.Getenv("ONNX_MODULES")
	require.NotEmpty(t, modules, "run it by make onnx")
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, "node", "server.mjs", folder)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { cancel(); _ = cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	return line[:len(line)-1]
}

// serveOurs starts our runtime for a region with a snapshot.
func serveOurs(t *testing.T, key *ecdsa.PublicKey, region string) (*runtime.Runtime, string) {
	t.Helper()
	by, err := trust.Pin(key)
	require.NoError(t, err)
	r, err := runtime.New(runtime.Options{Region: region, Kind: policy.Neural, Version: "test", Trust: by, Environment: "production", Dir: t.TempDir(), MaxWeights: 1 << 24,
		Client: http.DefaultClient, Log: slog.New(slog.DiscardHandler), Registry: prometheus.NewRegistry(), Confirmed: time.Now, Now: time.Now})
	require.NoError(t, err)
	server := httptest.NewServer(r.Handler())
	t.Cleanup(server.Close)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); r.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return r, server.URL
}

func TestConformanceTwoUnlikeRuntimesAgree(t *testing.T) {
	w := runtimetest.NewWorld(t)
	folder := t.TempDir()
	specs := map[string]round.ModelSpec{
		"linear":  {Trainer: round.TrainerLogistic, Inputs: 30, Classes: 2},
		"network": {Trainer: round.TrainerMLP, Inputs: 64, Hidden: 128, Classes: 10},
	}
	s := routing.Snapshot{Version: 1, Policies: []policy.Document{policy.Default()}, Regions: []routing.Region{{Name: "eu", Policy: 1}, {Name: "us", Policy: 1}}}
	for name, spec := range specs {
		content := weights(t, spec, 1)
		pkg := w.Push(t, "t1", name, 1, content, "eu", "us")
		s.Packages = append(s.Packages, pkg)
		s.Routes = append(s.Routes, routing.Route{Tenant: "t1", Model: name, Environment: "dev", Version: 1, Regions: []string{"eu", "us"}, Callers: []string{"t1"}, Simulated: true})
		exported, err := onnx.Encode(name, content)
		require.NoError(t, err)
		dir := filepath.Join(folder, routing.WireName("t1", name))
		require.NoError(t, os.MkdirAll(dir, 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "1.onnx"), exported, 0o644))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "1.manifest"), []byte(pkg.Manifest), 0o644))
	}
	ours, oursURL := serveOurs(t, &w.Key.PublicKey, "eu")
	s.Endpoints = []routing.Endpoint{{Name: "eu-fabric", Region: "eu", Kind: policy.Neural, URL: oursURL}, {Name: "us-onnx", Region: "us", Kind: policy.Neural, URL: serveONNX(t, folder)}}
	require.NoError(t, ours.Use(s))

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	r, err := router.New(router.Options{Region: "eu", Version: "test", Simulation: true, Listener: listener.Addr(), StateDir: t.TempDir(), Client: router.NewClient(nil),
		Log: slog.New(slog.DiscardHandler), Registry: prometheus.NewRegistry(), Confirmed: time.Now, MaxAge: time.Hour, Now: time.Now})
	require.NoError(t, err)
	require.NoError(t, r.Use(s))
	server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: r.Handler()}}
	server.Start()
	t.Cleanup(server.Close)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() { cancel(); require.NoError(t, <-done) })

	type answer struct {
		Region, Endpoint, Code, Detail string
		Output                         struct {
			Probabilities [][]float64
			Class         []int
		}
	}
	ask := func(name, region string, rows [][]float64) answer {
		body, err := json.Marshal(map[string]any{"tenant": "t1", "model_id": name, "input": map[string]any{"data": rows}, "preferences": map[string]any{"region": region}})
		require.NoError(t, err)
		var out answer
		require.Eventually(t, func() bool {
			resp, err := http.Post(server.URL+"/invoke", "application/json", bytes.NewReader(body))
			require.NoError(t, err)
			defer resp.Body.Close()
			text, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			out = answer{}
			require.NoError(t, json.Unmarshal(text, &out), "%s", text)
			return resp.StatusCode == http.StatusOK && out.Region == region
		}, 20*time.Second, 50*time.Millisecond, "%s in %s", name, region)
		return out
	}
	random := rand.New(rand.NewPCG(3, 5))
	for name, spec := range specs {
		worst, near := 0.0, 0
		for range 20 {
			rows := make([][]float64, 16)
			for i := range rows {
				rows[i] = make([]float64, spec.Inputs)
				for j := range rows[i] {
					rows[i][j] = random.NormFloat64()
				}
			}
			eu, us := ask(name, "eu", rows), ask(name, "us", rows)
			require.Equal(t, "eu-fabric", eu.Endpoint)
			require.Equal(t, "us-onnx", us.Endpoint)
			for i := range rows {
				for c := range spec.Classes {
					worst = max(worst, math.Abs(eu.Output.Probabilities[i][c]-us.Output.Probabilities[i][c]))
				}
				if eu.Output.Class[i] != us.Output.Class[i] {
					near++ // only where two probabilities are equal to float32
				}
			}
		}
		t.Logf("%s: 320 rows, largest difference of a probability %.2g, another class %d times", name, worst, near)
		require.LessOrEqual(t, worst, 1e-5, name)
		require.Zero(t, near, fmt.Sprint(name, ": no two probabilities are that close here"))
	}
}
