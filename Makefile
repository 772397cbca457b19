# Everything that a clone needs: `make help` tells. A target sets up only what it needs, once, in .venv/.

PYTHON ?= python3.11
BIN := .venv/bin
DIST := dist
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder
UV := $(BIN)/uv pip install --quiet --python $(BIN)/python
export TZ := UTC
export GX_ANALYTICS_ENABLED := false

.PHONY: help demo test test-fast training airflow wheel s3 check format bench requirements clean
.DEFAULT_GOAL := help

help:  ## Show this help
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

demo: .venv/sluice .venv/jars  ## Build all tables of a simulated shop and show what came out
	$(BIN)/sluice demo

test: .venv/sluice .venv/jars .venv/s3-jars .venv/dev .venv/airflow .venv/training  ## Run all tests
	$(PYTEST)

test-fast: .venv/sluice .venv/jars .venv/s3-jars .venv/dev .venv/airflow .venv/training  ## Run the tests that are not marked slow
	$(PYTEST) -m "not slow"

training: .venv/sluice .venv/jars .venv/training  ## Set up what `sluice train` and `sluice reproduce` need: torch

wheel: .venv/dev  ## Build the wheel that goes with a job to a cluster, in dist/
	rm -rf build $(DIST)
	$(BIN)/uv build --quiet --wheel --no-build-isolation --python $(BIN)/python --out-dir $(DIST)
	rm -rf build

s3: .venv/sluice .venv/s3-jars  ## Set up what Spark needs for a lake on S3: 10 MB of jars

airflow: .venv/sluice .venv/jars .venv/airflow  ## Set up what `sluice up` needs: Airflow

check: .venv/core .venv/dev  ## Lint, formatting, import rules and layout: under a minute
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m pytest -q tests/test_layout.py

format: .venv/dev  ## Mend formatting and what lint can mend
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: .venv/sluice .venv/jars .venv/dev .venv/training  ## Measure: run tests/benchmarks/*.py one after the other
	@for file in tests/benchmarks/*.py; do stem=$$(basename $$file .py); echo "== $$stem"; $(BIN)/python -m tests.benchmarks.$$stem || exit 1; done

requirements: .venv/uv  ## Choose and pin all versions anew: requirements/*.in to *.txt
	cd requirements && for group in core dev airflow training; do \
	    others=; for done in core dev airflow; do [ $$done = $$group ] && break; [ $$group = core ] || others="$$others -c $$done.txt"; done; \
	    ../$(BIN)/uv pip compile --quiet --upgrade --python-version 3.11 --python-platform x86_64-unknown-linux-gnu --no-header \
	        $$group.in $$others -o $$group.txt || exit 1; done

clean:  ## Remove the environment and all caches; tables and Delta's jars stay
	rm -rf .venv build dist *.egg-info .pytest_cache .ruff_cache .hypothesis .import_linter_cache spark-warehouse
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- set-up: each file is a step that was done; it is done again when what it was made from changes

.venv/bin/python:
	@.ci/preflight.sh $(PYTHON)
	$(PYTHON) -m venv .venv

.venv/uv: .venv/bin/python requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(grep '^uv==' requirements/dev.txt)"
	@touch $@

.venv/core .venv/dev .venv/airflow .venv/training: .venv/%: requirements/%.txt .venv/uv
	@echo "Installing requirements/$*.txt ..."
	@$(UV) -r $<
	@touch $@

.venv/sluice: pyproject.toml .venv/core
	@$(UV) --no-deps --editable .
	@touch $@

.venv/jars: requirements/core.txt .venv/core
	$(BIN)/python -m jobs.jars
	@touch $@

.venv/s3-jars: requirements/core.txt .venv/core
	$(BIN)/python -m jobs.jars --s3 > /dev/null
	@touch $@
