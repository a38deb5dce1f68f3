//go:build browser

package browser

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// An outcome is what the browsers tell afterwards.
type outcome struct {
	Promotion string   `json:"promotion"`
	Voters    []string `json:"voters"`
	Figures   struct {
		Browser     string `json:"browser"`
		Pages       int    `json:"pages"`
		Kinds       int    `json:"kinds"`
		Keyboard    int    `json:"keyboard"`
		Interactive struct {
			Median int `json:"median"`
			Most   int `json:"most"`
			Loads  int `json:"loads"`
		} `json:"interactive"`
		Bytes int            `json:"bytes"`
		Rows  int            `json:"rows"`
		Live  map[string]int `json:"live"`
	} `json:"figures"`
}

// report is what was measured, for reports/console.md.
func (o outcome) report(machine string) string {
	f := o.Figures
	var out strings.Builder
	fmt.Fprintf(&out, `# The console in a browser

Made by `+"`make e2e-console`"+` on %s, with Chromium %s and the whole system on the same machine.

| what | figure | bound |
| --- | --- | --- |
| pages looked at, each in the light and the dark, wide and at 360 px | %d of %d kinds | |
| findings of axe, breaches of the content-security policy, pages that scroll sideways | 0 | 0 |
| stops of the keyboard's focus from signing in to a vote, each to be seen | %d | |
| inbox interactive, nothing cached, %d rows: the median of %d loads, and the slowest | %d ms, %d ms | 1000 ms |
| inbox over the wire, compressed, all its files | %d bytes | 150000 |
`, machine, f.Browser, f.Pages, f.Kinds, f.Keyboard, f.Rows, f.Interactive.Loads, f.Interactive.Median, f.Interactive.Most, f.Bytes)
	for _, what := range slices.Sorted(maps.Keys(f.Live)) {
		fmt.Fprintf(&out, "| %s, without a reload | %d ms | 1000 ms |\n", what, f.Live[what])
	}
	out.WriteString("\nTwo people approved one promotion with keys of their own browsers; `cosign verify-blob-attestation` and `fabric audit verify` held for both votes.\n")
	return out.String()
}
