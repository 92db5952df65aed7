# Two commands do everything on a fresh machine: `make quickstart` and `make test`.

PYTHON ?= python3
VENV ?= .venv
RESULTS ?= $(HOME)/ray_results
BIN := $(VENV)/bin

.PHONY: help quickstart test lint clean

help:
	@echo "make quickstart   install, run the sweep over the embedded digits, show its table"
	@echo "make test         install, run all tests"
	@echo "make lint         check style"

quickstart: $(VENV)/.installed
	$(BIN)/python sweeps/run.py sweeps/digits_lt.yaml --storage-path "$(RESULTS)"
	$(BIN)/python analysis/tables.py "$(RESULTS)/digits_lt" --format markdown

test: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' || \
	  { echo "cissl needs Python 3.10 to 3.13; $(PYTHON) is $$($(PYTHON) -V 2>&1). Name another: make PYTHON=python3.12 …"; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: setup.cfg constraints.txt | $(VENV)/bin/python
	@echo "Installing PyTorch, Ray and the rest into $(VENV): some minutes and 6 GB, once ..."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(VENV)/.installed-dev: setup.cfg constraints.txt | $(VENV)/bin/python
	@echo "Installing PyTorch, Ray and the rest into $(VENV): some minutes and 6 GB, once ..."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) build *.egg-info
