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
	ErrVerifier   = errors.New("not a verifier key: want name+id+base64 of an Ed25519 key")
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
	c, err := ReadCheckpointUnsafe(note)
	if err != nil {
		return Checkpoint{}, err
	}
	_, sigs, _ := strings.Cut(note, "\n\n")
	if c.Origin != origin {
		return Checkpoint{}, fmt.Errorf("of another log: %w", ErrSignature)
	}
	want := binary.BigEndian.AppendUint32(nil, keyID(origin, key))
	for line := range strings.Lines(sigs) {
		rest, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "— "+origin+" ")
		if !ok {
			continue
		}
		sig, err := base64.StdEncoding.Strict().DecodeString(rest)
		if err == nil && base64.StdEncoding.EncodeToString(sig) == rest && len(sig) == len(want)+ed25519.SignatureSize && bytes.HasPrefix(sig, want) && ed25519.Verify(key, []byte(c.Text()), sig[len(want):]) {
			return c, nil
		}
	}
	return Checkpoint{}, ErrSignature
}

// ReadCheckpointUnsafe returns the checkpoint that a signed note claims, and
// looks at no signature: for showing, and for finding out which key to ask.
func ReadCheckpointUnsafe(note string) (Checkpoint, error) {
	text, sigs, ok := strings.Cut(note, "\n\n")
	if !ok || len(note) > MaxNote || sigs == "" || !strings.HasSuffix(sigs, "\n") {
		return Checkpoint{}, ErrCheckpoint
	}
	for line := range strings.Lines(sigs) {
		if !signatureLine(strings.TrimSuffix(line, "\n")) {
			return Checkpoint{}, fmt.Errorf("signature line: %w", ErrCheckpoint)
		}
	}
	return ParseCheckpoint(text + "\n")
}

// signatureLine reports whether a line has the form of a signature, whoever's.
func signatureLine(line string) bool {
	rest, ok := strings.CutPrefix(line, "— ")
	name, text, both := strings.Cut(rest, " ")
	sig, err := base64.StdEncoding.Strict().DecodeString(text)
	return ok && both && validOrigin(name) && err == nil && len(sig) > 4 && base64.StdEncoding.EncodeToString(sig) == text
}

// MaxNote is the size of the longest signed note, in bytes: the tree head and
// some hundred witnesses.
const MaxNote = 64 << 10

// A Verifier is a log's name and public key: what an auditor pins.
type Verifier struct {
	Origin string
	Key    ed25519.PublicKey
}

// ParseVerifier reads [VerifierKey], exactly.
func ParseVerifier(text string) (Verifier, error) {
	fields := strings.SplitN(text, "+", 3) // base64 has plus signs of its own
	if len(fields) != 3 || !validOrigin(fields[0]) {
		return Verifier{}, ErrVerifier
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(fields[2])
	if err != nil || len(raw) != 1+ed25519.PublicKeySize || raw[0] != algEd25519 {
		return Verifier{}, ErrVerifier
	}
	v := Verifier{Origin: fields[0], Key: ed25519.PublicKey(raw[1:])}
	if v.String() != text { // the id is of another key
		return Verifier{}, ErrVerifier
	}
	return v, nil
}

// String returns the verifier as [VerifierKey] does.
func (v Verifier) String() string { return VerifierKey(v.Origin, v.Key) }

// Open is [OpenCheckpoint] with this log's key.
func (v Verifier) Open(note string) (Checkpoint, error) {
	return OpenCheckpoint(note, v.Origin, v.Key)
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
