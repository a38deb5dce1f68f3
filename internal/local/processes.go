package local

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/atom-fabric/fabric/internal/config"
	"github.com/atom-fabric/fabric/internal/supervise"
)

// A Site is one agent that the local system runs.
type Site struct {
	Tenant string
	ID     string
	Region string
	Data   string // file with its rows
}

// Plan is what is started, beyond the layout.
type Plan struct {
	Layout
	Config      config.Config
	Bin         string // directory of the programs
	PostgresDSN string // of the embedded server; Config's when that is set
	Sites       []Site
	Policy      string // file of the trust policy that this system made; empty: what the settings say
	PolicyPin   string // digest of its first version
}

// TrustKey returns the public key of whoever signs in this system.
func (p Plan) TrustKey() string {
	switch {
	case p.Config.TrustKey != "":
		return p.Config.TrustKey
	case p.Config.CosignKeyPath != "":
		return PublicKey(p.Config.CosignKeyPath)
	}
	return p.Path("keys", "fabric.pub")
}

// Trust returns the settings by which every process knows whose signature
// counts: those that were given, or the policy of this state directory.
func (p Plan) Trust() []string {
	if p.Policy == "" {
		return []string{"FABRIC_TRUST_KEY=" + p.TrustKey(), "FABRIC_TRUST_POLICY=" + p.Config.TrustPolicy, "FABRIC_TRUST_ROOT=" + p.Config.TrustRoot}
	}
	return []string{"FABRIC_TRUST_KEY=" + p.TrustKey(), "FABRIC_TRUST_POLICY=" + p.Policy, "FABRIC_TRUST_ROOT=" + p.PolicyPin}
}

// noSigning takes every key source away from a process.
func noSigning() []string {
	return []string{"COSIGN_KEY_PATH=", "FABRIC_LOG_KEY_PATH=", "COSIGN_PASSWORD=", "COSIGN_PASSWORD_FILE=", "VAULT_ADDR=", "VAULT_TOKEN=", "BAO_ADDR=", "BAO_TOKEN=",
		"FABRIC_PKCS11_URI=", "COSIGN_PKCS11_PIN="}
}

// signing names the key that signs, and what opens it.
func (p Plan) signing() []string {
	c := p.Config
	if len(c.KeySources()) == 0 {
		return []string{"COSIGN_KEY_PATH=" + p.Path("keys", "fabric.key"), p.password()}
	}
	env := []string{"COSIGN_KEY_PATH=" + c.CosignKeyPath, "VAULT_ADDR=" + c.VaultAddr, "VAULT_TOKEN=" + c.VaultToken.Reveal(),
		"VAULT_CACERT=" + c.VaultCACert, "VAULT_NAMESPACE=" + c.VaultNamespace,
		"BAO_ADDR=" + c.BaoAddr, "BAO_TOKEN=" + c.BaoToken.Reveal(), "TRANSIT_SECRET_ENGINE_PATH=" + c.TransitPath,
		"FABRIC_TRANSIT_KEY=" + c.TransitKey, "FABRIC_TRANSIT_KEY_VERSION=" + strconv.Itoa(c.TransitVersion),
		"FABRIC_PKCS11_URI=" + c.PKCS11URI, "COSIGN_PKCS11_PIN=" + c.PKCS11PIN.Reveal()}
	if c.CosignKeyPath != "" {
		env = append(env, p.password())
	}
	return env
}

// logKey is the key that signs the audit log.
func (p Plan) logKey() string { return or(p.Config.LogKeyPath, p.Path("keys", "log.key")) }

// LogVerifier returns the verifier key of the audit log that regions and
// commands pin.
func (p Plan) LogVerifier() string { return or(p.Config.LogVerifier, PublicKey(p.logKey())) }

// witnesses lists the regions' workers as FABRIC_WITNESS_URL does.
func (p Plan) witnesses() string {
	var list []string
	for i, region := range p.Config.RegionNames() {
		list = append(list, region+"="+p.URL(offMetrics+1+i))
	}
	return strings.Join(list, ",")
}

// Witnesses returns what FABRIC_WITNESS_URL is for this system's commands.
func (p Plan) Witnesses() string { return or(p.Config.WitnessURL, p.witnesses()) }

// PublicKey returns where the public half of a key file is: beside it.
func PublicKey(key string) string { return strings.TrimSuffix(key, ".key") + ".pub" }

