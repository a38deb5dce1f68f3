package docs

import (
	"path"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var proof = regexp.MustCompile("\\[`(Test[A-Za-z0-9_]+)`\\]\\(([^)]+_test\\.go)\\)")

// A claim that names a test is as good as the test: it is in the file that the
// link leads to.
func TestEveryClaimNamesATestThatExists(t *testing.T) {
	claims := map[string]int{}
	for _, p := range pages(t) {
		for i, line := range p.lines {
			for _, m := range proof.FindAllStringSubmatch(line, -1) {
				claims[p.path]++
				file := path.Join(path.Dir(p.path), m[2])
				if !strings.Contains(read(t, file), "\nfunc "+m[1]+"(") {
					t.Errorf("%s:%d: %s has no %s", p.path, i+1, file, m[1])
				}
			}
		}
	}
	for _, name := range []string{"threat-model", "privacy", "durability", "approvals"} {
		require.GreaterOrEqual(t, claims["docs/concepts/"+name+".md"], 10, "%s promises without proof", name)
	}
}
