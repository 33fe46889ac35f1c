# Needs only Python 3.11-3.13 and make. Every target installs what it needs first; `make help` lists them.

PYTHON ?= python3
SEEDS ?= 5
# Tests that run at once, each process with servers of its own: most of the time they wait for other processes.
PROCESSES ?= 3
DEMO_ARGS ?=

.DEFAULT_GOAL := help
SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

LOCK := $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
  --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock"

# The project is installed editable in strict mode: a tree of links, made on installation, that type checkers follow. A
# file that is added or removed later is not in it, so the stamp is named by the list of files.
SOURCES := $(shell find plans connectors orchestrator tranship -type f ! -name '*.pyc' ! -path '*/.*' | LC_ALL=C sort)
PROJECT := $(VENV)/project-$(shell printf '%s\n' $(SOURCES) | cksum | cut -d ' ' -f 1)

# A sandbox need not be optimised: half the time to build, and still many times faster than the one in Python.
SECANTUSD_RS := CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=64 \
  cargo install --quiet --root $(VENV) --ignore-rust-version --version 0.5.3-beta.196 secantus-mdb

.PHONY: help install check secantusd-rs test demo torture bench bench-cutover test-fidelity generate lock clean

help:  ## show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1@\2/p' Makefile | while IFS=@ read -r name text; do printf '  %-14s %s\n' "$$name" "$$text"; done

install: $(PROJECT)  ## make .venv with the locked packages and the project

$(VENV)/locked: requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { \
	  echo "tranship needs Python 3.11 to 3.13, and $(PYTHON) is not one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || { \
	  echo "$(PYTHON) comes without venv or ensurepip: install them (Debian: python3-venv) or name another one with PYTHON=" >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	$(PIP) install --quiet --require-hashes -r requirements.lock
	@touch $@

$(PROJECT): $(VENV)/locked pyproject.toml
	@rm -rf $(VENV)/project-* build
	$(PIP) install --quiet --no-deps --no-build-isolation --config-settings editable_mode=strict --editable .
	@$(BIN)/python -m compileall -q build  # else, where Python is told to write none, each process compiles all anew
	@touch $@

check: install  ## format, lint, strict types, import direction, generated files up to date
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	MYPYPATH=$$(echo build/__editable__.*) $(BIN)/mypy --package tranship
	$(BIN)/pytest -q tests/unit/test_architecture.py
	$(BIN)/tranship plan schema | diff -u plans/schema.json -
	$(BIN)/python -P -m typer tranship.orchestrator.cli.main utils docs --name tranship | diff -u docs/cli.md -
	$(BIN)/python -P -m tranship.orchestrator.reports.reference | diff -u docs/findings.md -

generate: install  ## write the generated files anew: plans/schema.json, docs/cli.md, docs/findings.md
	$(BIN)/tranship plan schema > plans/schema.json
	$(BIN)/python -P -m typer tranship.orchestrator.cli.main utils docs --name tranship > docs/cli.md
	$(BIN)/python -P -m tranship.orchestrator.reports.reference > docs/findings.md

secantusd-rs: install  ## build the fast embedded MongoDB server, the one that keeps every byte; needs cargo
	@test -x $(BIN)/secantusd-rs || $(SECANTUSD_RS)

test: check  ## check, then all tests, on embedded servers unless the environment names others
	$(BIN)/pytest --numprocesses $(PROCESSES) --dist worksteal

demo: install  ## migrate a live shop database, with two kills and a rollback
	$(BIN)/tranship demo $(DEMO_ARGS)

torture: install  ## SEEDS runs with ten kills each at random times, and more in the cutover, under writers
	$(BIN)/python -m tests.torture --seeds $(SEEDS)

bench: install  ## backfill against what the two servers can do alone; what polling costs; init against a scan; a dry run against the run
	$(BIN)/python -m tests.bench
	$(BIN)/python -m tests.bench_polling
	$(BIN)/python -m tests.bench_init
	$(BIN)/python -m tests.bench_rehearsal

bench-cutover: install  ## ten cutovers under 1,000 writes per second that go through routers
	$(BIN)/python -m tests.bench_cutover

test-fidelity: install  ## the laws of the mapper over many generated documents, whole and broken
	$(BIN)/python -m tests.fidelity

lock: install  ## resolve the locks anew, for all supported Pythons
	$(LOCK) --extra sandbox --extra dev --output-file requirements.lock pyproject.toml
	$(LOCK) --output-file docker/requirements.lock pyproject.toml

clean:  ## remove what the targets made, the sandbox's data too
	@if [ -x $(BIN)/tranship ]; then $(BIN)/tranship sandbox down; fi
	rm -rf $(VENV) .sandbox build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis demo-result.json cutover-result.json