// Backends are the servers that the fabric's own processes need, as far as
// they are embedded.
func (p Plan) Backends() []supervise.Spec {
	var specs []supervise.Spec
	if !p.Config.Set("POSTGRES_DSN") {
		specs = append(specs, p.fabric("postgres", "postgres"))
	}
	if !p.Config.Set("TEMPORAL_ADDRESS") {
		ui, port := strconv.Itoa(p.Base+offUI), strconv.Itoa(p.Base+offTemporal)
		specs = append(specs, supervise.Spec{
			Name: "temporal", Path: filepath.Join(p.Bin, "temporal-dev"),
			Args: []string{"server", "start-dev", "--ip", p.Host, "--port", port, "--ui-port", ui,
				"--db-filename", p.Path("temporal.db"), "--namespace", p.Config.TemporalNamespace, "--log-level", "warn"},
			Ready: both(dial(p.TemporalAddress()), answers(p.TemporalUI()+"/")), Within: time.Minute,
		})
	}
	if !p.Config.Set("GLOBAL_REGISTRY_URL") {
		spec := p.fabric("registry", "registry", "FABRIC_LISTEN="+p.Address(offRegistry))
		spec.Ready = answers(p.Registry() + "/v2/")
		specs = append(specs, spec)
	}
	for i, region := range p.mirrored() {
		spec := p.fabric("mirror-"+region, "registry", "FABRIC_LISTEN="+p.Address(offMirror+i), "FABRIC_STATE_DIR="+p.Path("mirrors", region))
		spec.Ready = answers(p.Mirror(i) + "/v2/")
		specs = append(specs, spec)
	}
	for i := range specs {
		if specs[i].Within == 0 {
			specs[i].Within = 30 * time.Second
		}
	}
	return specs
}

// API is the gateway and the services. It brings the database's schema up to
// date, so it starts before whatever reads it.
func (p Plan) API() supervise.Spec {
	ui := p.Config.TemporalUI
	if ui == "" && !p.Config.Set("TEMPORAL_ADDRESS") {
		ui = p.TemporalUI()
	}
	api := p.fabric("api", "api",
		"FABRIC_CONSOLE_URL="+p.Config.ConsoleURL, "FABRIC_TEMPORAL_UI_URL="+ui, "FABRIC_SESSION_KEY="+p.Config.SessionKey.Reveal(),
		"FABRIC_OIDC_ISSUER="+p.Config.OIDCIssuer, "FABRIC_OIDC_CLIENT_ID="+p.Config.OIDCClientID, "FABRIC_OIDC_CLIENT_SECRET="+p.Config.OIDCSecret.Reveal(),
		"FABRIC_OIDC_SCOPES="+p.Config.OIDCScopes, "FABRIC_OIDC_AUDIENCE="+p.Config.OIDCAudience)
	api.Ready = answers(p.Gateway() + "/health")
	return api
}

// Console returns the address of the console.
func (p Plan) Console() string {
	return strings.TrimRight(or(p.Config.ConsoleURL, p.Gateway()), "/") + "/console/"
}

// Workers is one process for the control plane and one a region.
func (p Plan) Workers() []supervise.Spec {
	specs := []supervise.Spec{p.worker("worker-control", 0)}
	for i, region := range p.Config.RegionNames() {
		// A region's worker verifies with the public key and holds no private one.
		env := append(noSigning(), "FABRIC_NOTIFY_SECRET=", "FABRIC_REGION="+region, "FEDERATION_TOKEN=", "FEDERATION_TOKEN_FILE=")
		specs = append(specs, p.worker("worker-"+region, 1+i, env...))
	}
	return specs
}

// Runtimes are the embedded ones, one a region. They are ready with a snapshot,
// which the control plane's worker publishes.
func (p Plan) Runtimes() []supervise.Spec {
	var specs []supervise.Spec
	if p.Config.NeuralURL == "" {
		for i, region := range p.Config.RegionNames() {
			spec := p.program("fabric-router", "runtime-"+region, []string{"runtime"},
				"FABRIC_STATE_DIR="+p.Path("runtime-"+region), "FABRIC_REGION="+region, "FABRIC_LISTEN="+p.Address(offRuntime+i))
			spec.Ready = answers(p.Runtime(i) + "/v2/health/ready")
			specs = append(specs, spec)
		}
	}
	return specs
}

// Router starts after the runtimes: a system that says it is ready answers
// calls. Runtimes that are not ours are not waited for.
func (p Plan) Router() supervise.Spec {
	router := p.program("fabric-router", "router", []string{"serve"},
		"FABRIC_STATE_DIR="+p.Path("router"), "FABRIC_REGION="+p.Home(), "FABRIC_LISTEN="+p.Address(offRouter))
	router.Ready = answers(p.Service(offRouter) + "/health")
	if p.Config.NeuralURL == "" {
		router.Ready = passes(p.Service(offRouter)+"/health", "endpoints")
	}
	return router
}

