# The commands of the project; `make` lists them. Programs that they need are found or built by
# e2e/tools, which keeps them outside the checkout.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
# The targets of `make test` share two cores and one control plane's memory: one after the other.
.NOTPARALLEL:
.PHONY: help build generate verify lint test test-fast e2e stories bench fuzz demo controlplane check

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
TOOLS := go run ./e2e/tools
GENERATED := ./adapters/kubernetes/...
# STORY=main-job runs the tests whose names begin with TestMainJob.
STORY ?=
ONLY := $(if $(STORY),-run '(?i)^Test$(subst -,,$(STORY))')
# The packages of the core whose tests are stories.
TOLD = grep -rl --include='*_test.go' cockroachdb/datadriven core | xargs -n1 dirname | sort -u | sed 's,^,./,'

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## Build bin/elemental, one static binary
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '-s -w -X main.version=$(VERSION)' -o bin/elemental .

generate: ## Write the deep copies, CRDs, RBAC roles and generated documents again
	@# A kind that is gone must not leave its CRD behind.
	@rm -f packaging/crds/*_*.yaml
	tools=$$($(TOOLS) generate); \
	$$tools/controller-gen object paths=$(GENERATED); \
	$$tools/controller-gen crd rbac:roleName=elemental-controller paths=$(GENERATED) \
		output:crd:dir=packaging/crds output:rbac:dir=packaging/rbac
	go generate ./...

verify: ## Fail when generated files or go.mod are stale; changes nothing
	e2e/tools/verify.sh

lint: ## Check the import fences and the code
	tools=$$($(TOOLS) lint); \
	$$tools/golangci-lint config verify; \
	$$tools/golangci-lint run

test: ## Run every layer that this machine can run
test: check test-fast lint verify e2e

test-fast: ## Run the layers that need no hosts: core, contracts, a real API server
	$(TOOLS) check
	go vet ./...
	@# The walk has one goroutine, and ten times as far to go under the race detector.
	go test -count=1 -v -run TestExplorer ./core | grep -v '^ '
	tools=$$($(TOOLS) controlplane); \
	ELEMENTAL_TOOLS=$$tools go test -race -skip TestExplorer -timeout 20m ./core/... ./ports/... ./adapters/... ./modes/...

e2e: check build ## Test the built binary against real hosts; STORY=main-job runs one story
	tools=$$($(TOOLS) controlplane); \
	ELEMENTAL_TOOLS=$$tools ELEMENTAL_BINARY=$(CURDIR)/bin/elemental \
		go test -json -count=1 -parallel 3 -timeout 35m $(ONLY) ./e2e/... | $(TOOLS) progress

stories: ## Write the answers in the core's stories again, from what the core now says
	go test $$($(TOLD)) -run Stories -rewrite

bench: ## Print figures against peers; asserts nothing
	go run ./e2e/bench

fuzz: ## Feed each fuzz target what nobody thought of, for 10 s
	@# What the targets learned to survive stands in testdata and is fed to them by make test-fast.
	grep -rEo --include='*_test.go' '^func Fuzz[A-Za-z]+' . | sed -E 's,/[^/]+:func , ,' | sort | while read -r package target; do \
		go test -run '^$$' -fuzz "^$$target$$" -fuzztime 10s "$$package"; \
	done

demo: build ## Show Elemental at work on this machine; ONCE=1 ends after one round
	tools=$$($(TOOLS) controlplane); \
	ELEMENTAL_TOOLS=$$tools ELEMENTAL_BINARY=$(CURDIR)/bin/elemental ONCE=$(ONCE) go run ./e2e/playground

controlplane: ## Find or build etcd and Kubernetes; prints their folder
	@$(TOOLS) controlplane

check: ## Say which programs the tests miss on this machine
	@$(TOOLS) check all
