package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/atom-fabric/fabric/internal/demo"
	"github.com/atom-fabric/fabric/internal/issuer"
	"github.com/atom-fabric/fabric/internal/local"
	"github.com/atom-fabric/fabric/internal/pgserver"
)

// demoMarker says that a folder was made by the governance demonstration, which
// may therefore empty it.
const demoMarker = "made-by-fabric-demo-governance"

// govern runs the governance demonstration on a system of its own that begins
// anew: the loop remembers for a day what it changed, and would rightly hold
// back.
func (a *app) govern(ctx context.Context, o upOptions, seed uint64) error {
	c, err := a.config()
	if err != nil {
		return err
	}
	layout, err := o.layout(c)
	if err != nil {
		return err
	}
	o.state = layout.Path("governance")
	if err := anew(o.state); err != nil {
		return err
	}
	return a.show(ctx, o, func(s *system) (demonstration, error) {
		i, err := issuer.Open(s.plan.Path("issuer"), s.plan.Config.Issuer)
		if err != nil {
			return nil, err
		}
		return demo.NewGovernance(s.demonstration(a, i, 0), demo.GovernanceOptions{
			Seed: seed,
			Rows: func(site string) string { return hospitalRows(s.plan.Layout, site) },
			Audit: func(ctx context.Context, token string) error {
				return s.run(ctx, a, a.Out, s.plan.Gateway(), token, "audit", "verify")
			},
		})
	})
}

// anew empties a folder that an earlier demonstration made, and makes it. One
// that is somebody else's, or that a system runs on, is left alone.
func anew(state string) error {
	marker := filepath.Join(state, demoMarker)
	switch _, err := os.Stat(state); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	default:
		if _, err := os.Stat(marker); err != nil {
			return usage(fmt.Errorf("%s was not made by this demonstration, which begins in an empty folder: move it away, or choose another --state", state))
		}
		release, err := local.Layout{State: state}.Prepare()
		if err != nil {
			return err
		}
		err = forget(state)
		release()
		if err != nil {
			return err
		}
	}
	if err := os.MkdirAll(state, 0o755); err != nil {
		return err
	}
	return os.WriteFile(marker, nil, 0o600)
}

// forget removes a state, and its database where that had to be elsewhere: a
// database that stays would know sites by keys that are gone.
func forget(state string) error {
	preferred := local.Layout{State: state}.Path("pg")
	place, err := pgserver.Place(preferred)
	if err != nil {
		return err
	}
	if place != preferred {
		if err := os.RemoveAll(place); err != nil {
			return err
		}
	}
	return os.RemoveAll(state)
}
