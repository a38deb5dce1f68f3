package secagg

import (
	"bytes"
	"slices"
)

// Derive returns a secret that only who can open the sum knows: a hash of the
// keys of all masks. It is the same however the keys came together, so what is
// made from it is the same in a second run, and one purpose tells nothing of
// another's.
func (x *Expander) Derive(purpose string) [32]byte {
	keys := make([][]byte, len(x.masks))
	for i := range x.masks {
		keys[i] = x.masks[i].key[:]
	}
	slices.SortFunc(keys, bytes.Compare)
	h := newHash("expander")
	h.text(purpose)
	h.number(len(keys))
	for _, key := range keys {
		h.bytes(key)
	}
	return h.sum()
}
