package audit

import (
	"errors"
	"fmt"
)

// Two checkpoints of one log that no single log could have signed.
var (
	// ErrSplit says that the log showed two histories.
	ErrSplit = errors.New("split view: the log signed two histories")
	// ErrNoSplit says that the evidence does not show what it claims.
	ErrNoSplit = errors.New("not evidence of a split view")
)

// A Split is evidence that anybody can check who knows the log's key: two
// checkpoints that it signed, and a proof that the tree of the larger one, at
// the smaller one's size, has another root than the smaller one says. For two
// checkpoints of one size the roots differ, and there is no proof.
type Split struct {
	Smaller string `json:"smaller"` // signed note
	Larger  string `json:"larger"`  // signed note
	Root    Hash   `json:"root"`    // the larger tree's root at the smaller size; zero at one size
	Hashes  []Hash `json:"hashes"`  // consistency proof from Root to the larger checkpoint
}

// Check returns nil when the evidence holds, whoever hands it over.
// Errors: [ErrSignature] or [ErrCheckpoint] for a note; [ErrNoSplit].
func (s Split) Check(log Verifier) error {
	small, err := log.Open(s.Smaller)
	if err != nil {
		return fmt.Errorf("smaller: %w", err)
	}
	large, err := log.Open(s.Larger)
	if err != nil {
		return fmt.Errorf("larger: %w", err)
	}
	if small.Size == large.Size {
		if small.Root == large.Root || len(s.Hashes) != 0 || s.Root != (Hash{}) {
			return ErrNoSplit
		}
		return nil
	}
	if s.Root == small.Root {
		return ErrNoSplit
	}
	if err := VerifyConsistency(small.Size, large.Size, s.Root, large.Root, s.Hashes); err != nil {
		return fmt.Errorf("%w: %w", ErrNoSplit, err)
	}
	return nil
}

// A Step is what a log answers when it is asked how its tree of To leaves
// extends its tree of From: the root that it says it had, and the proof.
type Step struct {
	Root   Hash
	Hashes []Hash
}

// Follow decides whether a checkpoint may follow the one that was kept, and
// returns evidence when the log shows two histories. Both notes must be signed
// by the log. The order of sizes does not matter: step leads from the smaller
// to the larger one and is not looked at when they are equal.
// Errors: those of [Verifier.Open]; [ErrProof] when the step proves nothing;
// [ErrSplit], with the evidence.
func Follow(log Verifier, kept, next string, step Step) (*Split, error) {
	small, err := log.Open(kept)
	if err != nil {
		return nil, fmt.Errorf("kept: %w", err)
	}
	large, err := log.Open(next)
	if err != nil {
		return nil, err
	}
	evidence := Split{Smaller: kept, Larger: next}
	if small.Size > large.Size {
		small, large = large, small
		evidence.Smaller, evidence.Larger = next, kept
	}
	if small.Size == large.Size {
		if small.Root == large.Root {
			return nil, nil
		}
		return &evidence, fmt.Errorf("two roots of %d leaves: %w", small.Size, ErrSplit)
	}
	if err := VerifyConsistency(small.Size, large.Size, step.Root, large.Root, step.Hashes); err != nil {
		return nil, fmt.Errorf("from %d to %d: %w", small.Size, large.Size, err)
	}
	if step.Root == small.Root {
		return nil, nil
	}
	evidence.Root, evidence.Hashes = step.Root, step.Hashes
	return &evidence, fmt.Errorf("two roots of %d leaves: %w", small.Size, ErrSplit)
}
