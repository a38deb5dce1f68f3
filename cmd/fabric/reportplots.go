package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	v1 "github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/chart"
	"github.com/atom-fabric/fabric/internal/demo"
	"github.com/atom-fabric/fabric/internal/issuer"
	"github.com/atom-fabric/fabric/web/plot"
)

// pictures draws what the demonstration did, beside the report: how its newest
// run converged, what it spent of its privacy, and how its answers were routed.
func (s *system) pictures(ctx context.Context, dir string) error {
	i, err := issuer.Open(s.plan.Path("issuer"), s.plan.Config.Issuer)
	if err != nil {
		return err
	}
	token, err := i.Mint(demo.Consortium, "reporter", []string{"auditor"}, time.Hour)
	if err != nil {
		return err
	}
	client, err := v1.New(s.plan.Gateway(), token, &http.Client{Timeout: 30 * time.Second})
	if err != nil {
		return err
	}
	regions, err := v1.Fetch[v1.RegionMap](client.ListRegions(ctx, nil))
	if err != nil {
		return fmt.Errorf("the picture of the routes: %w", err)
	}
	files := map[string]chart.Drawing{"routing.svg": plot.Routing(regions)}
	runs, err := v1.Fetch[v1.RunPage](client.ListRuns(ctx, &v1.ListRunsParams{}))
	if err != nil {
		return fmt.Errorf("the pictures of a run: %w", err)
	}
	for _, r := range runs.Items { // newest first
		if r.Status != "completed" {
			continue
		}
		run, err := v1.Fetch[v1.Run](client.GetRun(ctx, r.ID, &v1.GetRunParams{}))
		if err != nil {
			return fmt.Errorf("the pictures of run %s: %w", r.ID, err)
		}
		progress, err := v1.Fetch[v1.RunProgress](client.GetRunProgress(ctx, r.ID, &v1.GetRunProgressParams{}))
		if err != nil {
			return fmt.Errorf("the pictures of run %s: %w", r.ID, err)
		}
		files["accuracy.svg"], files["loss.svg"], files["epsilon.svg"] = plot.Accuracy(run), plot.Loss(run), plot.Privacy(progress)
		break
	}
	for name, drawing := range files {
		if err := os.WriteFile(filepath.Join(dir, name), chart.File(drawing), 0o644); err != nil {
			return err
		}
	}
	return nil
}
