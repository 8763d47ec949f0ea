# What a fresh machine with Python (3.11 or newer) and make needs: everything else is installed into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := $(shell find daemon -type f -not -name '*.pyc') pyproject.toml README.md

.PHONY: demo test test-all check bench lock wheel clean

demo: $(VENV)/installed $(if $(filter pubsub,$(DESTINATION)),$(VENV)/pubsub)  ## the main job on this machine: a destination, the daemon, the account
	@$(BIN)/tickerd demo $(if $(SECONDS),--seconds $(SECONDS)) $(if $(RATE),--rate $(RATE)) \
	  $(if $(DESTINATION),--destination $(DESTINATION))

test: $(VENV)/installed $(VENV)/dev  ## the tests of every day, a few minutes on two cores
	$(BIN)/pytest -n 4 --dist loadfile -m "not slow" $(PYTEST)

test-all: $(if $(PYTEST_FIRST),$(VENV)/installed $(VENV)/dev,test)  ## all tests: also the slow ones with real processes under load
	$(BIN)/pytest -m slow $(PYTEST)

check: $(VENV)/installed $(VENV)/dev  ## formatting, lint, types
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy --strict -p tickerd
	$(BIN)/mypy --strict tests
	$(BIN)/mypy --strict bench

bench: $(VENV)/installed $(VENV)/bench  ## all benches in under five minutes; FULL=1: as long as published figures need
	$(BIN)/python bench/all.py $(if $(FULL),--full)

wheel: $(VENV)/uv  ## dist/tickerd-*.whl
	$(BIN)/uv build -q --wheel --out-dir dist

lock: $(VENV)/uv  ## resolve the dependencies anew, with hashes and without addresses
	$(BIN)/uv pip compile -q --upgrade --universal --generate-hashes --no-header --no-annotate \
	  --python-version 3.11 pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile -q --upgrade --universal --generate-hashes --no-header --no-annotate \
	  --python-version 3.11 -c requirements.lock pyproject.toml --extra pubsub -o requirements-pubsub.lock
	$(BIN)/uv pip compile -q --upgrade --universal --generate-hashes --no-header --no-annotate \
	  --python-version 3.11 -c requirements-pubsub.lock pyproject.toml --extra pubsub --group dev \
	  -o requirements-dev.lock
	$(BIN)/uv pip compile -q --upgrade --universal --generate-hashes --no-header --no-annotate \
	  --python-version 3.11 -c requirements-dev.lock pyproject.toml --extra pubsub --group bench \
	  -o requirements-bench.lock

clean:  ## all that was made here
	rm -rf $(VENV) dist tests/emulators/node_modules

$(VENV)/uv:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "tickerd needs Python 3.11 or newer; say make PYTHON=…")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --disable-pip-version-check uv
	@touch $@

$(VENV)/locked: requirements.lock | $(VENV)/uv
	$(BIN)/uv pip install -q --python $(BIN)/python --require-hashes --compile-bytecode -r requirements.lock
	@touch $@

$(VENV)/pubsub: requirements-pubsub.lock | $(VENV)/locked
	$(BIN)/uv pip install -q --python $(BIN)/python --require-hashes -r requirements-pubsub.lock
	@touch $@

$(VENV)/dev: requirements-dev.lock | $(VENV)/locked
	$(BIN)/uv pip install -q --python $(BIN)/python --require-hashes -r requirements-dev.lock
	@touch $@

$(VENV)/bench: requirements-bench.lock | $(VENV)/locked
	$(BIN)/uv pip install -q --python $(BIN)/python --require-hashes -r requirements-bench.lock
	@touch $@

# The package itself as a wheel, so that the tests run what a user installs.
$(VENV)/installed: $(SOURCES) $(VENV)/locked
	$(BIN)/uv pip install -q --python $(BIN)/python --no-deps --compile-bytecode --reinstall-package tickerd .
	@touch $@
