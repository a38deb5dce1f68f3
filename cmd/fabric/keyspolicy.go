package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/trust"
	"github.com/atom-fabric/fabric/internal/cosign"
)

func (a *app) keysPolicy() *cobra.Command {
	var p policyFlags
	cmd := &cobra.Command{
		Use: "policy", Short: "Show the trust policy in force: its version, what pins it, and its rules", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			k, err := a.keeper(p)
			if err != nil {
				return err
			}
			return a.showPolicy(k)
		},
	}
	p.flags(cmd)
	cmd.AddCommand(a.policyInit(), a.policySign(), a.policyExport())
	return cmd
}

func (a *app) showPolicy(k *keeper) error {
	head, _ := k.chain.Head()
	shown := struct {
		File   string       `json:"file"`
		Pin    string       `json:"pin"`
		Digest string       `json:"digest"`
		Policy trust.Policy `json:"policy"`
	}{k.path, string(k.chain.Pin()), string(k.chain.Mark().Digest), head}
	return a.print(shown, func(w *tabwriter.Writer) {
		state := "in force"
		if !k.now.Before(head.ExpiresAt) {
			state = "EXPIRED"
		}
		fmt.Fprintf(w, "file\t%s\npinned by\t%s\nversion\t%d, %s\nis\t%s from %s until %s\nroot\t%d of %d keys\n", k.path, shown.Pin, head.Version, shown.Digest,
			state, stamp(head.IssuedAt), stamp(head.ExpiresAt), head.Root.Threshold, len(head.Root.Keys))
		fmt.Fprintln(w, "\nRULE\tENVIRONMENTS\tREPOSITORIES\tKEYS\tSTATEMENTS")
		for _, r := range head.Rules {
			var keys, kinds []string
			for _, id := range r.Keys {
				keys = append(keys, id.Short())
			}
			for _, predicate := range r.Predicates {
				kinds = append(kinds, strings.TrimPrefix(predicate, "https://github.com/atom-fabric/fabric/predicates/"))
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", r.Name, strings.Join(r.Environments, ","), strings.Join(r.Repositories, ","), strings.Join(keys, ","), strings.Join(kinds, " "))
		}
	})
}

func (a *app) policyInit() *cobra.Command {
	var p policyFlags
	var key, environment string
	var roots []string
	var threshold int
	cmd := &cobra.Command{
		Use: "init", Short: "Make the first trust policy, and print the digest that pins every later one", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			k, _, err := a.unopened(p)
			if err != nil {
				return err
			}
			if _, err := os.Stat(k.path); err == nil {
				return &exitError{exitConflict, fmt.Errorf("%s: %w", k.path, os.ErrExist)}
			}
			public, err := readPublicKey(key)
			if err != nil {
				return err
			}
			signing, err := trust.NewKey(public, "fabric", k.now)
			if err != nil {
				return usage(err)
			}
			council := trust.Root{Threshold: threshold}
			for _, path := range roots {
				public, err := readPublicKey(path)
				if err != nil {
					return err
				}
				root, err := trust.NewKey(public, strings.TrimSuffix(filepath.Base(path), ".pub"), time.Time{})
				if err != nil {
					return usage(err)
				}
				council.Keys = append(council.Keys, root)
			}
			if len(council.Keys) == 0 {
				return usage(errors.New("name the public root keys with --root"))
			}
			policy := trust.First(council.Keys[0], signing, []string{environment}, k.now, p.valid)
			policy.Root = council
			if err := policy.Validate(); err != nil {
				return usage(err)
			}
			inForce, err := a.change(k, p, policy)
			if err != nil || !inForce {
				return err
			}
			return a.also("give every process FABRIC_TRUST_POLICY=%s FABRIC_TRUST_ROOT=%s\n", k.path, k.chain.Pin())
		},
	}
	p.changes(cmd)
	cmd.Flags().StringVar(&key, "key", "", "public key file of the control plane's signing key")
	cmd.Flags().StringSliceVar(&roots, "root", nil, "public key files of the people who may change the policy")
	cmd.Flags().IntVar(&threshold, "threshold", 1, "how many of them must sign")
	cmd.Flags().StringVar(&environment, "environment", trust.Production, "production or simulation")
	must(cmd.MarkFlagRequired("key"))
	must(cmd.MarkFlagRequired("root"))
	return cmd
}

func (a *app) policySign() *cobra.Command {
	var p policyFlags
	cmd := &cobra.Command{
		Use: "sign DRAFT", Short: "Sign a draft with your root key; with enough signatures it comes into force", Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			k, pin, err := a.unopened(p)
			if err != nil {
				return err
			}
			if _, err := os.Stat(k.path); err == nil { // the first version has none before it
				if err := k.load(pin); err != nil {
					return err
				}
			}
			text, err := os.ReadFile(args[0])
			if err != nil {
				return usage(err)
			}
			var draft trust.Signed
			if err := artifact.DecodeStrict(text, &draft); err != nil {
				return usage(fmt.Errorf("%s: %w", args[0], err))
			}
			var policy trust.Policy
			if err := artifact.DecodeStrict(draft.Policy, &policy); err != nil {
				return usage(fmt.Errorf("%s: %w", args[0], err))
			}
			var before [][]byte
			for _, b := range draft.Bundles {
				before = append(before, b)
			}
			signed, err := k.sign(policy, before...)
			if err != nil {
				return err
			}
			_, err = a.settle(k, signed, args[0])
			return err
		},
	}
	p.changes(cmd)
	return cmd
}

func (a *app) policyExport() *cobra.Command {
	var p policyFlags
	cmd := &cobra.Command{
		Use: "export DIR", Short: "Write the policy, its root keys and their bundles as files, with the stock cosign commands that verify them",
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			k, err := a.keeper(p)
			if err != nil {
				return err
			}
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return err
			}
			head, signed := k.chain.Head()
			content, root := filepath.Join(args[0], "policy.json"), filepath.Join(args[0], "trusted-root.json")
			if err := errors.Join(os.WriteFile(content, signed.Policy, 0o644), os.WriteFile(root, []byte(cosign.TrustedRoot), 0o644)); err != nil {
				return err
			}
			var commands []string
			for i, bundle := range signed.Bundles {
				at := slices.IndexFunc(head.Root.Keys, func(key trust.Key) bool {
					public, err := key.Public()
					return err == nil && verifies(public, bundle, k.chain.Mark().Digest)
				})
				if at < 0 {
					continue // of the root before
				}
				public, err := head.Root.Keys[at].Public()
				if err != nil {
					return err
				}
				files := cosign.Files{Key: filepath.Join(args[0], fmt.Sprintf("root-%d.pub", i+1)), Bundle: filepath.Join(args[0], fmt.Sprintf("bundle-%d.json", i+1)), TrustedRoot: root, Content: content}
				if err := errors.Join(writePublic(files.Key, public), os.WriteFile(files.Bundle, bundle, 0o644)); err != nil {
					return err
				}
				commands = append(commands, cosign.VerifyAttestationCommand(files, artifact.PredicateTrustPolicy))
			}
			return a.print(map[string][]string{"commands": commands}, func(w *tabwriter.Writer) { fmt.Fprintln(w, strings.Join(commands, "\n")) })
		},
	}
	p.flags(cmd)
	return cmd
}
