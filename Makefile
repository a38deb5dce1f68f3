# Thin: each target calls the Go tool or one of our programs.

GO      ?= go
BIN     := bin
VERSION := 9.0.0-phaseI.1
LDFLAGS := -s -w -X main.version=$(VERSION) -X main.commit=$(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
SOURCES := $(shell find cmd domain contract workflows activities api worker internal infra examples -name '*.go' -o -name '*.sql' -o -name '*.yaml' -o -name '*.csv' -o -name '*.json' 2>/dev/null)
TOOL    := $(GO) tool -modfile=tools/go.mod

# What a run of conformance leaves out, of: v3 transit softhsm prometheus. It says so.
WITHOUT ?=
SOFTHSM ?= /usr/lib/softhsm/libsofthsm2.so
unless   = $(if $(filter $(1),$(WITHOUT)),$(3),$(2))

.DEFAULT_GOAL := help
.PHONY: help setup build demo demo-governance e2e-governance up onnx test unit race lint workflowcheck generate conformance e2e-console fuzz chaos bench bench-console bench-router faults-router soak-router docs operations operations-rules chart images backup runbooks reports clean

help: ## show the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

setup: ## install what the machine lacks (PostgreSQL's programs, numpy), on Debian as root
	@sh infra/setup/debian.sh

build: $(BIN)/fabric $(BIN)/fabric-router $(BIN)/fabric-site $(BIN)/temporal-dev ## build every program into bin/

$(BIN)/fabric $(BIN)/fabric-router $(BIN)/fabric-site: $(SOURCES) go.mod go.sum
	$(GO) build -ldflags '$(LDFLAGS)' -o $@ ./cmd/$(notdir $@)

$(BIN)/temporal-dev: $(wildcard dev/temporal/*.go) dev/go.mod dev/go.sum
	$(GO) -C dev build -trimpath -ldflags '-s -w' -o ../$@ ./temporal

$(BIN)/cosign: tools/cosign/go.mod tools/cosign/go.sum
	CGO_ENABLED=0 $(GO) -C tools/cosign build -trimpath -ldflags '-s -w' -o ../../$@ github.com/sigstore/cosign/v2/cmd/cosign

$(BIN)/cosign3: tools/cosign3/go.mod tools/cosign3/go.sum
	CGO_ENABLED=0 $(GO) -C tools/cosign3 build -trimpath -ldflags '-s -w' -o ../../$@ github.com/sigstore/cosign/v3/cmd/cosign

$(BIN)/transit: tools/transit/main.go tools/transit/go.mod tools/transit/go.sum
	CGO_ENABLED=0 $(GO) -C tools/transit build -trimpath -ldflags '-s -w' -o ../../$@ .

$(BIN)/versitygw: tools/versitygw/go.mod tools/versitygw/go.sum
	CGO_ENABLED=0 $(GO) -C tools/versitygw build -trimpath -ldflags '-s -w' -o ../../$@ github.com/versity/versitygw/cmd/versitygw

$(BIN)/prometheus: tools/prometheus/go.mod tools/prometheus/go.sum
	CGO_ENABLED=0 $(GO) -C tools/prometheus build -trimpath -ldflags '-s -w' -o ../../$@ github.com/prometheus/prometheus/cmd/prometheus

$(BIN)/opa: tools/opa/go.mod tools/opa/go.sum
	CGO_ENABLED=0 $(GO) -C tools/opa build -trimpath -ldflags '-s -w' -o ../../$@ github.com/open-policy-agent/opa

$(BIN)/registry: tools/distribution/go.mod tools/distribution/go.sum
	CGO_ENABLED=0 $(GO) -C tools/distribution build -trimpath -ldflags '-s -w' -o ../../$@ github.com/distribution/distribution/v3/cmd/registry

demo: setup build ## train, approve, promote, route and trace on real data, with evidence for each step
	$(BIN)/fabric demo

demo-governance: setup build ## a region drifts and is closed by a signed policy; a canary that regresses goes back by itself
	$(BIN)/fabric demo --governance

e2e-governance: setup build ## demo-governance twice, from nothing and over what it left, for two seeds; five minutes
	$(GO) test -tags governance -count=1 -timeout 30m -v -run TestGovernanceDemonstration ./tests/integration

up: setup build ## start the whole system on loopback until Ctrl-C
	$(BIN)/fabric up

test: setup build lint workflowcheck race conformance ## everything that CI runs
	@echo "all checks passed"

unit: build ## the tests of the product's packages, without the race detector
	$(GO) test ./...

race: build ## all tests under the race detector, the development server's included
	$(GO) test -race -timeout 20m ./...
	CGO_ENABLED=0 $(GO) test ./internal/hsm
	$(GO) -C dev test -trimpath ./...

lint: ## golangci-lint with the rules of .golangci.yml
	$(TOOL) golangci-lint run ./...

workflowcheck: ## no clock, randomness or map order in a workflow
	$(TOOL) workflowcheck ./workflows/...

generate: ## regenerate the API types; CI compares
	$(GO) generate ./api/...

conformance: $(BIN)/cosign $(call unless,v3,$(BIN)/cosign3) $(call unless,transit,$(BIN)/transit) $(BIN)/versitygw $(BIN)/registry $(call unless,prometheus,$(BIN)/prometheus) ## cosign v2 and v3 verify what we sign from files, transit and SoftHSM, and the reverse; real S3 and OCI servers keep our contract
	@sh infra/setup/debian.sh $(call unless,softhsm,softhsm)
	$(if $(WITHOUT),@echo "conformance: left out of this run: $(WITHOUT)")
	COSIGN_BIN=$(abspath $(BIN)/cosign) COSIGN_V3_BIN=$(call unless,v3,$(abspath $(BIN)/cosign3),none) \
	TRANSIT_BIN=$(call unless,transit,$(abspath $(BIN)/transit),none) SOFTHSM_MODULE=$(call unless,softhsm,$(SOFTHSM),none) \
		$(GO) test -tags conformance -count=1 -run Conformance ./internal/cosign/... ./internal/oci/... ./cmd/fabric
	FABRIC_CONFORMANCE=1 $(GO) test -count=1 ./internal/blob/... ./internal/oci/...
	$(call unless,prometheus,PROMETHEUS_BIN=$(abspath $(BIN)/prometheus) $(GO) test -tags conformance -count=1 -run Conformance ./internal/prom/...)

# npm needs no scripts for it: the library lies in the package. About fifteen seconds the first time, three after.
$(BIN)/onnx/node_modules: tests/onnx/package.json
	mkdir -p $(BIN)/onnx && cp $< $(BIN)/onnx/ && npm install --prefix $(BIN)/onnx --ignore-scripts --no-audit --no-fund && touch $@

onnx: $(BIN)/onnx/node_modules ## our runtime and ONNX Runtime serve the same signed model in two regions, and agree
	ONNX_MODULES=$(abspath $(BIN)/onnx) $(GO) test -tags conformance -count=1 -v ./tests/onnx/...

docs: build $(BIN)/versitygw $(BIN)/registry $(BIN)/transit $(BIN)/opa ## run what the pages about servers of your own say, each with a system of its own
	@sh infra/setup/debian.sh operations
	$(GO) test -tags docs -count=1 -timeout 30m -v -run 'TestOwnServers' ./tests/docs

# playwright-core brings no browser, and none is fetched: Debian's Chromium is asked.
$(BIN)/console/node_modules: tests/console/package.json
	@sh infra/setup/debian.sh console
	mkdir -p $(BIN)/console && cp $< $(BIN)/console/ && PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD=1 npm install --prefix $(BIN)/console --ignore-scripts --no-audit --no-fund && touch $@

e2e-console: build $(BIN)/cosign $(BIN)/console/node_modules ## people decide in the console, in Chromium, on the whole system; pictures in docs/console
	@sh infra/setup/debian.sh console
	CONSOLE_MODULES=$(abspath $(BIN)/console) CONSOLE_SHOTS=$(abspath docs/console) CONSOLE_REPORT=$(abspath reports/console.md) $(GO) test -tags browser -count=1 -timeout 40m -v ./tests/console/...

FUZZ      ?= 20000
FUZZ_SEED ?= $(shell date +%s)
fuzz: ## FUZZ generated requests to each operation of the API, from FUZZ_SEED on; what is done stays done: reports/fuzz.md
	@echo "seed $(FUZZ_SEED)"
	FABRIC_FUZZ=$(FUZZ) FABRIC_FUZZ_SEED=$(FUZZ_SEED) FABRIC_FUZZ_DIR=$(abspath .fabric/fuzz) $(GO) test -count=1 -timeout 24h -parallel 6 -run '$(or $(RUN),TestFuzz)' ./tests/fuzz
	FABRIC_FUZZ_REPORT=$(abspath .fabric/fuzz) $(GO) test -count=1 -run TestReport ./tests/fuzz

chaos: build ## kill each process in the middle of a round, at every stage, and compare the model's digest
	$(GO) test -tags chaos -count=1 -timeout 120m -parallel 4 -v ./tests/chaos/...

bench: build ## the figures of reports/bench
	@sh infra/setup/debian.sh tuner
	FABRIC_BENCH=1 $(GO) test -tags bench -p 1 -count=1 -timeout 3h -v ./tests/load/... ./tests/simulation/... ./internal/postgres ./internal/surrogate ./internal/opa

bench-console: ## first byte of every page of the console with 10,000 runs and 1,000 requests: reports/bench/console.md
	$(GO) test -tags bench -count=1 -timeout 20m -v -run TestConsolePages ./tests/load

bench-router: build ## the router beside nginx, HAProxy and two Go proxies, in one run: reports/bench/router.md
	@sh infra/setup/debian.sh router
	FABRIC_BENCH=1 $(GO) test -tags bench -count=1 -timeout 20m -v -run TestRouterBench ./tests/load/proxies

faults-router: ## break upstreams in every way behind the router, nginx and HAProxy: reports/bench/router_faults.md, router_distance.md
	@sh infra/setup/debian.sh router
	$(GO) test -tags bench -count=1 -timeout 60m -run 'TestRouterFaults|TestRouterDistance' -v ./tests/load

soak-router: ## ten minutes of load and faults: reports/bench/router_soak.md
	$(GO) test -tags bench -count=1 -timeout 20m -run TestSoak -v ./tests/load

# What operators are given. None of these is part of make test: each takes minutes.
operations: operations-rules chart images backup runbooks ## everything below, one after the other

operations-rules: ## promtool and amtool check the alerts, their unit tests and the configurations
	@sh infra/setup/debian.sh operations
	$(GO) test -tags operations -count=1 -run 'TestRules$$' -v ./tests/operations

chart: ## lint and render the Helm chart, and read it with Kubernetes' types
	$(GO) -C tools/chart test -count=1 -v ./...

images: build ## build the container images without a registry, and start a whole system from them
	@sh infra/setup/debian.sh images
	$(GO) test -tags operations -count=1 -timeout 30m -run 'TestImages$$' -v ./tests/operations

backup: build ## back up a running system, destroy it, restore it, compare, and upgrade, by the commands of docs/operations
	@sh infra/setup/debian.sh operations
	$(GO) test -tags operations -count=1 -timeout 30m -run 'TestBackupDestroyRestore$$' -v ./tests/operations

# RUNBOOKS_FACTOR is how many times sooner the alerts come than in production; 1 waits as an operator does.
runbooks: build ## cause the condition of each runbook under real Prometheus and Alertmanager, and follow the page: reports/runbooks.md
	@sh infra/setup/debian.sh operations
	RUNBOOKS_REPORT=$(abspath reports/runbooks.md) $(GO) test -tags operations -count=1 -timeout 120m -run 'TestRunbooks$$' -v ./tests/operations

reports: build ## run the tests and the system, and write reports/
	mkdir -p .fabric
	$(GO) test -json ./... > .fabric/tests.json; $(BIN)/fabric report --tests .fabric/tests.json

clean: ## remove what was built
	rm -rf $(BIN)
