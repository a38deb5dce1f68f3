package main

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/internal/config"
	"github.com/atom-fabric/fabric/internal/issuer"
	"github.com/atom-fabric/fabric/internal/oidc"
	"github.com/atom-fabric/fabric/internal/telemetry"
	"github.com/atom-fabric/fabric/web"
)

// consoleURL is the address that browsers know the console by.
func consoleURL(c config.Config) string {
	if c.ConsoleURL != "" {
		return strings.TrimRight(c.ConsoleURL, "/")
	}
	return "http://" + net.JoinHostPort(c.Host, strconv.Itoa(c.PortBase))
}

// mountConsole serves the pages beside the gateway, which they ask in this
// process.
func (a *app) mountConsole(c config.Config, gateway *api.Server, own *issuer.Issuer, t *telemetry.Telemetry) error {
	key := []byte(c.SessionKey.Reveal())
	if len(key) == 0 {
		var err error
		if key, err = issuer.Secret(absolute(c.StateDir, "console", "session.key")); err != nil {
			return err
		}
	}
	signIn, err := a.signIn(c, gateway, own)
	if err != nil {
		return err
	}
	pages, err := web.New(web.Options{
		API: gateway.Handler(), URL: consoleURL(c), SessionKey: key, SignIn: signIn, Simulation: c.Simulation(), Version: version,
		TemporalUI: c.TemporalUI, Namespace: c.TemporalNamespace, Now: time.Now, Log: t.Log,
	})
	if err != nil {
		return usage(err)
	}
	gateway.Beside(web.Path, pages)
	return nil
}

// signIn returns the identity provider of the console: the configured one, or
// the development provider, which the gateway then serves. Where neither may
// be there is none, and nobody signs in.
func (a *app) signIn(c config.Config, gateway *api.Server, own *issuer.Issuer) (web.SignIn, error) {
	base := consoleURL(c)
	o := oidc.Options{
		Issuer: c.OIDCIssuer, ClientID: c.OIDCClientID, Secret: c.OIDCSecret.Reveal(), Redirect: base + web.Callback,
		Scopes: config.List(c.OIDCScopes), Audience: c.OIDCAudience,
	}
	if o.Issuer == "" {
		if !c.Simulation() || c.JWKS != "" || c.Env == "prod" {
			return nil, nil
		}
		provider, err := own.NewProvider(base, o.ClientID, o.Redirect, web.Path+"assets/console.css", time.Now)
		if errors.Is(err, issuer.ErrReach) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		gateway.Beside(issuer.ProviderPath, provider)
		o.Issuer, o.Simulated = provider.Issuer(), true
	}
	provider, err := oidc.New(o)
	if err != nil {
		return nil, usage(fmt.Errorf("FABRIC_OIDC_ISSUER: %w", err))
	}
	return provider, nil
}
