package router

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
)

// auditHeader carries what answered, see docs/protocol/audit-header.md.
const auditHeader = "X-Fabric-Audit"

// ErrAudit says that an audit header was not made by this key for this record.
var ErrAudit = errors.New("the audit header does not verify")

const auditKeyFile = "audit.key"

// An auditKey is the secret that the router proves its headers with.
type auditKey struct {
	id      string
	secret  [32]byte
	sealers sync.Pool // of *sealer
}

// loadAuditKey reads the key of the state directory, or makes it. A key that
// others can read proves nothing and is refused.
func loadAuditKey(dir string) (*auditKey, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	path := filepath.Join(dir, auditKeyFile)
	if err := makeAuditKey(dir, path); err != nil {
		return nil, fmt.Errorf("audit key: %w", err)
	}
	info, err := os.Lstat(path)
	if err != nil {
		return nil, fmt.Errorf("audit key: %w", err)
	}
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("audit key %s: must be a file that only its owner can read", path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("audit key: %w", err)
	}
	key := &auditKey{}
	if n, err := hex.Decode(key.secret[:], []byte(strings.TrimSpace(string(text)))); err != nil || n != len(key.secret) {
		return nil, fmt.Errorf("audit key %s: not 64 hex digits", path)
	}
	sum := sha256.Sum256(append([]byte("fabric audit key id\n"), key.secret[:]...))
	key.id = hex.EncodeToString(sum[:8])
	return key, nil
}

// makeAuditKey makes the file if there is none. The name is given to a file
// that is complete, and only if nobody gave it meanwhile.
func makeAuditKey(dir, path string) error {
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	temp, err := os.CreateTemp(dir, ".audit-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name())
	var secret [32]byte
	_, _ = rand.Read(secret[:]) // never fails: crypto/rand ends the program instead
	_, err = temp.WriteString(hex.EncodeToString(secret[:]) + "\n")
	if err = errors.Join(err, temp.Sync(), temp.Close()); err != nil {
		return err
	}
	if err := os.Link(temp.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// header returns the audit header of a record.
func (k *auditKey) header(r *Record) string {
	var room [512]byte
	b := append(append(room[:0], "v1;kid="...), k.id...)
	b = append(append(b, ";did="...), r.DecisionID...)
	b = append(append(b, ";model="...), r.Manifest...)
	b = append(append(b, ";region="...), r.Region...)
	b = strconv.AppendInt(append(b, ";snapshot="...), r.Snapshot, 10)
	b = strconv.AppendInt(append(b, ";policy="...), r.Policy, 10)
	return string(k.appendMAC(b, r))
}

// A sealer is an HMAC that can be used again, with room for what it covers.
type sealer struct {
	mac  hash.Hash
	text []byte
	sum  [sha256.Size]byte
}

// appendMAC appends the MAC to a header. It covers what is before it and what
// the header does not show: whose request it was, which endpoint answered, and
// the answer itself.
func (k *auditKey) appendMAC(open []byte, r *Record) []byte {
	s, ok := k.sealers.Get().(*sealer)
	if !ok {
		s = &sealer{mac: hmac.New(sha256.New, k.secret[:])}
	}
	defer k.sealers.Put(s)
	s.text = append(append(s.text[:0], "fabric-audit-v1\n"...), open...)
	for _, part := range [...]string{r.Tenant, r.Endpoint, string(r.Output)} {
		s.text = append(append(s.text, '\n'), part...)
	}
	s.text = append(s.text, '\n')
	s.mac.Reset()
	s.mac.Write(s.text)
	return hex.AppendEncode(append(open, ";mac="...), s.mac.Sum(s.sum[:0])[:16])
}

// verify returns nil if this key made the header for the record, else [ErrAudit].
func (k *auditKey) verify(header string, r *Record) error {
	if !hmac.Equal([]byte(header), []byte(k.header(r))) {
		return ErrAudit
	}
	return nil
}
