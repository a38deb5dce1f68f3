package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/trust"
	"github.com/atom-fabric/fabric/internal/config"
	"github.com/atom-fabric/fabric/internal/cosign"
	"github.com/atom-fabric/fabric/internal/durable"
	"github.com/atom-fabric/fabric/internal/hsm"
	"github.com/atom-fabric/fabric/internal/local"
	"github.com/atom-fabric/fabric/internal/transit"
)

func newKeys(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "keys", Short: "Make signing keys, and say whose signature counts: list, add, rotate, revoke, verify-blob, policy"}
	cmd.AddCommand(a.keysGenerate(), a.keysList(), a.keysAdd(), a.keysRotate(), a.keysRevoke(), a.keysVerifyBlob(), a.keysPolicy())
	return cmd
}

func (a *app) keysGenerate() *cobra.Command {
	var dir, in string
	cmd := &cobra.Command{
		Use: "generate NAME", Short: "Make a key pair; NAME.pub is written, and NAME.key, encrypted with COSIGN_PASSWORD, where the key is a file",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.config()
			if err != nil {
				return err
			}
			key := absolute(dir, args[0]+".key")
			public := local.PublicKey(key)
			switch in {
			case "file":
				err := cosign.GenerateKeyPair(dir, args[0], []byte(c.CosignPassword.Reveal()))
				if errors.Is(err, os.ErrExist) {
					return &exitError{exitConflict, err}
				}
				if err != nil {
					return err
				}
				return a.printText(keyFiles{Private: key, Public: public}, "wrote %s and %s\n", key, public)
			case "transit":
				err = a.generateInTransit(cmd.Context(), c, public)
			case "token":
				err = generateInToken(c, public)
			default:
				err = usage(fmt.Errorf("--in %q: choose file, transit or token", in))
			}
			if err != nil {
				return err
			}
			return a.printText(keyFiles{Public: public}, "wrote %s\n", public)
		},
	}
	cmd.Flags().StringVar(&dir, "dir", ".", "folder to write to")
	cmd.Flags().StringVar(&in, "in", "file", "where the private key stays: file, transit (VAULT_ADDR, FABRIC_TRANSIT_KEY) or token (FABRIC_PKCS11_URI)")
	return cmd
}

// keyFiles are the files of a key pair; of one in a token or a transit engine
// there is the public half alone.
type keyFiles struct {
	Private string `json:"private,omitempty"`
	Public  string `json:"public"`
}

func (a *app) generateInTransit(ctx context.Context, c config.Config, public string) error {
	engine, err := transit.Connect(transitOptions(c))
	if err != nil {
		return usage(err)
	}
	if err := engine.Create(ctx); err != nil {
		return &exitError{exitUnavailable, err}
	}
	versions, err := engine.Versions(ctx)
	if err != nil {
		return err
	}
	return writePublic(public, versions[len(versions)-1].Key)
}

func generateInToken(c config.Config, public string) error {
	key, err := hsm.Generate(c.PKCS11URI, c.PKCS11PIN.Reveal())
	if err != nil {
		return usage(fmt.Errorf("FABRIC_PKCS11_URI: %w", err))
	}
	defer key.Close()
	return writePublic(public, key.Public())
}

// A keyRow is a key as it is listed.
type keyRow struct {
	Key       artifact.Digest `json:"key"`
	Owner     string          `json:"owner"`
	State     string          `json:"state"`
	NotBefore time.Time       `json:"notBefore,omitzero"`
	NotAfter  time.Time       `json:"notAfter,omitzero"`
	RevokedAt time.Time       `json:"revokedAt,omitzero"`
	Reason    string          `json:"reason,omitempty"`
	Rules     []string        `json:"rules"`
}

