package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/atom-fabric/fabric/internal/config"
	"github.com/atom-fabric/fabric/internal/doctor"
	"github.com/atom-fabric/fabric/internal/local"
	"github.com/atom-fabric/fabric/internal/telemetry"
)

func newDoctor(a *app) *cobra.Command {
	var o upOptions
	var only, skip []string
	var patience time.Duration
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Look for what is wrong with this deployment, and say what mends each finding",
		Long: `Looks at this machine, at the settings, and at every server that they name, all at once, and
changes nothing (a bucket is given one object of a few bytes). Where no server is named it looks at those
that fabric up runs on the state directory. A check is ok, warn, fail, or skip
where there is nothing to look at. Ends with status 3 when one fails.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.doctor(cmd.Context(), o, only, skip, patience) },
	}
	o.flags(cmd)
	cmd.Flags().StringSliceVar(&only, "only", nil, "these checks and no others")
	cmd.Flags().StringSliceVar(&skip, "skip", nil, "all checks but these")
	cmd.Flags().DurationVar(&patience, "patience", doctor.Patience, "how long a check may take; one that takes longer has failed")
	names := cobra.FixedCompletions(doctor.IDs((&patient{}).checks()), cobra.ShellCompDirectiveNoFileComp)
	must(cmd.RegisterFlagCompletionFunc("only", names))
	must(cmd.RegisterFlagCompletionFunc("skip", names))
	return cmd
}

// A diagnosis is what fabric doctor says.
type diagnosis struct {
	Status   doctor.Status    `json:"status"` // the worst of them
	Findings []doctor.Finding `json:"findings"`
}

func (a *app) doctor(ctx context.Context, o upOptions, only, skip []string, patience time.Duration) error {
	p, err := a.patient(ctx, o)
	if err != nil {
		return err
	}
	checks, err := doctor.Select(p.checks(), only, skip)
	if err != nil {
		return usage(err)
	}
	found := doctor.Run(ctx, checks, patience)
	d := diagnosis{doctor.Worst(found), found}
	if err := a.print(d, func(w *tabwriter.Writer) { d.rows(w) }); err != nil {
		return err
	}
	if d.Status == doctor.Fail {
		var failed []string
		for _, f := range found {
			if f.Status == doctor.Fail {
				failed = append(failed, f.ID)
			}
		}
		return &exitError{exitChecks, fmt.Errorf("%d of %d checks failed: %s\n  mend what is marked above, then: fabric doctor --only %s", len(failed), len(found), strings.Join(failed, ", "), strings.Join(failed, ","))}
	}
	return nil
}

func (d diagnosis) rows(w *tabwriter.Writer) {
	fmt.Fprintln(w, "CHECK\tVERDICT\tWHAT WAS FOUND")
	for _, f := range d.Findings {
		for i, line := range strings.Split(f.Detail, "\n") {
			if i == 0 {
				fmt.Fprintf(w, "%s\t%s\t%s\n", f.ID, f.Status, line)
			} else {
				fmt.Fprintf(w, "\t\t%s\n", line)
			}
		}
		if f.Fix != "" {
			fmt.Fprintf(w, "\t\tmend: %s\n", f.Fix)
		}
	}
}

// A patient is a deployment as the doctor finds it: the settings, and in the
// place of servers that they do not name those of fabric up, if it runs.
type patient struct {
	*app
	c      config.Config
	layout local.Layout
	up     bool // fabric up runs on the state directory

	dsn       string // "" where there is no database to ask
	temporal  string
	registry  string
	gateway   string
	router    string
	telemetry *telemetry.Telemetry // tells nobody
}

// notUp is why a server that is embedded cannot be asked.
const notUp = "it is embedded, and fabric up does not run on this state directory"

func (a *app) patient(ctx context.Context, o upOptions) (*patient, error) {
	c, err := a.config()
	if err != nil {
		return nil, err
	}
	p := &patient{app: a, c: c, dsn: c.PostgresDSN.Reveal(), temporal: c.TemporalAddress, registry: c.RegistryURL, gateway: strings.TrimRight(c.APIURL, "/"), router: strings.TrimRight(c.RouterURL, "/")}
	if p.layout, err = o.layout(c); err != nil {
		return nil, err
	}
	p.c.StateDir = p.layout.State
	if p.telemetry, err = telemetry.New(ctx, "fabric-doctor", telemetry.Options{Out: io.Discard}); err != nil {
		return nil, err
	}
	p.up = p.layout.Running()
	if !p.up {
		return p, nil
	}
	if p.dsn == "" {
		if p.dsn, err = embeddedDSN(p.layout.State); err != nil {
			return nil, err
		}
	}
	for _, own := range []struct {
		setting string
		at      *string
		where   string
	}{
		{"TEMPORAL_ADDRESS", &p.temporal, p.layout.TemporalAddress()}, {"GLOBAL_REGISTRY_URL", &p.registry, p.layout.Registry()},
		{"FABRIC_API_URL", &p.gateway, p.layout.Gateway()}, {"FABRIC_ROUTER_URL", &p.router, p.layout.Service(4)},
	} {
		if !c.Set(own.setting) {
			*own.at = own.where
		}
	}
	return p, nil
}

// checks are all that the doctor looks at, cheapest and nearest first.
func (p *patient) checks() []doctor.Check {
	look := func(id string, do func(context.Context) doctor.Finding) doctor.Check {
		return doctor.Check{ID: id, Do: do}
	}
	return []doctor.Check{
		look("settings", func(context.Context) doctor.Finding { return doctor.Settings(p.c) }),
		look("precheck", p.precheck),
		look("programs", p.programs),
		look("state", func(context.Context) doctor.Finding { return doctor.Folder(p.layout.State, "FABRIC_STATE_DIR") }),
		look("secrets", p.secrets),
		look("disk", p.disk),
		look("files", p.files),
		look("ports", p.ports),
		look("clock", p.clock),
		look("postgres", p.postgresServer),
		look("migrations", p.migrations),
		look("replicas", p.replicaServers),
		look("temporal", p.temporalServer),
		look("queues", p.queues),
		look("registry", p.registryServer),
		look("store", p.store),
		look("rules", p.rules),
		look("prometheus", p.prometheus),
		look("issuer", p.issuer),
		look("token", p.token),
		{ID: "key", Slow: true, Do: p.key},
		look("logkey", p.logKey),
		look("trust", p.trusted),
		look("audit", p.audit),
		look("gateway", p.services),
		look("router", p.routing),
	}
}

// soonEnough is how long a token of a command should still hold.
const soonEnough = 5 * time.Minute
