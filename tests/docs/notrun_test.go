package docs

// notRun are the blocks to be typed that no test types as they stand: by page
// and first line, with the reason. A test that is named does the same in
// another way, and exists.
var notRun = map[string]string{
	"README.md: make demo    # train, approve, promote, route and trace on real data, with the evidence of each step": "minutes, and the ports that everybody's system has; the same system is asked the same in tests/integration/system_test.go TestSystem",
	"README.md: make test": "it is the suite that this test is a part of",
	"clients/python/README.md: python3 -m unittest discover -s tests -t .     # needs numpy; Debian: python3-numpy": "run, from its folder, by tests/docs/trainers_test.go TestThePythonClientPassesItsTests",

	"docs/concepts/approvals.md: fabric approvals show ACTION": "ACTION is one of the reader's inbox; a person signs from the command line in tests/integration/system_test.go TestSystem",

	"docs/howto/own-oidc.md: export FABRIC_ISSUER=https://id.example/realms/fabric":                                                                                  "your provider; another provider than the built-in one is stood in for in internal/oidc/oidc_test.go TestAnswersThatDoNotVerifyAreRefused",
	"docs/howto/own-runtime.md: export NEURAL_FABRIC_URL=eu=http://triton-eu:8000,us=http://triton-us:8000,apac=http://triton-apac:8000":                             "your runtimes; ONNX Runtime serves a region beside ours in tests/onnx/onnx_conformance_test.go TestConformanceTwoUnlikeRuntimesAgree",
	"docs/howto/python-trainer.md: fabric-site run --allow-trainer sha256:DIGEST_OF_TRAIN_PY \\":                                                                     "a site's own machine and paths; sites with a trainer in Python are started by tests/docs/run_test.go TestPagesRun",
	"examples/python-trainer/README.md: fabric-site run --exec \"/usr/bin/env PYTHONPATH=$PWD/clients/python /usr/bin/python3 $PWD/examples/python-trainer/sgd.py\"": "a site needs settings of its own; started with this command by tests/docs/run_test.go TestPagesRun",
	"examples/python-trainer/README.md: fabric-site run --exec \"/usr/bin/python3 $PWD/examples/python-trainer/train.py\"":                                           "a site needs settings of its own; the program is run and compared by internal/site/program/program_test.go TestNumpyTrainerAgreesWithOurs",
	"docs/protocol/site.md: FABRIC_API_URL=https://fabric.example  FABRIC_TENANT=hosp-north  FABRIC_SITE=north  FABRIC_REGION=eu \\":                                 "a site's own machine and paths; started with these settings by tests/docs/run_test.go TestPagesRun",
	"docs/protocol/site.md: fabric-site run --exec \"/usr/bin/python3 /opt/fabric/train.py\"":                                                                        "a site's own machine and paths; the program is run and compared by internal/site/program/program_test.go TestNumpyTrainerAgreesWithOurs",

	"docs/operations/database.md: fabric migrate                                                      # what is missing, in order; safe to run from many processes": "your database; run on a real one by make docs, tests/docs/own_test.go TestOwnServers",
	"docs/operations/database.md: create role fabric_owner  nologin noinherit;":                                                                                     "needs a server's superuser and your login's name; both ways to the roles are tried in internal/postgres/state_test.go TestOpenRefusesPowerfulRoles",
	"docs/operations/key-rotation.md: fabric keys rotate":                                                                                                           "the condition of the page itself; run by make runbooks and by cmd/fabric/keys_test.go TestAKeyFileIsRotated",
	"docs/operations/keys.md: fabric keys policy init --key signing.pub --root ann.pub,bob.pub,cyd.pub --threshold 2 --root-key ann.key --draft first.json":         "three people on three machines; done by cmd/fabric/keys_test.go TestAPolicyIsMadeByTwoOfThreeRoots",
	"docs/operations/keys.md: fabric keys rotate                       # file or transit: makes the new key where the old one is":                                   "it would change the key of the system that other pages are tried on; done by cmd/fabric/keys_test.go TestAKeyFileIsRotated",
	"docs/operations/rollback.md: fabric snapshot create --reason \"before release 12\" --file point.json":                                                          "the numbers are those of a fabric with a past; done by cmd/fabric/snapshot_test.go TestAPointIsTakenAndVerifiedOffline",
	"docs/operations/stuck-round.md: fabric round stop \"$RUN\" --reason \"sites away\"":                                                                            "the other way out of the same condition, which the page mends first",
	"docs/operations/temporal.md: temporal operator namespace create --namespace fabric --retention 72h":                                                            "Temporal's own command, on a server that refuses ours; a worker makes namespace and attributes itself in every test of the system",

	"docs/protocol/package.md: cosign verify --key fabric.pub --new-bundle-format --trusted-root pulled/trusted-root.json --insecure-ignore-tlog HOST/models/TENANT/MODEL@sha256:DIGEST": "cosign takes minutes to build; run by make conformance, internal/cosign/conformance_test.go TestConformanceStockCosignVerifiesWhatWeSign",
	"docs/protocol/predicates/README.md: cosign verify-blob --key fabric.pub --bundle bundle.json --trusted-root trusted-root.json --insecure-ignore-tlog manifest.json":                 "cosign takes minutes to build; run by make conformance, internal/cosign/conformance_test.go TestConformanceStockCosignVerifiesWhatWeSign",
}
