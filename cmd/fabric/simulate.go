package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/internal/simulate"
)

// simulateOptions are what a caller says; shares become basis points.
type simulateOptions struct {
	data, trainer, out   string
	study                string
	set                  simulate.Settings
	secure               bool
	sample, over, target float64
}

func newSimulate(a *app) *cobra.Command {
	var o simulateOptions
	cmd := &cobra.Command{
		Use:   "simulate",
		Short: "Run federated rounds with thousands of virtual sites in this process, on a virtual clock",
		Long: "Runs the code of real rounds (sampling, deadlines, quorum, training, secure aggregation, noise, strategies) with\n" +
			"virtual sites that drop out, straggle and lie as drawn from the seed. The same seed writes the same bytes.\n" +
			"Nothing it writes is a real round, and keys and noise follow from the seed: give it no private rows.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.simulate(cmd.Context(), o) },
	}
	p, f := &o.set.Params, cmd.Flags()
	f.StringVar(&o.data, "data", "digits", "digits, tumour, or a CSV file in the form that a site reads")
	f.IntVar(&o.set.Sites, "sites", 20, "virtual sites")
	f.IntVar(&o.set.Regions, "regions", 1, "regions that they are dealt to")
	f.StringVar(&o.set.Partition, "partition", simulate.IID, "iid, or shards: two stretches each of the rows sorted by label")
	f.IntVar(&p.Rounds, "rounds", 20, "train rounds")
	f.Uint64Var(&p.Seed, "seed", 1, "everything that is drawn follows from it")
	f.StringVar(&o.trainer, "trainer", round.TrainerLogistic, "logistic or mlp")
	f.IntVar(&p.LocalEpochs, "epochs", 1, "passes of a site over its rows in a round")
	f.IntVar(&p.BatchSize, "batch", 10, "rows a step")
	f.Float64Var(&p.LearningRate, "rate", 0.1, "learning rate at the sites")
	f.Float64Var(&o.sample, "sample", 1, "share of the sites that a round asks")
	f.Float64Var(&o.over, "over", 0, "how many more are asked, as a share of those; the first that answer count")
	f.IntVar(&p.Quorum, "quorum", 1, "sites that must answer in all")
	f.IntVar(&p.QuorumRegions, "quorum-regions", 1, "regions that must deliver")
	f.IntVar(&p.DeadlineSeconds, "deadline", 60, "virtual seconds that a round waits for training")
	f.IntVar(&p.Extensions, "extensions", 0, "further deadlines below the quorum")
	f.Float64Var(&o.target, "target", 0, "stop at this share of right answers")
	f.IntVar(&p.Patience, "patience", 0, "stop after so many rounds without a better loss")

	f.StringVar(&p.Strategy.Name, "strategy", round.FedAvg, "fedavg, fedprox, fedavgm, fedadagrad, fedadam, fedyogi, scaffold or fedbuff")
	f.StringVar(&p.Strategy.Rule, "rule", round.RuleMean, "mean, median, trimmed_mean, krum, multi_krum, bulyan, geometric_median or norm_bound")
	f.Float64Var(&p.Strategy.ServerRate, "server-rate", 0, "rate of the server's step (default: the strategy's)")
	f.Float64Var(&p.Strategy.ProximalMu, "proximal-mu", 0, "fedprox: weight of the proximal term")
	f.IntVar(&p.Strategy.Buffer, "buffer", 0, "fedbuff: sites that are ready before a step is taken (default: 10)")
	f.IntVar(&p.Strategy.MaxStaleness, "max-staleness", 0, "fedbuff: steps of the server after which an update is refused (default: 20)")
	f.IntVar(&p.Strategy.Byzantine, "byzantine", 0, "krum, multi_krum, bulyan, trimmed_mean: vectors that may be lies")
	f.Float64Var(&p.Strategy.Trim, "trim", 0, "trimmed_mean: share that is cut at each end")
	f.Float64Var(&p.Strategy.MaxNorm, "max-norm", 0, "norm_bound: longest update")
	f.IntVar(&p.Strategy.BucketSites, "bucket", 0, "sites of a secure bucket, for a robust rule (default: 3)")

	f.BoolVar(&o.secure, "secure", false, "play secure aggregation, all five stages of it")
	f.IntVar(&p.Secure.Ring, "ring", 32, "bits of an element: 32 or 64")
	f.IntVar(&o.set.GroupSites, "group", 32, "most sites of a secure group; 0 leaves a region whole")
	f.StringVar(&p.Privacy.Mechanism, "privacy", "", "gaussian, discrete_gaussian or skellam (with --secure)")
	f.StringVar(&p.Privacy.Unit, "unit", "", "whose presence is hidden: example or site")
	f.Float64Var(&p.Privacy.NoiseMultiplier, "noise", 0, "standard deviation of the noise over the clipping norm")
	f.Float64Var(&p.Privacy.ClipNorm, "clip", 0, "clipping norm")
	f.Float64Var(&p.Privacy.Adaptive.Quantile, "adaptive-clip", 0, "quantile of the updates' norms that the clipping norm moves to (with --unit site)")
	f.Float64Var(&p.Privacy.Adaptive.Rate, "adaptive-rate", 0, "how fast the clipping norm moves (default: 0.2)")
	f.Float64Var(&p.Privacy.Adaptive.CountNoise, "count-noise", 0, "noise on the count of updates within the norm, in sites (default: a twentieth of the group, and --noise at least)")
	f.StringVar(&p.Compression.Codec, "compression", "", "of updates: fp16, bf16, int8 or topk (without --secure), or randk")
	f.IntVar(&p.Compression.ShareBP, "compression-share-bp", 0, "topk, randk: coordinates that are sent, in basis points (default: 1000)")
	f.IntVar(&p.Compression.Bits, "compression-bits", 0, "bits of a coordinate with --secure: 8, 10 or 16")
	f.Float64Var(&p.Privacy.Delta, "delta", 0, "delta at which epsilon is told")

	f.Float64Var(&o.set.Dropout, "dropout", 0, "chance of a site to leave in a round, in a stage that is drawn")
	f.Float64Var(&o.set.Stragglers, "stragglers", 0, "chance of a site to be 10 to 40 times slower in a round")
	f.Float64Var(&o.set.Adversaries, "adversaries", 0, "share of the sites that lie")
	f.StringVar(&o.set.Attack, "attack", "", "sign-flip, scale or noise")
	f.Float64Var(&o.set.Strength, "strength", 0, "of the attack (default: 1 for sign-flip, 10 for the others)")
	f.StringVar(&o.out, "out", "", "folder to write the table, the CSV and the plots to, or the trials of a study")
	f.StringVar(&o.study, "study", "", "tune: run the trials of the study in this JSON file, and show the best (docs/reference/study.md)")
	return cmd
}

