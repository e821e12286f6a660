# `make demo` trains the recipe `world` and opens nothing; `make test` runs lint, types and tests.
# `make bench` times recipes until World is safe, on a CPU; the full comparison is in benchmarks/.
# `make docs` writes the reference pages and builds docs/ as a site.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin

.PHONY: demo test bench docs clean

demo: .venv/.installed
	$(BIN)/safediffusion train world

test: .venv/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/pytest -n auto --maxprocesses 4 --dist worksteal

bench: .venv/.installed
	$(BIN)/python benchmarks/time_to_safety.py --short

docs: .venv/.installed-docs
	$(BIN)/python docs/reference.py
	$(BIN)/mkdocs build --strict

$(BIN)/python:
	$(PYTHON) -m venv .venv

.venv/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

.venv/.installed-dev: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch .venv/.installed $@

.venv/.installed-docs: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	touch .venv/.installed $@

clean:
	rm -rf .venv build site src/*.egg-info .pytest_cache .ruff_cache
