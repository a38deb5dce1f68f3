package secagg

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
)

// boxKey returns the cipher of one sender's box for one receiver. Key and nonce
// are good for exactly one plaintext: they depend on roster, sender and
// receiver, and the sender's shares depend on the roster too.
func (s *Site) boxKey(peer, from, to int) (cipher.AEAD, []byte, error) {
	shared, err := agree(s.cipher, s.group.Member(peer).CipherKey)
	if err != nil {
		return nil, nil, err
	}
	defer clear(shared)
	key, err := derive(shared, "box", s.group.roster, from, to, 32+12)
	if err != nil {
		return nil, nil, err
	}
	block, err := aes.NewCipher(key[:32])
	if err != nil {
		return nil, nil, err
	}
	aead, err := cipher.NewGCM(block)
	clear(key[:32])
	return aead, key[32:], err
}

// boxContext is the additional data of a box.
func (g *Group) boxContext(from, to int) []byte {
	h := newHash("box")
	h.bytes(g.roster[:])
	h.number(from)
	h.number(to)
	sum := h.sum()
	return sum[:]
}

func (s *Site) seal(to int, plain []byte) ([]byte, error) {
	aead, nonce, err := s.boxKey(to, s.index, to)
	if err != nil {
		return nil, err
	}
	return aead.Seal(nil, nonce, plain, s.group.boxContext(s.index, to)), nil
}

// open returns the sender's two shares.
// Errors: [ErrShare].
func (s *Site) open(from int, box []byte) (pair [2]scalar, err error) {
	if len(box) != BoxBytes {
		return pair, ErrShare
	}
	aead, nonce, err := s.boxKey(from, from, s.index)
	if err != nil {
		return pair, ErrShare
	}
	plain, err := aead.Open(nil, nonce, box, s.group.boxContext(from, s.index))
	if err != nil {
		return pair, ErrShare
	}
	defer clear(plain)
	for i := range pair {
		if pair[i], err = parseShare(plain[i*ShareBytes : (i+1)*ShareBytes]); err != nil {
			return [2]scalar{}, err
		}
	}
	return pair, nil
}

// self appends the self-mask of a member.
func (x *Expander) self(g *Group, index int, seed *[32]byte, negative bool) error {
	return x.append(seed[:], "self-mask", g.roster, index, index, negative)
}

// pair appends the mask that own, the key of one member, shares with a peer, as
// the member adds it: the lower index adds, the higher takes away.
func (x *Expander) pair(g *Group, own *ecdh.PrivateKey, index, peer int) error {
	shared, err := agree(own, g.members[peer-1].MaskKey)
	if err != nil {
		return err
	}
	defer clear(shared)
	return x.append(shared, "pair mask", g.roster, min(index, peer), max(index, peer), index > peer)
}

func (x *Expander) append(secret []byte, purpose string, context sum, from, to int, negative bool) error {
	key, err := derive(secret, purpose, context, from, to, maskKeyBytes)
	if err != nil {
		return err
	}
	x.masks = append(x.masks, mask{key: [maskKeyBytes]byte(key), negative: negative})
	clear(key)
	return nil
}
