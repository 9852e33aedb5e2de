# Every target prepares .venv first, once: from Python 3.11 or newer, uv, and what requirements.lock names with its
# hashes. After that nothing here needs a network, but for `make lock` and `make newest`.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Of `make newest`: what the index has today, and no lock.
NEWEST := .venv-newest
# Of `make mutants`: the program that changes the code.
MUTANTS := .venv-mutants
# What to look for, best known first; `make PYTHON=...` says it outright.
PYTHONS := python3.11 python3 python3.12 python3.13 python3.14 python
PYTHON ?=
PYTEST_ARGS ?=
# Options of `make conformance`, `make escapes`, `make faults` and `make mutants`.
ARGS ?=
# Options that `make lock` passes on, for instance LOCK_ARGS=--upgrade.
LOCK_ARGS ?=

.PHONY: help
help: ## Show this list
	@sed -nE 's/^([a-z]+):.*## (.*)/  make \1\t\2/p' Makefile | expand -t 20

.PHONY: demo
demo: $(READY) ## Run the main job on this machine's own files, with a scripted model
	@$(BIN)/python examples/demo.py

.PHONY: test
test: $(READY) ## Run the tests; what this machine lacks is skipped
	@$(BIN)/python -c 'import sys; print("tests on Python", sys.version.split()[0])'
	@$(BIN)/pytest --numprocesses=auto --dist=loadfile $(PYTEST_ARGS)

.PHONY: coverage
coverage: PYTEST_ARGS += --cov --cov-report=term-missing --cov-report=html --cov-fail-under=90
coverage: test ## Run them with the coverage that they must reach, and write htmlcov/index.html

.PHONY: conformance
conformance: $(READY) ## Show which behaviours of the one list each executor has
	@$(BIN)/python -m tests.executors.conformance_table $(ARGS)

.PHONY: escapes
escapes: $(READY) ## Attack the sandboxes with hostile code, and show what became of each attack
	@$(BIN)/python -m tests.escapes $(ARGS)

.PHONY: faults
faults: $(READY) ## Kill runs at every event of theirs, resume them, and count what went wrong
	@$(BIN)/python -m tests.faults $(ARGS)
	@TESTS_FAULTS=all $(BIN)/pytest -q tests/faults/test_postgres.py

.PHONY: mutants
mutants: $(READY) ## Change the code in many small ways, and show which change no test notices: an hour for a room
	@test -x $(MUTANTS)/bin/cosmic-ray || { \
		$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(MUTANTS); \
		$(BIN)/uv pip install --quiet --python $(MUTANTS)/bin/python cosmic-ray==8.7.0; }
	@COSMIC_RAY=$(MUTANTS)/bin $(BIN)/python -m tests.mutants $(ARGS)

.PHONY: bench
bench: $(READY) ## Measure the parts beside their simplest rivals, in one run; ROW=turns measures one
	@for program in bench/$(or $(ROW),*).py; do echo "== $$program"; $(BIN)/python "$$program" || exit 1; done

.PHONY: lint
lint: $(READY) ## Check form, types and who imports whom
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports

.PHONY: format
format: $(READY) ## Put the code into its form
	@$(BIN)/ruff check --fix --fix-only
	@$(BIN)/ruff format

.PHONY: lock
lock: $(READY) ## Work requirements.lock out anew from pyproject.toml
	@UV_CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/uv pip compile --quiet --universal --python-version 3.11 \
		--generate-hashes --all-extras --group dev $(LOCK_ARGS) pyproject.toml --output-file requirements.lock

.PHONY: newest
newest: $(READY) ## Run the tests with the newest versions that pyproject.toml allows, in an environment of their own
	@$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(NEWEST)
	@$(BIN)/uv pip install --quiet --upgrade --compile-bytecode --python $(NEWEST)/bin/python --group dev --editable '.[all]'
	@echo "newer than in the lock:"; \
	diff --unchanged-line-format= --old-line-format= --new-line-format='  %L' \
		<($(BIN)/uv pip freeze --quiet --exclude-editable --python $(BIN)/python) \
		<($(BIN)/uv pip freeze --quiet --exclude-editable --python $(NEWEST)/bin/python) || true
	@$(NEWEST)/bin/pytest --numprocesses=auto --dist=loadfile $(PYTEST_ARGS)

.PHONY: clean
clean: ## Remove what was built, the environment included
	@rm -rf $(VENV) $(NEWEST) build dist *.egg-info htmlcov .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache \
		.hypothesis .import_linter_cache

# uv comes from the lock too: pip takes it with its hashes from there, and uv takes the rest. Compiled here once: where
# Python may write no bytecode, each process would compile what it imports anew, which takes longer than to run it.
$(READY): pyproject.toml requirements.lock
	@python=""; \
	for candidate in $(or $(PYTHON),$(PYTHONS)); do \
		if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
			python="$$candidate"; break; \
		fi; \
	done; \
	if [ -z "$$python" ]; then \
		echo "make: no Python 3.11 or newer among: $(or $(PYTHON),$(PYTHONS)); install one, or say make PYTHON=/path/to/python" >&2; \
		exit 1; \
	fi; \
	if ! $(BIN)/python -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
		echo "make: preparing $(VENV) with $$("$$python" --version), once"; \
		if ! "$$python" -m venv --clear $(VENV); then \
			echo "make: $$python cannot make environments; on Debian and Ubuntu: apt-get install python3-venv" >&2; \
			exit 1; \
		fi; \
	fi
	@echo "make: fetching uv and the $$(grep -c '==' requirements.lock) packages of requirements.lock from your package index," \
		"each checked against its hash (1.2 GB in $(VENV)); later targets fetch nothing"
	@sed -n '/^uv==/,/^    # via/p' requirements.lock > $(VENV)/uv.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(VENV)/uv.txt
	@$(BIN)/uv pip sync --quiet --compile-bytecode --require-hashes --python $(BIN)/python requirements.lock
	@$(BIN)/uv pip install --quiet --offline --no-deps --no-build-isolation --python $(BIN)/python --editable .
	@touch $(READY)
