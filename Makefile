# Everything a newcomer needs: `make demo`, `make test`, `make check`, `make bench`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=
JSON ?=
TRACE ?=
TO_JSON = $(if $(JSON),--json $(JSON))
WORKERS ?= 2

.PHONY: demo test check format bench bench-gateway bench-engine bench-routing chaos accuracy screenshots lock clean
.DEFAULT_GOAL := help

help:
	@echo "make demo            set up everything and run the main job (ARGS=--exit: verify and leave)"
	@echo "make test            set up everything and run the tests"
	@echo "make check           ruff, mypy, import contracts"
	@echo "make bench           figures of the gateway and of the engine beside peers (JSON=PATH)"
	@echo "make bench-routing  routing rules on a trace, in the simulator (TRACE=PATH, JSON=PATH)"
	@echo "make chaos           kill every process under load; nothing may be lost"
	@echo "make accuracy        v1, v2, v3 of the shipped model on the held-out questions"

$(VENV)/.ready: requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: $(VENV)/.ready
	$(BIN)/modelyard demo $(ARGS)

test: $(VENV)/.ready
	$(BIN)/python -m pytest -n $(WORKERS) $(ARGS)

check: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: bench-gateway bench-engine

bench-gateway: $(VENV)/.ready
	$(BIN)/python -m bench.gateway $(TO_JSON) $(ARGS)

bench-engine: $(VENV)/.ready
	$(BIN)/python -m bench.engine $(TO_JSON) $(ARGS)

bench-routing: $(VENV)/.ready
	$(BIN)/python -m bench.routing $(if $(TRACE),--trace $(TRACE)) $(TO_JSON) $(ARGS)

chaos: $(VENV)/.ready
	$(BIN)/python -m bench.chaos $(TO_JSON) $(ARGS)

accuracy: $(VENV)/.ready
	$(BIN)/python -m bench.accuracy $(TO_JSON) $(ARGS)

screenshots: $(VENV)/.ready
	SCREENSHOTS=docs/screenshots $(BIN)/python -m pytest tests/browser $(ARGS)

lock: $(VENV)/.ready
	$(BIN)/pip install --quiet pip-tools
	$(BIN)/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --no-header --output-file requirements.lock requirements.in

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
