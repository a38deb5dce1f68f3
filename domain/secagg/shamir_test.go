package secagg

import (
	"encoding/hex"
	"encoding/json"
	mathrand "math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// shamirVectors are worked out with Python's big numbers by
// tests/vectors/secagg/generate.py.
type shamirVectors struct {
	Shamir struct {
		Secret       string
		Coefficients [][]string
		Shares       []struct {
			Holder int
			Share  string
		}
		Holders  []int
		Weights  []string
		Products []struct{ A, B, Product, Sum, Difference string }
		Wide     []struct{ Hi, Lo, Value string }
	}
	Masks []struct{ Key, Stream string }
}

func readShamir(t *testing.T) (v shamirVectors) {
	content, err := os.ReadFile("../../tests/vectors/secagg/protocol.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(content, &v))
	require.NotEmpty(t, v.Shamir.Shares)
	return v
}

func number(t *testing.T, text string) uint64 {
	n, err := strconv.ParseUint(text, 10, 64)
	require.NoError(t, err)
	return n
}

func digits(t *testing.T, text string) []byte {
	b, err := hex.DecodeString(text)
	require.NoError(t, err)
	return b
}

func TestFieldVectors(t *testing.T) {
	v := readShamir(t).Shamir
	for _, p := range v.Products {
		a, b := element(number(t, p.A)), element(number(t, p.B))
		require.Equal(t, p.Product, strconv.FormatUint(uint64(a.mul(b)), 10))
		require.Equal(t, p.Sum, strconv.FormatUint(uint64(a.add(b)), 10))
		require.Equal(t, p.Difference, strconv.FormatUint(uint64(a.sub(b)), 10))
		if b != 0 {
			require.Equal(t, element(1), b.mul(b.inverse()))
		}
	}
	for _, w := range v.Wide {
		require.Equal(t, w.Value, strconv.FormatUint(uint64(wide(number(t, w.Hi), number(t, w.Lo))), 10))
	}
}

func TestShamirVectors(t *testing.T) {
	v := readShamir(t).Shamir
	secret := [32]byte(digits(t, v.Secret))
	p := make(polynomial, len(v.Coefficients))
	for i, c := range v.Coefficients {
		for j := range limbs {
			p[i][j] = element(number(t, c[j]))
		}
	}
	require.Equal(t, p[0], toScalar(&secret))
	shares := map[int]scalar{}
	for _, s := range v.Shares {
		share := p.at(s.Holder)
		require.Equal(t, s.Share, hex.EncodeToString(share.append(nil)))
		parsed, err := parseShare(digits(t, s.Share))
		require.NoError(t, err)
		require.Equal(t, share, parsed)
		shares[s.Holder] = share
	}
	weights := basis(v.Holders, 0)
	for i, w := range v.Weights {
		require.Equal(t, w, strconv.FormatUint(uint64(weights[i]), 10))
	}
	got, ok := combine(weights, []scalar{shares[1], shares[4], shares[9]}).secret()
	require.True(t, ok)
	require.Equal(t, secret, got)
}

func TestKeyStreamVectors(t *testing.T) {
	for _, m := range readShamir(t).Masks {
		want := digits(t, m.Stream)
		for offset := 0; offset < len(want); offset += 16 {
			s, err := keystream(digits(t, m.Key), uint64(offset))
			require.NoError(t, err)
			got := make([]byte, len(want)-offset)
			s.XORKeyStream(got, got)
			require.Equal(t, want[offset:], got)
		}
	}
}

func TestSharesAreRefused(t *testing.T) {
	good := scalar{1, 2, 3, 4, prime - 1}.append(nil)
	_, err := parseShare(good)
	require.NoError(t, err)
	for name, bad := range map[string][]byte{
		"short": good[1:], "long": append(slices.Clone(good), 0), "none": nil,
		"not below the prime": scalar{1, 2, 3, 4, prime}.append(nil),
	} {
		_, err := parseShare(bad)
		require.ErrorIs(t, err, ErrShare, name)
	}
	_, ok := scalar{limbMask + 1}.secret()
	require.False(t, ok, "a limb of 53 bits")
	_, ok = scalar{0, 0, 0, 0, 1 << lastBits}.secret()
	require.False(t, ok, "a secret of 257 bits")
}

// Exactly a threshold of shares gives the secret, fewer give another one, and
// lies are corrected and named: one with one spare share, more with two for each.
func TestSecretsComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		threshold := rapid.IntRange(2, 20).Draw(t, "threshold")
		spare := rapid.IntRange(0, 12).Draw(t, "spare")
		r := mathrand.New(mathrand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		var secret [32]byte
		for i := range secret {
			secret[i] = byte(r.Uint32())
		}
		random, err := keystream(secret[:], 0)
		require.NoError(t, err)
		p := newPolynomial(&secret, threshold, random)
		holders := make([]int, threshold+spare)
		for i, h := range r.Perm(10_000)[:len(holders)] {
			holders[i] = h + 1
		}
		slices.Sort(holders)
		shares := make([]scalar, len(holders))
		for i, h := range holders {
			shares[i] = p.at(h)
		}
		got, ok := combine(basis(holders[:threshold], 0), shares[:threshold]).secret()
		require.True(t, ok)
		require.Equal(t, secret, got)
		got, ok = combine(basis(holders[:threshold-1], 0), shares[:threshold-1]).secret()
		require.False(t, ok && got == secret, "too few shares")

		most := spare / 2
		if spare == 1 {
			most = 1
		}
		var liars []int
		for _, i := range r.Perm(len(holders))[:r.IntN(most+1)] {
			shares[i][r.IntN(limbs)] = element(r.Uint64N(prime))
			liars = append(liars, holders[i])
		}
		slices.Sort(liars)
		accept := func(s [32]byte) bool { return s == secret }
		if spare == 0 {
			_, _, ok = recoverSecret(holders, shares, threshold, accept)
			require.False(t, ok)
			return
		}
		got, named, ok := recoverSecret(holders, shares, threshold, accept)
		require.True(t, ok, "%d lies, %d spare", len(liars), spare)
		require.Equal(t, secret, got)
		require.Equal(t, liars, named)
		_, _, ok = recoverSecret(holders, shares, threshold, func([32]byte) bool { return false })
		require.False(t, ok, "a secret that nobody committed to")
	})
}

