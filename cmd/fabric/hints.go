package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	v1 "github.com/atom-fabric/fabric/api/v1"
)

// refine gives an error of the API its exit status, and says which command
// comes next where the API cannot know it.
func (a *app) refine(cmd *cobra.Command, args []string, err error) error {
	if err == nil {
		return nil
	}
	c, settled := a.connect()
	if settled != nil {
		return err
	}
	var p *v1.ProblemError
	var lookup *net.DNSError
	switch {
	case errors.As(err, &p):
		if next := c.next(cmd, args, p); next != "" {
			err = fmt.Errorf("%w\n  %s", err, next)
		}
		return &exitError{problemStatus(p.Status), err}
	case errors.Is(err, syscall.ECONNREFUSED), errors.As(err, &lookup):
		return &exitError{exitUnavailable, fmt.Errorf("nobody answers at %s; is the fabric running?\n  start it with: fabric up\n  or name another with FABRIC_API_URL; fabric doctor says what is away", strings.TrimRight(c.Server, "/"))}
	case errors.Is(err, context.DeadlineExceeded) && cmd.Context().Err() != nil:
		return &exitError{exitTimeout, fmt.Errorf("not over within %s, and it goes on\n  look again with --watch and a longer --timeout", c.timeout)}
	default:
		return err
	}
}

// next names the command that mends a problem.
func (c *caller) next(cmd *cobra.Command, args []string, p *v1.ProblemError) string {
	tenant := c.tenant
	if tenant == "" {
		tenant = "TENANT"
	}
	switch p.Code {
	case "token_missing":
		return "sign in: export FABRIC_TOKEN=$(fabric token --tenant " + tenant + " --role data-scientist,operator)" + c.provider()
	case "token_invalid":
		return "get a fresh one: export FABRIC_TOKEN=$(fabric token --tenant " + tenant + " --role data-scientist,operator)" + c.provider()
	case "role_missing":
		return "ask with a token that has one of these roles: fabric token --tenant " + tenant + " --role ROLE" + c.provider()
	case "tenant_missing":
		return "say for whom: --tenant, FABRIC_TENANT, or a token"
	}
	switch p.Status {
	case http.StatusNotFound:
		return c.near(cmd, args)
	case http.StatusServiceUnavailable, http.StatusBadGateway:
		return "fabric doctor says what is away"
	case http.StatusConflict:
		if f := cmd.Flags().Lookup("apply"); f != nil && f.Changed && f.Value.Type() == "string" {
			return "plan it again: the same command without --apply"
		}
	}
	return ""
}

// provider reminds those whose tokens another issuer signs.
func (c *caller) provider() string {
	if settings, err := c.config(); err == nil && settings.JWKS != "" {
		return "; this deployment's tokens come from " + settings.Issuer
	}
	return ""
}

// near names what the caller may have meant, and where all of it is listed.
func (c *caller) near(cmd *cobra.Command, args []string) string {
	for i, holder := range placeholders(cmd) {
		for _, one := range strings.Split(strings.ReplaceAll(holder, "[@VERSION]", ""), "|") {
			thing, ok := things()[one]
			if !ok || i >= len(args) {
				continue
			}
			said, _, _ := strings.Cut(args[i], "@")
			known := c.ask(cmd, args[:i], thing.list)
			if slices.ContainsFunc(known, func(k string) bool { return said == nameOf(k) }) {
				continue // something else is not there
			}
			what := strings.ToLower(one)
			if alike := nearest(said, known); len(alike) > 0 {
				return fmt.Sprintf("no %s has this name; did you mean %s? All of them: %s", what, strings.Join(alike, ", "), thing.see)
			}
			return fmt.Sprintf("no %s has this name; those that there are: %s", what, thing.see)
		}
	}
	return ""
}

// nameOf takes the name out of a completion.
func nameOf(completion string) string {
	name, _, _ := strings.Cut(completion, "\t")
	return name
}

// nearest returns up to three names that a slip of the hand, or a name cut
// short, would turn into what was said.
func nearest(said string, known []string) []string {
	var out []string
	for _, k := range known {
		name := nameOf(k)
		slips := max(1, len(name)/4)
		if (len(said) >= 3 && strings.Contains(name, said)) || distance(strings.ToLower(said), strings.ToLower(name)) <= slips {
			out = append(out, name)
		}
		if len(out) == 3 {
			break
		}
	}
	return out
}

// distance is Levenshtein's: insertions, deletions and changes of a byte.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j+1]+1, row[j]+1)
		}
	}
	return row[len(b)]
}

// noTrust says how to pin a key, with the file itself where it is at hand.
func (a *app) noTrust(state string) error {
	hint := "set FABRIC_TRUST_POLICY and FABRIC_TRUST_ROOT, or FABRIC_TRUST_KEY to the public key that signs packages (fabric up keeps it at <state>/keys/fabric.pub)"
	if path := absolute(state, "keys", "fabric.pub"); state != "" {
		if _, err := os.Stat(path); err == nil {
			hint = "no key is pinned, so nothing can be verified\n  export FABRIC_TRUST_KEY=" + path
		}
	}
	return usage(errors.New(hint))
}
