// Package precheck says, before anything starts, what this deployment has, what
// it lacks, and whether it runs for real, in simulation, or not at all.
//
// Invariant: no value of a variable is ever written. Production is reached only
// with everything that it needs and a person's signed vote for exactly this
// set of variables.
package precheck

import (
	"crypto/ecdsa"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/atom-fabric/fabric/domain/approval"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/internal/config"
)

// Decisions.
const (
	Proceed    = "PROCEED"
	Simulation = "PROCEED_SIMULATION"
	Block      = "BLOCK"
)

// KindLeave is the kind of action that a vote for production decides on.
const KindLeave = "leave-simulation"

// ErrBlocked says that the deployment must not start.
var ErrBlocked = errors.New("precheck: BLOCK")

// A Variable is SET or MISSING.
type Variable struct {
	Name     string `json:"name"`
	State    string `json:"state"` // "SET" or "MISSING"
	Critical bool   `json:"critical"`
	Meaning  string `json:"meaning"`
}

// A Report is the outcome.
type Report struct {
	Decision    string          `json:"decision"`
	Why         []string        `json:"why"` // reasons of the decision, in words
	Signing     string          `json:"p2"`  // "PASS" or "BLOCKED": can packages be signed with a key that was given
	Environment string          `json:"environment"`
	Deployment  artifact.Digest `json:"deployment"` // what a vote for production must name
	Approver    string          `json:"approver,omitempty"`
	Variables   []Variable      `json:"variables"`
}

// Decide looks at the settings.
func Decide(c config.Config) Report {
	r := Report{Decision: Proceed, Signing: "PASS", Environment: c.Env}
	var set []string
	missing := map[string]bool{}
	for _, f := range config.Fields() {
		if !f.Contract {
			continue
		}
		v := Variable{Name: f.Env, State: "MISSING", Critical: f.Critical, Meaning: f.Doc}
		if c.Set(f.Env) {
			v.State = "SET"
			set = append(set, f.Env)
		} else if f.Critical {
			missing[f.Env] = true
		}
		r.Variables = append(r.Variables, v)
	}
	slices.Sort(set)
	r.Deployment = artifact.DigestOf([]byte(KindLeave + "\n" + c.Env + "\n" + strings.Join(set, "\n") + "\n"))

	if missing["GLOBAL_REGISTRY_URL"] || missing["POSTGRES_DSN"] {
		r.simulate("no registry or no database was given: the embedded ones serve")
	}
	if len(c.KeySources()) == 0 {
		r.Signing = "BLOCKED"
		r.simulate("no signing key was given: a generated development key signs")
	}
	if !c.Set("FEDERATION_TOKEN") {
		r.simulate("no federation token was given: a generated one admits sites")
	}
	wantsProduction := c.SimulationMode == "false" || c.Env == "prod"
	switch {
	case c.SimulationMode == "true":
		r.simulate("SIMULATION_MODE asks for it")
	case wantsProduction && r.Decision == Simulation:
		r.Decision = Block
		r.Why = append(r.Why, "production was asked for, and the above is missing: set it, or leave SIMULATION_MODE unset")
	case r.Decision == Proceed:
		r.leave(c)
	}
	return r
}

func (r *Report) simulate(why string) {
	r.Decision = Simulation
	r.Why = append(r.Why, why)
}

// leave lets a complete deployment out of simulation if a person said so.
func (r *Report) leave(c config.Config) {
	name, err := r.approved(c)
	if err != nil {
		r.Decision = Block
		r.Why = append(r.Why, "leaving simulation needs a recorded approval: "+err.Error())
		return
	}
	r.Approver = name
	r.Why = append(r.Why, "everything is set and "+name+" approved it")
}

// approved returns who signed the vote for this deployment.
func (r *Report) approved(c config.Config) (string, error) {
	if c.ProductionApproval == "" || c.ProductionApprover == "" {
		return "", fmt.Errorf("set FABRIC_PRODUCTION_APPROVAL and FABRIC_PRODUCTION_APPROVER; the vote is made with: fabric approve --deployment %s", r.Deployment)
	}
	keyText, err := os.ReadFile(c.ProductionApprover)
	if err != nil {
		return "", fmt.Errorf("public key of the approver: %w", err)
	}
	key, err := artifact.ParsePublicKey(keyText)
	if err != nil {
		return "", fmt.Errorf("public key of the approver: %w", err)
	}
	bundle, err := os.ReadFile(c.ProductionApproval)
	if err != nil {
		return "", fmt.Errorf("the vote: %w", err)
	}
	verified, err := artifact.VerifyBundle([]*ecdsa.PublicKey{key}, bundle, artifact.PredicateApproval, r.Deployment)
	if err != nil {
		return "", fmt.Errorf("the vote does not verify for deployment %s: %w", r.Deployment, err)
	}
	var vote approval.Predicate
	if err := artifact.DecodeStrict(verified.Predicate, &vote); err != nil {
		return "", fmt.Errorf("the vote: %w", err)
	}
	if vote.Kind != KindLeave || vote.Decision != "approve" {
		return "", fmt.Errorf("the vote says %q to %q, not %q to %q", vote.Decision, vote.Kind, "approve", KindLeave)
	}
	return vote.Approver, nil
}
