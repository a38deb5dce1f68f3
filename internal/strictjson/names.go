package strictjson

import (
	"bytes"
	"strings"
	"unicode"
)

// few is up to how many names are compared one by one.
const few = 12

// names are those of an object so far. Few are compared one by one, more are
// looked up, so that an object of many names takes no time squared.
type names struct {
	list  [few][]byte
	count int
	many  map[string]struct{} // folded
}

// add reports whether a name is new, in whatever case.
func (n *names) add(name []byte) bool {
	if n.many != nil {
		folded := fold(name)
		if _, twice := n.many[folded]; twice {
			return false
		}
		n.many[folded] = struct{}{}
		return true
	}
	for _, other := range n.list[:n.count] {
		if bytes.EqualFold(other, name) {
			return false
		}
	}
	if n.count < few {
		n.list[n.count] = name
		n.count++
		return true
	}
	n.many = make(map[string]struct{}, 4*few)
	for _, other := range n.list {
		n.many[fold(other)] = struct{}{}
	}
	n.many[fold(name)] = struct{}{}
	return true
}

// fold maps names that encoding/json takes for the same field to one text:
// each rune becomes the smallest of those that differ from it in case only.
func fold(name []byte) string {
	return strings.Map(func(r rune) rune {
		least := r
		for next := unicode.SimpleFold(r); next != r; next = unicode.SimpleFold(next) {
			least = min(least, next)
		}
		return least
	}, string(name))
}
