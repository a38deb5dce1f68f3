// Package transit signs with keys that stay in the transit engine of Vault or
// OpenBao.
//
// Invariant: a [Key] signs with the one version of the key whose public half it
// shows, and fails rather than with another, however often the key is rotated
// meanwhile. The token is in no error, no log and no answer. The server is
// asked to sign and for public keys; it is never asked whether a signature is
// good.
package transit

import (
	"context"
	"crypto/ecdsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/atom-fabric/fabric/domain/artifact"
)

// Why a key of the engine cannot be used.
var (
	ErrOptions = errors.New("transit: options")
	ErrServer  = errors.New("transit: the server refuses or does not answer")
	ErrMissing = errors.New("transit: no such key or version")
	ErrAnswer  = errors.New("transit: the server's answer makes no sense")
)

// patience bounds one request, and its retries.
const patience = 10 * time.Second

// Options say where the key is.
type Options struct {
	Address   string // http(s)://host:port
	Token     string
	CACert    string // file with the authority of an https address; the machine's own when empty
	Namespace string // of the engine; none when empty
	Path      string // of the engine; "transit" when empty
	Name      string // of the key
	Version   int    // of the key; 0: the latest when it is opened, and that one from then on
}

// An Engine is one key of one engine, with all its versions.
type Engine struct {
	client *api.Client
	path   string
	name   string
}

// A Public is one version of the key.
type Public struct {
	Version   int
	Key       *ecdsa.PublicKey
	CreatedAt time.Time
}

// Connect returns the engine's key without asking for it yet.
// Errors: [ErrOptions].
func Connect(o Options) (*Engine, error) {
	at, err := url.Parse(o.Address)
	if err != nil || at.Host == "" || at.Scheme != "http" && at.Scheme != "https" || at.User != nil {
		return nil, fmt.Errorf("%w: the address is not http(s)://host:port", ErrOptions)
	}
	if o.Token == "" {
		return nil, fmt.Errorf("%w: no token", ErrOptions)
	}
	if o.Path = strings.Trim(o.Path, "/"); o.Path == "" {
		o.Path = "transit"
	}
	if o.Name == "" || strings.ContainsAny(o.Name, "/?#%") {
		return nil, fmt.Errorf("%w: name of the key %q", ErrOptions, o.Name)
	}
	config := api.DefaultConfig() // VAULT_CACERT and its like
	if config.Error != nil {
		return nil, fmt.Errorf("%w: %w", ErrOptions, config.Error)
	}
	config.Address, config.Timeout, config.MaxRetries = o.Address, patience, 2
	if o.CACert != "" {
		if err := config.ConfigureTLS(&api.TLSConfig{CACert: o.CACert}); err != nil {
			return nil, fmt.Errorf("%w: authority %s: %w", ErrOptions, o.CACert, err)
		}
	}
	client, err := api.NewClient(config)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrOptions, err)
	}
	client.SetToken(o.Token)
	if o.Namespace != "" {
		client.SetNamespace(o.Namespace)
	}
	return &Engine{client: client, path: o.Path, name: o.Name}, nil
}

// Create makes the key, once: P-256, not exportable, and never deleted by API.
// Errors: [ErrServer].
func (e *Engine) Create(ctx context.Context) error {
	_, err := e.write(ctx, "keys/"+e.name, map[string]any{"type": "ecdsa-p256"})
	return err
}

// Rotate adds a version to the key. The versions before stay, and sign and
// verify as before.
// Errors: [ErrServer].
func (e *Engine) Rotate(ctx context.Context) error {
	_, err := e.write(ctx, "keys/"+e.name+"/rotate", map[string]any{})
	return err
}

// Versions returns the public keys of every version that the server still
// signs with, oldest first. Verifying needs each of them, not the latest.
// Errors: [ErrServer], [ErrMissing], [ErrAnswer], [artifact.ErrKey].
func (e *Engine) Versions(ctx context.Context) ([]Public, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	secret, err := e.client.Logical().ReadWithContext(ctx, e.path+"/keys/"+e.name)
	if err != nil {
		return nil, e.refused(err)
	}
	if secret == nil {
		return nil, fmt.Errorf("%w: %s in %s", ErrMissing, e.name, e.path)
	}
	if kind, _ := secret.Data["type"].(string); kind != "ecdsa-p256" {
		return nil, fmt.Errorf("%w: key %s is of type %q", artifact.ErrKey, e.name, kind)
	}
	listed, _ := secret.Data["keys"].(map[string]any)
	var versions []Public
	for number, value := range listed {
		version, err := publicOf(number, value)
		if err != nil {
			return nil, err
		}
		versions = append(versions, version)
	}
	if len(versions) == 0 {
		return nil, fmt.Errorf("%w: key %s has no version", ErrAnswer, e.name)
	}
	slices.SortFunc(versions, func(a, b Public) int { return a.Version - b.Version })
	return versions, nil
}

