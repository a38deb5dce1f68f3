package simulate

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/round"
)

// At second 100 round 5 begins. It takes what started from round 3 or later.
func TestWhenASiteIsDue(t *testing.T) {
	buffered := order{Manifest: round.Manifest{Number: 5, Kind: round.Train, Starts: []round.Start{{Number: 4}, {Number: 3}},
		Params: round.Params{Strategy: round.Strategy{Name: round.FedBuff, MaxStaleness: 2}}}}
	plain := order{Manifest: round.Manifest{Number: 5, Kind: round.Train}}
	tests := []struct {
		name    string
		order   order
		pending *pending
		seconds float64
		from    int
	}{
		{"that is free", buffered, nil, 7, 5},
		{"that is at work on round 4", buffered, &pending{4, 130}, 30, 4},
		{"that came too late for round 3", buffered, &pending{3, 90}, 0, 3},
		{"whose work is too old when it is done", buffered, &pending{2, 130}, 37, 5},
		{"whose work was too old before", buffered, &pending{2, 90}, 7, 5},
		{"of a run without a buffer", plain, &pending{4, 130}, 7, 5},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := simulation{clock: 100}
			seconds, from := s.due(tt.order, &virtual{pending: tt.pending}, conduct{work: 7})
			require.Equal(t, tt.seconds, seconds)
			require.Equal(t, tt.from, from)
		})
	}
	s, v := simulation{clock: 100}, &virtual{}
	s.settled(buffered, v, 12, 4, false)
	require.Equal(t, &pending{4, 112}, v.pending, "it goes on")
	s.settled(buffered, v, 12, 4, true)
	require.Nil(t, v.pending, "it is in the sum")
	v.pending = &pending{4, 112}
	s.settled(buffered, v, never(), 4, false)
	require.Nil(t, v.pending, "it left")
}
