# Every target creates the virtual environment that it needs. Nothing but Python 3.11+ and a package index is required.
# constraints.txt holds the versions that were tested; `make newest` renews it.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
WORKERS ?= auto
INSTALL := $(BIN)/python -m pip install --quiet --constraint constraints.txt --editable
PYTEST := $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist worksteal
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test stress lint typecheck notebooks docs bench newest peers upstream clean

demo: $(VENV)/.demo
	$(BIN)/llmthrift demo

test: $(VENV)/.dev
	$(PYTEST)

stress: $(VENV)/.dev
	LLMTHRIFT_STRESS=long $(PYTEST) tests/stress tests/contracts/test_keys.py tests/contracts/test_conversations.py

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

typecheck: $(VENV)/.dev
	$(BIN)/mypy

notebooks: $(VENV)/.dev
	$(BIN)/python notebooks/run.py

# Build the site into site/; a warning is an error.
docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

bench: $(VENV)/.bench
	$(BIN)/python -m benchmarks.run

# Renew constraints.txt with the newest releases that pyproject.toml allows, run the suite with them (or TESTS=...), and say what is held back.
newest:
	PYTHON=$(PYTHON) bash .ci/newest $(TESTS)

# Run the unit tests of langchain-core and langchain without and with metering: nothing may differ.
peers: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --requirement .ci/peers.txt
	$(BIN)/python .ci/peers.py

# Run the adapters' tests with the last three minor releases of each framework, each in an environment of its own: for every night.
upstream: $(VENV)/.dev
	$(BIN)/python -m tools.upstream_matrix $(TESTS)

clean:
	rm -rf $(VENV) site .venv-newest .venv-upstream .peers .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) '.[demo]'
	touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) '.[dev]'
	touch $@

$(VENV)/.docs: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) '.[docs]'
	touch $@

$(VENV)/.bench: pyproject.toml constraints.txt benchmarks/requirements.txt | $(BIN)/python
	$(INSTALL) '.[dev]' --requirement benchmarks/requirements.txt
	touch $@
