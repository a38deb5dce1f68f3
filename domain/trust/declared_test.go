package trust_test

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

// constant is how domain/artifact declares a predicate type.
var constant = regexp.MustCompile(`(?m)^\s*Predicate\w+\s*=\s*(predicates \+ )?"([^"]+)"`)

// declared returns every predicate type of domain/artifact, from its source.
func declared(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("../artifact/*.go")
	require.NoError(t, err)
	var all []string
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, m := range constant.FindAllStringSubmatch(string(text), -1) {
			if m[1] != "" {
				m[2] = "https://github.com/atom-fabric/fabric/predicates/" + m[2]
			}
			all = append(all, m[2])
		}
	}
	require.Greater(t, len(all), 10)
	return all
}
