# What a person does with this tree; `make` alone lists it. CI runs the same recipes (.ci/run).
#
# Each target sets up what it needs and is quick the second time. V=1 shows the commands.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.SUFFIXES:
MAKEFLAGS += --no-print-directory
.NOTPARALLEL:
ifndef V
.SILENT:
endif

MODELS ?= models
# How long `make fuzz` takes, for each body.
SECONDS ?= 60
# More arguments for the program behind a target: make run ARGS='--http 127.0.0.1:9000'
ARGS ?=

TARGET := $(or $(CARGO_TARGET_DIR),target)
CARGO_TEST := cargo test --all-features --locked
VENV := .venv/bin

##@ Use

.PHONY: run
run: ## Fetch ONNX Runtime, build, and serve ./models (MODELS=, ARGS=)
	scripts/preflight.sh --quiet run
	python3 scripts/setup_onnxruntime.py
	[[ -x $(TARGET)/release/tidegate ]] || echo 'tidegate: building; the first time takes some minutes' >&2
	cargo build --release --locked
	exec $(TARGET)/release/tidegate serve --models $(MODELS) $(ARGS)

.PHONY: image
image: ## Build the container image tidegate:dev with docker, podman or buildah
	for tool in docker podman buildah; do \
	  if $$tool info >/dev/null 2>&1; then exec $$tool build --tag tidegate:dev .; fi; \
	done; \
	echo 'image: none of docker, podman and buildah works here; install or start one' >&2; exit 1

##@ Check

.PHONY: test
test: setup ## Run every test, real clients included (ARGS= goes to cargo test)
	$(CARGO_TEST) $(ARGS)

.PHONY: check
check: setup fmt-check spelling clippy rustdoc test ## All that CI checks: format, spelling, lints, docs, tests

.PHONY: lint
lint: setup fmt-check spelling clippy ## Format, spelling and clippy

.PHONY: fmt-check
fmt-check:
	cargo fmt --check

.PHONY: clippy
clippy:
	cargo clippy --all-targets --all-features --locked -- -D warnings
	cargo clippy --locked -- -D warnings

.PHONY: rustdoc
rustdoc: ## Build the documentation of our own code, refusing warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --no-deps --all-features --locked

.PHONY: spelling
spelling: setup-python
	$(VENV)/typos

.PHONY: dead
dead: ## List public items that the program never reaches; before each release
	scripts/dead.sh

.PHONY: deny
deny: ## Check licences, advisories and double TLS providers; before each release
	command -v cargo-deny >/dev/null || { echo 'deny: run `cargo install cargo-deny --locked` first' >&2; exit 1; }
	cargo deny --locked check $(ARGS)

.PHONY: conformance
conformance: setup ## Ask for every case of ONNX's own test suite, and say how many pass
	$(CARGO_TEST) --test it -- --ignored --nocapture --exact \
	  conformance::every_case_of_onnxs_suite_gets_onnxruntimes_own_answer

.PHONY: soak
soak: setup ## Run the long tests that `make test` leaves out
	$(CARGO_TEST) --release --test it -- --ignored --nocapture --test-threads=1 --skip devices:: $(ARGS)

.PHONY: test-gpu
test-gpu: setup ## Run the tests of devices on an NVIDIA GPU; fails where there is none
	python3 scripts/test_devices.py cuda

.PHONY: test-openvino
test-openvino: setup ## Run the same tests on OpenVINO, which needs no GPU
	python3 scripts/test_devices.py openvino

# cargo-fuzz follows the branches of the code; without it, the fuzzer of tests/it goes by what each
# input shows.
.PHONY: fuzz
fuzz: ## Fuzz one body, or all: make fuzz NAME=json SECONDS=600
	if [[ -n '$(NAME)' ]] && cargo +nightly fuzz --version >/dev/null 2>&1; then \
	  exec cargo +nightly fuzz run '$(NAME)' -- -max_total_time='$(SECONDS)' $(ARGS); \
	fi; \
	TIDEGATE_FUZZ_NAME='$(NAME)' TIDEGATE_FUZZ_SECONDS='$(SECONDS)' \
	  $(CARGO_TEST) --test it fuzzing::mutate -- --ignored --nocapture $(ARGS)

.PHONY: fresh
fresh: ## Prove the cold road: .ci/run in a new clone with empty caches (KEEP=1 keeps it)
	scripts/fresh.sh

##@ Measure

.PHONY: bench
bench: ## Run one bench, or all: make bench NAME=lease_and_choose
	cargo bench --locked --bench '$(or $(NAME),*)' -- $(ARGS)

.PHONY: load
load: ## Put k6 and ghz on a server started with `make run`
	loadtest/run.sh

.PHONY: load-cpu
load-cpu: setup ## Server CPU time a request, beside a bare HTTP/2 echo (needs h2load)
	cargo build --release --locked --features loadtest
	python3 loadtest/cpu.py $(TARGET)

.PHONY: load-changes
load-changes: setup ## p99 of callers while models change, beside a rest (needs h2load)
	cargo build --release --locked
	python3 loadtest/changes.py $(TARGET)

.PHONY: load-startup
load-startup: setup ## Seconds from the start to a first answer, and to 200 ready models
	cargo build --release --locked
	python3 loadtest/startup.py $(TARGET)

##@ Regenerate

# regenerate NAME: runs the test that compares committed output, told to write it instead.
define regenerate
	told=$$(TIDEGATE_REGENERATE=1 $(CARGO_TEST) --test it $(1)) || failed=$$?; \
	printf '%s\n' "$$told"; [[ -z $${failed:-} ]] || exit $$failed; \
	if [[ $$told == *'running 0 tests'* ]]; then echo 'no test of tests/it is named $(1)' >&2; exit 1; fi
endef

.PHONY: proto
proto: ## Write the Rust code of proto/*.proto
	$(call regenerate,protocol_files)

.PHONY: docs
docs: setup ## Write the pages of docs/ that are made from the code
	$(call regenerate,docs_are_current)

.PHONY: models
models: setup-python ## Train the demo models and write models/
	$(VENV)/python scripts/make_models.py

##@ Tools

.PHONY: setup
setup: ## Check the tools, fetch ONNX Runtime, make the Python environment
	scripts/preflight.sh --quiet test
	python3 scripts/setup_onnxruntime.py
	python3 scripts/setup_python.py

.PHONY: setup-python
setup-python:
	python3 scripts/setup_python.py

.PHONY: test-build
test-build:
	$(CARGO_TEST) --no-run

.PHONY: clean
clean: ## Remove what was built or fetched here: target, .venv, .tools
	rm -rf $(TARGET) .venv .tools examples/clients/node/node_modules examples/clients/rust/target

.PHONY: help
help:
	awk 'BEGIN { FS = ":.*## " } \
	  /^##@ / { printf "\n%s\n", substr($$0, 5) } \
	  /^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
