package round_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/domain/site"
)

func fleet(regions ...string) []site.Site {
	var out []site.Site
	for i, r := range regions {
		out = append(out, site.Site{Tenant: "t", ID: fmt.Sprintf("s%d", i), Region: r})
	}
	return out
}

// No group of a secured round has fewer than three sites while the round has
// three: a sum over two tells each of them the other's update.
func TestSecuredSeats(t *testing.T) {
	tests := []struct {
		name  string
		sites []site.Site
		want  []round.Cohort
	}{
		{"a region of three sums alone", fleet("eu", "eu", "eu", "us", "us", "us"), []round.Cohort{{Region: "eu", Sites: 3}, {Region: "us", Sites: 3}}},
		{"small regions sit together in the largest", fleet("apac", "eu", "eu", "us", "us"), []round.Cohort{{Region: "eu", Sites: 5}}},
		{"three regions of one", fleet("us", "eu", "apac"), []round.Cohort{{Region: "apac", Sites: 3}}},
		{"what is left joins the largest", fleet("eu", "eu", "eu", "us", "us", "us", "us", "apac"), []round.Cohort{{Region: "eu", Sites: 3}, {Region: "us", Sites: 5}}},
		{"two sites are all there are", fleet("eu", "us"), []round.Cohort{{Region: "eu", Sites: 2}}},
		{"nobody", nil, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { require.Equal(t, tt.want, round.Groups(round.Secured(tt.sites))) })
	}
}

func TestBucketsAreGroupsOfTheirRegion(t *testing.T) {
	seats := round.Secured(fleet("eu", "eu", "eu", "eu", "eu", "eu", "us", "us", "us"))
	seats = round.Bucketed(seats, "eu", [][]string{{"t/s0", "t/s2", "t/s4"}, {"t/s1", "t/s3", "t/s5"}})
	seats = round.Bucketed(seats, "us", [][]string{{"t/s6", "t/s7", "t/s8"}})
	require.Equal(t, []round.Cohort{
		{Region: "eu", Group: "eu.0", Sites: 3}, {Region: "eu", Group: "eu.1", Sites: 3}, {Region: "us", Sites: 3},
	}, round.Groups(seats))
	require.Equal(t, "eu.1", seats[3].Group)
}

func TestStagesFollowEachOther(t *testing.T) {
	stage, order := round.StageAdvertise, []round.Stage{}
	for ok := true; ok; stage, ok = stage.Following() {
		order = append(order, stage)
	}
	require.Equal(t, []round.Stage{"advertise", "share", "mask", "check", "unmask"}, order)
	_, ok := round.StageUpdate.Following()
	require.False(t, ok)
}
