//go:build bench

package load

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/policy"
)

// regions loses a whole region: with an alternative that is permitted, and with
// one that only the rule of residency keeps from answering.
func regions(t *testing.T, program string, b *strings.Builder) {
	fmt.Fprintf(b, "\n## A region is lost\n\nTwo endpoints of the home region stop at once, for %v. The tenant small may be answered in eu only; own, anywhere.\n\n"+
		"| tenant | answers | p99, ms | bytes across the border |\n| --- | --- | --- | --- |\n", faultDuring)
	for _, f0 := range []fault{refuse, hang} {
		t.Run(fmt.Sprintf("region lost/%d", f0), func(t *testing.T) {
			answer := answerOf(100)
			var eu []*server
			for range 2 {
				eu = append(eu, startServer(t, answer, 5*time.Millisecond))
			}
			us := startServer(t, answer, 5*time.Millisecond)
			f := startOurs(t, program, "eu", map[string][]*server{"eu": eu, "us": {us}}, func(d *policy.Document) {
				d.Rules = append([]policy.Rule{{Name: "small-stays", Tenant: "small", Model: "*", Regions: []string{"eu"}, Kinds: []string{policy.Neural}}}, d.Rules...)
			})
			client := newClient(256)
			defer client.CloseIdleConnections()
			require.Equal(t, map[int]int{200: 200}, statuses(f, client, "", 200))
			for _, s := range eu {
				s.set(t, f0)
			}
			var p pace
			p.run(time.Now(), faultRate, faultDuring, func() bool { _, whole := f.ask(context.Background(), client, "", ""); return whole })
			p.group.Wait()
			fmt.Fprintf(b, "| own, fault %s | %.2f %% good | %.1f | - |\n", map[fault]string{refuse: "refuses", hang: "hangs"}[f0], 100*float64(goods(p.samples))/float64(len(p.samples)), quantile(p.samples, 99))
			require.GreaterOrEqual(t, float64(goods(p.samples))/float64(len(p.samples)), 0.999)

			crossed := us.got.Load()
			got := statuses(f, client, "small", 200)
			fmt.Fprintf(b, "| small, the same | %v | - | %d requests |\n", got, us.got.Load()-crossed)
			require.Zero(t, got[200])
			require.GreaterOrEqual(t, got[503], 198, "%v", got)
			require.Equal(t, crossed, us.got.Load(), "no byte across")
		})
	}
}
