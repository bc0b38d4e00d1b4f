# Every target works alone on a fresh machine: it first makes .venv and installs the project into it.
# Another Python: make PYTHON=python3.12 test.  Arguments for pytest or the demo: make test ARGS="-k exact".
# With what is optional (and its tests): make EXTRAS=dev,datasets,ray test.

PYTHON ?= python3
ARGS ?=
JOBS ?= 2
EXTRAS ?= dev
FUZZ ?= 100000
BIN := .venv/bin
STAMP := .venv/.installed
SOURCES := strategies fedprivacy fedtasks fedlink fedclient fedserver simulations conf
# The folders that exist by now; a new one is a new package, so it renews the installation.
INITS := $(wildcard $(SOURCES:%=%/__init__.py))
FOLDERS := $(patsubst %/__init__.py,%,$(INITS))

export FLWR_TELEMETRY_ENABLED := 0
export FLWR_DISABLE_UPDATE_CHECK := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help demo test soak lint links bench
.DELETE_ON_ERROR:

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-6s %s\n", $$1, $$2 }' Makefile

demo: $(STAMP) ## train on four hospitals' real data with a live view, and compare with training alone
	@echo "demo: training on four hospitals' real data (examples/demo.py)"
	@$(BIN)/python examples/demo.py $(ARGS)

test: $(STAMP) ## run the tests and check that strategies/ is covered to 100 %, branches included
	@echo "test: running the tests in $(JOBS) processes (make test JOBS=...), with the branch coverage of strategies/"
	@$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder --cov --cov-report=term-missing:skip-covered $(ARGS)

soak: $(STAMP) ## feed every decoder $(FUZZ) mutated inputs, and run 5,000 worlds of the link; about half an hour
	@echo "soak: HANSA_FUZZ=$(FUZZ), in $(JOBS) processes; a failure says how to repeat its input"
	@HANSA_FUZZ=$(FUZZ) $(BIN)/python -m pytest -n $(JOBS) tests/fuzz tests/fedlink/test_protocol_fuzz.py tests/fedlink/test_protocol_simulation.py $(ARGS)

lint: $(STAMP) links ## check style and layout with ruff and types with mypy --strict
	@echo "lint: ruff check, ruff format --check, mypy --strict"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

bench: $(STAMP) ## run every script in benchmarks/, one after the other
	@echo "bench: running $(words $(wildcard benchmarks/[!_]*.py)) scripts of benchmarks/, one after the other"
	@set -e; for script in $(sort $(wildcard benchmarks/[!_]*.py)); do echo "bench: $$script"; $(BIN)/python $$script; done

# mypy does not know package-dir: it sees the folders as hansa.<folder> through links.
links:
	@rm -rf .lint && mkdir -p .lint/hansa
	@for folder in $(FOLDERS); do ln -s ../../$$folder .lint/hansa/$$folder; done

$(STAMP): pyproject.toml setup.py constraints.txt $(INITS)
	@echo "install: making .venv and installing hansa with its development tools (1.5 GB, some minutes the first time)"
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("hansa needs Python 3.11 or newer: name one with make PYTHON=...")'
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet -c constraints.txt setuptools
	@$(BIN)/python -m pip install --quiet -c constraints.txt --no-build-isolation --editable ".[$(EXTRAS)]"
	@touch $@
