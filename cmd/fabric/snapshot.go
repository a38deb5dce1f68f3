package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	v1 "github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/recovery"
)

// errPoint says that a recovery point is not what was asked for.
var errPoint = errors.New("not the recovery point that its signature is about")

func newSnapshot(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "snapshot", Short: "Take, list and verify recovery points, and go back to one"}
	cmd.AddCommand(newSnapshotCreate(a), newSnapshotList(a), newSnapshotVerify(a), newSnapshotRestore(a))
	return cmd
}

func newSnapshotCreate(a *app) *cobra.Command {
	var reason, file string
	cmd := a.command("create", "Sign what the tenant runs now as its next recovery point", cobra.NoArgs, func(c *caller, cmd *cobra.Command, _ []string) error {
		ctx := cmd.Context()
		accepted, err := v1.Fetch[v1.ActionAccepted](c.TakeRecoveryPoint(ctx, &v1.TakeRecoveryPointParams{Tenant: c.tenant}, v1.RecoveryPointRequest{Reason: reason}))
		if err != nil {
			return err
		}
		point, err := c.taken(ctx, accepted.ID)
		if err != nil {
			return err
		}
		if file != "" {
			if err := c.keepPoint(ctx, point.Sequence, file); err != nil {
				return err
			}
		}
		return c.print(point, func(w *tabwriter.Writer) {
			fmt.Fprintf(w, "recovery point %d\t%s\nitems\t%d\nsnapshot of the data plane\t%d\n", point.Sequence, point.Digest, point.Items, point.Snapshot)
		})
	})
	cmd.Flags().StringVar(&reason, "reason", "", "why, for those who read the list")
	cmd.Flags().StringVar(&file, "file", "", "write the point with its signature to a file, for fabric snapshot verify --file")
	return cmd
}

// taken waits until a point was taken.
func (c *caller) taken(ctx context.Context, action string) (v1.RecoveryPoint, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		page, err := v1.Fetch[v1.RecoveryPointPage](c.ListRecoveryPoints(ctx, &v1.ListRecoveryPointsParams{Tenant: c.tenant}))
		if err != nil {
			return v1.RecoveryPoint{}, err
		}
		for _, p := range page.Items {
			if p.Action == action {
				return p, nil
			}
		}
		select {
		case <-ctx.Done():
			return v1.RecoveryPoint{}, &exitError{exitUnavailable, fmt.Errorf("%s was not taken within a minute; it goes on: see fabric snapshot list", action)}
		case <-tick.C:
		}
	}
}

func (c *caller) keepPoint(ctx context.Context, sequence int64, file string) error {
	point, err := v1.Fetch[v1.RecoveryPoint](c.GetRecoveryPoint(ctx, sequence, &v1.GetRecoveryPointParams{Tenant: c.tenant}))
	if err != nil {
		return err
	}
	text, err := json.MarshalIndent(point, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(text, '\n'), 0o600)
}

func newSnapshotList(a *app) *cobra.Command {
	return a.command("list", "Show the recovery points, newest first", cobra.NoArgs, func(c *caller, cmd *cobra.Command, _ []string) error {
		page, err := v1.Fetch[v1.RecoveryPointPage](c.ListRecoveryPoints(cmd.Context(), &v1.ListRecoveryPointsParams{Tenant: c.tenant}))
		if err != nil {
			return err
		}
		return c.print(page, func(w *tabwriter.Writer) {
			fmt.Fprintln(w, "POINT\tTAKEN\tITEMS\tSNAPSHOT\tDIGEST\tBY\tREASON")
			for _, p := range page.Items {
				fmt.Fprintf(w, "%d\t%s\t%d\t%d\t%s\t%s\t%s\n", p.Sequence, p.At.Format(time.RFC3339), p.Items, p.Snapshot, short(p.Digest), p.Actor, p.Reason)
			}
		})
	})
}

