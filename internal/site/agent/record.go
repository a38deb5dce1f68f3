package agent

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/domain/secagg"
	"github.com/atom-fabric/fabric/internal/durable"
)

// Why a site takes no part in a secured round, or no more.
var (
	ErrRecord = errors.New("what this site remembers of the round cannot be read")
	ErrClosed = errors.New("this site is done with the round")
	ErrSecond = errors.New("a second order for a round in which this site has masked a vector")
)

// A record is what a site must not forget in the course of one secured round.
// It is stored before anything that follows from it is sent, so that a kill at
// any line and a restart send the same bytes.
//
// There is one for a round, whatever the orders: two sums over almost the same
// sites give away the vector of the one that is in the first only.
type record struct {
	roundOf
	Until  time.Time       `json:"until"`            // erased then, if it is not offered any more
	Secret []byte          `json:"secret"`           // of this round; every key and all noise come from it
	Work   bool            `json:"work"`             // the update is stored, or there is none to store
	Counts round.Metrics   `json:"counts"`           // of the work
	From   int             `json:"from,omitempty"`   // round whose weights the work started from; 0 is this one
	State  secagg.State    `json:"state"`            // what the site has committed itself to
	Roster json.RawMessage `json:"roster,omitempty"` // as it was acted on
	Shares json.RawMessage `json:"shares,omitempty"` // those for this site, as they were acted on
}

// roundOf names a round, the order and the group.
type roundOf struct {
	Tenant   string          `json:"tenant"` // the owner of the model
	Run      string          `json:"run"`
	Number   int             `json:"number"`
	Manifest artifact.Digest `json:"manifest"`
	Group    string          `json:"group"`
}

// name returns the name of the round's files.
func (r roundOf) name() string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%s\n%d\n", r.Tenant, r.Run, r.Number))
	return hex.EncodeToString(sum[:16])
}

// A tombstone stays of a record: nobody can make the site open a sum twice.
type tombstone struct {
	roundOf
	Vector  artifact.Digest `json:"vector,omitempty"` // that was masked
	Outcome string          `json:"outcome"`
}

// outcomeDone is that of a round in which the site has answered every stage.
const outcomeDone = "done"

// Ends of file names.
const (
	recordFile = ".record"
	updateFile = ".update" // of the round: what training changed, before it is masked
	closedFile = ".closed"
)

// records keeps the rounds of one site, encrypted under a key that follows from
// the site's own.
type records struct {
	dir  string
	aead cipher.AEAD
}

func newRecords(dir string, key *ecdsa.PrivateKey) (*records, error) {
	secret, err := key.Bytes()
	if err != nil {
		return nil, err
	}
	defer clear(secret)
	derived, err := hkdf.Key(sha256.New, secret, nil, "fabric-site/record/v1", 32)
	if err != nil {
		return nil, err
	}
	defer clear(derived)
	block, err := aes.NewCipher(derived)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	return &records{dir: dir, aead: aead}, err
}

