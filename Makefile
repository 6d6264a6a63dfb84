# make train: sets up .venv and trains. make test: the same, then the tests.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: train test lint format bench clean

train: $(VENV)/base
	$(BIN)/python -m src.main --config=configs/alexnet.py

test: $(VENV)/dev
	$(BIN)/python -m pytest --numprocesses=2 --dist=loadfile

lint: $(VENV)/dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/bench
	$(BIN)/python -m benchmarks.run

$(VENV)/base: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/dev: $(VENV)/base
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch $@

# PyTorch is only compared with. Where the index has no build for the CPU alone, install one first.
$(VENV)/bench: $(VENV)/base
	$(BIN)/python -m pip install --quiet --editable ".[torch]"
	touch $@

clean:
	rm -rf $(VENV)
