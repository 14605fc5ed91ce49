# Two commands do all the set-up: `make run` and `make test`. Only Python 3.11 and make are needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Without a GPU only the tested versions, and the small CPU build of torch, are installed.
CONSTRAINTS := $(if $(shell command -v nvidia-smi),,-c constraints-cpu.txt)
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: help install run test check format schema clean

help:  ## List the targets.
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

install: $(STAMP)  ## Install into .venv.

$(STAMP): pyproject.toml constraints-cpu.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check $(CONSTRAINTS) -e '.[test]'
	touch $@

run: install  ## Run the quickstart: PRIME improves a small model in minutes.
	snakemake

test: install  ## Run all tests.
	python -m pytest -n 2

check: install  ## Format, lint, types, workflow lint, fast tests; under two minutes.
	ruff format --check .
	ruff check .
	mypy prime_core tests benchmarks
	snakefmt --check Snakefile workflow
	python .ci/lint_workflow.py
	python -m pytest -n 2 -m "not slow" -q

format: install  ## Format everything.
	ruff format .
	ruff check --fix .
	snakefmt Snakefile workflow

schema: install  ## Write the JSON schema of the settings anew.
	prime schema > workflow/schemas/settings.schema.json

clean:  ## Remove the installation and caches; results stay.
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache *.egg-info
