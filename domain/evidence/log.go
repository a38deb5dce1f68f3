package evidence

import (
	"fmt"
	"strings"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/audit"
)

// A Proved is a leaf with the proof that the checkpoint's tree holds it.
type Proved struct {
	Index int64        `json:"index"`
	Leaf  string       `json:"leaf"` // its bytes, which are what is hashed
	Proof []audit.Hash `json:"proof"`
}

type leaf struct {
	audit.Leaf
	index int64
}

// log opens the checkpoint and every leaf in it. From here on a leaf is a fact.
func (w *walker) log() error {
	note, err := w.read(checkpointFile)
	if err != nil {
		return err
	}
	head, err := audit.OpenCheckpoint(string(note), w.trust.Log.Origin, w.trust.Log.Key)
	if err != nil {
		return fmt.Errorf("%s: %w", checkpointFile, err)
	}
	text, err := w.read(leavesFile)
	if err != nil {
		return err
	}
	var proved []Proved
	if err := artifact.DecodeStrict(text, &proved); err != nil {
		return fmt.Errorf("%s: %w", leavesFile, err)
	}
	for i, p := range proved {
		if i > 0 && p.Index <= proved[i-1].Index {
			return fmt.Errorf("%w: %s is not in order", ErrChain, leavesFile)
		}
		body, err := audit.Decode([]byte(p.Leaf))
		if err == nil {
			err = audit.VerifyInclusion(p.Index, head.Size, audit.LeafHash([]byte(p.Leaf)), p.Proof, head.Root)
		}
		if err != nil {
			return fmt.Errorf("leaf %d: %w", p.Index, err)
		}
		w.leaves = append(w.leaves, leaf{body, p.Index})
	}
	w.link("audit log", head.Origin, "checkpoint of %d leaves signed by the log's key; inclusion of %d of them proved", head.Size, len(proved))
	return nil
}

// find returns the first leaf of that kind about subject for which ok holds.
func (w *walker) find(kind, subject string, ok func(leaf) bool) (leaf, error) {
	for _, l := range w.leaves {
		if l.Kind == kind && l.Subject == subject && ok(l) {
			return l, nil
		}
	}
	return leaf{}, fmt.Errorf("%w: the log shows no %s of %s that says so", ErrChain, kind, subject)
}

// idOf returns what a leaf of kind is about, when there is exactly one.
func (w *walker) idOf(kind, prefix string) (string, error) {
	var ids []string
	for _, l := range w.leaves {
		if id, ok := strings.CutPrefix(l.Subject, prefix); ok && l.Kind == kind {
			ids = append(ids, id)
		}
	}
	if len(ids) != 1 {
		return "", fmt.Errorf("%w: %d leaves say %s, want one", ErrChain, len(ids), kind)
	}
	return ids[0], nil
}
