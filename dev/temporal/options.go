package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
)

const (
	defaultNamespace = "default"
	defaultPort      = 7233
	uiOffset         = 1000 // the UI's port is the frontend's plus this, unless it is given
	minRetention     = time.Hour
)

var (
	errCommand  = errors.New("the one command is: server start-dev [flags]")
	errPublic   = errors.New("not a loopback address; this server admits everybody who can reach it")
	errPair     = errors.New("want name=value")
	errAttrType = errors.New("want Text, Keyword, Int, Double, Bool, Datetime or KeywordList")
	errShort    = fmt.Errorf("shorter than the server's minimum of %s", minRetention)
)

// options is what the argument list says, checked: a value of it can be started.
type options struct {
	ip         string
	port       int // 0: any free one
	uiPort     int // 0: any free one
	headless   bool
	dbFile     string // empty: in memory, gone with the process
	namespaces []string
	retention  time.Duration
	attributes map[string]enumspb.IndexedValueType
	dynamic    map[string]any
	pragmas    map[string]string
	logLevel   string
	logFormat  string
}

// parse reads the argument list of `temporal server start-dev`. Flags may be
// written --name value or --name=value. Errors of the flag package itself have
// been explained on stderr when it returns.
func parse(args []string, stderr io.Writer) (options, error) {
	opts := options{
		namespaces: []string{defaultNamespace},
		attributes: map[string]enumspb.IndexedValueType{},
		dynamic:    dynamicDefaults(),
		pragmas:    pragmaDefaults(),
	}
	fs := flag.NewFlagSet("server start-dev", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.StringVar(&opts.ip, "ip", "127.0.0.1", "loopback `address` of the frontend and the UI")
	fs.IntVar(&opts.port, "port", defaultPort, "port of the frontend, 0 for any free one")
	fs.IntVar(&opts.uiPort, "ui-port", -1, "port of the Web UI, 0 for any free one (default: the frontend's + 1000)")
	fs.BoolVar(&opts.headless, "headless", false, "without the Web UI")
	fs.StringVar(&opts.dbFile, "db-filename", "", "SQLite `file` that keeps everything (default: in memory)")
	fs.StringVar(&opts.dbFile, "f", "", "short for --db-filename")
	fs.DurationVar(&opts.retention, "retention", 72*time.Hour, "how long the namespaces keep closed workflows")
	fs.StringVar(&opts.logLevel, "log-level", "warn", "debug, info, warn, error or never")
	fs.StringVar(&opts.logFormat, "log-format", "text", "text, pretty or json")
	fs.Func("namespace", "namespace to have, beside default; repeatable", opts.addNamespace)
	fs.Func("n", "short for --namespace", opts.addNamespace)
	fs.Func("search-attribute", "`Name=Type` to have in every such namespace; repeatable", opts.addAttribute)
	fs.Func("dynamic-config-value", "`key=json` of the server's dynamic configuration; repeatable", opts.addDynamic)
	fs.Func("sqlite-pragma", "`name=value` to set on the file; repeatable", opts.addPragma)

	if len(args) < 2 || args[0] != "server" || args[1] != "start-dev" {
		return options{}, errCommand
	}
	if err := fs.Parse(args[2:]); err != nil {
		return options{}, err
	}
	if fs.NArg() > 0 {
		return options{}, fmt.Errorf("unexpected argument %q: %w", fs.Arg(0), errCommand)
	}
	return opts, opts.check()
}

// check settles what depends on more than one flag.
func (o *options) check() error {
	if o.ip == "localhost" {
		o.ip = "127.0.0.1"
	}
	if ip := net.ParseIP(o.ip); ip == nil || !ip.IsLoopback() {
		return fmt.Errorf("--ip %s: %w", o.ip, errPublic)
	}
	if o.uiPort < 0 && o.port > 0 {
		o.uiPort = o.port + uiOffset
	}
	o.uiPort = max(o.uiPort, 0)
	for _, p := range []int{o.port, o.uiPort} {
		if p < 0 || p > 65535 {
			return fmt.Errorf("port %d is not between 0 and 65535", p)
		}
	}
	if o.retention < minRetention {
		return fmt.Errorf("--retention %s: %w", o.retention, errShort)
	}
	if !slices.Contains([]string{"debug", "info", "warn", "error", "never"}, o.logLevel) {
		return fmt.Errorf("--log-level %s: want debug, info, warn, error or never", o.logLevel)
	}
	if !slices.Contains([]string{"text", "pretty", "json"}, o.logFormat) {
		return fmt.Errorf("--log-format %s: want text, pretty or json", o.logFormat)
	}
	return nil
}

func (o *options) addNamespace(name string) error {
	if name == "" {
		return errors.New("empty name")
	}
	if !slices.Contains(o.namespaces, name) {
		o.namespaces = append(o.namespaces, name)
	}
	return nil
}

func (o *options) addAttribute(pair string) error {
	name, kind, ok := strings.Cut(pair, "=")
	if !ok || name == "" {
		return errPair
	}
	t, err := enumspb.IndexedValueTypeFromString(kind)
	if err != nil || t == enumspb.INDEXED_VALUE_TYPE_UNSPECIFIED {
		return errAttrType
	}
	o.attributes[name] = t
	return nil
}

// addDynamic takes the value as JSON, as the CLI does, so that a number is a
// number and a string has quotes.
func (o *options) addDynamic(pair string) error {
	key, text, ok := strings.Cut(pair, "=")
	if !ok || key == "" {
		return errPair
	}
	var value any
	if err := json.Unmarshal([]byte(text), &value); err != nil {
		return fmt.Errorf("value of %s is not JSON: %w", key, err)
	}
	o.dynamic[strings.ToLower(key)] = value
	return nil
}

func (o *options) addPragma(pair string) error {
	name, value, ok := strings.Cut(pair, "=")
	if !ok || name == "" || value == "" {
		return errPair
	}
	o.pragmas[strings.ToLower(name)] = value
	return nil
}
