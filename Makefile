# The two commands of a new user are `make demo` and `make test`; `make help` lists all.
PYTHON ?= python3
UV_VERSION = 0.13.9
PIPENV_VERSION = 2026.10.3
BIN = .venv/bin
# uv installs what Pipfile.lock names, and Pipenv writes that file. Both live apart, so that .venv holds nothing else.
TOOLS = .tools/bin/python
INSTALL_TOOL = $(TOOLS) -m pip install --quiet --disable-pip-version-check
PIPENV = PIPENV_VENV_IN_PROJECT=1 PIPENV_IGNORE_VIRTUALENVS=1 PIPENV_VERBOSITY=-1 .tools/bin/pipenv
READY = .venv/.ready

export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: help demo test test-fast soak check setup ui compare lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

demo: setup ## set up, run the pipeline on the synthetic default, say where to listen
	dvc repro
	@$(BIN)/python -m audiornn.cli summary

test: setup ## set up and run all tests, on all cores
	$(BIN)/python -m pytest -n auto

test-fast: setup ## run all but the slow tests, after every change
	$(BIN)/python -m pytest -n auto -m 'not slow'

soak: setup ## run the soak tests alone: they take hours
	AUDIORNN_SOAK_SECONDS=600 $(BIN)/python -m pytest --soak -s
	AUDIORNN_SOAK_EXAMPLES=10000 $(BIN)/python -m pytest tests/integration/test_damaged_input.py

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
	@echo "installing into .venv: 3.7 GB of disk, 0.9 GB to download; half a minute on 2 cores, if the network is fast"
	@test -x .venv/bin/pip || $(PYTHON) -m venv --clear .venv
	@test -x .tools/bin/pip || $(PYTHON) -m venv --clear .tools
	@$(INSTALL_TOOL) uv==$(UV_VERSION)
	@$(TOOLS) tools/install.py .tools/bin/uv .venv
	@touch $@

ui: setup ## open the MLflow UI on 127.0.0.1
	$(BIN)/audiornn ui

compare: ## show all experiments: the parameters that differ, bits per sample and sound
	@dvc exp show --no-pager --only-changed --hide-workspace --drop \
	  '^(?!Experiment|(corpus|resample|encode|shard|train|generate)\.|validation\.bits|distance_ratio|clips_with_findings)'

lock: ## renew Pipfile.lock from pyproject.toml and Pipfile
	@test -x .tools/bin/pip || $(PYTHON) -m venv --clear .tools
	@$(INSTALL_TOOL) pipenv==$(PIPENV_VERSION)
	$(PIPENV) lock --dev
	@# Which package index serves the files is each machine's own matter: the lock names hashes, no hosts.
	$(PYTHON) -c 'import json, pathlib; p = pathlib.Path("Pipfile.lock"); c = json.loads(p.read_text()); \
	  c["_meta"]["sources"] = []; \
	  [e.pop("index", None) for s in ("default", "develop") for e in c[s].values()]; \
	  p.write_text(json.dumps(c, indent=4, sort_keys=True) + "\n")'

clean: ## remove the environment and the pipeline's outputs, but not metrics/, the MLflow store and the DVC cache
	rm -rf .venv .tools *.egg-info build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	rm -rf .audiornn/prepared data models generated passages figures report.html checkpoints comparisons dvc_plots .*.partial*
	find . -name __pycache__ -not -path './.dvc/*' -prune -exec rm -rf {} +
