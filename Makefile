# make demo   installs, then walks the whole way on an embedded case (DATA=path for a real MSD folder)
# make test   installs, then runs the quick test suite on two workers, one thread each;
#             `make coverage` runs it again, watched, and judges what it covered
# make docs   builds the pages, and runs every snippet on them
PYTHON ?= python3
BIN := .venv/bin
DATA ?=
BUDGET ?= 70s

# Tests that read files or speak with other programs: they cover nothing that others do not.
UNWATCHED := $(addprefix --ignore=tests/,test_architecture.py test_docs.py test_imports.py \
	test_notebook.py service/test_page.py service/test_service_peers.py) \
	--deselect=tests/cli/test_app.py::test_the_whole_way \
	-k "not gives_the_same_logits and not exported_for_any_batch"

.PHONY: setup demo test test-all coverage check docs bench clean

setup: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev]"
	@touch $@

demo: setup
	rm -rf demo
	$(BIN)/medseg demo --out demo --budget $(BUDGET) $(if $(DATA),--data "$(DATA)")

test: setup
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -m "not slow and not docs" -n 2 --dist worksteal

test-all: setup
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -n 2 --dist worksteal

coverage: setup
	$(BIN)/coverage erase
	OMP_NUM_THREADS=1 $(BIN)/coverage run -m pytest -q -m "not slow and not docs" -n 2 \
		--dist worksteal --hypothesis-profile=few $(UNWATCHED)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --skip-covered --fail-under=93

check: setup
	$(BIN)/ruff format --check src tests bench docs
	$(BIN)/ruff check src tests bench docs
	$(BIN)/mypy

docs: setup
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[docs]"
	$(BIN)/mkdocs build --strict
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -m docs -n 2 --dist worksteal tests/test_docs.py

bench: setup
	@for script in bench/*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

clean:
	rm -rf .venv demo site build dist .coverage .coverage.* .mypy_cache .pytest_cache .ruff_cache
