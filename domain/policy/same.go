package policy

import "bytes"

// Same says whether two documents permit the same under whatever revision.
func Same(a, b Document) bool {
	a.Revision, b.Revision = 0, 0
	a.RollbackOf, b.RollbackOf = nil, nil
	x, errX := a.Encode()
	y, errY := b.Encode()
	return errX == nil && errY == nil && bytes.Equal(x, y)
}
