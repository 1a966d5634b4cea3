# One verb, one command. `make` alone lists them.
SHELL := /bin/bash
.ONESHELL:
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
# The project's own interpreter: pyenv finds it by .python-version; elsewhere any Python 3.12 on the path will do.
PYTHON := $(shell for p in python3.12 python3 python; do "$$p" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 12))' 2>/dev/null && { echo "$$p"; break; }; done)
UV_VERSION := 0.13.9
UV = $(or $(shell command -v uv 2>/dev/null),.tools/uv/bin/uv)
export UV_PYTHON_DOWNLOADS := never
OLD_CLIENT := .tools/client-0.3.5
MEMBERS := shared services/gateway services/worker deploy/local

.PHONY: help up demo test fuzz chaos lint bench clean install format pins

help: ## list the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/ :/' | awk -F' : ' '{printf "  make %-8s %s\n", $$1, $$2}'

up: install ## start everything at http://127.0.0.1:8321 and keep it running (ARGS="--port 9000 --workers 4")
	@$(BIN)/turnstream up $(ARGS)

demo: install ## start everything, stream one turn to the terminal, stop
	@$(BIN)/turnstream demo $(ARGS)

test: lint $(OLD_CLIENT)/.installed ## lint, types, import rules and every test
	$(BIN)/pytest -n auto --maxprocesses 4 --dist worksteal $(ARGS)

fuzz: install ## ask the API all kinds of things, right and wrong (ARGS="--seconds 300 --seed 7")
	@PYTHONPATH=tests $(BIN)/python -m support.fuzzing $(ARGS)

chaos: install ## break everything for 10 minutes under load, then audit every turn (CHAOS_SECONDS, CHAOS_SEED)
	@PYTHONPATH=tests $(BIN)/python -m chaos

lint: install ## ruff, mypy, import-linter, pins, each service on its own
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --explicit-package-bases tests
	$(BIN)/lint-imports
	bash requirements/check.sh "$(UV)"

bench: install ## measure against a plain Llama Stack server; prints, and writes JSON
	@$(BIN)/python -m bench $(ARGS)

format: install ## let ruff format and mend what it can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

pins: $(BIN)/python ## resolve the hashed requirements files anew
	bash requirements/compile.sh "$(UV)"

clean: ## remove what was built or installed here
	rm -rf $(VENV) .tools .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

install: $(VENV)/.installed

$(VENV)/.installed: requirements/dev.txt $(MEMBERS:=/pyproject.toml) | $(BIN)/python
	@echo "installing the pinned packages into $(VENV)"
	$(UV) pip sync --quiet --python $(BIN)/python --require-hashes requirements/dev.txt
	$(UV) pip install --quiet --python $(BIN)/python --no-deps $(foreach m,$(MEMBERS),-e $(m))
	# Compile what the processes import, once and here: it halves every start.
	env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -c 'import turnstream_gateway.app, turnstream_worker.embedded_stack, turnstream.migrations, turnstream_local.cli'
	touch $@

$(OLD_CLIENT)/.installed: requirements/client-0.3.5.txt | $(BIN)/python
	@echo "installing llama-stack-client 0.3.5, which some tests run, into $(OLD_CLIENT)"
	$(UV) venv --quiet --clear --python $(BIN)/python $(OLD_CLIENT)
	$(UV) pip sync --quiet --python $(OLD_CLIENT)/bin/python --require-hashes requirements/client-0.3.5.txt
	touch $@

$(BIN)/python:
	@if [ -z "$(PYTHON)" ]; then echo "Turnstream needs Python 3.12 on the path (pyenv install 3.12)"; exit 1; fi
	if ! command -v uv >/dev/null && [ ! -x .tools/uv/bin/uv ]; then
	  echo "getting uv $(UV_VERSION) into .tools"
	  $(PYTHON) -m venv .tools/uv
	  .tools/uv/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	fi
	uv=$$(command -v uv || echo .tools/uv/bin/uv)
	"$$uv" venv --quiet --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')" $(VENV)
