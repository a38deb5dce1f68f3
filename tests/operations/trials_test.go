//go:build operations

package operations

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/tests/harness"
)

// A trial is how a runbook was tried.
type trial struct {
	page, cause, alert, severity string
	caused                       time.Time
	fires, told                  time.Duration // from the cause
	begun                        time.Time     // the page's first command that mends
	takes, resolved              time.Duration // those commands; until the end of the alert was told
	by                           string        // empty: the page's commands
}

// cause begins a trial: what was done is what the next alerts are about.
func (m *monitor) cause(page, what string) {
	m.trials = append(m.trials, trial{page: page, cause: what, caused: time.Now()})
}

// targets is how many processes Prometheus looks at.
const targets = 9

// patience is how long an alert is waited for.
func (m *monitor) patience() time.Duration {
	return 4*time.Minute + 30*time.Minute/time.Duration(m.factor)
}

// fires waits until an alert fires in Prometheus and has arrived at
// Alertmanager's receiver, with the way to its page.
func (m *monitor) fires(t testing.TB, alert string) {
	t.Helper()
	now := &m.trials[len(m.trials)-1]
	if now.alert != "" { // another alert of the same cause
		m.trials = append(m.trials, trial{page: now.page, cause: now.cause, caused: now.caused})
		now = &m.trials[len(m.trials)-1]
	}
	now.alert = alert
	require.Eventually(t, func() bool {
		return len(m.ask(t, `ALERTS{alertstate="firing", alertname="`+alert+`"}`)) > 0
	}, m.patience(), 500*time.Millisecond, "%s does not fire", alert)
	now.fires = time.Since(now.caused)
	var n notice
	require.Eventually(t, func() bool {
		var ok bool
		n, ok = m.last(alert)
		return ok && n.Status == "firing" && n.at.After(now.caused.Add(-time.Minute))
	}, time.Minute, 200*time.Millisecond, "%s does not arrive", alert)
	now.told, now.severity = n.at.Sub(now.caused), n.Labels["severity"]
	require.Equal(t, pagesURL+"docs/operations/"+now.page+".md", n.Annotations["runbook_url"])
	t.Logf("%s fired %.1f s after its cause and was told after %.1f s: %s", alert, now.fires.Seconds(), now.told.Seconds(), n.Annotations["summary"])
}

// mends times what gives the commands of the page that mend.
func (m *monitor) mends(give func()) {
	page, began := m.trials[len(m.trials)-1].page, time.Now()
	give()
	for i := range m.trials {
		if now := &m.trials[i]; now.page == page && now.resolved == 0 {
			if now.begun.IsZero() {
				now.begun = began
			}
			now.takes += time.Since(began)
		}
	}
}

// others says who mends what no command of the page does.
func (m *monitor) others(who string) {
	now := &m.trials[len(m.trials)-1]
	now.begun, now.by = time.Now(), who
}

// over ends a trial that no alert tells of.
func (m *monitor) over() {
	now := &m.trials[len(m.trials)-1]
	now.resolved = time.Since(now.begun)
}

// resolves waits until an alert is over, and until that was told.
func (m *monitor) resolves(t testing.TB, alert string) {
	t.Helper()
	var now *trial
	for i := range m.trials {
		if m.trials[i].alert == alert {
			now = &m.trials[i]
		}
	}
	require.NotNil(t, now, alert)
	if now.begun.IsZero() {
		now.begun, now.by = time.Now(), "by itself"
	}
	require.Eventually(t, func() bool {
		n, _ := m.last(alert)
		// A scrape that is missed takes an alert away too.
		return n.Status == "resolved" && len(m.ask(t, `ALERTS{alertname="`+alert+`"}`)) == 0 && len(m.ask(t, "up == 1")) == targets-m.away
	}, m.patience(), 500*time.Millisecond, "%s does not resolve", alert)
	now.resolved = time.Since(now.begun)
	t.Logf("%s is over %.1f s after the first command that mends", alert, now.resolved.Seconds())
}

// report writes what was tried to the file that RUNBOOKS_REPORT names, and says it.
func (m *monitor) report(t *testing.T, took time.Duration) {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, `# The runbooks, tried

`+"`make runbooks`"+`, %s: %s. One system with a replica of its database, under a real Prometheus (scraped every second) and a real Alertmanager with a webhook;
conditions are caused, commands are those of the pages of docs/operations. In the rules every `+"`for`"+`, every range in minutes and the thresholds of FabricRoundStuck, FabricOutboxLate and FabricDecisionRecordsLate are divided by %d
(`+"`make runbooks RUNBOOKS_FACTOR=1`"+` divides by nothing); FabricApprovalExpires looks at a ballot of days instead of its last hour. All of it took %.0f s.

| page | what was done | alert | fires after | at the webhook after | the page's commands take | over, and told, after |
| --- | --- | --- | --- | --- | --- | --- |
`, time.Now().UTC().Format("2006-01-02"), harness.Describe(t), m.factor, took.Seconds())
	for _, r := range m.trials {
		takes := fmt.Sprintf("%.1f s", r.takes.Seconds())
		if r.by != "" {
			takes = r.by
		}
		over := fmt.Sprintf("%.1f s", r.resolved.Seconds())
		if r.resolved == 0 {
			t.Errorf("%s: %s was not seen to end", r.page, r.cause)
			takes, over = "", "not seen to end"
		}
		if r.alert == "" {
			fmt.Fprintf(&b, "| [%s](../docs/operations/%s.md) | %s | people see it |  |  | %s | %s |\n", r.page, r.page, r.cause, takes, over)
			continue
		}
		fmt.Fprintf(&b, "| [%s](../docs/operations/%s.md) | %s | `%s` (%s) | %.1f s | %.1f s | %s | %s |\n",
			r.page, r.page, r.cause, r.alert, r.severity, r.fires.Seconds(), r.told.Seconds(), takes, over)
	}
	b.WriteString("\n*fires* and *at the webhook* count from the cause, *over* from the page's first command that mends (or from the look at what ends by itself).\n")
	t.Log("\n" + b.String())
	if file := os.Getenv("RUNBOOKS_REPORT"); file != "" {
		require.NoError(t, os.WriteFile(file, []byte(b.String()), 0o644))
	}
}
