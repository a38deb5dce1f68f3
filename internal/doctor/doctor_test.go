package doctor_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/internal/doctor"
)

func check(id string, f doctor.Finding) doctor.Check {
	return doctor.Check{ID: id, Do: func(context.Context) doctor.Finding { return f }}
}

func TestChecksRunAtOnceAndNoneIsWaitedForTooLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := func(context.Context) doctor.Finding {
			time.Sleep(3 * time.Second)
			return doctor.Well("done")
		}
		forever := make(chan doctor.Finding)
		deaf := func(context.Context) doctor.Finding { return <-forever }
		began := time.Now()
		found := doctor.Run(t.Context(), []doctor.Check{{ID: "a", Do: slow}, {ID: "b", Do: slow}, {ID: "c", Do: deaf}}, doctor.Patience)
		require.Equal(t, 5*time.Second, time.Since(began))
		require.Equal(t, []doctor.Finding{
			{ID: "a", Status: doctor.OK, Detail: "done", Duration: 3000},
			{ID: "b", Status: doctor.OK, Detail: "done", Duration: 3000},
			{ID: "c", Status: doctor.Fail, Detail: "no answer within 5s", Fix: found[2].Fix, Duration: 5000},
		}, found)
		require.NotEmpty(t, found[2].Fix)
		began = time.Now()
		found = doctor.Run(t.Context(), []doctor.Check{{ID: "a", Slow: true, Do: deaf}}, doctor.Patience)
		require.Equal(t, 25*time.Second, time.Since(began), "what is slow on purpose is given more")
		require.Equal(t, doctor.Fail, found[0].Status)
		close(forever)
	})
}

func TestSelect(t *testing.T) {
	all := []doctor.Check{check("disk", doctor.Well("")), check("clock", doctor.Well("")), check("ports", doctor.Well(""))}
	for _, test := range []struct {
		name       string
		only, skip []string
		want       []string
	}{
		{"takes all", nil, nil, []string{"disk", "clock", "ports"}},
		{"takes those that are named, in their order", []string{"ports", "disk"}, nil, []string{"disk", "ports"}},
		{"leaves out", nil, []string{"clock"}, []string{"disk", "ports"}},
		{"leaves out of what is named", []string{"ports", "disk"}, []string{"disk"}, []string{"ports"}},
	} {
		got, err := doctor.Select(all, test.only, test.skip)
		require.NoError(t, err, test.name)
		require.Equal(t, test.want, doctor.IDs(got), test.name)
	}
	_, err := doctor.Select(all, nil, []string{"dsk"})
	require.ErrorIs(t, err, doctor.ErrUnknown)
	require.ErrorContains(t, err, "disk, clock, ports")
}

func TestWorst(t *testing.T) {
	skip, well, warned, failed := doctor.Skipped(""), doctor.Well(""), doctor.Warned("", ""), doctor.Failed("", "")
	require.Equal(t, doctor.OK, doctor.Worst([]doctor.Finding{skip, well}))
	require.Equal(t, doctor.Warn, doctor.Worst([]doctor.Finding{well, warned, skip}))
	require.Equal(t, doctor.Fail, doctor.Worst([]doctor.Finding{warned, failed, well}))
}
