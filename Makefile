# `make demo` and `make test` do all the set-up: they need Python 3.11 or newer, make, and the public package index.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3

# uv is taken if it is there, else installed into a private virtual environment of its own.
UV := $(shell command -v uv 2>/dev/null || echo .uv/bin/uv)
# Not ultralytics: it is large, and under the AGPL.
EXTRAS := --all-extras --no-extra ultralytics
RUN := $(UV) run --frozen $(EXTRAS)

.PHONY: help demo test test-slow check faults soak results

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

.uv/bin/uv:
	$(PYTHON) -m venv .uv
	.uv/bin/python -m pip install --quiet --disable-pip-version-check uv

.venv/.locked: $(filter .uv/bin/uv,$(UV)) uv.lock pyproject.toml
	$(UV) sync --frozen $(EXTRAS) --quiet --compile-bytecode
	@touch $@

demo: .venv/.locked  ## wrong labels, a crowd to count, a street camera; three reports
	$(RUN) tamis demo

test: .venv/.locked  ## the quick tests, two at a time
	$(RUN) pytest -n 2 --dist worksteal -m "not slow and not alone"
	$(RUN) pytest -m "not slow and alone"

test-slow: .venv/.locked  ## the slow tests, two at a time
	$(RUN) pytest -n 2 --dist worksteal -m "slow and not alone"
	$(RUN) pytest -m "slow and alone"

check: .venv/.locked  ## format, lint, types, import directions, docs
	$(RUN) ruff format --check .
	$(RUN) ruff check .
	$(RUN) pyright
	$(RUN) pytest tests/test_layers.py tests/test_docs.py
	$(RUN) python benchmarks/tables.py --check

faults: .venv/.locked  ## run every fault test and write what was seen into docs/faults.md
	$(RUN) pytest tests -m fault --faults docs/faults.md

soak: .venv/.locked  ## 100 kills where the tests have 20, and ten minutes of broken input
	$(RUN) pytest tests/test_kills.py --kills 100 --faults docs/faults.md
	$(RUN) python tests/fuzz/soak.py --minutes 5
	for reader in zip tar Parquet YAML idx; do \
	  $(RUN) --group fuzz python tests/fuzz/atheris_readers.py $$reader -max_total_time=60 || exit 1; done

results: .venv/.locked  ## write the README's tables from benchmarks/results
	$(RUN) python benchmarks/tables.py
