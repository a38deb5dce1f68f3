package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	v1 "github.com/atom-fabric/fabric/api/v1"
)

func TestWhatIsSaidOfARollout(t *testing.T) {
	for _, tt := range []struct {
		name  string
		flags canaryFlags
		want  v1.CanaryRequest
		wrong string
	}{
		{"nothing", canaryFlags{}, v1.CanaryRequest{}, ""},
		{"a ladder", canaryFlags{shares: "0.5, 5,100"}, v1.CanaryRequest{SharesBp: []int{50, 500, 10000}}, ""},
		{"a shadow", canaryFlags{shadow: "10%"}, v1.CanaryRequest{ShadowBp: 1000}, ""},
		{"a shadow without its sign", canaryFlags{shadow: "2.5", copies: 100}, v1.CanaryRequest{ShadowBp: 250, ShadowAnswers: 100}, ""},
		{"a shadow of nothing", canaryFlags{shadow: "0%"}, v1.CanaryRequest{}, `--shadow: "0%" is no share in percent`},
		{"a shadow of too much", canaryFlags{shadow: "101"}, v1.CanaryRequest{}, "no share in percent"},
		{"a shadow of a word", canaryFlags{shadow: "some"}, v1.CanaryRequest{}, "no share in percent"},
		{"a ladder of words", canaryFlags{shares: "1,all"}, v1.CanaryRequest{}, `--canary: "all" is no share in percent`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.flags.request()
			if tt.wrong != "" {
				require.ErrorContains(t, err, tt.wrong)
				return
			}
			require.NoError(t, err)
			require.Equal(t, tt.want, got)
		})
	}
}

// A step of a shadow is named by what it is.
func TestAStepIsNamed(t *testing.T) {
	require.Equal(t, "shadow of 10 % of eu", stepOf(v1.RolloutStep{Number: 1, Region: "eu", MirrorBp: 1000}).String())
	require.Equal(t, "5 % of eu", stepOf(v1.RolloutStep{Number: 2, Region: "eu", ShareBp: 500}).String())
}
