package doctor

import (
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"strings"

	"github.com/atom-fabric/fabric/domain/privacy"
	"github.com/atom-fabric/fabric/internal/config"
)

// A Conflict is settings that do not go together. One that is Fatal keeps a
// process from starting, or from doing what it is for.
type Conflict struct {
	What  string
	Fix   string
	Fatal bool
}

// Settings reports settings that contradict each other. No value is quoted but
// names of regions and queues.
func Settings(c config.Config) Finding {
	conflicts := slices.Concat(keyConflicts(c), productionConflicts(c), networkConflicts(c), regionConflicts(c), valueConflicts(c))
	if len(conflicts) == 0 {
		return Well("none contradicts another")
	}
	out := Finding{Status: Warn}
	var whats, fixes []string
	for _, one := range conflicts {
		whats, fixes = append(whats, one.What), append(fixes, one.Fix)
		if one.Fatal {
			out.Status = Fail
		}
	}
	out.Detail, out.Fix = strings.Join(whats, "; "), strings.Join(fixes, "; ")
	return out
}

// A maybe is a conflict where its condition holds.
type maybe struct {
	holds bool
	Conflict
}

func where(holds, fatal bool, what, fix string) maybe {
	return maybe{holds, Conflict{What: what, Fix: fix, Fatal: fatal}}
}

// gather returns the conflicts that there are.
func gather(list ...maybe) []Conflict {
	var out []Conflict
	for _, one := range list {
		if one.holds {
			out = append(out, one.Conflict)
		}
	}
	return out
}

func keyConflicts(c config.Config) []Conflict {
	sources := c.KeySources()
	return gather(
		where(len(sources) > 1, true, "several signing keys are named: "+strings.Join(sources, ", "), "unset all but one of them"),
		where(c.TrustPolicy != "" && c.TrustRoot == "", true, "FABRIC_TRUST_POLICY is not pinned", "set FABRIC_TRUST_ROOT to the digest that `fabric keys policy` prints"),
		where(c.TrustPolicy == "" && c.TrustRoot != "", false, "FABRIC_TRUST_ROOT pins no policy", "set FABRIC_TRUST_POLICY, or unset FABRIC_TRUST_ROOT"),
		where(c.TrustPolicy != "" && c.Set("FABRIC_TRUST_KEY"), false, "FABRIC_TRUST_KEY decides nothing beside FABRIC_TRUST_POLICY", "unset FABRIC_TRUST_KEY"),
		where(c.VaultAddr != "" && c.VaultToken == "", true, "VAULT_ADDR has no token", "set VAULT_TOKEN_FILE"),
		where(c.BaoAddr != "" && c.BaoToken == "", true, "BAO_ADDR has no token", "set BAO_TOKEN_FILE"),
		where(c.S3Endpoint != "" && (c.S3AccessKey == "" || c.S3SecretKey == ""), true, "GLOBAL_S3_ENDPOINT has no credentials", "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY_FILE"),
		where(strings.HasPrefix(c.ModelStoreURL, "s3://") && c.S3Endpoint == "", true, "MODEL_STORE_URL names a bucket of no server", "set GLOBAL_S3_ENDPOINT"),
	)
}

func productionConflicts(c config.Config) []Conflict {
	prod := c.Env == "prod"
	return gather(
		where(prod && c.JWKS == "", true, "FABRIC_ENV=prod refuses the development issuer", "set FABRIC_JWKS and FABRIC_ISSUER to your identity provider's"),
		where(prod && c.LogKeyPath == "", true, "FABRIC_ENV=prod refuses a generated key for the audit log", "fabric audit keygen ORIGIN, then set FABRIC_LOG_KEY_PATH"),
		where(prod && c.SimulationMode == "true", false, "FABRIC_ENV=prod and SIMULATION_MODE=true: what is only for production is simulated all the same", "unset SIMULATION_MODE, or set FABRIC_ENV=dev"),
		where(c.JWKS != "" && !c.Set("FABRIC_ISSUER"), true, "FABRIC_JWKS has keys of an issuer that nothing names", "set FABRIC_ISSUER to what the tokens' iss says"),
		where(c.OIDCIssuer != "" && c.JWKS == "", true, "people would sign in at FABRIC_OIDC_ISSUER with tokens that the API does not accept", "set FABRIC_JWKS and FABRIC_ISSUER to the same provider's"),
		where((c.ProductionApproval == "") != (c.ProductionApprover == ""), true, "FABRIC_PRODUCTION_APPROVAL and FABRIC_PRODUCTION_APPROVER belong together", "set both, or neither"),
		where(c.ReplicaDSNs != "" && c.PostgresDSN == "", true, "POSTGRES_REPLICA_DSNS has no primary", "set POSTGRES_DSN"),
	)
}