// Agents is the sites.
func (p Plan) Agents() []supervise.Spec {
	var specs []supervise.Spec
	for _, s := range p.Sites {
		spec := p.program("fabric-site", "site-"+s.ID, []string{"run"},
			"FABRIC_STATE_DIR="+p.Path("sites", s.ID), "FABRIC_TENANT="+s.Tenant, "FABRIC_SITE="+s.ID,
			"FABRIC_REGION="+s.Region, "FABRIC_SITE_DATA="+s.Data)
		specs = append(specs, spec)
	}
	return specs
}

func (p Plan) worker(name string, metrics int, env ...string) supervise.Spec {
	address := p.Address(offMetrics + metrics)
	spec := p.fabric(name, "worker", append(env, "FABRIC_METRICS_LISTEN="+address)...)
	spec.Ready = answers("http://" + address + "/health")
	return spec
}

// fabric runs a command of the control plane's program, with its settings.
func (p Plan) fabric(name, command string, env ...string) supervise.Spec {
	signing := p.signing()
	if command != "worker" { // it knows that there is a key; it has no use for what opens it
		signing = append(signing, "COSIGN_PASSWORD=", "COSIGN_PASSWORD_FILE=", "VAULT_TOKEN=", "BAO_TOKEN=", "COSIGN_PKCS11_PIN=")
	}
	return p.program("fabric", name, []string{command}, append([]string{
		"FABRIC_STATE_DIR=" + p.State,
		"POSTGRES_DSN=" + or(p.Config.PostgresDSN.Reveal(), p.PostgresDSN),
		"POSTGRES_REPLICA_DSNS=" + p.Config.ReplicaDSNs.Reveal(),
		"REPL_WINDOW_MS=" + strconv.Itoa(p.Config.ReplicaWindow),
		"TEMPORAL_ADDRESS=" + or(p.Config.TemporalAddress, p.TemporalAddress()),
		"TEMPORAL_NAMESPACE=" + p.Config.TemporalNamespace,
		"GLOBAL_REGISTRY_URL=" + or(p.Config.RegistryURL, p.Registry()),
		"FABRIC_MIRRORS=" + or(p.Config.Mirrors, p.mirrors()),
		"GLOBAL_S3_ENDPOINT=" + p.Config.S3Endpoint,
		"AWS_ACCESS_KEY_ID=" + p.Config.S3AccessKey.Reveal(),
		"AWS_SECRET_ACCESS_KEY=" + p.Config.S3SecretKey.Reveal(),
		"MODEL_STORE_URL=" + p.Config.ModelStoreURL,
		"FABRIC_LOG_KEY_PATH=" + p.logKey(),
		"FABRIC_LOG_VERIFIER=" + p.LogVerifier(),
		"FABRIC_WITNESS_URL=" + p.Witnesses(),
		"NEURAL_FABRIC_URL=" + or(p.Config.NeuralURL, p.runtimes()),
		"QUANTUM_COORD_URL=" + p.Config.QuantumURL,
		"RULES_ENGINE_URL=" + p.Config.RulesURL,
		"PROM_URL=" + p.Config.PromURL,
		"FABRIC_NOTIFY_URL=" + p.Config.NotifyURL,
		"FABRIC_NOTIFY_SECRET=" + p.Config.NotifySecret.Reveal(),
		"FABRIC_NOTIFY_LINK=" + p.Config.NotifyLink,
		"FABRIC_PRIVACY_EPSILON=" + strconv.FormatFloat(p.Config.PrivacyEpsilon, 'g', -1, 64),
		"FABRIC_MAX_UPLOAD_BYTES=" + strconv.FormatInt(p.Config.MaxUpload, 10),
		"FABRIC_REGIONS=" + p.Config.Regions,
		"FABRIC_ROUTER_URL=" + p.Service(offRouter),
		"FABRIC_JWKS=" + p.Config.JWKS,
		"FABRIC_ISSUER=" + p.Config.Issuer,
		p.federation(),
	}, append(signing, env...)...)...)
}

