package main

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	v1 "github.com/atom-fabric/fabric/api/v1"
)

// A caller is a command that speaks to the API.
type caller struct {
	*app
	*v1.Client
	tenant string
}

// command makes a command whose code is given a client of the API.
func (a *app) command(use, short string, args cobra.PositionalArgs, do func(c *caller, cmd *cobra.Command, args []string) error) *cobra.Command {
	var tenant string
	cmd := &cobra.Command{
		Use:   use,
		Short: short,
		Args:  args,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			if tenant != "" {
				c.tenant = tenant
			}
			return a.refine(cmd, args, do(c, cmd, args))
		},
	}
	cmd.Flags().StringVar(&tenant, "tenant", "", "tenant to act for (default: FABRIC_TENANT; a token decides it by itself)")
	return cmd
}

// connect returns a client of the API, with the configured token.
func (a *app) connect() (*caller, error) {
	settings, err := a.config()
	if err != nil {
		return nil, err
	}
	client, err := v1.New(strings.TrimRight(settings.APIURL, "/"), settings.Token.Reveal(), &http.Client{Timeout: 2 * time.Minute})
	if err != nil {
		return nil, usage(fmt.Errorf("FABRIC_API_URL: %w", err))
	}
	tenant := settings.SiteTenant
	if own := tenantOf(settings.Token.Reveal()); own != "" {
		tenant = own // the API lets a token act for no other
	}
	return &caller{app: a, Client: client, tenant: tenant}, nil
}

// tenantOf reads the tenant that a token says, to name it in paths and bodies.
// Nobody is believed by it: the API verifies the token.
func tenantOf(token string) string {
	var claims struct {
		Tenant string `json:"tenant"`
	}
	if claimsOf(token, &claims) != nil {
		return ""
	}
	return claims.Tenant
}

// errNoToken says that a text is no token.
var errNoToken = errors.New("not a token")

// claimsOf reads what a token says, verified or not.
func claimsOf(token string, claims any) error {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return errNoToken
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return errNoToken
	}
	return json.Unmarshal(text, claims)
}

func problemStatus(status int) int {
	switch status {
	case http.StatusNotFound:
		return exitNotFound
	case http.StatusConflict:
		return exitConflict
	case http.StatusUnauthorized, http.StatusForbidden:
		return exitUnallowed
	case http.StatusServiceUnavailable, http.StatusTooManyRequests, http.StatusBadGateway:
		return exitUnavailable
	default:
		return exitFailure
	}
}

// readSecret reads a file that holds one secret.
func readSecret(path string) (string, error) {
	content, err := os.ReadFile(path)
	return strings.TrimSpace(string(content)), err
}

// percent shows basis points as a percentage.
func percent(m v1.Metrics) string {
	if m.Evaluated == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f %%", 100*float64(m.Correct)/float64(m.Evaluated))
}

// loss shows the mean loss per row.
func loss(m v1.Metrics) string {
	if m.Evaluated == 0 {
		return "-"
	}
	return fmt.Sprintf("%.4f", float64(m.LossMicros)/1e6/float64(m.Evaluated))
}

// short shows enough of a digest to tell it from others.
func short(digest string) string {
	hex := strings.TrimPrefix(digest, "sha256:")
	if len(hex) > 12 {
		return hex[:12]
	}
	return hex
}
