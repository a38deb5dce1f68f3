package audit

import (
	"crypto/ed25519"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The paths of the tlog-tiles specification's own examples, and what is none.
func TestTilePaths(t *testing.T) {
	tests := []struct {
		path string
		tile Tile
	}{
		{"0/x001/x234/067", Tile{0, 1_234_067, 256}},
		{"0/000", Tile{0, 0, 256}},
		{"1/003.p/7", Tile{1, 3, 7}},
		{"2/x123/000.p/255", Tile{2, 123_000, 255}},
	}
	for _, tt := range tests {
		got, err := ParseTile(tt.path)
		require.NoError(t, err)
		require.Equal(t, tt.tile, got)
		require.Equal(t, tt.path, got.Path())
	}
	for _, bad := range []string{"", "0", "0/", "0/0", "0/00", "0/0000", "0/x000/001", "0/001/002", "0/x001", "0/001.p/0", "0/001.p/256", "0/001.p/07", "0/001.p/",
		"8/000", "-1/000", "00/000", "0/x001/x/002", "0/../000", "0/0x0", "0/001.p/1.p/1", "0/x999/x999/x999/x999/x999/x999/999", "7/000", "6/257", " 0/000", "0/000 ", "0//000", "0/+01"} {
		_, err := ParseTile(bad)
		require.ErrorIs(t, err, ErrTile, bad)
	}
	tile := Tile{1, 2, 3}
	from, to := tile.Leaves()
	require.Equal(t, [2]int64{2 * 65_536, 2*65_536 + 3*256}, [2]int64{from, to})
	require.True(t, tile.In(to))
	require.False(t, tile.In(to-1))
}

// logOf is a small log: its notes and proofs of every size.
type logOf struct {
	trees  []Tree
	bodies [][]byte
	nodes  map[Place]Hash
	key    ed25519.PrivateKey
}

func newLog(name string, past *logOf, size int) *logOf {
	l := &logOf{trees: []Tree{{}}, nodes: map[Place]Hash{}, key: testKey('a')}
	for i := range size {
		body := fmt.Appendf(nil, "%s leaf %d", name, i)
		if past != nil && i < len(past.bodies) {
			body = past.bodies[i]
		}
		tree, done := l.trees[i].Append(LeafHash(body))
		l.trees, l.bodies = append(l.trees, tree), append(l.bodies, body)
		for _, n := range done {
			l.nodes[n.Place] = n.Hash
		}
	}
	return l
}

func (l *logOf) verifier() Verifier {
	return Verifier{"fabric.example/log", l.key.Public().(ed25519.PublicKey)}
}

func (l *logOf) note(t *testing.T, size int) string {
	t.Helper()
	note, err := Checkpoint{"fabric.example/log", int64(size), l.trees[size].Root()}.Sign(l.key)
	require.NoError(t, err)
	return note
}

func (l *logOf) step(t *testing.T, from, to int) Step {
	t.Helper()
	hashes, err := ProveConsistency(int64(from), int64(to), reader(l.nodes))
	require.NoError(t, err)
	return Step{l.trees[from].Root(), hashes}
}

// Any two checkpoints of one log follow each other; of two logs, from the
// first leaf that differs on, they are evidence.
func TestFollow(t *testing.T) {
	one := newLog("one", nil, 24)
	two := newLog("two", newLog("one", nil, 9), 24)
	v := one.verifier()
	for a := range 25 {
		for b := range 25 {
			step := Step{}
			if a != b {
				step = one.step(t, min(a, b), max(a, b))
			}
			split, err := Follow(v, one.note(t, a), one.note(t, b), step)
			require.NoError(t, err, "%d to %d", a, b)
			require.Nil(t, split)

			// two's log answers for its own history
			if a != b {
				step = two.step(t, min(a, b), max(a, b))
			}
			if b < a { // the larger note is one's: one's log answers
				step = one.step(t, b, a)
			}
			split, err = Follow(v, one.note(t, a), two.note(t, b), step)
			if min(a, b) <= 9 {
				require.NoError(t, err, "%d to %d", a, b)
				continue
			}
			require.ErrorIs(t, err, ErrSplit, "%d to %d", a, b)
			require.NoError(t, split.Check(v))
		}
	}
}

func TestEvidenceThatShowsNothing(t *testing.T) {
	one := newLog("one", nil, 24)
	two := newLog("two", newLog("one", nil, 9), 24)
	v := one.verifier()
	good, err := Follow(v, one.note(t, 12), two.note(t, 20), two.step(t, 12, 20))
	require.ErrorIs(t, err, ErrSplit)
	same, err := Follow(v, one.note(t, 12), two.note(t, 12), Step{})
	require.ErrorIs(t, err, ErrSplit)
	tests := []struct {
		name   string
		change func(s *Split)
		of     *Split
		want   error
	}{
		{"two checkpoints of one history", func(s *Split) { s.Smaller = two.note(t, 12) }, good, ErrNoSplit},
		{"a proof of something else", func(s *Split) { s.Hashes = two.step(t, 11, 20).Hashes }, good, ErrNoSplit},
		{"no proof", func(s *Split) { s.Hashes = nil }, good, ErrNoSplit},
		{"an invented root", func(s *Split) { s.Root = LeafHash(nil) }, good, ErrNoSplit},
		{"the wrong way round", func(s *Split) { s.Smaller, s.Larger = s.Larger, s.Smaller }, good, ErrNoSplit},
		{"one checkpoint twice", func(s *Split) { s.Larger = s.Smaller }, same, ErrNoSplit},
		{"a proof that nothing needs", func(s *Split) { s.Root = LeafHash(nil) }, same, ErrNoSplit},
		{"a changed checkpoint", func(s *Split) { s.Larger = strings.Replace(s.Larger, "\n20\n", "\n21\n", 1) }, good, ErrSignature},
		{"another key's checkpoint", func(s *Split) {
			n, err := Checkpoint{"fabric.example/log", 12, EmptyRoot()}.Sign(testKey('b'))
			require.NoError(t, err)
			s.Smaller = n
		}, good, ErrSignature},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := *tt.of
			tt.change(&s)
			require.ErrorIs(t, s.Check(v), tt.want)
		})
	}
	_, err = Follow(v, one.note(t, 3), one.note(t, 20), Step{one.trees[3].Root(), one.step(t, 4, 20).Hashes})
	require.ErrorIs(t, err, ErrProof, "a step that proves nothing is no evidence")
	_, err = Follow(v, one.note(t, 3), point().Text(), Step{})
	require.ErrorIs(t, err, ErrCheckpoint)
}