// One spare share finds one liar, wherever it is.
func TestOneSpareShare(t *testing.T) {
	secret := [32]byte{7}
	random, err := keystream(make([]byte, 32), 0)
	require.NoError(t, err)
	p := newPolynomial(&secret, 3, random)
	holders := []int{2, 3, 5, 7}
	for liar := range holders {
		var shares []scalar
		for _, h := range holders {
			shares = append(shares, p.at(h))
		}
		shares[liar][2] = shares[liar][2].add(1)
		got, named, ok := recoverSecret(holders, shares, 3, func(s [32]byte) bool { return s == secret })
		require.True(t, ok)
		require.Equal(t, secret, got)
		require.Equal(t, holders[liar:liar+1], named)
	}
}

// The vector kernels and the plain loops agree on every length.
func TestKernelsAgree(t *testing.T) {
	kernels[uint32](t)
	kernels[uint64](t)
}

func kernels[E Element](t *testing.T) {
	r := mathrand.New(mathrand.NewPCG(1, 2))
	for n := range 70 {
		a, b := make([]E, n), make([]E, n)
		for i := range a {
			a[i], b[i] = E(r.Uint64()), E(r.Uint64())
		}
		plus, minus := slices.Clone(a), slices.Clone(a)
		addPlain(plus, b)
		subtractPlain(minus, b)
		got := slices.Clone(a)
		add(got, b)
		require.Equal(t, plus, got, "%d added", n)
		got = slices.Clone(a)
		subtract(got, b)
		require.Equal(t, minus, got, "%d subtracted", n)
	}
}

// A vector that does not start where an element can is added all the same.
func TestAddVectorAnywhere(t *testing.T) {
	anywhere[uint32](t)
	anywhere[uint64](t)
}

func anywhere[E Element](t *testing.T) {
	list := make([]E, 37)
	for i := range list {
		list[i] = E(i) * 0x9e3779b9
	}
	want := slices.Clone(list)
	addPlain(want, list)
	wire := AppendVector(nil, list)
	for shift := range 9 {
		moved := append(make([]byte, shift), wire...)[shift:]
		got := slices.Clone(list)
		require.NoError(t, AddVector(got, moved))
		require.Equal(t, want, got)
	}
	got := slices.Clone(list)
	addBytes(got, wire)
	require.Equal(t, want, got)
	require.ErrorIs(t, AddVector(got, wire[1:]), ErrVector)
	require.ErrorIs(t, AddVector(got[1:], wire), ErrVector)
	require.NoError(t, AddVector(got[:0], nil))
}

func TestTurn(t *testing.T) {
	a := []uint32{0x01020304}
	turn(a)
	require.Equal(t, []uint32{0x04030201}, a)
	b := []uint64{0x0102030405060708}
	turn(b)
	require.Equal(t, []uint64{0x0807060504030201}, b)
}
