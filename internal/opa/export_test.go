package opa

// Value is what the evaluator works on: an input that nothing remembers.
func Value(input any) (any, error) { return valueOf(input) }