// open returns the record of a round, a new one if there is none.
// Errors: [ErrClosed], [ErrSecond], [ErrRecord], a failing disk's.
func (r *records) open(round roundOf, until time.Time) (*record, error) {
	var stone tombstone
	if err := readJSON(r.path(round, closedFile), &stone); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRecord, err)
	}
	switch {
	case stone.Outcome == "":
	case stone.roundOf == round:
		return nil, fmt.Errorf("%w: %s", ErrClosed, stone.Outcome)
	case stone.Vector != "":
		return nil, ErrSecond
	}
	var rec record
	switch content, err := r.read(round, recordFile); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	default:
		if err := json.Unmarshal(content, &rec); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrRecord, err)
		}
		if rec.roundOf == round {
			return &rec, nil
		}
		if rec.State.Vector != "" {
			return nil, ErrSecond
		}
		// Nothing of this site's is in any sum yet; the older order is forgotten.
		if err := r.bury(&rec, "replaced by another order"); err != nil {
			return nil, err
		}
	}
	rec = record{roundOf: round, Until: until, Secret: make([]byte, secagg.SecretBytes)}
	if _, err := rand.Read(rec.Secret); err != nil {
		return nil, err
	}
	if err := os.Remove(r.path(round, closedFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return &rec, r.save(&rec)
}

// save stores the record; when it returns nil, the disk has it.
func (r *records) save(rec *record) error {
	content, err := json.Marshal(rec)
	if err != nil {
		return err
	}
	defer clear(content)
	return r.write(rec.roundOf, recordFile, content)
}

// bury erases a record and leaves a tombstone. The tombstone is there first: a
// crash in between leaves a record that is not looked at any more.
func (r *records) bury(rec *record, outcome string) error {
	clear(rec.Secret)
	if err := writeJSON(r.path(rec.roundOf, closedFile), tombstone{rec.roundOf, rec.State.Vector, outcome}); err != nil {
		return err
	}
	return errors.Join(erase(r.path(rec.roundOf, recordFile)), erase(r.path(rec.roundOf, updateFile)))
}

// tidy removes what a crash has left of files that were being written. Nobody
// else may be writing.
func (r *records) tidy() error {
	left, err := filepath.Glob(filepath.Join(r.dir, "*"+durable.Unfinished))
	for _, path := range left {
		err = errors.Join(err, erase(path))
	}
	return err
}

// sweep erases the rounds that are over and were never finished, and what a
// crash left of those that were. Rounds on offer are left alone.
func (r *records) sweep(now time.Time, offered map[string]bool) error {
	files, err := filepath.Glob(filepath.Join(r.dir, "*"+recordFile))
	if err != nil {
		return err
	}
	var failed error
	for _, path := range files {
		name := strings.TrimSuffix(filepath.Base(path), recordFile)
		if offered[name] {
			continue
		}
		if _, err := os.Stat(filepath.Join(r.dir, name+closedFile)); err == nil {
			failed = errors.Join(failed, erase(path), erase(filepath.Join(r.dir, name+updateFile)))
			continue
		}
		content, err := r.load(name, recordFile)
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		var rec record
		if err := json.Unmarshal(content, &rec); err != nil {
			failed = errors.Join(failed, fmt.Errorf("%w: %w", ErrRecord, err))
		} else if now.After(rec.Until) {
			failed = errors.Join(failed, r.bury(&rec, "it was not offered any more"))
		}
	}
	return failed
}

func (r *records) path(round roundOf, end string) string {
	return filepath.Join(r.dir, round.name()+end)
}

func (r *records) write(round roundOf, end string, content []byte) error {
	return r.put(round.name(), end, content)
}

func (r *records) read(round roundOf, end string) ([]byte, error) { return r.load(round.name(), end) }

// put encrypts a file. Its name is authenticated: a file is only read as what
// it was written as.
func (r *records) put(name, end string, content []byte) error {
	if err := os.MkdirAll(r.dir, 0o700); err != nil {
		return err
	}
	return durable.Write(filepath.Join(r.dir, name+end), r.aead.Seal(nil, nil, content, []byte(name+end)), 0o600)
}

// load decrypts a file. Errors: [fs.ErrNotExist], [ErrRecord].
func (r *records) load(name, end string) ([]byte, error) {
	sealed, err := os.ReadFile(filepath.Join(r.dir, name+end))
	if err != nil {
		return nil, err
	}
	content, err := r.aead.Open(nil, nil, sealed, []byte(name+end))
	if err != nil {
		return nil, fmt.Errorf("%w: %s%s", ErrRecord, name, end)
	}
	return content, nil
}

// erase overwrites a file before it removes it. On a disk that writes
// elsewhere the old bytes may stay; they are encrypted.
func erase(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil {
		zeros := make([]byte, min(info.Size(), copied))
		for left := info.Size(); left > 0 && err == nil; left -= int64(len(zeros)) {
			_, err = f.Write(zeros[:min(left, int64(len(zeros)))])
		}
	}
	return errors.Join(err, f.Sync(), f.Close(), os.Remove(path))
}