func publicOf(number string, value any) (Public, error) {
	version, err := strconv.Atoi(number)
	fields, ok := value.(map[string]any)
	if err != nil || version < 1 || !ok {
		return Public{}, fmt.Errorf("%w: version %q", ErrAnswer, number)
	}
	text, _ := fields["public_key"].(string)
	public, err := artifact.ParsePublicKey([]byte(text))
	if err != nil {
		return Public{}, fmt.Errorf("version %d: %w", version, err)
	}
	made, _ := fields["creation_time"].(string)
	at, err := time.Parse(time.RFC3339Nano, made)
	if err != nil {
		return Public{}, fmt.Errorf("%w: version %d has no creation time", ErrAnswer, version)
	}
	return Public{Version: version, Key: public, CreatedAt: at}, nil
}

// A Key is one version of an engine's key.
type Key struct {
	engine  *Engine
	public  *ecdsa.PublicKey
	version int
}

// Open returns the version that the options name.
// Errors: [ErrOptions]; those of [Engine.Versions].
func Open(ctx context.Context, o Options) (*Key, error) {
	engine, err := Connect(o)
	if err != nil {
		return nil, err
	}
	versions, err := engine.Versions(ctx)
	if err != nil {
		return nil, err
	}
	for _, v := range slices.Backward(versions) {
		if o.Version == 0 || v.Version == o.Version {
			return &Key{engine: engine, public: v.Key, version: v.Version}, nil
		}
	}
	return nil, fmt.Errorf("%w: version %d of %s", ErrMissing, o.Version, o.Name)
}

// Public returns the version's public key.
func (k *Key) Public() *ecdsa.PublicKey { return k.public }

// Version returns the name and the version of the key.
func (k *Key) Version() string { return k.engine.name + ":v" + strconv.Itoa(k.version) }

// Sign has the server sign a SHA-256 digest with exactly this version, and
// verifies what comes back.
// Errors: [ErrServer], [ErrAnswer].
func (k *Key) Sign(ctx context.Context, digest []byte) ([]byte, error) {
	data, err := k.engine.write(ctx, "sign/"+k.engine.name+"/sha2-256", map[string]any{
		"input":                base64.StdEncoding.EncodeToString(digest),
		"prehashed":            true,
		"key_version":          k.version,
		"marshaling_algorithm": "asn1",
	})
	if err != nil {
		return nil, err
	}
	text, _ := data["signature"].(string)
	encoded, ok := strings.CutPrefix(text, "vault:v"+strconv.Itoa(k.version)+":")
	if !ok {
		return nil, fmt.Errorf("%w: not a signature of version %d", ErrAnswer, k.version)
	}
	der, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || !ecdsa.VerifyASN1(k.public, digest, der) {
		return nil, fmt.Errorf("%w: the signature is not one of %s", ErrAnswer, k.Version())
	}
	return der, nil
}

func (e *Engine) write(ctx context.Context, path string, body map[string]any) (map[string]any, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	text, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	secret, err := e.client.Logical().WriteBytesWithContext(ctx, e.path+"/"+path, text)
	if err != nil {
		return nil, e.refused(err)
	}
	if secret == nil {
		return map[string]any{}, nil
	}
	return secret.Data, nil
}

// refused keeps what the server says, which may be anything, from showing the
// token that it was sent.
func (e *Engine) refused(err error) error {
	text := err.Error()
	var said *api.ResponseError
	if errors.As(err, &said) {
		text = fmt.Sprintf("status %d: %s", said.StatusCode, strings.Join(said.Errors, "; "))
	}
	if token := e.client.Token(); token != "" {
		text = strings.ReplaceAll(text, token, "[redacted]")
	}
	if len(text) > 300 {
		text = text[:300] + "..."
	}
	for _, ended := range []error{context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, ended) {
			return fmt.Errorf("%w: %s: %w", ErrServer, text, ended)
		}
	}
	return fmt.Errorf("%w: %s", ErrServer, text)
}