// program runs one of our programs with what all of them need. Settings that
// come later win.
func (p Plan) program(file, name string, args []string, env ...string) supervise.Spec {
	all := []string{
		"FABRIC_ENV=" + p.Config.Env,
		"FABRIC_HOST=" + p.Host,
		"FABRIC_PORT_BASE=" + strconv.Itoa(p.Base),
		"FABRIC_API_URL=" + p.Gateway(),
		"FABRIC_SNAPSHOT_URL=" + p.Gateway(),
		"FABRIC_SNAPSHOT_TOKEN=" + p.Config.SnapshotToken.Reveal(),
		"FABRIC_LOG_LEVEL=" + p.Config.LogLevel,
		"FABRIC_ISSUER=" + p.Config.Issuer,
		"FABRIC_JWKS=" + or(p.Config.JWKS, p.Path("issuer", "jwks.json")),
		// Said outright: the children are given a database and a registry, and
		// must not take that for production.
		"SIMULATION_MODE=" + strconv.FormatBool(p.Config.Simulation()),
	}
	all = append(all, p.Trust()...)
	if file == "fabric-site" {
		all = append(all, p.federation())
	}
	return supervise.Spec{
		Name: name, Path: filepath.Join(p.Bin, file), Args: args,
		Env: append(all, env...), Within: time.Minute, // on a slow machine the first start makes the database for most of it
	}
}

// password names the signing key's password by value when it was configured,
// by file when it was generated.
func (p Plan) password() string {
	if p.Config.CosignPassword != "" {
		return "COSIGN_PASSWORD=" + p.Config.CosignPassword.Reveal()
	}
	return "COSIGN_PASSWORD_FILE=" + p.Path("secrets", "cosign.password")
}

func (p Plan) federation() string {
	if p.Config.FederationTok != "" {
		return "FEDERATION_TOKEN=" + p.Config.FederationTok.Reveal()
	}
	return "FEDERATION_TOKEN_FILE=" + p.Path("secrets", "federation.token")
}

// mirrored are the regions that have an embedded mirror: none when the registry
// or the mirrors are somebody else's.
func (p Plan) mirrored() []string {
	regions := p.Config.RegionNames()
	if p.Config.Set("GLOBAL_REGISTRY_URL") || p.Config.Mirrors != "" {
		return nil
	}
	return regions[:min(len(regions), maxMirrors)]
}

// mirrors lists the embedded mirrors as FABRIC_MIRRORS does.
func (p Plan) mirrors() string {
	var list []string
	for i, region := range p.mirrored() {
		list = append(list, region+"="+p.Mirror(i))
	}
	return strings.Join(list, ",")
}

// runtimes lists the embedded runtimes as NEURAL_FABRIC_URL does.
func (p Plan) runtimes() string {
	var list []string
	for i, region := range p.Config.RegionNames() {
		list = append(list, region+"="+p.Runtime(i))
	}
	return strings.Join(list, ",")
}

func or(first, second string) string {
	if first != "" {
		return first
	}
	return second
}

// answers says that a URL answers with a status below 400.
func answers(url string) func(context.Context) error {
	return asked(url, func(io.Reader) error { return nil })
}

// passes says that a health document's check passes.
func passes(url, check string) func(context.Context) error {
	return asked(url, func(body io.Reader) error {
		var health struct {
			Checks map[string]struct{ Status, Output string }
		}
		if err := json.NewDecoder(body).Decode(&health); err != nil {
			return err
		}
		if c := health.Checks[check]; c.Status != "pass" {
			return fmt.Errorf("%s: %s: %s", url, check, c.Output)
		}
		return nil
	})
}

// asked gets a URL and judges what it says.
func asked(url string, judge func(io.Reader) error) func(context.Context) error {
	client := &http.Client{Timeout: 2 * time.Second}
	return func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode >= http.StatusBadRequest {
			return fmt.Errorf("%s answers %s", url, resp.Status)
		}
		return judge(io.LimitReader(resp.Body, 1<<20))
	}
}

// dial says that an address accepts connections.
func dial(address string) func(context.Context) error {
	return func(ctx context.Context) error {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err != nil {
			return err
		}
		return conn.Close()
	}
}

func both(a, b func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		if err := a(ctx); err != nil {
			return err
		}
		return b(ctx)
	}
}

// CheckPrograms fails when a program that the plan runs is not beside this one.
func (p Plan) CheckPrograms() error {
	programs := []string{"fabric", "fabric-router", "fabric-site"}
	if !p.Config.Set("TEMPORAL_ADDRESS") {
		programs = append(programs, "temporal-dev")
	}
	for _, name := range programs {
		if _, err := os.Stat(filepath.Join(p.Bin, name)); err != nil {
			return fmt.Errorf("%w: %s; build it with: make build", ErrProgram, filepath.Join(p.Bin, name))
		}
	}
	return nil
}
