package main

import (
	"context"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/trust"
	"github.com/atom-fabric/fabric/internal/config"
	"github.com/atom-fabric/fabric/internal/cosign"
	"github.com/atom-fabric/fabric/internal/durable"
	"github.com/atom-fabric/fabric/internal/local"
	"github.com/atom-fabric/fabric/internal/transit"
)

func (a *app) keysRotate() *cobra.Command {
	var p policyFlags
	var next, old string
	var overlap time.Duration
	cmd := &cobra.Command{
		Use: "rotate", Short: "Let a new key sign what the old one signed; what the old one signed stays verifiable",
		Long: `Without --new, makes the new key where the old one is: a new version of the transit key that VAULT_ADDR
names, or a new key file in the place of the old one, which is kept beside it under its fingerprint.
A key in a token is made with: fabric keys generate NAME --in token, and given with --new.

The old key signs until --overlap is over. Restart the workers within it: they sign with the new key from
then on, and publish the snapshot again under it.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			k, err := a.keeper(p)
			if err != nil {
				return err
			}
			c, err := a.config()
			if err != nil {
				return err
			}
			from, err := k.retiring(old)
			if err != nil {
				return err
			}
			if next == "" && p.draft != "" {
				return usage(errors.New("--draft needs --new: a key is put in place only when the policy is in force"))
			}
			public, place, err := a.successor(cmd.Context(), c, p, next, from)
			if err != nil {
				return err
			}
			entry, err := trust.NewKey(public, "fabric", k.now)
			if err != nil {
				return usage(err)
			}
			policy, err := k.chain.Next(k.now, p.valid).Rotate(from, entry, k.now, overlap)
			if err != nil {
				return usage(err)
			}
			inForce, err := a.change(k, p, policy)
			if err != nil || !inForce {
				return err
			}
			// If we crash here, both keys are trusted, the old one signs, and the new
			// one is beside it.
			if err := place(); err != nil {
				return err
			}
			return a.also("%s takes over from %s, which signs until %s; restart the workers before then\n", entry.ID, from, stamp(k.now.Add(overlap)))
		},
	}
	p.changes(cmd)
	cmd.Flags().StringVar(&next, "new", "", "public key file of the key that takes over")
	cmd.Flags().StringVar(&old, "old", "", "key that retires: its fingerprint, or a public key file (default: the one that signs for the control plane)")
	cmd.Flags().DurationVar(&overlap, "overlap", 24*time.Hour, "how long the old key may still sign")
	return cmd
}

// retiring returns the key that a flag names, or the only one that signs for
// the control plane without an end.
func (k *keeper) retiring(named string) (artifact.Digest, error) {
	if named != "" {
		return keyNamed(named)
	}
	head, _ := k.chain.Head()
	var active []artifact.Digest
	for _, r := range head.Rules {
		for _, key := range head.Keys {
			if r.Name == trust.ControlPlane && slices.Contains(r.Keys, key.ID) && key.State(k.now) == "active" {
				active = append(active, key.ID)
			}
		}
	}
	if len(active) != 1 {
		return "", usage(fmt.Errorf("%d keys sign for the control plane: say which one retires with --old", len(active)))
	}
	return active[0], nil
}

// keyNamed reads a fingerprint, or takes that of a public key file.
func keyNamed(text string) (artifact.Digest, error) {
	if id, err := artifact.ParseDigest(text); err == nil {
		return id, nil
	}
	public, err := readPublicKey(text)
	if err != nil {
		return "", err
	}
	return artifact.KeyID(public), nil
}

// successor returns the key that takes over, and what puts it in place once
// the policy trusts it.
func (a *app) successor(ctx context.Context, c config.Config, p policyFlags, named string, old artifact.Digest) (*ecdsa.PublicKey, func() error, error) {
	if named != "" {
		public, err := readPublicKey(named)
		return public, func() error { return nil }, err
	}
	switch sources := c.KeySources(); {
	case len(sources) > 1:
		return nil, nil, usage(fmt.Errorf("%s: %w", strings.Join(sources, " and "), errTwoKeys))
	case c.PKCS11URI != "":
		return nil, nil, usage(errors.New("make the new key in the token with: fabric keys generate NAME --in token, then give its public key with --new"))
	case c.VaultAddr != "" || c.BaoAddr != "":
		return rotateTransit(ctx, c, old)
	}
	state := p.state
	if state == "" {
		state = c.StateDir
	}
	return rotateFile(c, local.Layout{State: absolute(state)}, old)
}

// rotateTransit adds a version to the transit key, unless the newest one is
// not the one that retires: then a crash left it there the last time.
func rotateTransit(ctx context.Context, c config.Config, old artifact.Digest) (*ecdsa.PublicKey, func() error, error) {
	engine, err := transit.Connect(transitOptions(c))
	if err != nil {
		return nil, nil, usage(err)
	}
	for range 2 {
		versions, err := engine.Versions(ctx)
		if err != nil {
			return nil, nil, err
		}
		newest := versions[len(versions)-1].Key
		if artifact.KeyID(newest) != old {
			return newest, func() error { return nil }, nil
		}
		if err := engine.Rotate(ctx); err != nil {
			return nil, nil, err
		}
	}
	return nil, nil, fmt.Errorf("%w: it was rotated and has no newer version", transit.ErrAnswer)
}

// rotateFile makes a key pair beside the old one, under the same password, and
// gives it the old one's name when the policy trusts it.
func rotateFile(c config.Config, layout local.Layout, old artifact.Digest) (*ecdsa.PublicKey, func() error, error) {
	key, secret := c.CosignKeyPath, c.CosignPassword.Reveal()
	if key == "" {
		key = layout.Path("keys", "fabric.key")
		text, err := readSecret(layout.Path("secrets", "cosign.password"))
		if err != nil {
			return nil, nil, usage(err)
		}
		secret = text
	}
	if id, err := keyNamed(local.PublicKey(key)); err != nil || id != old {
		return nil, nil, usage(fmt.Errorf("%s is not the key that retires, %s; give the new one with --new", local.PublicKey(key), old))
	}
	dir, name := filepath.Dir(key), strings.TrimSuffix(filepath.Base(key), ".key")
	fresh := filepath.Join(dir, name+"-next.key")
	if _, err := os.Stat(fresh); errors.Is(err, os.ErrNotExist) { // else a crash left it there the last time
		if err := cosign.GenerateKeyPair(dir, name+"-next", []byte(secret)); err != nil {
			return nil, nil, err
		}
	}
	public, err := readPublicKey(local.PublicKey(fresh))
	if err != nil {
		return nil, nil, err
	}
	kept := filepath.Join(dir, name+"-"+old.Hex()[:12]+".key")
	return public, func() error {
		for _, move := range [][2]string{
			{local.PublicKey(key), local.PublicKey(kept)}, {key, kept}, {fresh, key}, {local.PublicKey(fresh), local.PublicKey(key)},
		} {
			if err := os.Rename(move[0], move[1]); err != nil {
				return err
			}
		}
		return nil
	}, nil
}

func (a *app) keysAdd() *cobra.Command {
	var p policyFlags
	var rule, owner string
	cmd := &cobra.Command{
		Use: "add PUBLIC-KEY", Short: "Let one more key sign what a rule of the trust policy allows", Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			k, err := a.keeper(p)
			if err != nil {
				return err
			}
			public, err := readPublicKey(args[0])
			if err != nil {
				return err
			}
			entry, err := trust.NewKey(public, owner, k.now)
			if err != nil {
				return usage(err)
			}
			policy, err := k.chain.Next(k.now, p.valid).Allow(entry, rule)
			if err != nil {
				return usage(err)
			}
			_, err = a.change(k, p, policy)
			return err
		},
	}
	p.changes(cmd)
	cmd.Flags().StringVar(&rule, "rule", trust.ControlPlane, "name of the rule, see: fabric keys policy")
	cmd.Flags().StringVar(&owner, "owner", "fabric", "whose key it is")
	return cmd
}

func (a *app) keysRevoke() *cobra.Command {
	var p policyFlags
	var reason, since string
	cmd := &cobra.Command{
		Use: "revoke KEY", Short: "Take back a key's word for whatever was accepted since then; KEY is a fingerprint or a public key file",
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			k, err := a.keeper(p)
			if err != nil {
				return err
			}
			id, err := keyNamed(args[0])
			if err != nil {
				return err
			}
			from := k.now
			if since != "" {
				if from, err = time.Parse(time.RFC3339, since); err != nil {
					return usage(fmt.Errorf("--since: %w", err))
				}
			}
			policy, err := k.chain.Next(k.now, p.valid).Revoke(id, from, reason)
			if errors.Is(err, trust.ErrUnknownKey) {
				return &exitError{exitNotFound, err}
			}
			if err != nil {
				return usage(err)
			}
			_, err = a.change(k, p, policy)
			return err
		},
	}
	p.changes(cmd)
	cmd.Flags().StringVar(&reason, "reason", "", "why; it is named in every refusal")
	cmd.Flags().StringVar(&since, "since", "", "moment of the theft, RFC 3339: what was accepted from then on counts no more (default: now)")
	must(cmd.MarkFlagRequired("reason"))
	return cmd
}

func writePublic(path string, key *ecdsa.PublicKey) error {
	text, err := artifact.MarshalPublicKey(key)
	if err != nil {
		return err
	}
	return durable.Write(path, text, 0o644)
}