func networkConflicts(c config.Config) []Conflict {
	at, err := url.Parse(c.APIURL)
	port := ""
	if err == nil {
		port = at.Port()
	}
	local := err == nil && Loopback(at.Hostname())
	return gather(
		where(err != nil || at.Host == "", true, "FABRIC_API_URL is no URL", "set it as http(s)://host:port"),
		where(local && port != fmt.Sprint(c.PortBase) && c.Set("FABRIC_PORT_BASE"), false, "commands ask another port of this machine than FABRIC_PORT_BASE", fmt.Sprintf("export FABRIC_API_URL=http://127.0.0.1:%d", c.PortBase)),
		where(!Loopback(c.Host) && c.JWKS == "", false, "FABRIC_HOST lets the network reach an API that accepts the development issuer's tokens", "set FABRIC_JWKS and FABRIC_ISSUER, or FABRIC_HOST=127.0.0.1"),
		where(!Loopback(c.Host) && c.OIDCIssuer != "" && c.ConsoleURL == "", false, "sign-in comes back to an address that only this machine has", "set FABRIC_CONSOLE_URL to what browsers reach the console by"),
		where(c.NotifyURL != "" && c.NotifySecret == "", false, "notices to FABRIC_NOTIFY_URL are not signed", "set FABRIC_NOTIFY_SECRET_FILE, with 32 bytes or more"),
		where(c.NotifySecret != "" && len(c.NotifySecret.Reveal()) < 32, true, "FABRIC_NOTIFY_SECRET is short", "openssl rand -base64 48 makes one that is long enough"),
		where(c.SessionKey != "" && len(c.SessionKey.Reveal()) < 32, true, "FABRIC_SESSION_KEY is short", "openssl rand -base64 48 makes one that is long enough"),
	)
}

// regionConflicts looks for regions that are named somewhere and served nowhere.
func regionConflicts(c config.Config) []Conflict {
	names := c.RegionNames()
	out := gather(
		where(len(names) == 0, true, "FABRIC_REGIONS is empty", "set FABRIC_REGIONS=eu,us,apac"),
		where(c.Region != "" && !slices.Contains(names, c.Region), true, "FABRIC_REGION is none of FABRIC_REGIONS", "add it to FABRIC_REGIONS, or correct it"),
	)
	for _, setting := range []struct{ name, text string }{
		{"NEURAL_FABRIC_URL", c.NeuralURL}, {"QUANTUM_COORD_URL", c.QuantumURL}, {"FABRIC_MIRRORS", c.Mirrors}, {"FABRIC_WITNESS_URL", c.WitnessURL},
	} {
		for _, item := range config.List(setting.text) {
			region, base, ok := strings.Cut(item, "=")
			at, err := url.Parse(base)
			switch {
			case !ok || err != nil || at.Host == "":
				out = append(out, Conflict{setting.name + " is no list of region=URL", "set it as eu=http://host:port,us=http://host:port", true})
			case !slices.Contains(names, region):
				out = append(out, Conflict{setting.name + " names " + region + ", which is none of FABRIC_REGIONS", "add it to FABRIC_REGIONS, or take it out of " + setting.name, true})
			}
		}
	}
	for _, queue := range config.List(c.Queues) {
		if queue != "control" && queue != "signing" {
			out = append(out, Conflict{"FABRIC_QUEUES names " + queue + ", which is no queue", "set FABRIC_QUEUES=control,signing", true})
		}
	}
	return out
}

func valueConflicts(c config.Config) []Conflict {
	budget := privacy.Budget{EpsilonLimit: c.PrivacyEpsilon, Delta: privacy.DefaultDelta}.Validate()
	var level slog.Level
	return gather(
		where(budget != nil, true, "FABRIC_PRIVACY_EPSILON is no limit", "set a number above 0, as 10"),
		where(c.ReplicaWindow <= 0, false, "REPL_WINDOW_MS is not above 0", "set REPL_WINDOW_MS=500"),
		where(c.LoopTenant != "" && c.LoopWindow < 1, true, "FABRIC_LOOP_WINDOW_SECONDS is not above 0", "set FABRIC_LOOP_WINDOW_SECONDS=3600"),
		where(level.UnmarshalText([]byte(c.LogLevel)) != nil, false, "FABRIC_LOG_LEVEL is no level, so info is taken", "set debug, info, warn or error"),
		where(c.Env != "dev" && c.Env != "prod", false, "FABRIC_ENV is neither dev nor prod", "set FABRIC_ENV=dev or FABRIC_ENV=prod"),
		where(c.SimulationMode != "" && c.SimulationMode != "true" && c.SimulationMode != "false", false, "SIMULATION_MODE is neither true nor false, and counts as true", "set true or false, or unset it"),
	)
}

// Loopback says whether only this machine reaches a host.
func Loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
