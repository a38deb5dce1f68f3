package audit

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// What is wrong with a checkpoint.
var (
	ErrCheckpoint = errors.New("not a checkpoint")
	ErrSignature  = errors.New("checkpoint is not signed by the log's key")
)

// A Checkpoint commits to the first Size leaves of the log named Origin. Its
// text is the body of a C2SP tlog-checkpoint.
type Checkpoint struct {
	Origin string
	Size   int64
	Root   Hash
}

// Text returns "origin\nsize\nroot\n": what a signature covers.
func (c Checkpoint) Text() string {
	return c.Origin + "\n" + strconv.FormatInt(c.Size, 10) + "\n" + c.Root.String() + "\n"
}

// ParseCheckpoint reads [Checkpoint.Text], exactly.
func ParseCheckpoint(text string) (Checkpoint, error) {
	lines := strings.Split(text, "\n")
	if len(lines) != 4 || lines[0] == "" || lines[3] != "" {
		return Checkpoint{}, ErrCheckpoint
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || size < 0 {
		return Checkpoint{}, fmt.Errorf("size: %w", ErrCheckpoint)
	}
	root, err := base64.StdEncoding.Strict().DecodeString(lines[2])
	if err != nil || len(root) != sha256.Size {
		return Checkpoint{}, fmt.Errorf("root: %w", ErrCheckpoint)
	}
	c := Checkpoint{Origin: lines[0], Size: size, Root: Hash(root)}
	if c.Text() != text { // "007" is the size 7 in another form
		return Checkpoint{}, ErrCheckpoint
	}
	return c, nil
}

// Sign returns the checkpoint as a C2SP signed note by an Ed25519 key. The
// key's name is the origin: one log, one key.
func (c Checkpoint) Sign(key ed25519.PrivateKey) (string, error) {
	if !validOrigin(c.Origin) {
		return "", fmt.Errorf("origin: %w", ErrCheckpoint)
	}
	id := keyID(c.Origin, key.Public().(ed25519.PublicKey))
	sig := append(binary.BigEndian.AppendUint32(nil, id), ed25519.Sign(key, []byte(c.Text()))...)
	return c.Text() + "\n— " + c.Origin + " " + base64.StdEncoding.EncodeToString(sig) + "\n", nil
}

// OpenCheckpoint returns the checkpoint of a signed note if the named log's key
// signed it. Signatures by others are passed over, as witnesses may add theirs.
func OpenCheckpoint(note, origin string, key ed25519.PublicKey) (Checkpoint, error) {
	text, sigs, ok := strings.Cut(note, "\n\n")
	if !ok || len(note) > 1<<20 || !strings.HasSuffix(sigs, "\n") {
		return Checkpoint{}, ErrCheckpoint
	}
	c, err := ParseCheckpoint(text + "\n")
	if err != nil {
		return Checkpoint{}, err
	}
	if c.Origin != origin {
		return Checkpoint{}, fmt.Errorf("of another log: %w", ErrSignature)
	}
	want := binary.BigEndian.AppendUint32(nil, keyID(origin, key))
	for line := range strings.Lines(sigs) {
		rest, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "— "+origin+" ")
		if !ok {
			continue
		}
		sig, err := base64.StdEncoding.DecodeString(rest)
		if err == nil && bytes.HasPrefix(sig, want) && ed25519.Verify(key, []byte(c.Text()), sig[len(want):]) {
			return c, nil
		}
	}
	return Checkpoint{}, ErrSignature
}

// VerifierKey returns the key in the form that note tools read:
// "name+hex key id+base64(0x01 || key)".
func VerifierKey(origin string, key ed25519.PublicKey) string {
	return fmt.Sprintf("%s+%08x+%s", origin, keyID(origin, key),
		base64.StdEncoding.EncodeToString(append([]byte{algEd25519}, key...)))
}

// algEd25519 is the signature type byte of C2SP signed-note.
const algEd25519 = 1

// keyID is the first four bytes of SHA-256(name || "\n" || 0x01 || key).
func keyID(name string, key ed25519.PublicKey) uint32 {
	sum := sha256.Sum256(append([]byte(name+"\n"), append([]byte{algEd25519}, key...)...))
	return binary.BigEndian.Uint32(sum[:])
}

// validOrigin says whether the name may stand in a signature line.
func validOrigin(s string) bool {
	return s != "" && utf8.ValidString(s) && !strings.ContainsRune(s, '+') && strings.IndexFunc(s, unicode.IsSpace) < 0
}
