# One target for each thing a person does. Each makes what it needs, and does nothing where it is there already.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
DEV_READY := $(VENV)/ready-dev
WORKERS ?= auto

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-docker demo-hermes demo-down quick test lint bench docs clean lock

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-11s %s\n", $$1, $$2}' Makefile

$(READY): requirements.lock pyproject.toml scripts/setup
	@PYTHON="$(PYTHON)" scripts/setup $(VENV) requirements.lock
	@touch $@

$(DEV_READY): $(READY) requirements-dev.lock
	@PYTHON="$(PYTHON)" scripts/setup $(VENV) requirements-dev.lock
	@touch $@

setup: $(DEV_READY) ## the virtual environment with all that development needs

demo: $(READY) ## the whole loop on a small real agent: no engine, no key, under a minute
	@$(BIN)/python -m examples.clerk.demo

demo-docker: $(READY) ## the same in containers, under two minutes; needs a Docker Engine and scripts/images
	@$(BIN)/python -m examples.clerk.demo_docker

demo-hermes: $(READY) ## a real Hermes Agent mends its own bug, in containers; docs/hermes.md says what it needs
	@$(BIN)/python -m examples.hermes.demo

demo-down: $(READY) ## ends what the demos left running, and removes their folders
	@$(BIN)/python -m examples.clerk.demo --down
	@$(BIN)/python -m examples.clerk.demo_docker --down
	@$(BIN)/python -m examples.hermes.demo --down

quick: $(DEV_READY) ## lint, types, layers and the fast tests: under 90 s
	@scripts/quick $(BIN)

test: $(DEV_READY) ## all tests; what is skipped says what is missing (MOSS_REQUIRE=docker,... makes that a failure)
	@$(BIN)/pytest -q -n $(WORKERS) --dist loadgroup

lint: $(DEV_READY) ## style, types, layers, sizes
	@scripts/lint $(BIN)

bench: $(DEV_READY) ## the figures of the README and docs, as ratios measured side by side
	@$(BIN)/python -m tests.benchmarks

docs: $(DEV_READY) ## the page of settings, made anew; links, commands and claims of all pages, checked
	@$(BIN)/python scripts/configuration
	@$(BIN)/pytest -q tests/docs

lock: ## new locked versions from pyproject.toml
	@scripts/lock

clean: ## the demo's folder, caches and the virtual environment
	@[ ! -x $(BIN)/python ] || $(BIN)/python -m examples.clerk.demo --down || true
	@[ ! -x $(BIN)/python ] || $(BIN)/python -m examples.clerk.demo_docker --down || true
	@[ ! -x $(BIN)/python ] || $(BIN)/python -m examples.hermes.demo --down || true
	rm -rf $(VENV) .demo .demo-docker .demo-hermes .hermes .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
