package api

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/round"
)

// A run whose sites could never upload what they train is refused before it
// begins, with the limit's name; the wide ring takes twice the room.
func TestARunThatCannotBeUploadedIsRefused(t *testing.T) {
	model := func(inputs, ring int, mode string) round.Params {
		return round.Params{Model: round.ModelSpec{Trainer: round.TrainerExec, Inputs: inputs, Hidden: 1024, Classes: 2},
			Secure: round.Secure{Ring: ring, Mode: mode}}
	}
	for _, tt := range []struct {
		name   string
		params round.Params
		fits   bool
	}{
		{"8 MiB", model(2048, 32, round.SecureAuto), true},
		{"8 MiB in the wide ring", model(2048, 64, round.SecureAuto), false},
		{"8 MiB in the wide ring, which nobody uses", model(2048, 64, round.SecureOff), true},
		{"12 MiB", model(3072, 32, round.SecureOff), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := uploadable(tt.params, 10<<20)
			if tt.fits {
				require.NoError(t, err)
				return
			}
			var p *Problem
			require.ErrorAs(t, err, &p)
			require.Equal(t, badParams, p.Kind)
			require.Len(t, p.Items, 1)
			require.Equal(t, "/params/model", p.Items[0].Pointer)
			require.Contains(t, p.Items[0].Detail, "FABRIC_MAX_UPLOAD_BYTES")
		})
	}
}
