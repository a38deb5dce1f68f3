// Package demo walks the main road on real data and shows evidence at each
// step: consent, a refused round, training, the comparison with pooled rows, a
// promotion that waits for people, verification, routing, a policy rollout, a
// tuning, and the trace from an answer back to where it came from.
//
// Invariant: it uses the public API only, with tokens and keys of its own, and
// each step fails loudly when what it shows is not so. Run again on the same
// state it succeeds again.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	v1 "github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/examples/tumour"
)

// Names of the demonstration. The consortium owns the model; the hospitals own
// the rows.
const (
	Consortium = "tumour-net"
	Model      = "tumour"
	Feature    = "wdbc"
)

// ErrShown says that something was not as the demonstration says.
var ErrShown = errors.New("the demonstration does not hold")

// Options say where the system is and how to act as its people.
type Options struct {
	Out     io.Writer
	Gateway string
	State   string // people's keys are kept below it
	Trust   string // public key file of the fabric
	Cosign  string // the stock cosign program; empty where there is none
	Rounds  int
	// Mint returns a token for a person of a tenant.
	Mint func(tenant, person string, roles ...string) (string, error)
	// Trace walks an answer back with the token of an auditor; from the evidence
	// pack in a file, asking nobody, where one is named.
	Trace func(ctx context.Context, token, header, pack string) error
	// Evidence fetches the pack of a promotion into a file.
	Evidence func(ctx context.Context, token, promotion, pack string) error
}

// A Demo is one walk.
type Demo struct {
	Options
	began    time.Time
	step     int
	lead     person // starts rounds and asks for promotions
	people   []approver
	run      v1.Run
	audit    string // header of the last answer
	promoted string // id of the promotion that was applied
	Accuracy float64
	Pooled   float64
}

// A person is a client with a token.
type person struct {
	name  string
	token string
	*v1.Client
}

// New prepares the people.
func New(o Options) (*Demo, error) {
	d := &Demo{Options: o, began: time.Now()}
	var err error
	d.lead, err = d.as(Consortium, "mira", "data-scientist", "operator", "admin")
	return d, err
}

// as returns a person who acts by the API.
func (d *Demo) as(tenant, name string, roles ...string) (person, error) {
	token, err := d.Mint(tenant, name, roles...)
	if err != nil {
		return person{}, err
	}
	client, err := v1.New(d.Gateway, token, &http.Client{Timeout: time.Minute})
	return person{name, token, client}, err
}

// A step is what is shown, and what shows it.
type step struct {
	title string
	do    func(context.Context) error
}

// Run walks every step.
func (d *Demo) Run(ctx context.Context) error {
	return d.walk(ctx, []step{
		{"five hospitals register a feature each and consent to its use", d.consent},
		{"a round that names a feature without consent does not start", d.refusal},
		{"the sites train; no row leaves them", d.train},
		{"the same training on the pooled table, which nobody could have", d.compare},
		{"the version verifies, and an altered one does not", d.verify},
		{"a promotion is planned: nothing changes", d.plan},
		{"the promotion waits for people, and the requester is none of them", d.promote},
		{"the router answers from a permitted region, and says why", d.route},
		{"a new routing policy is signed, approved and rolled out region by region", d.policy},
		{"the scorecard, and one suggestion for the next run", d.tune},
		{"an auditor walks from an answer back to the hospitals", d.trace},
	})
}

// walk takes the steps in turn; the first that does not hold is the last.
func (d *Demo) walk(ctx context.Context, steps []step) error {
	for _, s := range steps {
		d.step++
		fmt.Fprintf(d.Out, "\n%2d. %s\n", d.step, s.title)
		began := time.Now()
		if err := s.do(ctx); err != nil {
			return fmt.Errorf("step %d, %s: %w", d.step, s.title, err)
		}
		fmt.Fprintf(d.Out, "    (%.1f s)\n", time.Since(began).Seconds())
	}
	fmt.Fprintf(d.Out, "\nall %d steps hold, in %.1f s\n", d.step, time.Since(d.began).Seconds())
	return nil
}

func (d *Demo) say(format string, args ...any) {
	fmt.Fprintf(d.Out, "    "+format+"\n", args...)
}

// holds fails when a claim is not so.
func holds(ok bool, format string, args ...any) error {
	if ok {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrShown, fmt.Sprintf(format, args...))
}

// hospitals returns the tenants of the rows.
func hospitals() []string {
	var tenants []string
	for _, h := range tumour.Split() {
		tenants = append(tenants, h.Tenant)
	}
	return tenants
}
