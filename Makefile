# `make demo` runs an experiment and shows it, `make test` checks everything.
# Both need Python 3.11 or newer, make and git. Node and Chromium are used where
# they are there; in CI (CI=true) they must be there, and nothing is skipped.

BIN := .venv/bin
READY := .venv/.ready
MODULES := js/node_modules/.package-lock.json
COMMA := ,

# A Python counts if it is new enough and can make virtual environments.
PYTHON ?= $(firstword $(foreach python,python3 python3.11 python3.12 python3.13 python3.14,$(shell \
	$(python) -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $(python))))
NPM := $(shell command -v npm)
CHROMIUM := $(firstword $(shell command -v chromium || command -v chromium-browser || command -v google-chrome))
MISSING := $(strip $(if $(NPM),,npm) $(if $(CHROMIUM),,chromium))

.PHONY: demo lab test lint types pytest js bundles clean

demo: $(READY)
	$(BIN)/python notebooks/demo.py

lab: $(READY)
	$(BIN)/jupyter lab notebooks/experiment.ipynb

# What is fast comes first; pytest comes last, for its closing line is the verdict.
test: $(READY)
	$(if $(CI),$(if $(MISSING),$(error CI must have all that the tests use; missing: $(MISSING))))
	@$(MAKE) --no-print-directory lint types $(if $(NPM),js) pytest
	@echo 'Ran: ruff, import-linter, mypy, $(if $(NPM),the JavaScript checks$(COMMA) )pytest, nbval$(if $(CHROMIUM),$(COMMA) the browser tests).'
	@echo 'Skipped: $(if $(MISSING),$(if $(NPM),,the JavaScript checks (no npm); )$(if $(CHROMIUM),,the browser tests (no Chromium)),nothing)'

lint: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports

types: $(READY)
	$(BIN)/mypy

# Whole files go to a few processes; more than four would wait for each other's browsers and kernels.
pytest: $(READY)
	$(BIN)/pytest -n auto --maxprocesses 4 --dist loadfile $(if $(CHROMIUM),,-m 'not browser') tests notebooks \
		--nbval --nbval-current-env --nbval-sanitize-with notebooks/nbval-sanitize.cfg

js: $(MODULES)
	cd js && npm run check && npm test && npm run verify

bundles: $(MODULES)
	cd js && npm run build

clean:
	rm -rf .venv js/node_modules demo-output dist build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache

# The stamps say that an environment is complete and newer than what it was made from.
$(READY): pyproject.toml constraints.txt jupyter-config/modularml.json
	$(if $(PYTHON),,$(error No Python 3.11 or newer with venv was found; name one with PYTHON=...))
	@echo 'Setting up .venv; this takes a few minutes, once.'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/pip install --disable-pip-version-check -qq -c constraints.txt hatchling editables
	@$(BIN)/pip install --disable-pip-version-check -qq -c constraints.txt --no-build-isolation -e '.[dev]'
	@touch $@

$(MODULES): js/package-lock.json
	cd js && npm ci
