package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	v1 "github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/audit"
	"github.com/atom-fabric/fabric/internal/auditexport"
	"github.com/atom-fabric/fabric/internal/logkey"
)

func newAudit(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Read the audit log, check it, prove a leaf of it, keep it in files",
		Long: `The audit log is a Merkle tree (RFC 6962) that a key of its own signs. Formats, and what an auditor
does with other tools: docs/protocol/audit-log.md.`,
	}
	cmd.AddCommand(newAuditList(a), newAuditVerify(a), newAuditProve(a), newAuditExport(a), newAuditKeygen(a), newAuditKey(a))
	return cmd
}

func newAuditList(a *app) *cobra.Command {
	var from, before int64
	var own, newest bool
	list := a.command("list", "Show leaves of the audit log", cobra.NoArgs, func(c *caller, cmd *cobra.Command, _ []string) error {
		ask := v1.AuditLeavesParams{From: from, Tenant: c.tenant, Limit: leavesAtOnce, Own: own || newest || before > 0, Before: before}
		if newest && before == 0 {
			ask.Before = lastPlace
		}
		page, err := v1.Fetch[v1.LeafPage](c.AuditLeaves(cmd.Context(), &ask))
		if err != nil {
			return err
		}
		if page.Next > 0 { // a page of one's own may be empty and have more behind it
			flag := "--from"
			switch {
			case ask.Before > 0:
				flag = "--before"
			case own:
				flag = "--own --from"
			}
			defer fmt.Fprintf(a.Err, "more of the log: fabric audit list %s %d\n", flag, page.Next)
		}
		return c.print(page, func(w *tabwriter.Writer) {
			fmt.Fprintln(w, "INDEX\tAT\tKIND\tACTOR\tSUBJECT\tHASH")
			for _, item := range page.Items {
				var leaf audit.Leaf
				switch {
				case len(item.Leaf) == 0:
					leaf.Kind = "(another tenant's)"
				case json.Unmarshal(item.Leaf, &leaf) != nil:
					leaf.Kind = "(unreadable)"
				}
				at := "-"
				if !leaf.At.IsZero() {
					at = leaf.At.Format(time.RFC3339)
				}
				fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\t%s\n", item.Index, at, leaf.Kind, leaf.Actor, leaf.Subject, short(item.Hash))
			}
		})
	})
	list.Flags().Int64Var(&from, "from", 0, "first index")
	list.Flags().BoolVar(&own, "own", false, "only leaves of the tenant")
	list.Flags().BoolVar(&newest, "newest", false, "only leaves of the tenant, the newest first")
	list.Flags().Int64Var(&before, "before", 0, "only leaves of the tenant below this index, the newest first")
	return list
}

// lastPlace is after every leaf: the largest number that JSON tells exactly.
const lastPlace = 1<<53 - 1

