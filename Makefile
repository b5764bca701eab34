# Everything a newcomer needs: `make demo`, `make test`, `make check`, `make bench`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=
JSON ?=
TRACE ?=
TO_JSON = $(if $(JSON),--json $(JSON))
WORKERS ?= 2
SECONDS ?= 300

COMPILED := $(VENV)/compiled
CLIENTS := $(VENV)/clients
CLIENT_PYTHONS := $(basename $(notdir $(wildcard tests/clients/environments/*.txt)))
UV_VERSION := 0.13.9
CC_FOUND := $(shell command -v cc gcc clang 2>/dev/null | head -n 1)
# What benchmarks measure is what a release is: compiled, where there is a compiler. PURE=1: as it lies.
RELEASED = $(if $(or $(PURE),$(if $(CC_FOUND),,none)),,PYTHONPATH=$(COMPILED))
RELEASE = $(if $(or $(PURE),$(if $(CC_FOUND),,none)),,$(COMPILED)/.ready)

.PHONY: wheel test-compiled demo test check format test-clients bench bench-gateway bench-engine bench-ingest bench-routing bench-routing-live soak chaos accuracy screenshots lock clean
.DEFAULT_GOAL := help

help:
	@echo "make demo            set up everything and run the main job (ARGS=--exit: verify and leave)"
	@echo "make test            set up everything and run the tests"
	@echo "make check           ruff, mypy, import contracts"
	@echo "make wheel           the package with its hot path compiled, in dist/ (needs a C compiler)"
	@echo "make test-compiled   the gateway's tests against it"
	@echo "make test-clients    real agents and SDKs against the gateway (needs npm; installs some 4 GB)"
	@echo "make bench           figures of the gateway and of the engine beside peers (JSON=PATH)"
	@echo "make bench-gateway   the gateway beside nginx, Rust routers, LiteLLM (ARGS=--quick: half a minute)"
	@echo "make bench-engine    what the gateway leaves of an engine's speed"
	@echo "make bench-ingest    what storing a request record costs, stage by stage"
	@echo "make soak            minutes of mixed traffic; memory must stay flat (SECONDS=300)"
	@echo "make bench-routing   routing rules on a trace, in the simulator (TRACE=PATH, JSON=PATH)"
	@echo "make bench-routing-live  the routing rules through a real gateway, on echo engines with caches"
	@echo "make chaos           kill, freeze and slow everything under load; nothing may be lost"
	@echo "make accuracy        v1, v2, v3 of the shipped model on the held-out questions"

$(VENV)/.ready: requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

# The hot path compiled by mypyc (docs/adr/0020), out of the tree, so that no stale build shadows it.
$(COMPILED)/.ready: $(VENV)/.ready $(shell find src -name '*.py')
	rm -rf $(COMPILED) $(VENV)/dist
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'build>=1.2,<2'
	HATCH_BUILD_HOOKS_ENABLE=1 $(BIN)/python -m build --outdir $(VENV)/dist . >$(VENV)/build.log 2>&1 || (tail -n 20 $(VENV)/build.log; exit 1)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-index --target $(COMPILED) $(VENV)/dist/modelyard-*.whl
	@touch $@

wheel: $(COMPILED)/.ready
	@mkdir -p dist && cp $(VENV)/dist/* dist/ && ls -l dist

test-compiled: $(COMPILED)/.ready
	PYTHONPATH=$(COMPILED) $(BIN)/python -m pytest -n $(WORKERS) tests/unit/gateway tests/unit/lib tests/unit/domain tests/e2e/test_gateway.py tests/regression $(ARGS)

demo: $(VENV)/.ready
	$(BIN)/modelyard demo $(ARGS)

test: $(VENV)/.ready
	$(BIN)/python -m pytest -n $(WORKERS) $(ARGS)

test-clients: $(VENV)/.ready
	@mkdir -p $(CLIENTS) && cp tests/clients/package.json $(CLIENTS)/
	npm install --prefix $(CLIENTS) --no-audit --no-fund --silent
	[ -x $(CLIENTS)/uv/bin/uv ] || { $(PYTHON) -m venv $(CLIENTS)/uv && $(CLIENTS)/uv/bin/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION); }
	for name in $(CLIENT_PYTHONS); do \
	  $(CLIENTS)/uv/bin/uv venv --quiet --allow-existing --python $(PYTHON) $(CLIENTS)/$$name && \
	  $(CLIENTS)/uv/bin/uv pip install --quiet --python $(CLIENTS)/$$name/bin/python \
	    --override tests/clients/environments/without.in -r tests/clients/environments/$$name.txt || exit 1; \
	done
	MODELYARD_CLIENTS=$(CLIENTS) $(BIN)/python -m pytest -v tests/clients $(ARGS)

check: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: bench-gateway bench-engine

bench-gateway: $(VENV)/.ready $(RELEASE)
	$(RELEASED) $(BIN)/python -m bench.gateway $(TO_JSON) $(ARGS)

bench-routing-live: $(VENV)/.ready
	$(BIN)/python -m bench.routing_live $(TO_JSON) $(ARGS)

bench-routing: $(VENV)/.ready
	$(BIN)/python -m bench.routing $(if $(TRACE),--trace $(TRACE)) $(TO_JSON) $(ARGS)

bench-ingest: $(VENV)/.ready
	$(BIN)/python -m bench.ingest $(TO_JSON) $(ARGS)

bench-engine: $(VENV)/.ready $(RELEASE)
	$(RELEASED) $(BIN)/python -m bench.engine $(TO_JSON) $(ARGS)

soak: $(VENV)/.ready $(RELEASE)
	$(RELEASED) $(BIN)/python -m bench.soak --seconds $(SECONDS) $(TO_JSON) $(ARGS)

chaos: $(VENV)/.ready $(RELEASE)
	$(RELEASED) $(BIN)/python -m bench.chaos $(TO_JSON) $(ARGS)

accuracy: $(VENV)/.ready
	$(BIN)/python -m bench.accuracy $(TO_JSON) $(ARGS)

screenshots: $(VENV)/.ready
	SCREENSHOTS=docs/screenshots $(BIN)/python -m pytest tests/browser $(ARGS)

lock: $(VENV)/.ready
	$(BIN)/pip install --quiet pip-tools
	$(BIN)/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --no-header --output-file requirements.lock requirements.in

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
