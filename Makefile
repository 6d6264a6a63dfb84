# make train: sets up .venv and trains. make test: the fast tests. make test-all: all tests.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Stamps carry the version, so that another PYTHON= starts a new environment.
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>&1)

.PHONY: train test test-all lint format bench clean

train: $(VENV)/base-$(VERSION)
	$(BIN)/python -m src.main --config=configs/alexnet.py

# Compiling takes most of the time, and optimizations half of that. The tests whose numbers are those
# of optimized programs, and all commands of `test-all`, have them.
test: $(VENV)/dev-$(VERSION)
	JAX_DISABLE_MOST_OPTIMIZATIONS=1 $(BIN)/python -m pytest --numprocesses=2 --dist=loadfile -m "not slow" tests/unit tests/smoke

test-all: test
	$(BIN)/python -m pytest --numprocesses=2 --dist=worksteal -m slow tests/unit tests/smoke
	$(BIN)/python -m pytest --numprocesses=2 --dist=loadfile tests/integration tests/distributed tests/browser

lint: $(VENV)/dev-$(VERSION)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/dev-$(VERSION)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/bench-$(VERSION)
	$(BIN)/python -m benchmarks.run

$(VENV)/base-$(VERSION): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
		{ echo "error: PYTHON=$(PYTHON) is $(VERSION); give Python 3.11 to 3.13" >&2; exit 2; }
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/dev-$(VERSION): $(VENV)/base-$(VERSION)
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch $@

# PyTorch is only compared with. Where the index has no build for the CPU alone, install one first.
$(VENV)/bench-$(VERSION): $(VENV)/base-$(VERSION)
	$(BIN)/python -m pip install --quiet --editable ".[torch]"
	touch $@

clean:
	rm -rf $(VENV)