func newAuditProve(a *app) *cobra.Command {
	var from, out, pin string
	cmd := &cobra.Command{
		Use:   "prove INDEX",
		Short: "Write the proof of one leaf, which verifies offline: from the running log, or from an export",
		Long: `Prints a proof in the form of C2SP tlog-proof. With --out NAME it is written to NAME.tlog-proof, and the
leaf's exact bytes to NAME.leaf. fabric audit verify NAME.tlog-proof --leaf NAME.leaf checks both.`,
		Args: cobra.ExactArgs(1),
	}
	var tenant string
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		index, err := strconv.ParseInt(args[0], 10, 64)
		if err != nil || index < 0 {
			return usage(fmt.Errorf("INDEX %q: want a number from 0", args[0]))
		}
		log, err := a.pinnedLog(pin)
		if err != nil {
			return err
		}
		var proof audit.Transcript
		var body []byte
		if from != "" {
			proof, body, err = auditexport.Prove(from, log, index)
		} else {
			var c *caller
			if c, err = a.connect(); err != nil {
				return err
			}
			if tenant != "" {
				c.tenant = tenant
			}
			proof, body, err = c.proveLeaf(cmd.Context(), log, index)
		}
		switch {
		case errors.Is(err, audit.ErrRange), errors.Is(err, fs.ErrNotExist):
			return &exitError{exitNotFound, err}
		case err != nil:
			return a.refine(cmd, args, err)
		}
		if out != "" {
			if err := errors.Join(os.WriteFile(out+".leaf", body, 0o600), os.WriteFile(out+".tlog-proof", []byte(proof.Text()), 0o644)); err != nil {
				return err
			}
			_, err := fmt.Fprintf(a.Err, "wrote %s.tlog-proof and %s.leaf\n", out, out)
			return err
		}
		shown := struct {
			Index  int64           `json:"index"`
			Leaf   json.RawMessage `json:"leaf"`
			Hashes []audit.Hash    `json:"hashes"`
			Note   string          `json:"note"`
		}{proof.Index, body, proof.Hashes, proof.Note}
		return a.print(shown, func(w *tabwriter.Writer) { fmt.Fprint(w, proof.Text()) })
	}
	cmd.Flags().StringVar(&from, "from", "", "folder of an export; without it the running log")
	cmd.Flags().StringVar(&out, "out", "", "write NAME.tlog-proof and NAME.leaf")
	cmd.Flags().StringVar(&pin, "verifier", "", "file with the log's verifier key (default: FABRIC_LOG_VERIFIER)")
	cmd.Flags().StringVar(&tenant, "tenant", "", "tenant to act for (default: FABRIC_TENANT; a token decides it by itself)")
	return cmd
}

func newAuditExport(a *app) *cobra.Command {
	var out, pin string
	cmd := a.command("export", "Write the log to a folder that verifies offline: tiles, signed checkpoint, the leaves that you may read", cobra.NoArgs, func(c *caller, cmd *cobra.Command, _ []string) error {
		log, err := a.pinnedLog(pin)
		if err != nil {
			return err
		}
		if log == nil {
			return usage(errNoVerifier)
		}
		result, err := c.exportLog(cmd.Context(), *log, out)
		if err != nil {
			return err
		}
		return c.print(result, func(w *tabwriter.Writer) {
			fmt.Fprintf(w, "EXPORTED\t%d leaves\t%d with their content\t%s\n", result.Size, result.Shown, out)
		})
	})
	cmd.Flags().StringVar(&out, "out", "", "folder to make")
	cmd.Flags().StringVar(&pin, "verifier", "", "file with the log's verifier key (default: FABRIC_LOG_VERIFIER)")
	must(cmd.MarkFlagRequired("out"))
	return cmd
}

func newAuditKeygen(a *app) *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use:   "keygen ORIGIN",
		Short: "Make the key that signs the log's checkpoints, and print its verifier key, to be published",
		Long: `ORIGIN names the log for ever, best as a host and path of yours without a scheme: fabric.example/log.
The key goes to the file --out (for FABRIC_LOG_KEY_PATH), the verifier key beside it with the suffix .pub.`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			key, err := logkey.Generate(out, args[0])
			switch {
			case errors.Is(err, logkey.ErrExists):
				return &exitError{exitConflict, err}
			case err != nil:
				return usage(err)
			}
			return a.printText(map[string]string{"verifier": fmt.Sprint(key)}, "%s\n", key)
		},
	}
	cmd.Flags().StringVar(&out, "out", "log.key", "file of the key")
	return cmd
}

func newAuditKey(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "key",
		Short: "Print the verifier key that this configuration pins",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			log, err := a.pinnedLog("")
			if err != nil {
				return err
			}
			if log == nil {
				return usage(errNoVerifier)
			}
			return a.printText(map[string]string{"verifier": fmt.Sprint(log)}, "%s\n", log)
		},
	}
}

var errNoVerifier = errors.New("the log's verifier key is not known: give --verifier FILE or set FABRIC_LOG_VERIFIER")

// pinnedLog is the verifier key of the flag, or that of the configuration; nil
// when there is none.
func (a *app) pinnedLog(path string) (*audit.Verifier, error) {
	if path != "" {
		v, err := logkey.LoadVerifier(path)
		if err != nil {
			return nil, usage(err)
		}
		return &v, nil
	}
	c, err := a.config()
	if err != nil {
		return nil, err
	}
	return logVerifier(c)
}
