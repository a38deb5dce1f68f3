package telemetry

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// Redact returns text for a file or a screen as a log line would show it:
// without the secrets and personal values that can be recognised in it.
func Redact(text string) string { return newRedactor().text(text) }

// RedactJSON returns a JSON document in the same way, by the names of its
// fields too, indented and with the names sorted.
func RedactJSON(document []byte) ([]byte, error) {
	decoder := json.NewDecoder(bytes.NewReader(document))
	decoder.UseNumber()
	var tree any
	if err := decoder.Decode(&tree); err != nil {
		return nil, fmt.Errorf("redact: %w", err)
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(newRedactor().tree(tree)); err != nil {
		return nil, fmt.Errorf("redact: %w", err)
	}
	return bytes.TrimRight(out.Bytes(), "\n"), nil
}
