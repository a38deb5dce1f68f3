package main

import (
	"strings"

	"github.com/spf13/cobra"
)

// examples are what --help and the reference show of each command, by its path
// without the program's name. A test parses each of them.
func examples() map[string][]string {
	return map[string][]string{
		"up":       {"fabric up", "fabric up --state /var/lib/fabric --port-base 12000"},
		"demo":     {"fabric demo", "fabric demo --governance"},
		"tour":     {"fabric tour", "fabric tour --from 3", "fabric tour --yes", "fabric tour --list"},
		"simulate": {"fabric simulate --data digits --sites 100 --rounds 30 --dropout 0.1 --out sim", "fabric simulate --strategy fedadam --secure --privacy gaussian --unit example --noise 1 --clip 1", "fabric simulate --study study.json --out trials"},
		"token":    {"export FABRIC_TOKEN=$(fabric token --tenant hosp-north --subject ann --role data-scientist,operator)"},

		"token revoke":      {"fabric token revoke --subject ann --reason 'laptop lost'", "fabric token revoke --file - --reason leaked < leaked.token"},
		"token revocations": {"fabric token revocations"},

		"feature register":   {"fabric feature register wdbc --consented --schema schema.json --grantee consortium"},
		"feature list":       {"fabric feature list"},
		"feature versions":   {"fabric feature versions wdbc"},
		"feature promote":    {"fabric feature promote wdbc 2"},
		"feature statistics": {"fabric feature statistics labs --epsilon 1 --column age=0:120 --column mass=1:300 --wait", "fabric feature statistics labs", "fabric feature statistics labs --owner hosp-north -o json"},
		"feature withdraw":   {"fabric feature withdraw wdbc", "fabric feature withdraw wdbc --apply"},
		"consent grant":      {"fabric consent grant wdbc consortium --action train --expires 2160h --max-epsilon 1", "fabric consent grant wdbc consortium --key ann.key"},
		"consent list":       {"fabric consent list --feature wdbc"},
		"consent withdraw":   {"fabric consent withdraw wdbc", "fabric consent withdraw wdbc --grantee consortium --reason 'study over' --apply --wait"},
		"consent report":     {"fabric consent report 3 --out withdrawal"},
		"consent decide":     {"fabric consent decide 3 --decision retrain --reason 'the share was large'"},
		"consent request":    {"fabric consent request hosp-north wdbc --purpose HMB --reason 'tumour study'"},
		"consent requests":   {"fabric consent requests"},
		"consent answer":     {"fabric consent answer 0197-request approve --reason 'ethics board agreed'"},
		"consent search":     {"fabric consent search tumour"},
		"lineage":            {"fabric lineage 0197-run", "fabric lineage 0197-run --send http://127.0.0.1:5000/api/v1/lineage"},
		"budget set":         {"fabric budget set wdbc 3 --delta 1e-5"},
		"budget list":        {"fabric budget list"},

		"round start":  {"fabric round start tumour --tenants hosp-north,hosp-south --rounds 12 --quorum 2 --watch", "fabric round start tumour --tenants hosp-north --params run.json"},
		"round list":   {"fabric round list --watch"},
		"round show":   {"fabric round show 0197-run", "fabric round show 0197-run --watch"},
		"round status": {"fabric round status 0197-run -o json"},
		"round watch":  {"fabric round watch 0197-run --timeout 1h"},
		"round pause":  {"fabric round pause 0197-run --reason maintenance"},
		"round resume": {"fabric round resume 0197-run"},
		"round stop":   {"fabric round stop 0197-run --reason 'good enough'"},

		"study start": {"fabric study start tumour --file study.json --tenants hosp-north,hosp-south --rounds 8 --quorum 2 --budget-rounds 200 --watch", "fabric study start tumour --file study.json --tenants hosp-north --warm-start 0197-study --apply"},
		"study list":  {"fabric study list --status running"},
		"study show":  {"fabric study show 0197-study", "fabric study show 0197-study --watch"},
		"study stop":  {"fabric study stop 0197-study --reason 'good enough'"},

		"plot convergence": {"fabric plot convergence 0197-run -f accuracy.svg", "fabric plot convergence 0197-run --loss -f loss.svg"},
		"plot privacy":     {"fabric plot privacy 0197-run -f epsilon.svg"},
		"plot drift":       {"fabric plot drift tumour --region eu -f drift.svg"},
		"plot canary":      {"fabric plot canary 0197-promotion --metric errors -f canary.svg"},
		"plot routing":     {"fabric plot routing -f routing.svg"},

		"model list":      {"fabric model list"},
		"model show":      {"fabric model show tumour"},
		"model push":      {"fabric model push tumour --weights model.safetensors --key ann.key"},
		"model pull":      {"fabric model pull tumour --dir pulled", "fabric model pull tumour --version 3 --dir pulled"},
		"model verify":    {"fabric model verify pulled"},
		"model diff":      {"fabric model diff tumour:1 tumour:2", "fabric model diff pulled tumour@champion"},
		"model alias":     {"fabric model alias tumour", "fabric model alias tumour champion --to 3 --key ann.key"},
		"model export":    {"fabric model export tumour --version 3 --onnx tumour.onnx"},
		"model history":   {"fabric model history tumour --at 2026-11-23T08:00:00Z"},
		"model replicas":  {"fabric model replicas tumour --version 3"},
		"model replicate": {"fabric model replicate tumour --version 3 --region eu"},

		"promote":          {"fabric promote tumour --version 3 --environment production", "fabric promote tumour --version 3 --environment production --shadow 10% --canary 1,5,25,50,100", "fabric promote tumour --version 3 --environment production --apply sha256:0123 --wait"},
		"promote status":   {"fabric promote status 0197-promotion --watch"},
		"rollout show":     {"fabric rollout show 0197-promotion --watch"},
		"rollout pause":    {"fabric rollout pause 0197-promotion --reason 'a page at night'"},
		"rollout resume":   {"fabric rollout resume 0197-promotion"},
		"rollout abort":    {"fabric rollout abort 0197-promotion --reason 'wrong version'"},
		"rollback":         {"fabric rollback tumour", "fabric rollback tumour --apply sha256:0123 --wait"},
		"snapshot create":  {"fabric snapshot create --reason 'before the upgrade' --file point.json"},
		"snapshot list":    {"fabric snapshot list"},
		"snapshot verify":  {"fabric snapshot verify", "fabric snapshot verify --file point.json"},
		"snapshot restore": {"fabric snapshot restore 4", "fabric snapshot restore 4 --apply sha256:0123 --wait"},

		"snapshot restore status": {"fabric snapshot restore status 0197-restore --watch"},

		"approvals":                 {"fabric approvals", "fabric approvals --mine --watch"},
		"approvals list":            {"fabric approvals list --state ''"},
		"approvals show":            {"fabric approvals show 0197-promotion"},
		"approvals approve":         {"fabric approvals approve 0197-promotion --key bob.key --as bob"},
		"approvals reject":          {"fabric approvals reject 0197-promotion --key bob.key --as bob --reason 'fairness is not shown'"},
		"approvals request-changes": {"fabric approvals request-changes 0197-promotion --key bob.key --as bob --reason 'a smaller first step'"},
		"approvals revoke":          {"fabric approvals revoke 0197-promotion --key bob.key --as bob --reason 'read it again'"},
		"approvals break-glass":     {"fabric approvals break-glass 0197-promotion --key bob.key --as bob --reason 'patients wait'"},
		"approvals review":          {"fabric approvals review 0197-promotion --key cyd.key --as cyd"},
		"approvals delegate":        {"fabric approvals delegate --key bob.key --as bob --to dan --to-key dan.pub --for 72h --reason holidays"},
		"approvals delegations":     {"fabric approvals delegations"},
		"approvals undelegate":      {"fabric approvals undelegate sha256:0123 --key bob.key --as bob --to-key dan.pub", "fabric approvals undelegate sha256:0123 --reason 'dan has left'"},
		"approve":                   {"fabric approve 0197-promotion --key bob.key --as bob", "fabric approve 0197-promotion --key 'pkcs11:token=bob;object=vote?module-path=/usr/lib/softhsm/libsofthsm2.so' --as bob", "fabric approve 0197-promotion --key bob.key --as bob --reject --reason 'fairness is not shown'"},
		"approver add":              {"fabric approver add bob --role owner --key bob.pub"},
		"approver list":             {"fabric approver list"},
		"approver revoke":           {"fabric approver revoke bob --reason 'has left'"},

		"invoke":   {"fabric invoke tumour --input rows.json", "fabric invoke tumour --input rows.json --preferences '{\"region\": \"eu\", \"explain\": true}'"},
		"trace":    {"fabric trace tumour@3", "fabric trace \"$AUDIT_HEADER\" --evidence pack.zip"},
		"evidence": {"fabric evidence 0197-promotion -f pack.zip"},
		"verify":   {"fabric verify pack.zip"},

		"policy show":        {"fabric policy show"},
		"policy propose":     {"fabric policy propose --file policy.json", "fabric policy propose --file policy.json --apply sha256:0123 --wait"},
		"policy status":      {"fabric policy status 0197-rollout --watch"},
		"policy regions":     {"fabric policy regions 0197-rollout"},
		"policy steer":       {"fabric policy steer 0197-rollout pause --reason 'latency went up'"},
		"policy replay":      {"fabric policy replay --file policy.json --days 14"},
		"policy decisions":   {"fabric policy decisions"},
		"policy bundle":      {"fabric policy bundle --file policy.json --out bundle.tar.gz"},
		"proposals list":     {"fabric proposals list"},
		"proposals show":     {"fabric proposals show 0197-proposal"},
		"proposals evaluate": {"fabric proposals evaluate --shadow"},
		"scorecard show":     {"fabric scorecard show tumour --version 3"},
		"scorecard report":   {"fabric scorecard report tumour -f card.html", "fabric scorecard report tumour -o md"},
		"tune":               {"fabric tune tumour", "fabric tune tumour --environment dev --apply"},

		"audit list":   {"fabric audit list --newest", "fabric audit list --from 100 -o json"},
		"audit verify": {"fabric audit verify", "fabric audit verify --kept checkpoint.txt", "fabric audit verify export"},
		"audit prove":  {"fabric audit prove 17 --out promotion"},
		"audit export": {"fabric audit export --out export"},
		"audit key":    {"fabric audit key"},
		"audit keygen": {"fabric audit keygen fabric.example.org/log --out log.key"},

		"keys generate":      {"fabric keys generate bob", "fabric keys generate fabric --in transit"},
		"keys list":          {"fabric keys list"},
		"keys add":           {"fabric keys add second.pub --owner 'second site' --root-key root.key"},
		"keys rotate":        {"fabric keys rotate --new next.pub --overlap 24h --root-key root.key"},
		"keys revoke":        {"fabric keys revoke stolen.pub --reason 'laptop stolen' --since 2026-11-23T08:00:00Z"},
		"keys verify-blob":   {"fabric keys verify-blob model.bin --bundle model.bundle --key cosign.pub"},
		"keys policy":        {"fabric keys policy"},
		"keys policy init":   {"fabric keys policy init --key fabric.pub --root ann.pub,bob.pub,cyd.pub --threshold 2 --root-key ann.key --draft policy.draft"},
		"keys policy sign":   {"fabric keys policy sign policy.draft --root-key bob.key"},
		"keys policy export": {"fabric keys policy export policy"},

		"api":            {"fabric api"},
		"worker":         {"fabric worker", "FABRIC_REGION=eu fabric worker"},
		"registry":       {"FABRIC_LISTEN=127.0.0.1:9050 fabric registry"},
		"postgres":       {"fabric postgres"},
		"migrate":        {"fabric migrate"},
		"doctor":         {"fabric doctor", "fabric doctor --only postgres,migrations,queues", "fabric doctor --skip ports -o json"},
		"precheck":       {"fabric precheck"},
		"report":         {"fabric report --tests tests.json"},
		"config show":    {"fabric config show"},
		"config example": {"fabric config example > fabric.yaml"},
		"healthcheck":    {"fabric healthcheck"},
		"version":        {"fabric version"},
	}
}

// exemplify gives the commands below root their examples.
func exemplify(root *cobra.Command) {
	all := examples()
	for _, cmd := range tree(root) {
		if lines := all[strings.TrimPrefix(cmd.CommandPath(), root.Name()+" ")]; len(lines) > 0 {
			cmd.Example = "  " + strings.Join(lines, "\n  ")
		}
	}
}
