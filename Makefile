# Start with make demo or make test. All targets use the same .venv.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: help setup setup-dev setup-all setup-server demo dev check test test-all coverage mutants types lint format bench bench-runs docs lock clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

SETUP := $(PYTHON) scripts/setup_environment.py --venv $(VENV)

$(VENV)/.ready: requirements.lock pyproject.toml
	@$(SETUP) requirements.lock --ready $@

# The development lock file contains all packages of requirements.lock.
$(VENV)/.ready-dev: requirements-dev.lock pyproject.toml
	@$(SETUP) requirements-dev.lock --ready $(VENV)/.ready --ready $@

setup: $(VENV)/.ready ## create .venv with the pipeline and the Dagster UI, from requirements.lock

setup-dev: $(VENV)/.ready-dev ## create .venv with tests and linters, from requirements-dev.lock

setup-server: ## create .venv for a server with PostgreSQL and all sources, from deploy/requirements.lock
	@$(SETUP) deploy/requirements.lock

# PySpark is larger than all other packages together, so only setup-all installs it.
$(VENV)/.ready-all: $(VENV)/.ready-dev
	@$(SETUP) requirements-dev.lock --extras spark-local,ui --ready $(VENV)/.ready --ready $(VENV)/.ready-dev --ready $@

setup-all: $(VENV)/.ready-all ## setup-dev with PySpark and selenium, for make test-all (requires Java 17 and Chromium)

$(VENV)/.ready-mutants: $(VENV)/.ready-dev
	@$(SETUP) requirements-dev.lock --extras mutants --ready $(VENV)/.ready --ready $(VENV)/.ready-dev --ready $@

demo: setup ## score and publish both bundled companies, and print the next commands
	@$(BIN)/csm demo

dev: setup ## serve the Dagster UI for the current configuration
	@$(BIN)/python -m pipelines.dev

# The tests of a file share slow fixtures, so they run in one process. They run in the collected order: tests/conftest.py
# puts the longest files first. The default order of xdist, most tests first, would leave the longest runs to the end.
PARALLEL := --numprocesses auto --dist loadfile --no-loadscope-reorder

test: setup-dev ## run the test suite (a quarter of an hour on 2 cores)
	$(BIN)/python -m pytest $(PARALLEL) -m "not slow and not ui"

test-all: setup-all ## run all tests, including browser, PySpark and long failure tests, with all examples
	TEST_ALL_EXAMPLES=1 $(BIN)/python -m pytest $(PARALLEL)

coverage: setup-dev ## run the suite with coverage and check the floor of each package
	mkdir -p build/coverage
	$(BIN)/coverage erase
	$(BIN)/python -m pytest $(PARALLEL) --cov --cov-report= -m "not slow and not ui"
	$(BIN)/coverage json --quiet -o build/coverage/coverage.json
	$(BIN)/python scripts/coverage_floors.py

MUTANTS := scorer gate ledger

mutants: $(VENV)/.ready-mutants ## run mutation tests (hours); MUTANTS="gate ledger --sample 100" runs a sample
	$(BIN)/python scripts/mutants.py $(MUTANTS)

check: lint types test ## run what CI runs: format, lint, types and tests

lint: setup-dev ## run ruff (format and rules), sqlfluff, import-linter
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/sqlfluff lint --processes 2 sql
	$(BIN)/lint-imports --no-cache --no-logo

types: setup-dev ## check types with pyright: csm_core in strict mode, assets and pipelines
	$(BIN)/basedpyright --level error

format: setup-dev ## format the code with ruff and the SQL with sqlfluff
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/sqlfluff fix --processes 2 sql

bench: setup-dev ## run the short benchmarks
	$(BIN)/python -m benchmarks

bench-runs: setup-dev ## run the long benchmarks: histories, a backfill, ranges, memory (half an hour)
	$(BIN)/python -m benchmarks daily backfill range memory

docs: setup-dev ## regenerate the documentation and the column lineage from the code
	$(BIN)/python -m csm_core.devtools.docs
	$(BIN)/python -m csm_core.devtools.column_lineage

LOCK := uv pip compile --universal --python-version 3.11 pyproject.toml --generate-hashes --no-strip-extras \
    --no-emit-index-url --no-emit-find-links --no-header --quiet

# The development lock file is resolved first and constrains the others, so all have the same versions.
lock: setup-dev ## resolve the lock files again, with the same version of each package in all of them
	$(BIN)/python -m pip install --quiet --require-hashes --no-deps --requirement scripts/installer.lock
	$(BIN)/$(LOCK) --extra dev --output-file requirements-dev.lock
	$(BIN)/$(LOCK) --extra build --constraint requirements-dev.lock --output-file requirements.lock
	$(BIN)/$(LOCK) --extra server --extra sources --extra postgres --extra sentiment \
	    --constraint requirements-dev.lock --output-file deploy/requirements.lock
	echo uv | $(BIN)/$(subst pyproject.toml,-,$(LOCK)) --output-file scripts/installer.lock

clean: ## remove the environment and local data
	rm -rf $(VENV) data build
