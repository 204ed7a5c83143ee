# The two commands of a new user are `make demo` and `make test`; `make help` lists all.
PYTHON ?= python3
PIPENV_VERSION = 2026.10.3
BIN = .venv/bin
# Pipenv lives apart, so that .venv holds exactly what Pipfile.lock names.
PIPENV = PIPENV_VENV_IN_PROJECT=1 PIPENV_IGNORE_VIRTUALENVS=1 PIPENV_VERBOSITY=-1 .pipenv/bin/pipenv
READY = .venv/.ready

export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: help demo test test-fast soak check setup ui lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

demo: setup ## set up, run the pipeline on the embedded default, say where to listen
	dvc repro
	@$(BIN)/python -m audiornn.cli summary

test: setup ## set up and run all tests, on all cores
	$(BIN)/python -m pytest -n logical --maxprocesses 4

test-fast: setup ## run all but the slow tests, after every change
	$(BIN)/python -m pytest -n logical --maxprocesses 4 -m 'not slow'

soak: setup ## run the long forms of tests alone
	$(BIN)/python -m pytest --soak

check: setup ## lint, check format, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

setup: $(READY) ## create .venv from Pipfile.lock

$(READY): Pipfile.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || { \
	  echo "error: $$($(PYTHON) --version) found, but Python 3.11, 3.12 or 3.13 is needed: make PYTHON=python3.12 ..."; \
	  exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2> /dev/null || { \
	  echo "error: $(PYTHON) cannot make environments: on Debian and Ubuntu, apt-get install python3-venv"; exit 2; }
	test -x .pipenv/bin/pipenv || { rm -rf .pipenv && $(PYTHON) -m venv .pipenv && \
	  .pipenv/bin/python -m pip install --quiet pipenv==$(PIPENV_VERSION); }
	$(PIPENV) sync --dev --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')"
	@touch $@

ui: setup ## open the MLflow UI on 127.0.0.1
	$(BIN)/audiornn ui

lock: ## renew Pipfile.lock from pyproject.toml and Pipfile
	test -x .pipenv/bin/pipenv || { $(PYTHON) -m venv .pipenv && \
	  .pipenv/bin/python -m pip install --quiet pipenv==$(PIPENV_VERSION); }
	$(PIPENV) lock --dev
	@# Which package index serves the files is each machine's own matter: the lock names hashes, no hosts.
	$(PYTHON) -c 'import json, pathlib; p = pathlib.Path("Pipfile.lock"); c = json.loads(p.read_text()); \
	  c["_meta"]["sources"] = []; \
	  [e.pop("index", None) for s in ("default", "develop") for e in c[s].values()]; \
	  p.write_text(json.dumps(c, indent=4, sort_keys=True) + "\n")'

clean: ## remove the environment and the pipeline's outputs, but not metrics/, the MLflow store and the DVC cache
	rm -rf .venv .pipenv *.egg-info build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	rm -rf data models generated passages figures report.html checkpoints dvc_plots .*.partial*
	find . -name __pycache__ -not -path './.dvc/*' -prune -exec rm -rf {} +