// simulate runs and shows a simulation. How long it took is no part of the
// result, which is the same on every machine of a kind.
func (a *app) simulate(ctx context.Context, o simulateOptions) error {
	set := o.set
	set.Params.Model.Trainer = o.trainer
	set.Params.Secure.Mode = round.SecureOff
	if o.secure {
		set.Params.Secure.Mode = round.SecureOn
	}
	for _, share := range []struct {
		name  string
		value float64
		bp    *int
	}{{"sample", o.sample, &set.Params.SampleBP}, {"over", o.over, &set.Params.OverBP}, {"target", o.target, &set.Params.TargetBP}} {
		if !(share.value >= 0 && share.value <= 1) {
			return usage(fmt.Errorf("--%s: %w", share.name, simulate.ErrShare))
		}
		*share.bp = int(math.Round(share.value * 10_000))
	}
	var err error
	if set.Data, err = simulate.Load(o.data, set.Params.Seed); err != nil {
		return usage(err)
	}
	if o.study != "" {
		return a.study(ctx, o.study, o.out, set)
	}
	began := time.Now()
	result, err := simulate.Run(ctx, set)
	if err != nil {
		if refused := new(round.ParamError); errors.As(err, &refused) || simulate.Refused(err) {
			return usage(err)
		}
		return err
	}
	if o.out != "" {
		if err := result.Write(o.out); err != nil {
			return err
		}
	}
	if _, err := fmt.Fprintf(a.notes(), "%s\ntook %.1f s, peak memory %d MiB\n", simulate.Note, time.Since(began).Seconds(), peakMiB()); err != nil {
		return err
	}
	return a.print(result, func(w *tabwriter.Writer) {
		fmt.Fprintf(w, "SIMULATED\tROUND\tASKED\tANSWERED\tDROPPED\tCLOCK\tUPLOADED\tACCURACY\tLOSS\tEPSILON\n")
		for _, r := range result.Rounds {
			fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%.1f s\t%.1f KiB\t%.2f %%\t%.4f\t%.3f\n", r.Kind, r.Number, r.Asked, r.Answered, r.Dropped,
				r.Clock, float64(r.Uploaded)/1024, 100*r.Accuracy(), r.Loss(), r.Epsilon)
		}
		fmt.Fprintf(w, "%s\t%s\n", result.Status, result.Cause)
	})
}

// peakMiB is the most memory that this process has held.
func peakMiB() int64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return usage.Maxrss >> 10
}