// mutants are a text with each byte changed in each bit, each byte left out,
// and each line twice.
func mutants(text string) []string {
	var out []string
	for i := range len(text) {
		for bit := range 8 {
			out = append(out, text[:i]+string([]byte{text[i] ^ 1<<bit})+text[i+1:])
		}
		for _, c := range []string{"\r", "\n", " ", "+", "="} {
			out = append(out, text[:i]+c+text[i:])
		}
		out = append(out, text[:i]+text[i+1:])
	}
	return append(out, text+"\n", text+"x", "\n"+text, text+text)
}

// No change of a signed checkpoint, of a verifier key or of a proof passes.
// The one exception is a further signature by another key: witnesses add
// theirs, and the log's own still covers every byte of the text.
func TestNoMutantPasses(t *testing.T) {
	l := newLog("one", nil, 13)
	v := l.verifier()
	note := l.note(t, 13)
	for _, bad := range mutants(note) {
		_, err := v.Open(bad)
		require.Error(t, err, "%q", bad)
	}
	for _, bad := range mutants(v.String()) {
		other, err := ParseVerifier(bad)
		if err == nil { // a key by itself is anybody's; it opens nothing of this log's
			_, err = other.Open(note)
		}
		require.Error(t, err, "%q", bad)
	}
	hashes, err := ProveInclusion(5, 13, reader(l.nodes))
	require.NoError(t, err)
	proof := Transcript{5, hashes, note}
	point, err := proof.Verify(v, l.bodies[5])
	require.NoError(t, err)
	require.EqualValues(t, 13, point.Size)
	for _, bad := range mutants(proof.Text()) {
		p, err := ParseTranscript(bad)
		if err == nil {
			_, err = p.Verify(v, l.bodies[5])
		}
		require.Error(t, err, "%q", bad)
	}
	_, err = proof.Verify(v, l.bodies[6])
	require.ErrorIs(t, err, ErrProof)

	witnessed := note + "— witness.example/w " + strings.Repeat("A", 92) + "\n"
	_, err = v.Open(witnessed)
	require.NoError(t, err, "the exception")
}

// The form of the specification, https://c2sp.org/tlog-proof.
func TestTranscriptText(t *testing.T) {
	text := Transcript{73894, []Hash{EmptyRoot()}, "note\n"}.Text()
	require.Equal(t, "c2sp.org/tlog-proof@v1\nindex 73894\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n\nnote\n", text)
	for name, bad := range map[string]string{
		"another head":  strings.Replace(text, "@v1", "@v2", 1),
		"no index":      strings.Replace(text, "index 73894\n", "", 1),
		"another form":  strings.Replace(text, "index 7", "index 07", 1),
		"a negative":    strings.Replace(text, "index 7", "index -7", 1),
		"an extra line": strings.Replace(text, "index", "extra AAAA\nindex", 1),
		"no note":       strings.Replace(text, "\n\nnote", "\nnote", 1),
		"too many":      strings.Replace(text, "\n\n", strings.Repeat("\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=", 65)+"\n\n", 1),
	} {
		_, err := ParseTranscript(bad)
		require.ErrorIs(t, err, ErrTranscript, name)
	}
}
