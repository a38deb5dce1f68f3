// Package config is every setting of every process: from where it comes, what
// it means, and whether it may be shown.
//
// Invariant: a setting has one name, its environment variable. A secret is
// never printed, and each setting knows where its value came from.
package config

// Settings are all settings of the fabric's processes. The names without a
// prefix belong to the product's contract; the others start with FABRIC_ or
// belong to the technology that they address.
type Settings struct {
	RegistryURL    string `env:"GLOBAL_REGISTRY_URL" critical:"true" contract:"true" doc:"OCI registry that holds packages, policy bundles and their signatures; without it the embedded registry, simulation"`
	PostgresDSN    Secret `env:"POSTGRES_DSN" critical:"true" contract:"true" doc:"primary database; without it the embedded PostgreSQL, simulation"`
	ReplicaDSNs    Secret `env:"POSTGRES_REPLICA_DSNS" contract:"true" doc:"comma-separated replicas for reads; without them all reads go to the primary"`
	ReplicaWindow  int    `env:"REPL_WINDOW_MS" envDefault:"500" contract:"true" doc:"how stale a replica may be, in milliseconds, before its reads go to the primary"`
	VaultAddr      string `env:"VAULT_ADDR" contract:"true" doc:"signing keys in Vault or OpenBao transit; without it keys from COSIGN_KEY_PATH"`
	CosignKeyPath  string `env:"COSIGN_KEY_PATH" contract:"true" doc:"cosign private key; the public key is beside it with the suffix .pub; without it a generated development key, simulation, P2 BLOCKED"`
	CosignPassword Secret `env:"COSIGN_PASSWORD" doc:"password of the cosign key"`
	VaultToken     Secret `env:"VAULT_TOKEN" doc:"token for VAULT_ADDR that may read the transit key and sign with it"`
	VaultCACert    string `env:"VAULT_CACERT" doc:"file with the authority that signed the certificate of VAULT_ADDR or BAO_ADDR; without it the machine's own authorities"`
	VaultNamespace string `env:"VAULT_NAMESPACE" doc:"namespace of the transit engine, where the server has several"`
	BaoAddr        string `env:"BAO_ADDR" doc:"OpenBao's name for VAULT_ADDR; give one of the two"`
	BaoToken       Secret `env:"BAO_TOKEN" doc:"OpenBao's name for VAULT_TOKEN"`
	TransitPath    string `env:"TRANSIT_SECRET_ENGINE_PATH" envDefault:"transit" doc:"where the transit engine is mounted"`
	TransitKey     string `env:"FABRIC_TRANSIT_KEY" envDefault:"fabric" doc:"name of the transit key, of type ecdsa-p256"`
	TransitVersion int    `env:"FABRIC_TRANSIT_KEY_VERSION" envDefault:"0" doc:"version of the transit key that signs; 0 pins the latest at the start of each process"`
	PKCS11URI      string `env:"FABRIC_PKCS11_URI" doc:"signing key in a hardware token, as pkcs11:token=T;object=K?module-path=/path/module.so; a key source like COSIGN_KEY_PATH and VAULT_ADDR, of which one is given"`
	PKCS11PIN      Secret `env:"COSIGN_PKCS11_PIN" doc:"PIN of the token; or pin-source=file:/path in the URI"`
	PromURL        string `env:"PROM_URL" contract:"true" doc:"Prometheus that telemetry is read from; without it the embedded counters"`
	LoopTenant     string `env:"FABRIC_LOOP_TENANT" doc:"tenant in whose name the policy loop runs by itself; without it the loop runs only when it is asked to"`
	LoopWindow     int    `env:"FABRIC_LOOP_WINDOW_SECONDS" envDefault:"3600" doc:"length of a window of the policy loop, which is evaluated once a window"`
	LoopBaseline   int    `env:"FABRIC_LOOP_BASELINE_WINDOWS" envDefault:"24" doc:"windows of the loop's baseline, before the last three"`
	LoopEnv        string `env:"FABRIC_LOOP_ENVIRONMENT" envDefault:"production" doc:"what the policy governs; outside production what tightens is applied without a person"`
	NeuralURL      string `env:"NEURAL_FABRIC_URL" contract:"true" doc:"regional neural runtimes, as region=URL separated by commas; without it the embedded runtimes"`
	QuantumURL     string `env:"QUANTUM_COORD_URL" contract:"true" doc:"coordinator that fronts quantum runtimes, as region=URL; without it none is routable"`
	FederationTok  Secret `env:"FEDERATION_TOKEN" contract:"true" doc:"what a site presents to enrol, 32 random bytes or more; two values separated by a comma while one replaces the other; without it a generated development token, simulation"`
	SimulationMode string `env:"SIMULATION_MODE" contract:"true" doc:"true forces the simulated outcome of production-only steps; true whenever a critical variable is missing"`
	S3Endpoint     string `env:"GLOBAL_S3_ENDPOINT" contract:"true" doc:"S3-compatible store for blobs and mirrors, as http(s)://host:port/bucket; without it local files"`
	S3AccessKey    Secret `env:"AWS_ACCESS_KEY_ID" doc:"access key of the S3 store"`
	S3SecretKey    Secret `env:"AWS_SECRET_ACCESS_KEY" doc:"secret key of the S3 store"`
	ModelStoreURL  string `env:"MODEL_STORE_URL" contract:"true" doc:"where model weights live: file:///path or s3://bucket; without it local files"`
	RulesURL       string `env:"RULES_ENGINE_URL" contract:"true" doc:"a remote OPA, asked before a round starts; without it the embedded policy"`

	Mirrors string `env:"FABRIC_MIRRORS" doc:"registries that the regions' runtimes pull from, as region=URL separated by commas; a region without one pulls from GLOBAL_REGISTRY_URL, or from the embedded mirror of fabric up"`

	TemporalAddress   string `env:"TEMPORAL_ADDRESS" doc:"host:port of the Temporal front end; without it the development server of fabric up"`
	TemporalNamespace string `env:"TEMPORAL_NAMESPACE" envDefault:"fabric" doc:"Temporal namespace"`

	Env            string  `env:"FABRIC_ENV" envDefault:"dev" doc:"dev or prod; prod refuses whatever is only for development"`
	StateDir       string  `env:"FABRIC_STATE_DIR" envDefault:".fabric" doc:"directory that this process keeps its files in"`
	Host           string  `env:"FABRIC_HOST" envDefault:"127.0.0.1" doc:"address that the services listen on"`
	PortBase       int     `env:"FABRIC_PORT_BASE" envDefault:"9000" doc:"gateway port; service I.1.n answers on this plus n"`
	APIURL         string  `env:"FABRIC_API_URL" envDefault:"http://127.0.0.1:9000" doc:"gateway that commands, sites, routers and runtimes call"`
	RouterURL      string  `env:"FABRIC_ROUTER_URL" envDefault:"http://127.0.0.1:9004" doc:"router that the gateway passes /invoke to"`
	Token          Secret  `env:"FABRIC_TOKEN" doc:"token that commands present"`
	Regions        string  `env:"FABRIC_REGIONS" envDefault:"eu,us,apac" doc:"regions that this control plane serves"`
	Region         string  `env:"FABRIC_REGION" doc:"region of a worker, a runtime, a router or a site; where fabric up puts its router (default: the first of FABRIC_REGIONS)"`
	Queues         string  `env:"FABRIC_QUEUES" envDefault:"control,signing" doc:"task queues of a worker that has no region"`
	TrustKey       string  `env:"FABRIC_TRUST_KEY" doc:"public key file that routers, runtimes and sites pin; without it COSIGN_KEY_PATH.pub"`
	TrustPolicy    string  `env:"FABRIC_TRUST_POLICY" doc:"file of the signed trust policy, which says whose signature counts for what; it is read again when it changes, and FABRIC_TRUST_KEY decides nothing where it is given"`
	TrustRoot      string  `env:"FABRIC_TRUST_ROOT" doc:"digest of the first trust policy, as fabric keys policy prints it: what the whole chain of policies is pinned by"`
	LogKeyPath     string  `env:"FABRIC_LOG_KEY_PATH" doc:"key that signs the audit log's checkpoints, made with fabric audit keygen; its verifier key is beside it with the suffix .pub; without it a generated development key, never with FABRIC_ENV=prod"`
	LogVerifier    string  `env:"FABRIC_LOG_VERIFIER" doc:"file with the verifier key of the audit log that commands and regions pin; without it FABRIC_LOG_KEY_PATH.pub"`
	WitnessURL     string  `env:"FABRIC_WITNESS_URL" doc:"regions that keep each other's checkpoints of the audit log, as region=URL separated by commas; without it a region compares with its own past only"`
	Issuer         string  `env:"FABRIC_ISSUER" envDefault:"https://dev.invalid/fabric" doc:"issuer of the callers' tokens"`
	JWKS           string  `env:"FABRIC_JWKS" doc:"file or https URL of the issuer's public keys; without it the development issuer in the state directory"`
	ConsoleURL     string  `env:"FABRIC_CONSOLE_URL" doc:"address that browsers reach the console by, as https://host; sign-in comes back to it; without it http://FABRIC_HOST:FABRIC_PORT_BASE"`
	OIDCIssuer     string  `env:"FABRIC_OIDC_ISSUER" doc:"OpenID provider where people sign in to the console; its access tokens must be such as FABRIC_JWKS and FABRIC_ISSUER accept; without it, in simulation on a loopback address, the development provider"`
	OIDCClientID   string  `env:"FABRIC_OIDC_CLIENT_ID" envDefault:"fabric-console" doc:"the console's client id at FABRIC_OIDC_ISSUER"`
	OIDCSecret     Secret  `env:"FABRIC_OIDC_CLIENT_SECRET" doc:"the console's client secret at FABRIC_OIDC_ISSUER; without it the console is a public client, with PKCE alone"`
	OIDCScopes     string  `env:"FABRIC_OIDC_SCOPES" envDefault:"openid,profile" doc:"scopes that the console asks for, separated by commas"`
	OIDCAudience   string  `env:"FABRIC_OIDC_AUDIENCE" doc:"audience that the console asks FABRIC_OIDC_ISSUER to make its access tokens for, where the provider wants to be told"`
	SessionKey     Secret  `env:"FABRIC_SESSION_KEY" doc:"32 bytes or more that the console's sessions are sealed with, the same for every replica; without it a generated key in the state directory"`
	TemporalUI     string  `env:"FABRIC_TEMPORAL_UI_URL" doc:"address of the Temporal Web UI that the console's pages link to; without it they link to none"`
	NotifyURL      string  `env:"FABRIC_NOTIFY_URL" doc:"webhook that is told of an open approval; without it the log alone"`
	NotifySecret   Secret  `env:"FABRIC_NOTIFY_SECRET" doc:"32 bytes or more that sign notices and the links in them; without it neither is signed and there are no links"`
	NotifyLink     string  `env:"FABRIC_NOTIFY_LINK" doc:"base URL that links in notices lead to; without it FABRIC_API_URL"`
	PrivacyEpsilon float64 `env:"FABRIC_PRIVACY_EPSILON" envDefault:"10" doc:"limit of the privacy budget that a feature gets with its first private round, while its owner has set none; at delta 1e-5"`
	MaxUpload      int64   `env:"FABRIC_MAX_UPLOAD_BYTES" envDefault:"4294967296" doc:"largest blob that a site may upload in pieces; a run whose updates would be larger is refused"`
	MetricsListen  string  `env:"FABRIC_METRICS_LISTEN" doc:"host:port where a worker answers /health and /metrics; without it nowhere"`
	LogLevel       string  `env:"FABRIC_LOG_LEVEL" envDefault:"info" doc:"debug, info, warn or error"`

	ProductionApproval string `env:"FABRIC_PRODUCTION_APPROVAL" doc:"file of the signed vote that lets this deployment leave simulation"`
	ProductionApprover string `env:"FABRIC_PRODUCTION_APPROVER" doc:"public key file of the person whose vote that must be"`

	SiteTenant string `env:"FABRIC_TENANT" doc:"tenant of a site or of a command's caller"`
	SiteID     string `env:"FABRIC_SITE" doc:"id of a site"`
	SiteData   string `env:"FABRIC_SITE_DATA" doc:"file with a site's rows"`
	Listen     string `env:"FABRIC_LISTEN" doc:"host:port of a router, a runtime or the registry"`

	SnapshotURL   string `env:"FABRIC_SNAPSHOT_URL" doc:"gateway that a router or runtime follows; without it FABRIC_API_URL"`
	SnapshotToken Secret `env:"FABRIC_SNAPSHOT_TOKEN" doc:"token with the role data-plane that a router or runtime presents"`
}

// A Secret is text that is shown to nobody: it prints, logs and marshals as a
// mark that says whether it is set.
type Secret string

const redacted = "[redacted]"

// String hides the secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return redacted
}

// GoString hides the secret.
func (s Secret) GoString() string { return s.String() }

// MarshalText hides the secret.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Reveal returns the secret to the one who uses it.
func (s Secret) Reveal() string { return string(s) }
