package docs

import (
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/require"
)

var (
	link    = regexp.MustCompile(`\]\(([^()\s]+(?:\([^()\s]*\))?)\)`)
	heading = regexp.MustCompile(`^#{1,6}\s+(.*?)\s*$`)
	named   = regexp.MustCompile(`<a (?:id|name)="([^"]+)">`)
	code    = regexp.MustCompile("`[^`]*`")
)

// anchor is what a forge makes of a heading: lower case, spaces to hyphens,
// punctuation dropped, text of links kept.
func anchor(title string) string {
	title = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`).ReplaceAllString(title, "$1")
	var b strings.Builder
	for _, r := range strings.ToLower(title) {
		switch {
		case unicode.IsLetter(r) || unicode.IsDigit(r) || r == '_' || r == '-':
			b.WriteRune(r)
		case r == ' ':
			b.WriteByte('-')
		}
	}
	return b.String()
}

// anchors returns what can be linked to on a page.
func anchors(p page) map[string]bool {
	all := map[string]bool{}
	_, prose := p.split()
	for _, line := range prose {
		if m := heading.FindStringSubmatch(line); m != nil {
			all[anchor(m[1])] = true
		}
		for _, m := range named.FindAllStringSubmatch(line, -1) {
			all[m[1]] = true
		}
	}
	return all
}

func TestEveryLinkLeadsSomewhere(t *testing.T) {
	all := map[string]page{}
	for _, p := range pages(t) {
		all[p.path] = p
	}
	followed := 0
	for _, p := range all {
		_, prose := p.split()
		for i, line := range prose {
			for _, m := range link.FindAllStringSubmatch(code.ReplaceAllString(line, ""), -1) {
				target, err := url.Parse(m[1])
				require.NoError(t, err, "%s:%d", p.path, i+1)
				if target.Scheme != "" {
					require.Contains(t, []string{"http", "https", "mailto"}, target.Scheme, "%s:%d", p.path, i+1)
					continue
				}
				followed++
				file := p.path
				if target.Path != "" {
					file = path.Join(path.Dir(p.path), target.Path)
				}
				if _, err := os.Stat(filepath.Join(root, file)); err != nil || strings.HasPrefix(file, "..") {
					t.Errorf("%s:%d leads nowhere: %s", p.path, i+1, m[1])
				} else if target.Fragment != "" && strings.HasSuffix(file, ".md") && !anchors(all[file])[target.Fragment] {
					t.Errorf("%s:%d: %s has no heading #%s", p.path, i+1, file, target.Fragment)
				}
			}
		}
	}
	require.Greater(t, followed, 100)
}

// A page that nothing leads to is found by nobody.
func TestEveryPageIsReachedFromTheReadme(t *testing.T) {
	all := map[string]page{}
	for _, p := range pages(t) {
		all[p.path] = p
	}
	seen := map[string]bool{}
	var walk func(name string)
	walk = func(name string) {
		if seen[name] {
			return
		}
		seen[name] = true
		p, ok := all[name]
		if !ok {
			return
		}
		_, prose := p.split()
		for _, line := range prose {
			for _, m := range link.FindAllStringSubmatch(line, -1) {
				target, err := url.Parse(m[1])
				if err != nil || target.Scheme != "" || target.Path == "" {
					continue
				}
				to := path.Join(path.Dir(name), target.Path)
				if info, err := os.Stat(filepath.Join(root, to)); err == nil && info.IsDir() {
					for other := range all {
						if path.Dir(other) == to {
							walk(other)
						}
					}
				}
				walk(to)
			}
		}
	}
	walk("README.md")
	for name := range all {
		if strings.HasPrefix(name, "docs/") && !seen[name] {
			t.Errorf("no link leads from the README to %s: name it in docs/README.md", name)
		}
	}
}

func TestAnAnchorIsThatOfAForge(t *testing.T) {
	for title, want := range map[string]string{
		"A program of your own: `--exec`": "a-program-of-your-own---exec",
		"POST /train/round":               "post-trainround",
		"[Words](x.md) and more":          "words-and-more",
	} {
		require.Equal(t, want, anchor(title))
	}
}
