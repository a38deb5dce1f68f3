package main

import "strings"

// What the script says of places that may be elsewhere.
const (
	tourFolder = ".fabric"                     // the state directory, as it is by default
	tourSchema = "examples/tumour/schema.json" // in a checkout
)

// A tourStep is one step of the tour. The README's tour is these steps' titles
// and commands; a test holds it to them.
type tourStep struct {
	Title    string   `json:"title"`
	Comes    string   `json:"comes"` // what will happen
	Commands []string `json:"commands"`
	Look     string   `json:"look"`   // what to look at then
	Always   bool     `json:"always"` // it is done again by whoever goes on: it makes no more than a setting
}

func tourSteps() []tourStep {
	return []tourStep{
		{
			Title: "Who you are, and whose signature counts.",
			Comes: "The development issuer of this machine gives you a token of the hospital hosp-north. Later your identity provider does.",
			Commands: []string{
				"export FABRIC_TRUST_KEY=.fabric/keys/fabric.pub",
				"export FABRIC_TOKEN=$(fabric token --tenant hosp-north --subject ann --role data-scientist,operator,admin,auditor)",
			},
			Look:   "Nobody may do anything for another tenant than the one in the token.",
			Always: true,
		},
		{
			Title: "A feature and consent for it. Only a fingerprint of the data is ever kept.",
			Comes: "The catalog learns the schema of a table and that it may be trained on. The rows stay at the hospital's site.",
			Commands: []string{
				"fabric feature register wdbc --tenant hosp-north --consented --schema examples/tumour/schema.json",
				"fabric feature list --tenant hosp-north",
			},
			Look: "CONSENT says granted. Withdrawn consent stops rounds that run: fabric consent withdraw shows first what that reaches.",
		},
		{
			Title: "Four rounds on the sites of the tenant, watched until they end.",
			Comes: "A durable workflow asks the site for updates round by round and combines them. Stop any process meanwhile: it goes on.",
			Commands: []string{
				"fabric round start tour-model --tenants hosp-north --features wdbc --rounds 4 --quorum 1 --watch",
				"fabric round list",
			},
			Look: "ACCURACY goes up and LOSS down. The same run with its curves is in the console, under runs: CONSOLE",
		},
		{
			Title: "What came out, and its proof: the printed cosign command verifies it offline.",
			Comes: "The model is an OCI artifact that the control plane has signed. You fetch it and everything that proves it.",
			Commands: []string{
				"fabric model show tour-model",
				"fabric model pull tour-model --dir .fabric/pulled",
			},
			Look: "The last lines are commands of the stock cosign program: paste one, it asks no network.",
		},
		{
			Title: "What a promotion would change. Nothing changes without --apply and the plan's digest.",
			Comes: "A plan says what would change, how risky that is, who must approve it, and how to go back.",
			Commands: []string{
				"fabric promote tour-model --version 1 --environment dev",
			},
			Look: "It was a dry run. In production people sign the plan's digest with their own keys, in the console or with fabric approve.",
		},
		{
			Title: "The log that nobody can rewrite.",
			Comes: "Every leaf of the audit log is read, the tree is rebuilt, and its root is compared with what was signed.",
			Commands: []string{
				"fabric audit verify",
			},
			Look: "OK: all that you did is in it, and each region keeps a copy of the log's head.",
		},
	}
}

// tourScript is the tour as the README shows it: one script of the shell.
func tourScript() string {
	var b strings.Builder
	b.WriteString("export PATH=\"$PWD/bin:$PATH\"\n")
	for i, s := range tourSteps() {
		if i > 0 {
			b.WriteString("\n# " + s.Title + "\n")
		}
		b.WriteString(strings.Join(s.Commands, "\n") + "\n")
	}
	return b.String()
}