// A verifiedPoint is what a check of a recovery point found.
type verifiedPoint struct {
	Sequence int64           `json:"sequence"`
	Digest   artifact.Digest `json:"digest"`
	Items    int             `json:"items"`
	Chain    int             `json:"chain"` // points up to the newest that were verified with it
}

func newSnapshotVerify(a *app) *cobra.Command {
	var file string
	var seen int64
	cmd := a.command("verify [POINT]", "Verify a recovery point (default: the newest) and every point after it with the trusted keys; with --file, offline", cobra.MaximumNArgs(1), func(c *caller, cmd *cobra.Command, args []string) error {
		var out verifiedPoint
		var err error
		if file != "" {
			out, err = c.verifyPointFile(file)
		} else {
			out, err = c.verifyChain(cmd.Context(), args)
		}
		if err != nil {
			return err
		}
		if newest := out.Sequence + int64(max(0, out.Chain-1)); newest < seen {
			return fmt.Errorf("the newest point is %d, and you have seen %d: %w", newest, seen, recovery.ErrOlder)
		}
		return c.print(out, func(w *tabwriter.Writer) {
			fmt.Fprintf(w, "OK\trecovery point %d, %s\nitems\t%d\nverified\t%d points in a chain\n", out.Sequence, out.Digest, out.Items, out.Chain)
		})
	})
	cmd.Flags().StringVar(&file, "file", "", "a point that was written by fabric snapshot create --file")
	cmd.Flags().Int64Var(&seen, "seen", 0, "sequence of the newest point that you have seen; an older newest one is refused")
	return cmd
}

func (c *caller) verifyPointFile(file string) (verifiedPoint, error) {
	by, err := c.app.referee()
	if err != nil {
		return verifiedPoint{}, err
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return verifiedPoint{}, err
	}
	var shown v1.RecoveryPoint
	if err := json.Unmarshal(text, &shown); err != nil {
		return verifiedPoint{}, fmt.Errorf("%s: %w", file, err)
	}
	point, digest, err := verifyPoint(by, shown)
	return verifiedPoint{Sequence: point.Sequence, Digest: digest, Items: point.Items(), Chain: 1}, err
}

// verifyChain verifies from a point to the newest, each against the one before.
func (c *caller) verifyChain(ctx context.Context, args []string) (verifiedPoint, error) {
	by, err := c.referee(ctx)
	if err != nil {
		return verifiedPoint{}, err
	}
	page, err := v1.Fetch[v1.RecoveryPointPage](c.ListRecoveryPoints(ctx, &v1.ListRecoveryPointsParams{Tenant: c.tenant, Limit: 1}))
	if err != nil {
		return verifiedPoint{}, err
	}
	if len(page.Items) == 0 {
		return verifiedPoint{}, &exitError{exitNotFound, errors.New("there is no recovery point yet; take one with: fabric snapshot create")}
	}
	newest := page.Items[0].Sequence
	from := newest
	if len(args) > 0 {
		if from, err = strconv.ParseInt(args[0], 10, 64); err != nil || from < 1 {
			return verifiedPoint{}, usage(fmt.Errorf("%q is no number of a recovery point", args[0]))
		}
	}
	var out verifiedPoint
	var last recovery.Head
	for sequence := from; sequence <= max(from, newest); sequence++ {
		shown, err := v1.Fetch[v1.RecoveryPoint](c.GetRecoveryPoint(ctx, sequence, &v1.GetRecoveryPointParams{Tenant: c.tenant}))
		if err != nil {
			return out, err
		}
		point, digest, err := verifyPoint(by, shown)
		if err == nil && point.Sequence != sequence {
			err = errPoint
		}
		if err == nil && out.Chain > 0 {
			err = point.Follows(last)
		}
		if err != nil {
			return out, fmt.Errorf("recovery point %d: %w", sequence, err)
		}
		if out.Chain == 0 {
			out = verifiedPoint{Sequence: sequence, Digest: digest, Items: point.Items()}
		}
		out.Chain++
		last = recovery.Head{Sequence: sequence, Digest: digest}
	}
	return out, nil
}

