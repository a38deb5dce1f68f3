package audit

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/artifact"
)

func leaf() Leaf {
	return Leaf{V: 1, At: time.Date(2026, 11, 22, 10, 0, 0, 123_456_789, time.FixedZone("", 3600)), Kind: "round.closed", Tenant: "t1", Actor: "ann", Subject: "round/run-1/3"}
}

func TestEncode(t *testing.T) {
	full := leaf()
	full.Digest, full.Statement = artifact.DigestOf(nil), artifact.DigestOf([]byte("x"))
	full.Previous, full.State, full.TraceID, full.Simulated = "open", "closed", "4bf92f3577b34da6a3ce929d0e0e4736", true
	odd := leaf()
	odd.Actor = "<é\u2028\"\\\x01\n>"
	tests := []struct {
		name string
		leaf Leaf
		want string
	}{
		{"leaves out what is absent, in UTC and microseconds", leaf(),
			`{"actor":"ann","at":"2026-11-22T09:00:00.123456Z","kind":"round.closed","subject":"round/run-1/3","tenant":"t1","v":1}`},
		{"orders all members by name", full,
			`{"actor":"ann","at":"2026-11-22T09:00:00.123456Z","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",` +
				`"kind":"round.closed","previous":"open","simulated":true,"state":"closed",` +
				`"statement":"sha256:2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881","subject":"round/run-1/3","tenant":"t1",` +
				`"traceId":"4bf92f3577b34da6a3ce929d0e0e4736","v":1}`},
		{"escapes as RFC 8785 does", odd,
			"{\"actor\":\"<é\u2028\\\"\\\\\\u0001\\n>\",\"at\":\"2026-11-22T09:00:00.123456Z\",\"kind\":\"round.closed\",\"subject\":\"round/run-1/3\",\"tenant\":\"t1\",\"v\":1}"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.leaf.Encode()
			require.NoError(t, err)
			require.Equal(t, tt.want, string(got))
			back, err := Decode(got)
			require.NoError(t, err)
			tt.leaf.At = tt.leaf.At.UTC().Truncate(time.Microsecond)
			require.Equal(t, tt.leaf, back)
		})
	}
}

func TestEncodeRefuses(t *testing.T) {
	version, text, size := leaf(), leaf(), leaf()
	version.V = 2
	text.State = "\xff"
	size.State = strings.Repeat("x", MaxLeaf)
	for want, l := range map[error]Leaf{ErrLeafVersion: version, ErrLeafText: text, ErrLeafSize: size} {
		_, err := l.Encode()
		require.ErrorIs(t, err, want)
	}
}

func TestDecodeTakesOneForm(t *testing.T) {
	good, err := leaf().Encode()
	require.NoError(t, err)
	tests := map[string]string{
		"white space":     strings.Replace(string(good), ":", ": ", 1),
		"another order":   `{"at":"2026-11-22T09:00:00.123456Z","actor":"ann","kind":"round.closed","subject":"round/run-1/3","tenant":"t1","v":1}`,
		"another zone":    strings.Replace(string(good), "09:00:00.123456Z", "10:00:00.123456+01:00", 1),
		"an unknown name": strings.Replace(string(good), `,"v"`, `,"u":1,"v"`, 1),
		"a second member": strings.Replace(string(good), `"actor":"ann"`, `"actor":"bob","actor":"ann"`, 1),
		"another case":    strings.Replace(string(good), `"actor"`, `"Actor"`, 1),
		"an empty member": strings.Replace(string(good), `,"v"`, `,"traceId":"","v"`, 1),
		"no JSON":         "leaf",
		"something after": string(good) + "{}",
	}
	for name, body := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := Decode([]byte(body))
			require.ErrorIs(t, err, ErrLeafForm)
		})
	}
	_, err = Decode(make([]byte, MaxLeaf+1))
	require.ErrorIs(t, err, ErrLeafSize)
}

// The fast writer against the canonical form of every other document.
func FuzzEncodeIsCanonical(f *testing.F) {
	f.Add("ann", "round.closed", "t1", "round/run-1/3", "open", "AAAA", int64(1_700_000_000_123_456), true)
	f.Add("<\u00e9\u2028\"\\\x01\n\b\f\r\t\x7f>", "", "", "", "", "", int64(0), false)
	f.Fuzz(func(t *testing.T, actor, kind, tenant, subject, state, salt string, micros int64, simulated bool) {
		l := Leaf{V: 1, At: time.UnixMicro(micros).UTC(), Actor: actor, Kind: kind, Tenant: tenant, Subject: subject, State: state, Salt: salt, Simulated: simulated}
		got, err := l.Encode()
		if err != nil {
			return
		}
		want, err := artifact.Canonical(l)
		require.NoError(t, err)
		require.Equal(t, string(want), string(got))
	})
}

func BenchmarkEncode(b *testing.B) {
	for b.Loop() {
		_, err := leaf().Encode()
		require.NoError(b, err)
	}
}
