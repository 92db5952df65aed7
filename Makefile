# Two commands do everything on a fresh machine: `make quickstart` and `make test`.

PYTHON ?= python3
VENV ?= .venv
RESULTS ?= $(HOME)/ray_results
BIN := $(VENV)/bin

# The tests of numbers, and as which processors torch's and oneDNN's kernels are asked to compute them.
NUMERIC := tests/algorithms tests/augment tests/models tests/training
KERNELS ?= ATEN_CPU_CAPABILITY=avx2 ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=AVX2 ONEDNN_MAX_CPU_ISA=SSE41
THREADS ?= 1 2

RAY_OLDEST ?= 2.52.1
RAY_VENV ?= .venv-ray
RAY_TESTS := tests/tuning/test_sweep.py tests/tuning/test_trainable.py tests/tuning/test_cluster.py tests/tuning/test_machines.py
MARKERS ?=

.PHONY: help quickstart test test-ray test-kernels lint docs clean

help:
	@echo "make quickstart   install, run the sweep over the embedded digits, show its table"
	@echo "make test         install, run all tests"
	@echo "make test-ray     run the tests of sweeps with the oldest Ray, $(RAY_OLDEST), beside the other packages"
	@echo "make test-kernels run the tests of numbers with the kernels of other processors; an hour on 2 cores"
	@echo "make lint         check style and types"
	@echo "make docs         build the documentation into docs/_build"

quickstart: $(VENV)/.installed
	$(BIN)/python sweeps/run.py sweeps/digits_lt.yaml --storage-path "$(RESULTS)"
	$(BIN)/python analysis/tables.py "$(RESULTS)/digits_lt" --format markdown

test: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

# Each kind has a cache of compiled networks of its own: torch would take those of another kind for its own.
test-kernels: $(VENV)/.installed-dev
	@failed=; for kernel in $(KERNELS); do for threads in $(THREADS); do \
	  echo "== $$kernel OMP_NUM_THREADS=$$threads"; \
	  env $$kernel OMP_NUM_THREADS=$$threads TORCHINDUCTOR_CACHE_DIR="$(abspath $(VENV))/kernels/$$kernel" \
	    $(BIN)/python -m pytest -q -n $$((2 / threads)) --dist worksteal -m "$(MARKERS)" $(NUMERIC) \
	    || failed="$$failed $$kernel OMP_NUM_THREADS=$$threads;"; \
	done; done; test -z "$$failed" || { echo "failed:$$failed"; exit 1; }

# With the oldest Ray that is supported: sweeps, trials of several workers, clusters. Its environment has that Ray, and
# sees all other packages of $(VENV).
$(RAY_VENV)/.installed: $(VENV)/.installed-dev Makefile
	$(BIN)/python -m venv --clear $(RAY_VENV)
	$(BIN)/python -c "import sysconfig as s; print('import site; site.addsitedir(%r)' % s.get_path('purelib'))" \
	  > $$($(RAY_VENV)/bin/python -c "import sysconfig as s; print(s.get_path('purelib'))")/others.pth
	$(RAY_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps "ray==$(RAY_OLDEST)"
	touch $@

test-ray: $(RAY_VENV)/.installed
	$(RAY_VENV)/bin/python -c "import ray; assert ray.__version__ == '$(RAY_OLDEST)', ray.__version__"
	OMP_NUM_THREADS=1 $(RAY_VENV)/bin/python -m pytest -m "$(MARKERS)" $(RAY_TESTS)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Pages that the code writes first; then Sphinx, for which every warning and every dead link is an error.
docs: $(VENV)/.installed-dev
	$(BIN)/python docs/generate.py
	$(BIN)/python -m sphinx -W --keep-going -n -q docs docs/_build
	@echo "docs/_build/index.html"

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
	rm -rf $(VENV) build *.egg-info docs/_build docs/reference/generated
