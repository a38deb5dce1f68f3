package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	v1 "github.com/atom-fabric/fabric/api/v1"
)

// paramFlags are flags whose values are words of the API's or need reading.
// What has no flag goes into the file of --params.
type paramFlags struct {
	trainer, strategy, rule, secure, mechanism, unit, from string
	codec                                                  string
	ring, bits                                             int
}

func (c *paramFlags) declare(cmd *cobra.Command, p *v1.RunParams) {
	f := cmd.Flags()
	f.IntVar(&p.Rounds, "rounds", 0, "train rounds")
	f.IntVar(&p.Quorum, "quorum", 0, "sites that must answer")
	f.IntVar(&p.LocalEpochs, "epochs", 0, "local epochs a round")
	f.IntVar(&p.BatchSize, "batch", 0, "rows a step")
	f.Float64Var(&p.LearningRate, "learning-rate", 0, "step size of the sites")
	f.IntVar(&p.Model.Hidden, "hidden", 0, "units of the hidden layer (mlp)")
	f.StringSliceVar(&p.Features, "features", nil, "feature ids (default: all of the tenants)")
	f.StringVar(&c.trainer, "trainer", "", "logistic, mlp or exec")
	f.StringVar(&c.strategy, "strategy", "", "fedavg, fedprox, fedavgm, fedadagrad, fedadam, fedyogi, scaffold or fedbuff")
	f.Float64Var(&p.Strategy.ServerRate, "server-rate", 0, "step size of the server")
	f.IntVar(&p.Strategy.Buffer, "buffer", 0, "fedbuff: sites that are ready before a step is taken (default 10)")
	f.IntVar(&p.Strategy.MaxStaleness, "max-staleness", 0, "fedbuff: steps of the server after which an update is refused (default 20)")
	f.StringVar(&c.rule, "rule", "", "mean, median, trimmed_mean, krum, multi_krum, bulyan, geometric_median or norm_bound")
	f.IntVar(&p.Strategy.Byzantine, "byzantine", 0, "how many updates, or buckets of them, may be lies")
	f.IntVar(&p.Strategy.BucketSites, "bucket-sites", 0, "sites a bucket, for a robust rule under secure aggregation")
	f.StringVar(&c.secure, "secure", "", "secure aggregation: auto, on or off")
	f.IntVar(&c.ring, "ring", 0, "bits of an element under secure aggregation: 32 or 64")
	f.StringVar(&c.mechanism, "privacy", "", "noise: gaussian, discrete_gaussian or skellam")
	f.StringVar(&c.unit, "privacy-unit", "", "what the noise hides: site or example")
	f.Float64Var(&p.Privacy.NoiseMultiplier, "noise", 0, "standard deviation of the noise over the clipping norm")
	f.Float64Var(&p.Privacy.ClipNorm, "clip", 0, "clipping norm")
	f.Float64Var(&p.Privacy.MaxEpsilon, "max-epsilon", 0, "most that the run may cost")
	f.Float64Var(&p.Privacy.Adaptive.Quantile, "adaptive-clip", 0, "quantile of the updates' norms that the clipping norm moves to (with --privacy-unit site)")
	f.Float64Var(&p.Privacy.Adaptive.Rate, "adaptive-rate", 0, "how fast the clipping norm moves")
	f.Float64Var(&p.Privacy.Adaptive.CountNoise, "count-noise", 0, "standard deviation of the noise on the count of updates within the norm, in sites")
	f.StringVar(&c.codec, "compression", "", "of updates: fp16, bf16, int8 or topk (with --secure off), or randk")
	f.IntVar(&p.Compression.ShareBp, "compression-share-bp", 0, "topk, randk: coordinates that are sent, in basis points")
	f.IntVar(&c.bits, "compression-bits", 0, "bits of a coordinate under secure aggregation: 8, 10 or 16")
	f.IntVar(&p.SampleBp, "sample-bp", 0, "share of the sites that a train round asks, in basis points")
	f.IntVar(&p.OverBp, "over-bp", 0, "how many more than that are asked, in basis points of it")
	f.IntVar(&p.TargetBp, "target-bp", 0, "stop once the accuracy reaches it, in basis points")
	f.IntVar(&p.Patience, "patience", 0, "stop after so many rounds without a better loss")
	f.StringVar(&c.from, "from", "", "checkpoint to start from, as RUN/ROUND")
}

// complete takes the words over.
func (c *paramFlags) complete(p *v1.RunParams, in *v1.RunRequest) error {
	p.Model.Trainer = v1.ModelSpecTrainer(c.trainer)
	p.Strategy.Name, p.Strategy.Rule = v1.StrategyName(c.strategy), v1.StrategyRule(c.rule)
	p.Secure.Mode, p.Secure.Ring = v1.SecureMode(c.secure), v1.SecureRing(c.ring)
	p.Privacy.Mechanism, p.Privacy.Unit = v1.PrivacyMechanism(c.mechanism), v1.PrivacyUnit(c.unit)
	p.Compression.Codec, p.Compression.Bits = v1.CompressionCodec(c.codec), v1.CompressionBits(c.bits)
	if c.from == "" {
		return nil
	}
	run, number, ok := strings.Cut(c.from, "/")
	n, err := strconv.Atoi(number)
	if !ok || run == "" || err != nil || n < 0 {
		return fmt.Errorf("--from %q: write it as RUN/ROUND", c.from)
	}
	in.From = v1.RunOrigin{Run: run, Round: n}
	return nil
}

// over reads the file, if one is named, and lays what the flags say over it.
func over(file string, flags v1.RunParams, out *v1.RunParams) error {
	if file != "" {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if err := json.Unmarshal(text, out); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	said, err := json.Marshal(flags) // without what is zero
	if err != nil {
		return err
	}
	return json.Unmarshal(said, out)
}
