package main

import (
	"crypto/ecdsa"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/internal/anchor"
	"github.com/atom-fabric/fabric/internal/config"
	"github.com/atom-fabric/fabric/internal/site/agent"
	"github.com/atom-fabric/fabric/internal/site/program"
)

// flags are what only a site has; everything that it shares with other
// processes is a setting.
type flags struct {
	command      string
	limit        time.Duration
	pass         []string
	allowTenants []string
	minRows      int
	floor        agent.Floor
	peers        string
	grantKeys    []string
	model        int64
}

const runHelp = `Run the agent until it is told to stop.

Settings (environment): FABRIC_API_URL, FABRIC_TENANT, FABRIC_SITE, FABRIC_REGION, FABRIC_SITE_DATA (CSV, last column
"label"), FABRIC_STATE_DIR (private to this agent), FEDERATION_TOKEN or FEDERATION_TOKEN_FILE, FABRIC_TRUST_KEY (public key
file that orders must be signed with; without it the keys that the first enrolment names are pinned), FABRIC_LOG_LEVEL.`

func newRun(environ []string, log io.Writer) *cobra.Command {
	var f flags
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Enrol, then answer rounds until told to stop",
		Long:  runHelp,
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			settings, err := config.Load("", environ)
			if err != nil {
				return err
			}
			a, err := f.agent(settings, log)
			if err != nil {
				return err
			}
			return a.Run(cmd.Context())
		},
	}
	cmd.Flags().StringVar(&f.command, "exec", "", "command that trains models of trainer \"exec\" (see docs/protocol/site.md)")
	cmd.Flags().DurationVar(&f.limit, "exec-limit", time.Hour, "time that the command may take for one round")
	cmd.Flags().Int64Var(&f.model, "max-model-bytes", agent.DefaultModelBytes, "largest weights that the command is given; the disk holds three times as much")
	cmd.Flags().StringSliceVar(&f.pass, "exec-env", nil, "variables of this process that the command may see")
	cmd.Flags().StringSliceVar(&f.allowTenants, "allow-tenant", nil, "owners of models to work for (default: every owner)")
	cmd.Flags().IntVar(&f.minRows, "min-rows", 10, "fewest rows to train on: a mean over few rows tells the rows")
	cmd.Flags().IntVar(&f.floor.MinCohort, "min-cohort", 0, "fewest sites that may be summed together")
	cmd.Flags().BoolVar(&f.floor.RequireSecure, "require-secure", false, "send no update that is not masked (secure aggregation)")
	cmd.Flags().Float64Var(&f.floor.MaxEpsilon, "max-epsilon", 0, "largest epsilon that one round may cost; with it, rounds without a bound are refused (default: not looked at)")
	cmd.Flags().StringSliceVar(&f.floor.Trainers, "allow-trainer", nil,
		"logistic, mlp, exec, or sha256:<digits> of a file that the --exec command names (default: all)")
	cmd.Flags().StringVar(&f.peers, "peers", "", `file with the identity keys of other sites, each after a line "tenant/site" (default: a key is pinned when its site is first met)`)
	cmd.Flags().StringSliceVar(&f.grantKeys, "grant-key", nil, "public key files with which the tenant itself signs grants; then no others count (default: the keys that sign orders)")
	return cmd
}

func (f flags) agent(c config.Config, log io.Writer) (*agent.Agent, error) {
	trust, err := pinned(c)
	if err != nil {
		return nil, err
	}
	if c.Env == "prod" && !strings.HasPrefix(c.APIURL, "https://") {
		return nil, fmt.Errorf("%w: FABRIC_API_URL is not https, which FABRIC_ENV=prod asks for", config.ErrSetting)
	}
	opts := agent.Options{
		Tenant: c.SiteTenant, Site: c.SiteID, Region: c.Region,
		Data: c.SiteData, StateDir: c.StateDir, Token: first(config.List(c.FederationTok.Reveal())),
		Trust: trust, AllowTenants: f.allowTenants, MinRows: f.minRows, Floor: f.floor, MaxModelBytes: f.model,
	}
	for _, path := range f.grantKeys {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("%w: --grant-key: %w", errUsage, err)
		}
		key, err := artifact.ParsePublicKey(text)
		if err != nil {
			return nil, fmt.Errorf("%w: --grant-key %s: %w", errUsage, path, err)
		}
		opts.GrantKeys = append(opts.GrantKeys, key)
	}
	if f.peers != "" {
		text, err := os.ReadFile(f.peers)
		if err != nil {
			return nil, fmt.Errorf("%w: --peers: %w", errUsage, err)
		}
		if opts.Peers, err = agent.ParsePeers(text); err != nil {
			return nil, fmt.Errorf("%w: --peers: %w", errUsage, err)
		}
		if len(opts.Peers) == 0 {
			return nil, fmt.Errorf("%w: --peers: the list is empty", errUsage)
		}
	}
	if f.command != "" {
		opts.Program = &program.Program{Command: f.command, Dir: filepath.Join(c.StateDir, "exec"), Limit: f.limit, Pass: f.pass}
	}
	fabric, err := agent.Dial(strings.TrimRight(c.APIURL, "/"), http.DefaultTransport.(*http.Transport).Clone())
	if err != nil {
		return nil, err
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.LogLevel)); err != nil {
		return nil, fmt.Errorf("%w: FABRIC_LOG_LEVEL is not debug, info, warn or error", config.ErrSetting)
	}
	return agent.New(opts, fabric, slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: level})))
}

// pinned returns the keys that orders must be signed with: those that the trust
// policy allows today, or those that were pinned by hand. An agent keeps to them
// until it starts again.
func pinned(c config.Config) ([]*ecdsa.PublicKey, error) {
	if c.TrustPolicy == "" && c.TrustKey == "" {
		return nil, nil
	}
	by, err := anchor.From(c, nil)
	if err != nil {
		return nil, err
	}
	judge, err := by.Judge()
	if err != nil {
		return nil, err
	}
	keys := judge.Signers(artifact.PredicateRoundManifest, anchor.Environment(c), time.Now())
	if len(keys) == 0 {
		return nil, fmt.Errorf("%w: FABRIC_TRUST_POLICY lets no key sign round manifests here today", config.ErrSetting)
	}
	return keys, nil
}

// first returns the first token: while one replaces the other, the fabric knows
// two, and a site presents one.
func first(tokens []string) string {
	if len(tokens) == 0 {
		return ""
	}
	return tokens[0]
}
