package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/atom-fabric/fabric/internal/doctor"
	"github.com/atom-fabric/fabric/internal/local"
	"github.com/atom-fabric/fabric/internal/pgserver"
	"github.com/atom-fabric/fabric/internal/postgres"
	"github.com/atom-fabric/fabric/internal/precheck"
)

func (p *patient) precheck(context.Context) doctor.Finding {
	report := precheck.Decide(p.c)
	why := strings.Join(report.Why, "; ")
	switch {
	case report.Decision == precheck.Block:
		return doctor.Failed("fabric precheck says what is missing", "it must not start: %s", why)
	case report.Decision == precheck.Simulation:
		return doctor.Well("it runs in simulation: %s", why)
	}
	return doctor.Well("it runs for real: %s", why)
}

func (p *patient) programs(context.Context) doctor.Finding {
	executable, err := os.Executable()
	if err != nil {
		return doctor.Failed("run the program by its path", "%v", err)
	}
	var missing, fixes []string
	plan := local.Plan{Layout: p.layout, Config: p.c, Bin: filepath.Dir(executable)}
	if err := plan.CheckPrograms(); err != nil {
		missing, fixes = append(missing, filepath.Base(programOf(err, plan.Bin))+" is not beside this program"), append(fixes, "make build")
	}
	if p.dsn == "" || p.up && !p.c.Set("POSTGRES_DSN") {
		if _, err := pgserver.Find(); err != nil {
			missing, fixes = append(missing, "PostgreSQL's server, 15 or later, was not found"), append(fixes, "make setup, or set POSTGRES_DSN to a server of yours")
		}
	}
	switch {
	case len(missing) == 0:
		return doctor.Well("all of them are there")
	case p.c.Set("POSTGRES_DSN") && p.c.Set("TEMPORAL_ADDRESS"): // each process may be a machine's only one
		return doctor.Warned(strings.Join(fixes, "; "), "%s; only fabric up needs it", strings.Join(missing, "; "))
	}
	return doctor.Failed(strings.Join(fixes, "; "), "%s", strings.Join(missing, "; "))
}

// programOf finds the path in what [local.Plan.CheckPrograms] says.
func programOf(err error, bin string) string {
	for _, word := range strings.FieldsFunc(err.Error(), func(r rune) bool { return r == ' ' || r == ';' }) {
		if strings.HasPrefix(word, bin) {
			return word
		}
	}
	return "a program"
}

// secrets looks at every file that opens something.
func (p *patient) secrets(context.Context) doctor.Finding {
	var paths []string
	for _, pattern := range []string{"secrets/*", "keys/*.key", "issuer/*.pem", "issuer/*.key", "sites/*/*.key", "session.key"} {
		found, err := filepath.Glob(p.layout.Path(pattern))
		if err != nil {
			return doctor.Failed("choose a path without brackets for FABRIC_STATE_DIR", "%v", err)
		}
		paths = append(paths, found...)
	}
	for _, path := range []string{p.c.CosignKeyPath, p.c.LogKeyPath} {
		if path != "" && !slices.Contains(paths, path) {
			paths = append(paths, path)
		}
	}
	for _, e := range p.environ {
		if name, path, _ := strings.Cut(e, "="); strings.HasSuffix(name, "_FILE") && path != "" && p.c.Set(strings.TrimSuffix(name, "_FILE")) {
			paths = append(paths, path)
		}
	}
	return doctor.Private(paths...)
}

func (p *patient) disk(context.Context) doctor.Finding {
	room, err := doctor.RoomOf(p.layout.State)
	if err != nil {
		return doctor.Failed("choose another disk with FABRIC_STATE_DIR", "%s: %v", p.layout.State, err)
	}
	return doctor.Disk(p.layout.State, room)
}

func (p *patient) files(context.Context) doctor.Finding {
	soft, err := doctor.OpenFiles()
	if err != nil {
		return doctor.Failed("ulimit -n shows it", "%v", err)
	}
	return doctor.Files(soft)
}

// ports says whether each port is free, or, where a system runs, answered.
func (p *patient) ports(ctx context.Context) doctor.Finding {
	all := p.layout.Ports(len(p.c.RegionNames()), !p.c.Set("TEMPORAL_ADDRESS"), !p.c.Set("GLOBAL_REGISTRY_URL"))
	if !p.up {
		err := p.layout.CheckPorts(len(p.c.RegionNames()), !p.c.Set("TEMPORAL_ADDRESS"), !p.c.Set("GLOBAL_REGISTRY_URL"))
		switch {
		case err == nil:
			return doctor.Well("%d ports from %s on are free", len(all), p.layout.Address(0))
		case p.healthy(ctx, p.gateway+"/health") == nil:
			return doctor.Skipped("a fabric answers at " + p.gateway + ", and its processes hold the ports")
		}
		return doctor.Failed("ss -ltnp shows what uses them; or fabric up --port-base 12000", "%v", err)
	}
	var silent []string
	for _, port := range all {
		conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", port.Address)
		if err != nil {
			silent = append(silent, port.Address+" ("+port.Name+")")
			continue
		}
		if err := conn.Close(); err != nil {
			return doctor.Failed("try again", "%v", err)
		}
	}
	if len(silent) > 0 {
		return doctor.Failed("look into "+p.layout.Path("logs")+", or stop fabric up and start it again", "nobody answers on %s", strings.Join(silent, ", "))
	}
	return doctor.Well("%d ports from %s on are answered", len(all), p.layout.Address(0))
}

// clock compares this machine's clock with that of every server that tells the
// time; the gateway's header has whole seconds only.
func (p *patient) clock(ctx context.Context) doctor.Finding {
	worst := doctor.Skipped("there is no other machine to compare with")
	keep := func(f doctor.Finding) {
		if worst.Status == doctor.Skip || doctor.Worst([]doctor.Finding{worst, f}) != worst.Status {
			worst = f
		}
	}
	if p.dsn != "" {
		if db, err := postgres.Inspect(ctx, p.dsn); err == nil {
			keep(doctor.Skew("PostgreSQL", db.Skew))
		}
	}
	began := time.Now()
	resp, err := get(ctx, p.gateway+"/health")
	if err != nil {
		return worst
	}
	if at, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		ahead := at.Sub(began.Add(time.Since(began) / 2))
		if ahead.Abs() < 2*time.Second { // it may be that of the same second
			ahead = 0
		}
		keep(doctor.Skew("the gateway", ahead))
	}
	return worst
}

// away says in a few words why a server cannot be reached, without the address
// again, and without what a text of the server might quote.
func away(err error) string {
	var lookup *net.DNSError
	switch {
	case errors.Is(err, syscall.ECONNREFUSED), strings.Contains(err.Error(), "connection refused"), // gRPC keeps the text alone
		strings.Contains(err.Error(), "dial unix") && strings.Contains(err.Error(), "no such file"):
		return "nobody listens there"
	case errors.As(err, &lookup):
		return "the name " + lookup.Name + " is not known"
	case errors.Is(err, context.DeadlineExceeded):
		return "no answer in time"
	}
	return err.Error()
}
