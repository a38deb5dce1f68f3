// Package hsm signs with keys that stay in a hardware token, through the
// token's PKCS#11 module.
//
// Invariant: a [Key] signs with the one private key of the one token that its
// URI names, and every signature that leaves here verifies with the public key
// that it shows. The PIN is in no error and no log.
package hsm

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// Why a key of a token cannot be used.
var (
	ErrURI       = errors.New("not a PKCS#11 URI that names one key")
	ErrPIN       = errors.New("PKCS#11: the PIN cannot be had")
	ErrToken     = errors.New("PKCS#11: the token refuses or is not there")
	ErrMissing   = errors.New("PKCS#11: the token has no such key pair")
	ErrSignature = errors.New("PKCS#11: the token returned a signature that does not verify")
	ErrNoCgo     = errors.New("PKCS#11: this build cannot load a module; build it with CGO_ENABLED=1")
)

// maxPIN is many times the length of a PIN.
const maxPIN = 256

// A location is what a URI names.
type location struct {
	module string // path of the shared library
	token  string // label
	object string // label of the key
	id     []byte // of the key
	pin    string // path of a file that holds the PIN
}

// parseURI reads the attributes that name one key, and refuses the others: one
// that is ignored might have meant another key. A PIN has no place in a URI,
// which is configuration; pin-source names a file.
// Source: RFC 7512.
func parseURI(text string) (location, error) {
	bad := func(why string) (location, error) { return location{}, fmt.Errorf("%w: %s", ErrURI, why) }
	rest, ok := strings.CutPrefix(text, "pkcs11:")
	if !ok {
		return bad(`it does not begin with "pkcs11:"`)
	}
	path, query, _ := strings.Cut(rest, "?")
	var l location
	seen := map[string]bool{}
	for _, part := range []struct{ text, separator string }{{path, ";"}, {query, "&"}} {
		if part.text == "" {
			continue
		}
		for attribute := range strings.SplitSeq(part.text, part.separator) {
			name, encoded, _ := strings.Cut(attribute, "=")
			value, err := url.PathUnescape(encoded)
			if err != nil || value == "" || seen[name] {
				return bad("attribute " + name + " is empty, malformed or there twice")
			}
			seen[name] = true
			switch name {
			case "token":
				l.token = value
			case "object":
				l.object = value
			case "id":
				l.id = []byte(value)
			case "type":
				if value != "private" {
					return bad("type is not private")
				}
			case "module-path":
				l.module = value
			case "pin-source":
				l.pin = strings.TrimPrefix(value, "file:")
			default:
				return bad("attribute " + name + " is not understood here")
			}
		}
	}
	switch {
	case !filepath.IsAbs(l.module):
		return bad("module-path must be the whole path of the module")
	case l.token == "":
		return bad("no token")
	case l.object == "" && l.id == nil:
		return bad("neither object nor id")
	}
	return l, nil
}

// readPIN returns the PIN that was given, or that of the file which the URI
// names. Two are refused: nobody could say which one counts.
func (l location) readPIN(given string) (string, error) {
	switch {
	case given != "" && l.pin != "":
		return "", fmt.Errorf("%w: one was given, and the URI has a pin-source", ErrPIN)
	case given != "":
		return given, nil
	case l.pin == "":
		return "", fmt.Errorf("%w: none was given, and the URI has no pin-source", ErrPIN)
	}
	content, err := os.ReadFile(l.pin)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrPIN, err)
	}
	pin := strings.TrimSpace(string(content))
	if pin == "" || len(pin) > maxPIN {
		return "", fmt.Errorf("%w: %s holds none", ErrPIN, l.pin)
	}
	return pin, nil
}

// String names the key for people.
func (l location) String() string {
	name := l.object
	if name == "" {
		name = hex.EncodeToString(l.id)
	}
	return l.token + "/" + name
}
