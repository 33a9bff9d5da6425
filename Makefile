# Two commands for a newcomer: make demo, make test. Everything else builds on the same .venv.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: help setup setup-dev setup-all setup-server demo dev check test test-all coverage mutants types lint format bench bench-runs docs lock clean

help: ## what there is to make
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

SETUP := $(PYTHON) scripts/setup_environment.py --venv $(VENV)

$(VENV)/.ready: requirements.lock pyproject.toml
	@$(SETUP) requirements.lock --ready $@

# The development lock holds all of requirements.lock.
$(VENV)/.ready-dev: requirements-dev.lock pyproject.toml
	@$(SETUP) requirements-dev.lock --ready $(VENV)/.ready --ready $@

setup: $(VENV)/.ready ## .venv with what runs and the Dagster UI need, from requirements.lock

setup-dev: $(VENV)/.ready-dev ## .venv with tests and linters as well, from requirements-dev.lock

setup-server: ## .venv for a server: PostgreSQL for Dagster and every source, from deploy/requirements.lock
	@$(SETUP) deploy/requirements.lock

# PySpark is far larger than all the rest together, so only those who run every test install it.
$(VENV)/.ready-all: $(VENV)/.ready-dev
	@$(SETUP) requirements-dev.lock --extras spark,ui --ready $(VENV)/.ready --ready $(VENV)/.ready-dev --ready $@

setup-all: $(VENV)/.ready-all ## the same with PySpark and selenium, for make test-all (Java 17 and chromium have to be there)

$(VENV)/.ready-mutants: $(VENV)/.ready-dev
	@$(SETUP) requirements-dev.lock --extras mutants --ready $(VENV)/.ready --ready $(VENV)/.ready-dev --ready $@

demo: setup ## score and publish both bundled companies, and print where to look
	@$(BIN)/csm demo

dev: setup ## the Dagster UI on the bundled sample
	@$(BIN)/python -m pipelines.dev

# A file's tests share what it took long to make, and so a process. They run as collected: tests/conftest.py puts the
# longest first. Those with the most tests first, as xdist would have it, leaves whole runs to the end.
PARALLEL := --numprocesses auto --dist loadfile --no-loadscope-reorder

test: setup-dev ## the suite, under 8 minutes on 2 cores
	$(BIN)/python -m pytest $(PARALLEL) -m "not slow and not ui"

test-all: setup-all ## everything: browser, PySpark and long failure tests included
	$(BIN)/python -m pytest $(PARALLEL)

coverage: setup-dev ## the suite with coverage, and the floor of each package (nightly)
	mkdir -p build/coverage
	$(BIN)/coverage erase
	$(BIN)/python -m pytest $(PARALLEL) --cov --cov-report= -m "not slow and not ui"
	$(BIN)/coverage json --quiet -o build/coverage/coverage.json
	$(BIN)/python scripts/coverage_floors.py

MUTANTS := scorer gate ledger

mutants: $(VENV)/.ready-mutants ## what tests do not notice (hours); MUTANTS="gate ledger --sample 100" runs a part
	$(BIN)/python scripts/mutants.py $(MUTANTS)

check: lint types test ## what CI runs: format, lint, types and the suite

lint: setup-dev ## ruff (format and rules), sqlfluff, import-linter
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/sqlfluff lint --processes 2 sql
	$(BIN)/lint-imports --no-cache --no-logo

types: setup-dev ## pyright in strict mode: csm_core, assets, pipelines
	$(BIN)/basedpyright --level error

format: setup-dev ## let ruff and sqlfluff format the code and the SQL
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/sqlfluff fix --processes 2 sql

bench: setup-dev ## ratios against floors, in one run
	$(BIN)/python -m benchmarks

bench-runs: setup-dev ## the same of whole runs: long histories, a backfill, ranges, memory (half an hour)
	$(BIN)/python -m benchmarks daily backfill range memory

docs: setup-dev ## regenerate what the documentation and the UI take from the code
	$(BIN)/python -m csm_core.devtools.docs
	$(BIN)/python -m csm_core.devtools.column_lineage

LOCK := uv pip compile --universal --python-version 3.11 pyproject.toml --generate-hashes --no-strip-extras \
    --no-emit-index-url --no-emit-find-links --no-header --quiet

# The development lock is resolved first and constrains the others, so that all have the same versions.
lock: setup-dev ## resolve the lock files again, with the same version of each package in all of them
	$(BIN)/python -m pip install --quiet --require-hashes --no-deps --requirement scripts/installer.lock
	$(BIN)/$(LOCK) --extra dev --output-file requirements-dev.lock
	$(BIN)/$(LOCK) --extra build --constraint requirements-dev.lock --output-file requirements.lock
	$(BIN)/$(LOCK) --extra server --extra sources --extra postgres --extra sentiment \
	    --constraint requirements-dev.lock --output-file deploy/requirements.lock
	echo uv | $(BIN)/$(subst pyproject.toml,-,$(LOCK)) --output-file scripts/installer.lock

clean: ## the environment and the local data
	rm -rf $(VENV) data build