// verifyPoint accepts a point whose digest a trusted key signed.
func verifyPoint(by referee, shown v1.RecoveryPoint) (recovery.Point, artifact.Digest, error) {
	var text []byte
	var err error
	if text, err = artifact.Canonical(shown.Point); err != nil { // a file may be indented
		return recovery.Point{}, "", err
	}
	point, err := recovery.Parse(text)
	if err != nil {
		return point, "", err
	}
	digest := artifact.DigestOf(text)
	verified, err := by.open([]byte(shown.Bundle), artifact.PredicateRecoveryPoint, digest, place{pkg: digest})
	if err != nil {
		return point, digest, err
	}
	var said recovery.Statement
	if err := artifact.DecodeStrict(verified.Predicate, &said); err != nil || said != point.Statement() {
		return point, digest, errPoint
	}
	return point, digest, nil
}

func newSnapshotRestore(a *app) *cobra.Command {
	var plan string
	var wait bool
	cmd := a.command("restore POINT", "Plan what going back to a recovery point would change; with --apply PLAN, do exactly that", cobra.ExactArgs(1), func(c *caller, cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		sequence, err := strconv.ParseInt(args[0], 10, 64)
		if err != nil || sequence < 1 {
			return usage(fmt.Errorf("%q is no number of a recovery point", args[0]))
		}
		params := &v1.RestoreRecoveryPointParams{Tenant: c.tenant}
		if plan == "" {
			planned, err := v1.Fetch[v1.Planned](c.RestoreRecoveryPoint(ctx, sequence, params, v1.RestoreRequest{}))
			if err != nil {
				return err
			}
			return c.printPlan(planned, fmt.Sprintf("fabric snapshot restore %d --apply %s", sequence, planned.PlanDigest))
		}
		accepted, err := v1.Fetch[v1.ActionAccepted](c.RestoreRecoveryPoint(ctx, sequence, params, v1.RestoreRequest{Apply: true, PlanDigest: plan}))
		if err != nil {
			return err
		}
		return c.follow(ctx, accepted, "RESTORE", wait, c.restore(accepted.ID))
	})
	cmd.Flags().StringVar(&plan, "apply", "", "digest of the plan to apply; without it nothing changes")
	cmd.Flags().BoolVar(&wait, "wait", false, "wait until it is applied, rejected or expired")
	cmd.AddCommand(a.actionStatus("status RESTORE", "Show how a restore stands", (*caller).restore))
	return cmd
}

// promotion asks how a promotion stands.
func (c *caller) promotion(id string) func(context.Context) (v1.Action, error) {
	return func(ctx context.Context) (v1.Action, error) {
		return v1.Fetch[v1.Action](c.GetPromotion(ctx, id, &v1.GetPromotionParams{Tenant: c.tenant}))
	}
}

// restore asks how a restore stands.
func (c *caller) restore(id string) func(context.Context) (v1.Action, error) {
	return func(ctx context.Context) (v1.Action, error) {
		return v1.Fetch[v1.Action](c.GetRestore(ctx, id, &v1.GetRestoreParams{Tenant: c.tenant}))
	}
}

// follow prints what was started, or when it is to be waited for, how it ended.
func (c *caller) follow(ctx context.Context, accepted v1.ActionAccepted, what string, wait bool, get func(context.Context) (v1.Action, error)) error {
	if !wait {
		return c.print(accepted, func(w *tabwriter.Writer) {
			fmt.Fprintf(w, "%s\tWORKFLOW\n%s\t%s\n", what, accepted.ID, accepted.WorkflowID)
		})
	}
	action, err := c.settled(ctx, get)
	if err != nil {
		return err
	}
	return c.printAction(action)
}
