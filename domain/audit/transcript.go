package audit

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ErrTranscript says that a text is no proof document.
var ErrTranscript = errors.New("not a tlog-proof document")

// A Transcript proves one leaf by itself, offline: where it stands, the path to
// the root, and the signed checkpoint that commits to the root. Its text is a
// C2SP tlog-proof.
type Transcript struct {
	Index  int64
	Hashes []Hash
	Note   string // the signed checkpoint
}

const transcriptHead = "c2sp.org/tlog-proof@v1\n"

// Text returns the document.
func (t Transcript) Text() string {
	var b strings.Builder
	b.WriteString(transcriptHead)
	fmt.Fprintf(&b, "index %d\n", t.Index)
	for _, h := range t.Hashes {
		b.WriteString(h.String() + "\n")
	}
	return b.String() + "\n" + t.Note
}

// ParseTranscript reads [Transcript.Text], exactly. The format's optional
// "extra" line is refused: nothing would say what it means.
func ParseTranscript(text string) (Transcript, error) {
	head, note, ok := strings.Cut(text, "\n\n")
	lines := strings.Split(head, "\n")
	if !ok || len(text) > 2*MaxNote || len(lines) < 2 || len(lines) > 2+64 {
		return Transcript{}, ErrTranscript
	}
	t := Transcript{Note: note}
	index, found := strings.CutPrefix(lines[1], "index ")
	var err error
	if t.Index, err = strconv.ParseInt(index, 10, 64); err != nil || !found || t.Index < 0 {
		return Transcript{}, fmt.Errorf("index: %w", ErrTranscript)
	}
	for _, line := range lines[2:] {
		raw, err := base64.StdEncoding.Strict().DecodeString(line)
		if err != nil || len(raw) != len(Hash{}) {
			return Transcript{}, fmt.Errorf("hash: %w", ErrTranscript)
		}
		t.Hashes = append(t.Hashes, Hash(raw))
	}
	if t.Text() != text {
		return Transcript{}, ErrTranscript
	}
	return t, nil
}

// Verify checks that the log's key signed the checkpoint, and that body is the
// leaf at Index of the tree that it commits to.
func (t Transcript) Verify(log Verifier, body []byte) (Checkpoint, error) {
	point, err := log.Open(t.Note)
	if err != nil {
		return Checkpoint{}, err
	}
	if err := VerifyInclusion(t.Index, point.Size, LeafHash(body), t.Hashes, point.Root); err != nil {
		return Checkpoint{}, fmt.Errorf("leaf %d of %d: %w", t.Index, point.Size, err)
	}
	return point, nil
}
