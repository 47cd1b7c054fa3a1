# Each target does all its own set-up: a virtual environment in .venv, with pip, from this checkout.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help quickstart engines test test-engines lint types bench simulate screenshots clean

help:  ## List the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

.venv/engines: pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing bakeoff and its engines into .venv (building llama.cpp takes minutes, once)"
	@$(PIP) --editable '.[convert]'
	@touch $@

.venv/dev: .venv/engines tests/plugin/pyproject.toml tests/liars/pyproject.toml
	@echo "Installing the test tools into .venv"
	@$(PIP) --editable '.[convert,dev]' --editable tests/plugin --editable tests/liars
	@touch $@

quickstart: .venv/engines  ## Compare three engines on one real model; writes runs/…/report.html
	@$(BIN)/bakeoff run scenarios/quickstart.yaml

test: .venv/dev  ## Run all tests, with the real engines on the real model
	@$(BIN)/python -m pytest -n 2 --dist loadfile --ignore tests/liars -m 'not own_environment'
	@$(BIN)/python -m pytest tests/liars

engines: .venv/engines  ## Install all engines that run here into environments of their own (some GB)
	@for engine in openvino mlx mistralrs ctranslate2 litert-lm executorch litert-torch xllamacpp \
	  llama-cpp-python; do $(BIN)/bakeoff engines install --installer pip $$engine || exit 1; done

test-engines: .venv/dev  ## The tests of those engines, where they are installed (minutes)
	@$(BIN)/python -m pytest -m own_environment tests/backends

lint: .venv/dev  ## Check style (ruff)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: .venv/dev  ## Check types (mypy strict)
	@$(BIN)/mypy

bench: .venv/dev  ## Measure the harness itself; never fails by timing (minutes)
	@$(BIN)/python -m pytest tests/benchmarks --benchmark-enable --benchmark-only
	@$(BIN)/python tests/benchmarks/overhead.py
	@$(BIN)/python tests/benchmarks/own_share.py $(RUN)
	@$(BIN)/python tests/benchmarks/scale.py

simulate: .venv/dev  ## Measure the gate's error rates on simulated noise, beside other tools' (minutes)
	@OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python tests/simulation/gate.py

screenshots: .venv/dev  ## Make the README's pictures from the newest runs; needs Chromium
	@$(BIN)/python tests/browser/screenshots.py $(RUNS)

clean:  ## Remove the virtual environment and caches; keeps runs/ and the model cache
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache build dist
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
