package feedback

// A History is what a metric was in each of some spans, by target.
type History map[string][]Window

// At returns the i-th window of a target. A target that is new has an empty one
// for each span.
func (h History) At(target string, spans []Span, i int) *Window {
	if h[target] == nil {
		h[target] = make([]Window, len(spans))
		for j, span := range spans {
			h[target][j] = Window{From: span.From, To: span.To}
		}
	}
	return &h[target][i]
}
