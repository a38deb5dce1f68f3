package agent

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"strings"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/secagg"
)

// ErrPeers says that a list of peers cannot be read.
var ErrPeers = errors.New(`a list of peers is a line "tenant/site" and then its public key in PEM, each once`)

// peersFile is what the site keeps of other sites' identity keys.
const peersFile = "peers.json"

// Peers are identity keys by "tenant/site".
type Peers map[string]*ecdsa.PublicKey

// ParsePeers reads a list: each public key in PEM has a line "tenant/site"
// before it. Empty lines and lines that begin with # are left out.
// Errors: [ErrPeers].
func ParsePeers(text []byte) (Peers, error) {
	peers := Peers{}
	for rest := text; ; {
		block, after := pem.Decode(rest)
		if block == nil {
			if name, err := label(rest); err != nil || name != "" {
				return nil, fmt.Errorf("%w: after the last key", ErrPeers)
			}
			return peers, nil
		}
		head, _, _ := bytes.Cut(rest, []byte("-----BEGIN "))
		name, err := label(head)
		if err != nil {
			return nil, err
		}
		tenant, site, _ := strings.Cut(name, "/")
		key, keyErr := artifact.ParsePublicKey(pem.EncodeToMemory(block))
		if !named(tenant) || !named(site) || keyErr != nil || peers[name] != nil {
			return nil, fmt.Errorf("%w: %q", ErrPeers, name)
		}
		peers[name], rest = key, after
	}
}

// label returns the one line of a text that says something.
func label(text []byte) (string, error) {
	name := ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#':
		case name != "":
			return "", fmt.Errorf("%w: %q", ErrPeers, name)
		default:
			name = line
		}
	}
	return name, nil
}

// A pinboard is the identity keys that this site knows of others. With a list
// by the operator only that one counts. Else a key is believed when its site is
// first met, and from then on no other: who swaps keys later is found out, and
// who did so from the beginning is not.
type pinboard struct {
	path  string
	fixed bool
	known Peers
	met   Peers // in the roster that is looked at, not yet kept
}

// openPeers loads what is known.
func (id *identity) openPeers(given Peers) (*pinboard, error) {
	p := &pinboard{path: id.path(peersFile), fixed: len(given) > 0, known: given}
	if p.fixed {
		return p, nil
	}
	texts := map[string]string{}
	if err := readJSON(p.path, &texts); err != nil {
		return nil, err
	}
	p.known = Peers{}
	for name, text := range texts {
		key, err := artifact.ParsePublicKey([]byte(text))
		if err != nil {
			return nil, fmt.Errorf("%s: %s: %w", p.path, name, err)
		}
		p.known[name] = key
	}
	return p, nil
}

// meet takes a roster's identities as those of sites that are not known yet.
func (p *pinboard) meet(roster secagg.Roster) {
	p.met = Peers{}
	if p.fixed {
		return
	}
	for _, m := range roster.Members {
		name := m.Tenant + "/" + m.Site
		if _, known := p.known[name]; known {
			continue
		}
		// A key that is none stays unknown, and the protocol refuses its site.
		if key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), m.Identity); err == nil {
			p.met[name] = key
		}
	}
}

// find is the [secagg.Directory] of this site.
func (p *pinboard) find(tenant, site string) (*ecdsa.PublicKey, bool) {
	name := tenant + "/" + site
	if key, ok := p.known[name]; ok {
		return key, true
	}
	key, ok := p.met[name]
	return key, ok
}

// keep pins the sites of a roster that was accepted.
func (p *pinboard) keep() error {
	if len(p.met) == 0 {
		return nil
	}
	next := maps.Clone(p.known)
	maps.Copy(next, p.met)
	texts := map[string]string{}
	for name, key := range next {
		text, err := artifact.MarshalPublicKey(key)
		if err != nil {
			return err
		}
		texts[name] = string(text)
	}
	if err := writeJSON(p.path, texts); err != nil {
		return err
	}
	p.known, p.met = next, nil
	return nil
}
