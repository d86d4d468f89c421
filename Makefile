# The commands of a working day. `make help` lists them.

SHELL := /bin/bash
CARGO ?= cargo
CARGO_DENY_VERSION := 0.20.2

# One feature set everywhere, so that dependencies are built once: the crash tests need the kill points.
FEATURES := --locked --features failpoints
# Most tests wait for a server or a clock most of the time.
TEST_THREADS := $(shell echo $$(( $$(nproc) * 2 )))
WITH_SERVERS := eval "$$(scripts/servers env)" &&

.DEFAULT_GOAL := help
.PHONY: help test contract embedded crash crash-staging revert knowledge durability faults fuzz simulation check bench deny servers servers-down staging staging-down fmt docs

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' $(firstword $(MAKEFILE_LIST)) | while IFS='|' read -r name what; do printf 'make %-14s %s\n' "$$name" "$$what"; done

test: servers ## set up the real servers that are missing, then run every test; TESTS=name runs some
	@$(WITH_SERVERS) RUST_TEST_THREADS=$${RUST_TEST_THREADS:-$(TEST_THREADS)} $(CARGO) test $(FEATURES) --no-fail-fast $(TESTS)

contract: ## the digitalocean tests through Prism, which holds both sides against the API's own description; needs Node.js
	@CARGO=$(CARGO) scripts/contract

embedded: ## the sandbox's tests with the PostgreSQL that the feature `embedded-postgres` carries inside; needs Rust 1.93
	@$(CARGO) test $(FEATURES),embedded-postgres --lib -- sandbox::postgres

crash: servers ## the long form of the crash tests: runs killed at every point, journals cut, disks that fail, signals; then crash-staging
	@$(CARGO) test $(FEATURES) --lib -- journal::tests
	@$(WITH_SERVERS) ROLLBACK_CRASH_ROUNDS=all $(CARGO) test $(FEATURES) --test suite -- --nocapture recovery::crash recovery::journal terminal::disk terminal::signals
	@$(MAKE) --no-print-directory crash-staging

crash-staging: servers ## drills on real servers, killed at random instants: ROLLBACK_STAGING_KILLS (12x100,131x10) from ROLLBACK_STAGING_SEED (1)
	@$(WITH_SERVERS) ROLLBACK_STAGING_ALONE=yes ROLLBACK_STAGING_KILLS=$${ROLLBACK_STAGING_KILLS:-12x100,131x10} \
	  $(CARGO) test $(FEATURES) --test suite recovery::staging -- --nocapture

revert: ## the long form of the reverts: every step of every shipped runbook fails once, and the run is taken back; kills at every point of a revert
	@ROLLBACK_REVERT_STEPS=all ROLLBACK_CRASH_ROUNDS=all $(CARGO) test $(FEATURES) --test suite recovery::reve -- --nocapture

knowledge: servers ## the long form of the knowledge base: ROLLBACK_KNOWLEDGE_ROWS rows (300000), damaged, noticed and restored while others read; runs killed on the way
	@$(WITH_SERVERS) ROLLBACK_KNOWLEDGE_ROWS=$${ROLLBACK_KNOWLEDGE_ROWS:-300000} $(CARGO) test $(FEATURES) --test suite adapters::knowledge -- --nocapture --test-threads 1

faults: servers ## the long form of the network faults: ROLLBACK_FAULT_ROUNDS rounds (25) from ROLLBACK_FAULT_SEED (0); the search for secrets before
	@$(WITH_SERVERS) $(CARGO) test $(FEATURES) --test suite -- secrets:: postgres::program::passwords redis::real kubernetes::program::the_token
	@ROLLBACK_FAULT_ROUNDS=$${ROLLBACK_FAULT_ROUNDS:-25} $(CARGO) test $(FEATURES) --test suite -- --nocapture --exact faults::every_fault_is_told_as_what_it_is faults::certificate::no_adapter_speaks_to_a_server_that_tls_refuses faults::names::a_broken_resolver_is_told_as_what_it_is

durability: servers ## power lost at any instant: ROLLBACK_POWER_SEEDS instants (10000) from ROLLBACK_POWER_SEED (0)
	@ROLLBACK_POWER_SEEDS=$${ROLLBACK_POWER_SEEDS:-10000} $(CARGO) test $(FEATURES) --test suite durability:: -- --nocapture

fuzz: ## broken input for everything that reads: ROLLBACK_FUZZ_SECONDS for each target (60) from ROLLBACK_FUZZ_SEED (0)
	@ROLLBACK_FUZZ_SECONDS=$${ROLLBACK_FUZZ_SECONDS-60} $(CARGO) test $(FEATURES) --test suite fuzz:: -- --nocapture

simulation: ## the engine in virtual time, killed at random instants: ROLLBACK_SIM_SEEDS seeds (2000) from ROLLBACK_SIM_SEED (0)
	@ROLLBACK_SIM_SEEDS=$${ROLLBACK_SIM_SEEDS:-2000} $(CARGO) test $(FEATURES) --lib -- --nocapture killed_runs_lose_nothing attempts_stay_within_their_number whatever_became_of_a_run

check: ## format, clippy and documentation, without a warning
	$(CARGO) fmt --check
	$(CARGO) clippy $(FEATURES) --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc $(FEATURES) --no-deps --document-private-items

bench: ## seven works beside their floors and other tools, with goals and gates; WORKS="start step" runs some
	@CARGO=$(CARGO) scripts/bench $(WORKS)

deny: ## licences, sources and forbidden crates of the whole dependency tree
	@$(CARGO) deny --version 2>/dev/null | grep -qx 'cargo-deny $(CARGO_DENY_VERSION)' || \
	  $(CARGO) install --locked cargo-deny --version $(CARGO_DENY_VERSION) --no-default-features
	$(CARGO) deny --locked check --hide-inclusion-graph bans licenses sources

fmt: ## format the source
	$(CARGO) fmt

docs: ## write the pages of the guide that are made from the program
	UPDATE_DOCS=1 $(CARGO) test $(FEATURES) --test suite docs::the_page_of_verbs

servers: ## start the real servers that the tests need (see scripts/servers)
	@scripts/servers up

servers-down: ## stop what `make servers` started
	@scripts/servers down

staging: ## real servers on loopback for `--env staging`; AGENTS=12 makes the fleets smaller
	@scripts/staging up

staging-down: ## remove every trace of `make staging`
	@scripts/staging down
