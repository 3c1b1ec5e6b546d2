# Everything runs in .venv, made here. PYTHON may name another interpreter (3.10 to 3.12).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help setup search test test-fast lint wheel docs clean

help:
	@echo "make setup      install mnas and its tools into $(VENV)"
	@echo "make search     run the quickstart search to its end"
	@echo "make test       run all tests"
	@echo "make test-fast  run those that need no phone, no Ray and no training: under 3 minutes"
	@echo "make lint       check style and types"
	@echo "make wheel      build wheel and sdist, and use the wheel in a clean environment"
	@echo "make docs       build the documentation into site/"

# The stamp says which of its inputs the environment was made from; touching one of them brings it up to date.
$(VENV)/.installed: setup.cfg setup.py pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' || \
		{ echo "mnas needs Python 3.10, 3.11 or 3.12; name one: make PYTHON=python3.11 setup" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,docs]'
	@touch $@

setup: $(VENV)/.installed

search: setup
	$(BIN)/mnas search quickstart

# First what may share the machine, then what times models or counts cores. Both run, whatever fails.
test: setup
	@status=0; \
	$(BIN)/python -m pytest -m "not alone" -n 2 --dist loadfile || status=$$?; \
	$(BIN)/python -m pytest -m alone || status=$$?; \
	exit $$status

test-fast: setup
	$(BIN)/python -m pytest -m "not slow and not alone" -n 2 --dist loadfile

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

wheel: setup
	$(BIN)/python -m tools.check_wheel

docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis site
