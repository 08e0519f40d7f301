# Everything happens in .venv, which the first target that needs it makes.
VENV   ?= .venv
PYTHON ?= python3
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
# One worker per core, each file on one worker, one thread per test unless it asks for more.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile
SOURCES := setup.py pyproject.toml $(shell find csrc -type f -not -path '*/emulate/*' 2>/dev/null)

.DEFAULT_GOAL := help
.PHONY: help train test test-slow check lint bench doctor docs wheel wheel-test fuzz sanitize emulate mutants sanitize-cuda gpu soak crash-states bit-flips clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# The extension is compiled against the torch that is installed, so torch comes first.
$(STAMP): $(SOURCES)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet "torch>=2.10" torchvision ninja pybind11 "setuptools>=77" wheel
	$(BIN)/python -m pip install --quiet --no-build-isolation -e ".[dev]"
	touch $@

train: $(STAMP) ## Set up and train on the built-in handwritten digits
	$(BIN)/lae train --max-time 45

test: $(STAMP) ## Set up and run the tests
	$(PYTEST) -m "not slow"

test-slow: $(STAMP) ## Run the slow tests too
	$(PYTEST)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint docs test-slow ## Everything CI runs: style, types, import contracts, docs, tests

bench: $(STAMP) ## Compare the fused kernels with plain PyTorch
	$(BIN)/lae bench

doctor: $(STAMP) ## Say what is installed and whether it works
	$(BIN)/lae doctor

docs: $(STAMP) ## Build these pages, the command and the Python reference into build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

wheel: $(STAMP) ## Build an sdist, and from it a wheel, into dist/
	rm -rf dist
	$(BIN)/python -m build --no-isolation --outdir dist .

wheel-test: wheel ## Test the wheel with another torch (TORCH="torch==2.10.*") and no compiler
	tests/tools/wheel.sh dist/*.whl build/wheel-test

fuzz: $(STAMP) ## Feed broken input to every reader: FUZZ_EXAMPLES=10000 of each kind
	FUZZ_EXAMPLES=$${FUZZ_EXAMPLES:-10000} $(BIN)/python -m pytest -q --timeout 0 $$(find tests -name 'test_fuzz*.py')

sanitize: $(STAMP) ## Test the CPU kernels under AddressSanitizer and UndefinedBehaviorSanitizer
	PYTHON="$(abspath $(BIN))/python" tests/tools/sanitize.sh build/sanitize

emulate: $(STAMP) ## Test the CUDA kernels on the CPU; SANITIZE=address or thread watches them
	PYTHON="$(abspath $(BIN))/python" tests/tools/emulate.sh $(or $(SANITIZE),plain)

mutants: $(STAMP) ## Plant CUDA mistakes in a copy of the kernels: each must turn a test red
	$(BIN)/python tests/tools/cuda_mutants.py

sanitize-cuda: $(STAMP) ## Test the CUDA kernels under compute-sanitizer: memory, races, barriers
	PYTHON="$(abspath $(BIN))/python" tests/tools/sanitize_cuda.sh

gpu: $(STAMP) ## Build, test, sanitize, measure and profile on this GPU, in ten minutes
	$(BIN)/python benchmarks/gpu.py

soak: $(STAMP) ## Train for SOAK_MINUTES=20 through kills and full disks; nothing may be lost
	$(BIN)/python tests/tools/soak.py --minutes $${SOAK_MINUTES:-20}

crash-states: $(STAMP) ## Resume from CRASH_STATES=1000 states that a power failure may leave (needs strace)
	OMP_NUM_THREADS=1 $(BIN)/python tests/tools/crash_states.py --states $${CRASH_STATES:-1000}

bit-flips: $(STAMP) ## Flip BIT_FLIPS=10000 bits of states and weights: each is refused or harmless
	BIT_FLIPS=$${BIT_FLIPS:-10000} $(BIN)/python -m pytest -q --timeout 0 tests/runs/test_digests.py

clean: ## Remove what was built (not .venv, data or runs)
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
	rm -f lae_fast/*.so
	rm -f $(STAMP)
