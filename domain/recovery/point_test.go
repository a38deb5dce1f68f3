package recovery_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/recovery"
)

func digest(s string) artifact.Digest { return artifact.DigestOf([]byte(s)) }

// point is the second of a tenant with one model in two environments.
func point() recovery.Point {
	return recovery.Point{
		Sequence: 2, Previous: digest("first"), Tenant: "north", At: time.Date(2026, 3, 3, 9, 0, 0, 0, time.UTC), Snapshot: 7,
		Models: []recovery.Model{
			{ID: "tumour", Version: 1, Repository: "models/north/tumour", Package: digest("p1"), Weights: digest("w1"), Bundle: digest("b1")},
			{ID: "tumour", Version: 2, Repository: "models/north/tumour", Package: digest("p2"), Weights: digest("w2"), Bundle: digest("b2")},
		},
		Aliases: []recovery.Alias{{Model: "tumour", Environment: "production", Name: "champion", Version: 1, Package: digest("p1")}},
		Routes: []recovery.Route{
			{Model: "tumour", Environment: "production", Version: 1, Package: digest("p1"), Regions: []string{"eu"}, Callers: []string{"north"}},
			{Model: "tumour", Environment: "staging", Version: 2, Package: digest("p2"), Regions: []string{"eu", "us"}, Callers: []string{"north"}},
		},
		Policies: []recovery.Policy{{Region: "eu", Revision: 3, Digest: digest("d3")}, {Region: "us", Revision: 3, Digest: digest("d3")}},
	}
}

func TestAPointIsItsCanonicalBytes(t *testing.T) {
	text, id, err := point().Encode()
	require.NoError(t, err)
	require.Equal(t, artifact.DigestOf(text), id)
	again, err := recovery.Parse(text)
	require.NoError(t, err)
	require.Equal(t, point(), again)
	require.Equal(t, 7, again.Items())

	unsorted := point()
	unsorted.Models[0], unsorted.Models[1] = unsorted.Models[1], unsorted.Models[0]
	unsorted.Sort()
	require.Equal(t, point(), unsorted)
}

func TestOtherBytesAreNoPoint(t *testing.T) {
	text, _, err := point().Encode()
	require.NoError(t, err)
	for name, bad := range map[string][]byte{
		"a space":           bytes.Replace(text, []byte(`{"`), []byte(`{ "`), 1),
		"a key twice":       bytes.Replace(text, []byte(`"sequence":2`), []byte(`"sequence":2,"sequence":3`), 1),
		"another case":      bytes.Replace(text, []byte(`"sequence"`), []byte(`"Sequence"`), 1),
		"an unknown key":    bytes.Replace(text, []byte(`{"`), []byte(`{"a":1,"`), 1),
		"more after it":     append(bytes.Clone(text), '{', '}'),
		"a big sequence":    bytes.Replace(text, []byte(`"sequence":2`), []byte(`"sequence":2e0`), 1),
		"nothing":           nil,
		"a list":            []byte("[]"),
		"a digest in caps":  []byte(strings.Replace(string(text), string(digest("d3")), "sha256:"+strings.ToUpper(digest("d3").Hex()), 1)),
		"a shorter digest":  []byte(strings.Replace(string(text), string(digest("d3")), "sha256:00", 1)),
		"an offset in time": bytes.Replace(text, []byte("09:00:00Z"), []byte("10:00:00+01:00"), 1),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := recovery.Parse(bad)
			require.Error(t, err)
		})
	}
}

func TestAPointIsRefused(t *testing.T) {
	tests := []struct {
		name   string
		change func(*recovery.Point)
		why    error
	}{
		{"without a sequence", func(p *recovery.Point) { p.Sequence = 0 }, recovery.ErrValue},
		{"without a tenant", func(p *recovery.Point) { p.Tenant = "" }, recovery.ErrValue},
		{"without a time", func(p *recovery.Point) { p.At = time.Time{} }, recovery.ErrValue},
		{"of no snapshot", func(p *recovery.Point) { p.Snapshot = 0 }, recovery.ErrValue},
		{"that is second and names nothing before", func(p *recovery.Point) { p.Previous = "" }, recovery.ErrValue},
		{"that is first and names one before", func(p *recovery.Point) { p.Sequence = 1 }, recovery.ErrValue},
		{"with an item twice", func(p *recovery.Point) { p.Models = append(p.Models, p.Models[1]) }, recovery.ErrOrder},
		{"out of order", func(p *recovery.Point) { p.Routes[0], p.Routes[1] = p.Routes[1], p.Routes[0] }, recovery.ErrOrder},
		{"with an alias for another package", func(p *recovery.Point) { p.Aliases[0].Package = digest("p2") }, recovery.ErrLoose},
		{"with a route to a version that is not listed", func(p *recovery.Point) { p.Routes[0].Version = 9 }, recovery.ErrLoose},
		{"with a route to another package", func(p *recovery.Point) { p.Routes[1].Package = digest("p1") }, recovery.ErrLoose},
		{"with a route in no region", func(p *recovery.Point) { p.Routes[1].Regions = nil }, recovery.ErrValue},
		{"with a version zero", func(p *recovery.Point) { p.Models[0].Version = 0; p.Aliases, p.Routes = nil, nil }, recovery.ErrValue},
		{"without a bundle", func(p *recovery.Point) { p.Models[0].Bundle = "" }, recovery.ErrValue},
		{"with a policy without a digest", func(p *recovery.Point) { p.Policies[0].Digest = "" }, recovery.ErrValue},
		{"that is too long", func(p *recovery.Point) { p.Policies = make([]recovery.Policy, recovery.MaxItems) }, recovery.ErrItems},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := point()
			tt.change(&p)
			_, _, err := p.Encode()
			require.ErrorIs(t, err, tt.why)
		})
	}
}

func TestWhoHasSeenAHeadAcceptsNoOlderOne(t *testing.T) {
	seen := recovery.Head{Sequence: 5, Digest: digest("five")}
	require.NoError(t, seen.Allows(seen))
	require.NoError(t, seen.Allows(recovery.Head{Sequence: 6, Digest: digest("six")}))
	require.NoError(t, recovery.Head{}.Allows(seen), "who has seen nothing")
	require.ErrorIs(t, seen.Allows(recovery.Head{Sequence: 4, Digest: digest("four")}), recovery.ErrOlder)
	require.ErrorIs(t, seen.Allows(recovery.Head{}), recovery.ErrOlder, "an emptied database")
	require.ErrorIs(t, seen.Allows(recovery.Head{Sequence: 5, Digest: digest("other")}), recovery.ErrFork)
}

func TestPointsLeadBack(t *testing.T) {
	p := point()
	require.NoError(t, p.Follows(recovery.Head{Sequence: 1, Digest: digest("first")}))
	require.ErrorIs(t, p.Follows(recovery.Head{Sequence: 1, Digest: digest("other")}), recovery.ErrChain)
	require.ErrorIs(t, p.Follows(recovery.Head{Sequence: 2, Digest: digest("first")}), recovery.ErrChain)
	require.ErrorIs(t, p.Follows(recovery.Head{}), recovery.ErrChain)
}