func (a *app) keysList() *cobra.Command {
	var p policyFlags
	cmd := &cobra.Command{
		Use: "list", Short: "Show every key of the trust policy, how it stands and what it may sign", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			k, err := a.keeper(p)
			if err != nil {
				return err
			}
			head, _ := k.chain.Head()
			var rows []keyRow
			for _, root := range head.Root.Keys {
				rows = append(rows, keyRow{Key: root.ID, Owner: root.Owner, State: "active", Rules: []string{"root"}})
			}
			for _, key := range head.Keys {
				row := keyRow{Key: key.ID, Owner: key.Owner, State: key.State(k.now), NotBefore: key.NotBefore, NotAfter: key.NotAfter, RevokedAt: key.RevokedAt, Reason: key.Reason}
				for _, r := range head.Rules {
					if slices.Contains(r.Keys, key.ID) {
						row.Rules = append(row.Rules, r.Name)
					}
				}
				rows = append(rows, row)
			}
			return a.print(rows, func(w *tabwriter.Writer) {
				fmt.Fprintln(w, "KEY\tOWNER\tSTATE\tFROM\tUNTIL\tRULES\tREASON")
				for _, r := range rows {
					until := r.NotAfter
					if !r.RevokedAt.IsZero() {
						until = r.RevokedAt
					}
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", r.Key, r.Owner, r.State, stamp(r.NotBefore), stamp(until), strings.Join(r.Rules, ","), r.Reason)
				}
			})
		},
	}
	p.flags(cmd)
	return cmd
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}

// policyFlags name a policy and what may change it.
type policyFlags struct {
	state string
	roots []string
	draft string
	valid time.Duration
}

func (p *policyFlags) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&p.state, "state", "", "state directory whose policy this is, where FABRIC_TRUST_POLICY is not set (default: FABRIC_STATE_DIR)")
}

func (p *policyFlags) changes(cmd *cobra.Command) {
	p.flags(cmd)
	cmd.Flags().StringSliceVar(&p.roots, "root-key", nil, "private root keys, opened with COSIGN_PASSWORD (default: the state directory's own)")
	cmd.Flags().StringVar(&p.draft, "draft", "", "file to write the new policy to while too few root keys signed it; the others: fabric keys policy sign FILE")
	cmd.Flags().DurationVar(&p.valid, "valid", policyLasts, "how long the new version holds")
}

// keeper opens the policy that the settings and flags name.
func (a *app) keeper(p policyFlags) (*keeper, error) {
	k, pin, err := a.unopened(p)
	if err != nil {
		return nil, err
	}
	return k, k.load(pin)
}

func (a *app) unopened(p policyFlags) (*keeper, string, error) {
	c, err := a.config()
	if err != nil {
		return nil, "", err
	}
	if p.state == "" {
		p.state = c.StateDir
	}
	layout := local.Layout{State: absolute(p.state)}
	k := &keeper{path: c.TrustPolicy, roots: p.roots, secret: []byte(c.CosignPassword.Reveal()), now: time.Now()}
	if c.TrustPolicy == "" {
		k.path = layout.Path("trust", policyFile)
		if len(p.roots) == 0 {
			k.roots, k.password = []string{layout.Path("keys", "root.key")}, layout.Path("secrets", "root.password")
		}
	}
	return k, c.TrustRoot, nil
}

// change publishes a version, or writes it to the draft when more root keys
// must sign. It reports whether the version is in force.
func (a *app) change(k *keeper, p policyFlags, next trust.Policy) (bool, error) {
	signed, err := k.sign(next)
	if err != nil {
		return false, err
	}
	return a.settle(k, signed, p.draft)
}

// settled is what became of a change: a version in force, or a draft that more
// root keys must sign.
type settled struct {
	Version int64           `json:"version,omitempty"`
	Digest  artifact.Digest `json:"digest,omitempty"`
	Pin     artifact.Digest `json:"pin,omitempty"`
	Draft   string          `json:"draft,omitempty"`
}

func (a *app) settle(k *keeper, signed trust.Signed, draft string) (bool, error) {
	err := k.append(signed)
	if err == nil {
		mark := k.chain.Mark()
		return true, a.printText(settled{Version: mark.Version, Digest: mark.Digest, Pin: k.chain.Pin()}, "trust policy version %d is in force: %s\n", mark.Version, mark.Digest)
	}
	if !errors.Is(err, trust.ErrThreshold) || draft == "" {
		return false, err
	}
	text, err := json.Marshal(signed)
	if err != nil {
		return false, err
	}
	if err := durable.Write(draft, append(text, '\n'), 0o644); err != nil {
		return false, err
	}
	return false, a.printText(settled{Draft: draft}, "more root keys must sign; pass it on: fabric keys policy sign %s --root-key KEY\n", draft)
}
