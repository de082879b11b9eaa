# Needs make and Python 3.11 or newer; everything else is installed into .venv.
# Another interpreter: make PYTHON=/path/to/python3.12 test

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help venv quickstart test test-fast test-hosts survival lint columns docs board claims figures coverage verdicts clean

PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3 python; do \
  "$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$p"; break; }; done)

BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq
TORCH := $(shell grep '^torch==' constraints.txt)
# On a machine without an NVIDIA GPU the CPU build of torch (0.2 GB instead of 3 GB): its version sorts above the
# CUDA build's, so the extra index is enough. Where that index cannot be reached pip takes what it finds elsewhere;
# one retry keeps that short.
# --no-deps: what torch needs comes with the next step, from the usual index and by the constraints.
TORCH_FROM := $(shell nvidia-smi >/dev/null 2>&1 || \
  echo --retries 1 --extra-index-url https://download.pytorch.org/whl/cpu)

help:  ## this list
	@grep -hE '^[a-z.-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

venv: .venv/installed-dev  ## make .venv with everything, development tools too

.venv/installed: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "No Python 3.11 or newer found; name one: make PYTHON=/path/to/python" >&2; exit 1; }
	@echo "Installing into .venv with $$($(PYTHON) --version) (a few minutes the first time)"
	@$(PYTHON) -m venv .venv || { echo "Python cannot make environments here (Debian, Ubuntu: apt install python3-venv)" >&2; exit 1; }
	@# torch comes first and alone: later steps find it installed and leave its build as it is.
	@$(PIP) install --no-deps $(TORCH_FROM) $(TORCH)
	@$(PIP) install -c constraints.txt -e .
	@touch $@

.venv/installed-dev: .venv/installed
	@$(PIP) install -c constraints.txt -e '.[dev]'
	@touch $@

quickstart: .venv/installed  ## the whole of kcap in miniature: train, measure, fit, draw
	$(BIN)/kcap sweep sweeps/quickstart.yaml --out runs/quickstart
	@echo "Report: $(CURDIR)/runs/quickstart/report.html"

verdicts: .venv/installed  ## how often verdicts on the paper's claims are wrong, where the truth is known
	$(BIN)/python -m analysis.study.verdicts --out docs/results

# One process a core, four at the most: each takes a GB. Of the tests on real Ray two run at a time: each starts a
# cluster, and waits for it half of its time. Bytecode is kept (an empty value is none): tests start hundreds of
# processes, and each would compile all that it imports.
export PYTHONDONTWRITEBYTECODE :=
PYTEST := $(BIN)/python -m pytest -q -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

test: .venv/installed-dev  ## all tests, fast ones first; those that need a GPU skip themselves
	$(PYTEST) -m 'not slow'
	$(PYTEST) -m 'slow and not ray'
	$(BIN)/python -m pytest -q -n 2 --dist loadfile -m 'ray and not hosts'

test-hosts: .venv/installed-dev  ## a cluster of hosts made of namespaces; as root on Linux, elsewhere it skips itself and says why
	$(BIN)/python -m pytest -q -m hosts

test-fast: .venv/installed-dev  ## the tests without real Ray and whole sweeps, on all cores
	$(PYTEST) -m 'not slow'

coverage: .venv/installed  ## how often the intervals of c hold a planted truth: docs/results/coverage.md (minutes)
	OMP_NUM_THREADS=1 $(BIN)/python -m analysis coverage

survival: .venv/installed-dev  ## kill and break runs in every way, and count: docs/reliability.md (20 minutes)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.survival.chaos

lint: .venv/installed-dev  ## style, formatting, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

columns: .venv/installed  ## docs/columns.md, from the schema of the records
	$(BIN)/python -m kcap_ray.runs.columns_page > docs/columns.md

docs: .venv/installed-dev  ## the documentation site in build/site, with the API reference; a warning is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# Not behind_strangers, which was measured otherwise.
COMMITTED_RUNS = $$(dirname docs/results/*/results.parquet docs/results/contact/*/results.parquet | grep -v behind_strangers)

board: .venv/installed  ## docs/capacity.md, from the tables of docs/results
	$(BIN)/python -m analysis board --out docs/capacity.md $(COMMITTED_RUNS)

claims: .venv/installed  ## docs/results/claims.md and the table in its README: the paper's claims, from the same tables
	$(BIN)/python -m analysis.power $(COMMITTED_RUNS)
	$(BIN)/python -m analysis claims-page --out docs/results/claims.md $(COMMITTED_RUNS)

figures: .venv/installed  ## redraw all figures and reports of docs/results from its tables
	dirname docs/results/*/results.parquet | xargs -n 1 -P 2 $(BIN)/python -m analysis report
	$(BIN)/python -m analysis plot --published --figure residuals --out docs/results/published/residuals.png
	$(BIN)/python -m analysis plot --published docs/results/contact/run1000 docs/results/bios_10k \
	  --figure capacity --out docs/results/published/measured.png

clean:  ## remove .venv and caches; runs/ stays
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
