package web

import (
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"math"
	"strings"
	"time"

	"github.com/atom-fabric/fabric/domain/chart"
)

// funcs are what templates may call.
func (c *Console) funcs() template.FuncMap {
	return template.FuncMap{
		"asset":   c.assets.url,
		"digest":  shortDigest,
		"instant": func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") + " UTC" },
		"machine": func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
		"until":   func(t time.Time) string { return inWords(t.Sub(c.opts.Now())) },
		"lasting": inWords,
		"link":    link,
		"percent": func(bp int64) string { return fmt.Sprintf("%.2f %%", float64(bp)/100) },
		"bytes":   inBytes,
		"number":  grouped,
		"list":    func(items []string) string { return strings.Join(items, ", ") },
		"plural":  plural,
		"of":      of,
		"pretty":  pretty,
		"band":    band,
		"outcome": outcome,
		"verdict": verdict,
		"zero":    func(t time.Time) bool { return t.IsZero() },
		"state":   stateClass,
		"text":    text,
		"hundred": func(v float64) float64 { return 100 * v },
		"four":    func(v float64) string { return fmt.Sprintf("%.4g", v) },
		"int64":   func(v int) int64 { return int64(v) },
		"short":   short,
	}
}

// text is a word of the API, whatever its type.
func text(v any) string { return fmt.Sprint(v) }

// short is a number in few characters.
func short(v any) string {
	switch v := v.(type) {
	case float64:
		return chart.Number(v)
	case int:
		return chart.Number(float64(v))
	case int64:
		return chart.Number(float64(v))
	}
	return fmt.Sprint(v)
}

// shortDigest shows enough of a digest to tell it from others.
func shortDigest(v any) string {
	hex := strings.TrimPrefix(fmt.Sprint(v), "sha256:")
	if len(hex) > 12 {
		return hex[:12]
	}
	return hex
}

// inWords rounds a duration to what a person says: two units at most.
func inWords(d time.Duration) string {
	if d < 0 {
		return inWords(-max(d, -math.MaxInt64)) + " ago" // the lowest has no opposite
	}
	switch {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 24*time.Hour:
		return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
	default:
		return fmt.Sprintf("%d d %d h", int(d.Hours())/24, int(d.Hours())%24)
	}
}

func inBytes(n int64) string {
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	units := []string{"kB", "MB", "GB", "TB", "PB"}
	at := min(int(math.Log10(float64(n))/3), len(units))
	return fmt.Sprintf("%.1f %s", float64(n)/math.Pow(1000, float64(at)), units[at-1])
}

// grouped writes a number with spaces between thousands.
func grouped(n int64) string {
	text := fmt.Sprint(n)
	sign := ""
	if strings.HasPrefix(text, "-") {
		sign, text = "-", text[1:]
	}
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "\u202f" + text[i:]
	}
	return sign + text
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// of makes the data of a part that takes several values:
// {{template "x" (of "Name" .A "Other" .B)}}.
func of(pairs ...any) (map[string]any, error) {
	out := map[string]any{}
	for i := 0; i+1 < len(pairs); i += 2 {
		name, ok := pairs[i].(string)
		if !ok {
			return nil, errors.New("of: names and values take turns")
		}
		out[name] = pairs[i+1]
	}
	if len(pairs)%2 != 0 {
		return nil, errors.New("of: names and values take turns")
	}
	return out, nil
}

// pretty shows a document indented.
func pretty(v any) (string, error) {
	text, err := json.MarshalIndent(v, "", "  ")
	return string(text), err
}

// band is the class of a risk score: from 60 on a person types what they do.
func band(risk int) string {
	switch {
	case risk >= typedFrom:
		return "high"
	case risk >= 30:
		return "medium"
	default:
		return "low"
	}
}

// outcome is the class of how a ballot ended.
func outcome(o any) string {
	switch fmt.Sprint(o) {
	case "approved":
		return "good"
	case "rejected", "expired", "revoked", "lapsed":
		return "bad"
	case "returned":
		return "warn"
	default:
		return ""
	}
}

// verdict is the class of a judgement. What there is too little of is grey.
func verdict(s any) string {
	switch fmt.Sprint(s) {
	case "PASS":
		return "good"
	case "FAIL":
		return "bad"
	default:
		return ""
	}
}

// typedFrom is the risk from which an approver types the action's id.
const typedFrom = 60
