package config

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/caarlos0/env/v11"
	"go.yaml.in/yaml/v3"
)

// Where a value came from.
const (
	FromDefault = "default"
	FromFile    = "file"
	FromEnv     = "environment"
)

// ErrSetting says that a setting is unknown, malformed or given twice.
var ErrSetting = errors.New("bad setting")

// A Config is the settings and where each came from.
type Config struct {
	Settings
	origin map[string]string // by environment variable
}

// Load reads settings: the environment over the YAML file at path over the
// defaults. A path of "" means no file. A secret NAME may be given as
// NAME_FILE, the path of a file that holds it; both is an error, for nobody
// could say which one counts.
func Load(path string, environ []string) (Config, error) {
	values, origin := map[string]string{}, map[string]string{}
	known := Fields()
	if path != "" {
		if err := readFile(path, known, values, origin); err != nil {
			return Config{}, err
		}
	}
	environment := env.ToMap(environ)
	for _, f := range known {
		text, ok := environment[f.Env]
		ok = ok && text != "" // an empty variable is an absent one
		file := environment[f.Env+"_FILE"]
		switch {
		case file != "" && ok && f.Secret:
			return Config{}, fmt.Errorf("%w: both %s and %s_FILE are set: unset one", ErrSetting, f.Env, f.Env)
		case file != "" && f.Secret:
			content, err := os.ReadFile(file)
			if err != nil {
				return Config{}, fmt.Errorf("%w: %s_FILE: %w", ErrSetting, f.Env, err)
			}
			text, ok = strings.TrimSpace(string(content)), true
		}
		if ok {
			values[f.Env], origin[f.Env] = text, FromEnv
		}
	}
	var c Config
	if err := env.ParseWithOptions(&c.Settings, env.Options{Environment: values}); err != nil {
		return Config{}, fmt.Errorf("%w: %s", ErrSetting, withoutValues(err))
	}
	c.origin = origin
	return c, nil
}

// readFile adds the settings of a YAML file, whose keys are the variables'
// names in lower case.
func readFile(path string, known []Field, values, origin map[string]string) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("%w: configuration file: %w", ErrSetting, err)
	}
	var doc map[string]string
	if err := yaml.Unmarshal(content, &doc); err != nil {
		return fmt.Errorf("%w: %s is not a list of `name: text` lines", ErrSetting, path)
	}
	for key, text := range doc {
		name := strings.ToUpper(key)
		if !slices.ContainsFunc(known, func(f Field) bool { return f.Env == name }) {
			return fmt.Errorf("%w: %s: unknown key %q", ErrSetting, path, key)
		}
		if text != "" {
			values[name], origin[name] = text, FromFile
		}
	}
	return nil
}

// withoutValues keeps the names of a parse error's fields and drops its texts,
// which may quote a secret.
func withoutValues(err error) string {
	var all env.AggregateError
	if !errors.As(err, &all) {
		return "the settings cannot be read"
	}
	var names []string
	for _, e := range all.Errors {
		var parse env.ParseError
		if errors.As(e, &parse) {
			names = append(names, variable(parse.Name)+" is not of type "+parse.Type.String())
		}
	}
	if len(names) == 0 {
		return "the settings cannot be read"
	}
	return strings.Join(names, "; ")
}

// variable returns the environment variable of a struct field.
func variable(field string) string {
	if f, ok := reflect.TypeFor[Settings]().FieldByName(field); ok {
		return f.Tag.Get("env")
	}
	return field
}

// A Field describes one setting.
type Field struct {
	Env      string
	Doc      string
	Default  string
	Secret   bool
	Critical bool // missing: simulation
	Contract bool // named by the product's contract
}

// Fields returns every setting in the order of [Settings].
func Fields() []Field {
	t := reflect.TypeFor[Settings]()
	fields := make([]Field, 0, t.NumField())
	for f := range t.Fields() {
		fields = append(fields, Field{
			Env:      f.Tag.Get("env"),
			Doc:      f.Tag.Get("doc"),
			Default:  f.Tag.Get("envDefault"),
			Secret:   f.Type == reflect.TypeFor[Secret](),
			Critical: f.Tag.Get("critical") == "true",
			Contract: f.Tag.Get("contract") == "true",
		})
	}
	return fields
}

// Set says whether a setting was given, by file or environment.
func (c Config) Set(name string) bool { return c.origin[name] != "" }

// Origin says where a setting's value came from.
func (c Config) Origin(name string) string {
	if from := c.origin[name]; from != "" {
		return from
	}
	return FromDefault
}

// Simulation says whether production-only steps are simulated: when told so,
// or when a critical variable, every signing key or the federation token is
// missing.
func (c Config) Simulation() bool {
	if c.SimulationMode != "" {
		return c.SimulationMode != "false"
	}
	keyless := len(c.KeySources()) == 0
	return !c.Set("GLOBAL_REGISTRY_URL") || !c.Set("POSTGRES_DSN") || !c.Set("FEDERATION_TOKEN") || keyless
}

// RegionNames returns the regions, in the order given.
func (c Config) RegionNames() []string { return List(c.Regions) }

// List splits a comma-separated setting.
func List(text string) []string {
	var out []string
	for item := range strings.SplitSeq(text, ",") {
		if item = strings.TrimSpace(item); item != "" {
			out = append(out, item)
		}
	}
	return out
}
