package telemetry

import "log/slog"

// redacted stands where a secret or personal value would be.
const redacted = "[redacted]"

// A Secret is text that no log, error, encoding or format verb shows. Reading
// it takes a call that a reviewer can search for: [Secret.Reveal].
type Secret string

// Reveal returns the text itself, for the one call that needs it.
func (s Secret) Reveal() string { return string(s) }

// Set reports whether there is a value at all.
func (s Secret) Set() bool { return s != "" }

// String, GoString, LogValue and MarshalText keep the text from everything
// that prints values.
func (s Secret) String() string               { return redacted }
func (s Secret) GoString() string             { return redacted }
func (s Secret) LogValue() slog.Value         { return slog.StringValue(redacted) }
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// UnmarshalText lets configuration be read into a secret.
func (s *Secret) UnmarshalText(text []byte) error {
	*s = Secret(text)
	return nil
}
