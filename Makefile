# The project's verbs. `make help` lists them; nothing but Python >= 3.11 and make is needed.
SHELL := /bin/bash
MAKEFLAGS += --no-print-directory
PYTHON ?= python3
# Half of the suite's time is waiting for processes; two runs beside each other use it.
WORKERS ?= 2
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

NODE := clients/node

.PHONY: help up demo node test check proto bench soak prove docs landed lock audit sbom clean

help: ## List the verbs.
	@grep -E '^[a-z.]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z.]+):.*## (.*)/  make \1\t\2/' | expand -t 16

.venv: .venv/.installed ## Prepare the environment, hash-checked, and nothing else.

.venv/.installed: requirements.txt pyproject.toml
	@echo "preparing .venv, once; this takes about a minute" >&2
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

up: .venv/.installed ## Run OMEN, RiskCast and the reconciler on loopback, durable, until Ctrl-C.
	@omen up $(ARGS)

demo: .venv/.installed ## Break it on purpose, and see every promise held: 19 claims in 20 seconds.
	@omen demo $(ARGS)

node: ## Build the TypeScript client, where there is npm.
	@if command -v npm >/dev/null || [ -n "$$CI" ]; then $(MAKE) -s $(NODE)/dist/.built; \
	else echo "there is no npm: clients/node is not built, and its tests are skipped" >&2; fi

$(NODE)/node_modules/.installed: $(NODE)/package-lock.json
	@cd $(NODE) && npm ci --ignore-scripts --loglevel=error
	@touch $@

$(NODE)/dist/.built: $(NODE)/node_modules/.installed $(wildcard $(NODE)/src/* $(NODE)/*.json $(NODE)/buf.gen.yaml proto/*/*/*.proto)
	@cd $(NODE) && npm run --silent build
	@touch $@

test: .venv/.installed node ## Run the whole suite.
	@python -m pytest -m 'not prove' -n $(WORKERS) $(ARGS)

prove: .venv/.installed ## Run the long forms of the campaigns as well.
	@python -m pytest -m prove --timeout 7200 $(ARGS)

check: .venv/.installed ## Lint, format, types, and the contract against the last landed one.
	ruff check .
	ruff format --check .
	mypy
	buf lint
	buf format --diff --exit-code
	buf breaking --against proto/landed.binpb

proto: .venv/.installed ## Regenerate the stubs and the generated references from the protos.
	buf format -w
	python proto/generate.py
	$(MAKE) docs

landed: .venv/.installed ## Record the contract as landed; later changes may not break it.
	buf build -o proto/landed.binpb --exclude-source-info

docs: .venv/.installed ## Regenerate the references in docs/.
	python docs/generate.py

bench: .venv/.installed ## Measure what the README quotes.
	@python -m bench $(ARGS)

soak: .venv/.installed ## Run everything together for half an hour, and see that nothing is lost and nothing leaks.
	@python -m bench.soak $(ARGS)

lock: .venv/.installed ## Resolve the dependencies again, with hashes and without the index's name.
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --all-extras --group dev pyproject.toml -o requirements.txt
	python deploy/requirements.py

audit: .venv/.installed ## Look the locked dependencies up among the published advisories.
	@.ci/audit

sbom: .venv/.installed ## Write the bill of materials to build/omen.cdx.json.
	@python deploy/sbom.py

clean: ## Remove what can be made again. Data in .omen stays.
	rm -rf .venv $(NODE)/node_modules $(NODE)/gen $(NODE)/dist .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
