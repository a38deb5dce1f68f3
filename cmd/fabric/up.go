package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/atom-fabric/fabric/examples/tumour"
	"github.com/atom-fabric/fabric/internal/config"
	"github.com/atom-fabric/fabric/internal/cosign"
	"github.com/atom-fabric/fabric/internal/issuer"
	"github.com/atom-fabric/fabric/internal/local"
	"github.com/atom-fabric/fabric/internal/pgserver"
	"github.com/atom-fabric/fabric/internal/supervise"
)

func newUp(a *app) *cobra.Command {
	var o upOptions
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Run the whole system on this machine until Ctrl-C; started again, it carries on",
		Long: `Starts PostgreSQL, Temporal with its Web UI, an OCI registry, the API with the six services,
workers for the control and the regional task queues, a runtime per region, the router and five
hospitals' sites, on loopback and under one state directory, and stops them all on Ctrl-C.

Each embedded server is replaced by yours as soon as its variable is set: POSTGRES_DSN,
TEMPORAL_ADDRESS, GLOBAL_REGISTRY_URL, NEURAL_FABRIC_URL, GLOBAL_S3_ENDPOINT.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			began := time.Now()
			system, err := a.start(cmd.Context(), o, a.notes())
			if err != nil {
				return err
			}
			defer system.Stop()
			system.Table(a.Out, time.Since(began))
			fmt.Fprintf(a.Out, "\nConsole          %s\nTemporal Web UI  %s\nGateway          %s\nLogs             %s\nCtrl-C stops everything; the state stays.\n",
				system.plan.Console(), system.plan.TemporalUI(), system.plan.Gateway(), system.plan.Path("logs"))
			<-cmd.Context().Done()
			fmt.Fprintln(a.notes(), "stopping ...")
			return nil
		},
	}
	o.flags(cmd)
	return cmd
}

// upOptions are the flags that say where a local system runs.
type upOptions struct {
	state string
	base  int
}

func (o *upOptions) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.state, "state", "", "state directory (default: FABRIC_STATE_DIR)")
	cmd.Flags().IntVar(&o.base, "port-base", 0, "port of the gateway; every other port follows it (default: FABRIC_PORT_BASE)")
}

// layout resolves the flags against the settings.
func (o upOptions) layout(c config.Config) (local.Layout, error) {
	l := local.Layout{Host: c.Host, Base: c.PortBase, State: c.StateDir}
	if o.state != "" {
		l.State = o.state
	}
	if o.base != 0 {
		l.Base = o.base
	}
	if l.Base < 2000 || l.Base > 65000 {
		return l, usage(fmt.Errorf("--port-base %d: choose one from 2000 to 65000", l.Base))
	}
	l.State = absolute(l.State)
	return l, nil
}

// absolute joins a path and makes it absolute; the working directory of a
// running process is always known.
func absolute(parts ...string) string {
	path, err := filepath.Abs(filepath.Join(parts...))
	if err != nil {
		return filepath.Join(parts...)
	}
	return path
}

// A system is a running local system.
type system struct {
	plan    local.Plan
	group   *supervise.Group
	release func()
}

// Stop ends every process and lets go of the state directory.
func (s *system) Stop() {
	s.group.Stop()
	s.release()
}

// start prepares the state directory and starts everything, rank by rank.
// Progress goes to w.
func (a *app) start(ctx context.Context, o upOptions, w io.Writer) (_ *system, err error) {
	c, err := a.config()
	if err != nil {
		return nil, err
	}
	layout, err := o.layout(c)
	if err != nil {
		return nil, err
	}
	release, err := layout.Prepare()
	if err != nil {
		return nil, err
	}
	s := &system{release: release}
	defer func() {
		if err != nil {
			release()
		}
	}()
	if err := layout.CheckPorts(len(c.RegionNames()), !c.Set("TEMPORAL_ADDRESS"), !c.Set("GLOBAL_REGISTRY_URL")); err != nil {
		return nil, err
	}
	if s.plan, err = a.plan(ctx, c, layout); err != nil {
		return nil, err
	}
	log, err := a.logger(ctx, c)
	if err != nil {
		return nil, err
	}
	if s.group, err = supervise.New(layout.Path("logs"), log); err != nil {
		return nil, err
	}
	ranks := []struct {
		name  string
		specs []supervise.Spec
	}{
		{"servers", s.backends(layout)},
		{"the six services", []supervise.Spec{s.plan.API()}},
		{"workers, runtimes and sites", slices.Concat(s.plan.Workers(), s.plan.Runtimes(), s.plan.Agents())},
		{"the router", []supervise.Spec{s.plan.Router()}},
	}
	for _, rank := range ranks {
		fmt.Fprintf(w, "starting %s ...\n", rank.name)
		if err := s.group.Start(ctx, rank.specs...); err != nil {
			s.group.Stop()
			return nil, err
		}
	}
	return s, nil
}

// backends adds the readiness that only pgserver knows.
func (s *system) backends(layout local.Layout) []supervise.Spec {
	specs := s.plan.Backends()
	for i := range specs {
		if specs[i].Name == "postgres" {
			specs[i].Ready = func(ctx context.Context) error {
				dir, err := pgserver.Place(layout.Path("pg"))
				if err != nil {
					return err
				}
				return pgserver.Ready(ctx, dir)
			}
		}
	}
	return specs
}

// plan makes what is missing (keys, tokens, the hospitals' files) and says
// what will run.
func (a *app) plan(ctx context.Context, c config.Config, layout local.Layout) (local.Plan, error) {
	executable, err := os.Executable()
	if err != nil {
		return local.Plan{}, err
	}
	p := local.Plan{Layout: layout, Config: c, Bin: filepath.Dir(executable)}
	if err := errors.Join(p.CheckPrograms(), p.CheckHome()); err != nil {
		return p, err
	}
	if !c.Set("POSTGRES_DSN") {
		if p.PostgresDSN, err = embeddedDSN(layout.State); err != nil {
			return p, err
		}
	}
	if !c.Set("FEDERATION_TOKEN") {
		if _, err := layout.Generated("federation.token"); err != nil {
			return p, err
		}
	}
	if len(c.KeySources()) == 0 {
		if err := developmentKey(layout); err != nil {
			return p, err
		}
	}
	if err := a.localTrust(ctx, c, layout, &p); err != nil {
		return p, err
	}
	if !c.Set("FABRIC_LOG_KEY_PATH") {
		if _, err := developmentLogKey(layout.Path("keys", "log.key")); err != nil {
			return p, err
		}
	}
	if !c.Set("FABRIC_JWKS") {
		if _, err := issuer.Open(layout.Path("issuer"), c.Issuer); err != nil {
			return p, err
		}
	}
	p.Sites, err = hospitals(layout)
	return p, err
}

// embeddedDSN is the connection string of the embedded server.
func embeddedDSN(state string) (string, error) {
	opts, err := postgresOptions(state)
	if err != nil {
		return "", err
	}
	return pgserver.DSN(opts.Dir, "postgres", pgserver.Superuser)
}

// developmentKey makes the signing key pair of a system that was given none.
func developmentKey(layout local.Layout) error {
	password, err := layout.Generated("cosign.password")
	if err != nil {
		return err
	}
	if _, err := os.Stat(layout.Path("keys", "fabric.key")); err == nil {
		return nil
	}
	secret, err := readSecret(password)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(layout.Path("keys"), 0o700); err != nil {
		return err
	}
	return cosign.GenerateKeyPair(layout.Path("keys"), "fabric", []byte(secret))
}

// hospitals writes the rows of each hospital of the example into a folder that
// only its site reads.
func hospitals(layout local.Layout) ([]local.Site, error) {
	var sites []local.Site
	for _, h := range tumour.Split() {
		dir := layout.Path("sites", h.Site)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
		file := hospitalRows(layout, h.Site)
		if err := os.WriteFile(file, h.CSV(), 0o600); err != nil {
			return nil, err
		}
		sites = append(sites, local.Site{Tenant: h.Tenant, ID: h.Site, Region: h.Region, Data: file})
	}
	return sites, nil
}

// hospitalRows is the file with the rows of a hospital's site.
func hospitalRows(layout local.Layout, site string) string {
	return layout.Path("sites", site, "rows.csv")
}

// Table prints what runs, where, and how long it took to get ready.
func (s *system) Table(out io.Writer, took time.Duration) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "PROCESS\tSTATE\tPID\tREADY AFTER")
	for _, p := range s.group.Status() {
		state := "starting"
		if p.Ready {
			state = "ready"
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%d ms\n", p.Name, state, p.PID, p.Took.Milliseconds())
	}
	w.Flush()
	mode := "production"
	if s.plan.Config.Simulation() {
		mode = "simulation: nothing that it does counts outside this machine"
	}
	fmt.Fprintf(out, "\nready in %.1f s; mode %s\n", took.Seconds(), mode)
}
